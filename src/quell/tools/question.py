"""`question`: the model asks the person something that only a person can decide. The answers are the result; nothing runs here."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from quell.core.access import Access
from quell.core.messages import ToolResult
from quell.core.ports import ToolContext, Workspace
from quell.core.questions import Choice, Question, QuestionType
from quell.tools.tool import Call, Options, Refused

_MOST = 5

Line = Annotated[str, Meta(max_length=200)]


class AskedChoice(Struct, frozen=True, forbid_unknown_fields=True):
    label: Line
    id: Annotated[str, Meta(max_length=200, description="A short name for it; the label if left out.")] = ""
    description: Line = ""


class AskedQuestion(Struct, frozen=True, forbid_unknown_fields=True):
    type: Annotated[QuestionType, Meta(description="What kind of answer is wanted.")]
    question: Annotated[str, Meta(max_length=600, description="The question itself, one or two sentences.")]
    label: Annotated[str, Meta(max_length=240, description="A word or two that name the question.")] = ""
    description: Annotated[str, Meta(max_length=600, description="What is to be known before it is answered.")] = ""
    choices: Annotated[
        tuple[AskedChoice, ...], Meta(description="For `single_choice` and `multi_choice`: two to five.")
    ] = ()


class Ask(Struct, frozen=True, forbid_unknown_fields=True):
    questions: Annotated[tuple[AskedQuestion, ...], Meta(description="One to five.")]
    confirm_title: Annotated[str, Meta(max_length=240, description="What the questions are about, as a title.")] = ""
    confirm_description: Annotated[
        str, Meta(max_length=600, description="Why you ask, if the title does not say it.")
    ] = ""


def prepare_question(asked: Ask, workspace: Workspace, options: Options) -> Call:
    del workspace, options
    if not 1 <= len(asked.questions) <= _MOST:
        raise Refused(f"There are {len(asked.questions)} questions; ask one to {_MOST} at a time.")
    questions = tuple(_question(number, each) for number, each in enumerate(asked.questions, 1))
    title = asked.confirm_title.strip() or questions[0].label or questions[0].question
    access = Access(tool="question", kind="think", title=title)
    return Call("think", access, _never, questions=questions, reason=asked.confirm_description.strip())


async def _never(context: ToolContext) -> ToolResult:
    raise AssertionError("a question is answered, not run")


def _question(number: int, asked: AskedQuestion) -> Question:
    """Raises `Refused` for what nobody could answer."""
    if not asked.question.strip():
        raise Refused(f"Question {number} is empty.")
    if asked.type in ("single_choice", "multi_choice"):
        if not 2 <= len(asked.choices) <= _MOST:
            raise Refused(f"Question {number} has {len(asked.choices)} choices; give two to {_MOST}.")
    elif asked.choices:
        raise Refused(f"Question {number} is of type {asked.type}, which has no choices.")
    choices = tuple(Choice(each.id.strip() or each.label, each.label, each.description) for each in asked.choices)
    if len({choice.id for choice in choices}) < len(choices):
        raise Refused(f"Question {number} has two choices with the same id.")
    return Question(
        label=asked.label.strip(),
        type=asked.type,
        question=asked.question.strip(),
        description=asked.description.strip(),
        choices=choices,
    )
