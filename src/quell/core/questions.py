"""Questions that a model asks a person while its run goes on, and what is answered.

A question waits like a permission request does (contract T6): it has an id of ours, is withdrawn when its call ends, and is answered
once. What is asked is the model's, within the limits that are here; that an answer fits its question is checked here, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, assert_never

from msgspec import Struct

from quell.core.errors import InvalidRequest

QuestionType = Literal["yes_no", "single_choice", "multi_choice", "free_text"]


class Choice(Struct, frozen=True, omit_defaults=True):
    id: str
    label: str
    description: str = ""


class Question(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """`label` is a word or two for a list of questions; `choices` are for the two types that choose."""

    label: str = ""
    type: QuestionType
    question: str
    description: str = ""
    choices: tuple[Choice, ...] = ()


class QuestionAnswer(Struct, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True):
    """One answer. `yes`, ids of `choices`, or `text`, as the question wants it; `text` in place of a choice is another answer.

    None of them: the question was skipped. A `note` may go with anything.
    """

    yes: bool | None = None
    choices: tuple[str, ...] = ()
    text: str = ""
    note: str = ""


def check(questions: Sequence[Question], answers: Sequence[QuestionAnswer]) -> None:
    """Whether each answer is one to its question. Raises `InvalidRequest`."""
    if len(answers) != len(questions):
        raise InvalidRequest(f"There are {len(questions)} questions, and {len(answers)} answers.")
    for number, (question, answer) in enumerate(zip(questions, answers, strict=True), 1):
        if wrong := _wrong(question, answer):
            raise InvalidRequest(f"Answer {number} does not fit its question: {wrong}.")


def _wrong(question: Question, answer: QuestionAnswer) -> str | None:
    chooses = question.type in ("single_choice", "multi_choice")
    if answer.yes is not None and question.type != "yes_no":
        return "it is no question of yes or no"
    if answer.choices and not chooses:
        return "there is nothing to choose from"
    known = [choice.id for choice in question.choices]
    unknown = next((id for id in answer.choices if id not in known), None)
    if unknown is not None:
        return f"there is no choice {unknown!r}, only {', '.join(map(repr, known))}"
    if question.type == "single_choice" and len(answer.choices) > 1:
        return "only one can be chosen"
    if (answer.yes is not None and answer.text) or (
        answer.choices and answer.text and question.type == "single_choice"
    ):
        return "it is two answers; put what is to be added into `note`"
    return None


def told(questions: Sequence[Question], answers: Sequence[QuestionAnswer]) -> str:
    """The answers, for the model."""
    return "\n\n".join(
        f"Q{number}: {question.question}\n{_said(question, answer)}"
        for number, (question, answer) in enumerate(zip(questions, answers, strict=True), 1)
    )


def _said(question: Question, answer: QuestionAnswer) -> str:
    labels = {choice.id: choice.label for choice in question.choices}
    lines = [f"Chosen: {id} ({labels[id]})" for id in answer.choices]
    if answer.yes is not None:
        lines.append("Yes" if answer.yes else "No")
    if answer.text:
        match question.type:
            case "free_text":
                lines.append(answer.text)
            case "yes_no" | "single_choice" | "multi_choice":
                lines.append(f"Other: {answer.text}")
            case _:
                assert_never(question.type)
    lines = lines or ["Skipped: decide yourself."]
    if answer.note:
        lines.append(f"Note: {answer.note}")
    return "\n".join(lines)
