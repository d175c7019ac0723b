"""A request as a person sees and answers it, line by line: a permission, or questions.

A form knows neither terminal nor server: it says what to show and what to ask for next, takes a line, and ends with the body of an answer.
`quell run` and `quell answer` show the same ones.
"""

from __future__ import annotations

import json

from quell.cli.terminal import one_line, visible
from quell.client.oneshot import Json

Shown = tuple[str, str]
"""A line, and its style."""


MOST_LINES = 12
"""Of each argument of a call that is shown, but for a command, which has to be seen whole."""


class Form:
    """`head` is what is asked, once; `lines` what goes before the next input, `prompt` its beginning. `answer` is there at the end."""

    def __init__(self, request: Json) -> None:
        self.request = request
        self.answer: dict[str, object] | None = None

    @property
    def head(self) -> list[Shown]:
        raise NotImplementedError

    @property
    def lines(self) -> list[Shown]:
        raise NotImplementedError

    @property
    def prompt(self) -> str:
        raise NotImplementedError

    def take(self, line: str | None) -> str:
        """One line of input, None for the end of it. What is wrong with it, or nothing."""
        raise NotImplementedError


class PermissionForm(Form):
    """Nothing is the default: a line that was meant for something else must not permit anything.

    The request has the call's `input` beside what the server lists: its title is cut, and nobody should permit what is not shown.
    """

    @property
    def head(self) -> list[Shown]:
        tool, arguments = one_line(self.request.text("tool")), _arguments(self.request.text("input"))
        asked = f"May it use {tool}?" if arguments else f"May it use {tool}? {one_line(self.request.text('title'))}"
        return [(asked, "bold"), *arguments, *_indented(self.request.text("reason"))]

    @property
    def lines(self) -> list[Shown]:
        lines = [("  y       allow it, this once", "")]
        if always := self._always:
            lines.append((f"  a       allow it always in this session: {always}", ""))
        return [
            *lines,
            ("  n       reject it, and stop the run", ""),
            ("  n TEXT  reject it, and say what to do instead", ""),
        ]

    @property
    def prompt(self) -> str:
        return "y, a or n? " if self._always else "y or n? "

    @property
    def _always(self) -> str:
        return one_line(self.request.text("always"))

    def take(self, line: str | None) -> str:
        word, _, note = (line if line is not None else "n").strip().partition(" ")
        note = note.strip()
        match word.lower():
            case "y" | "yes" if not note:
                self.answer = {"option": "allow_once"}
            case "a" | "always" if not note and self._always:
                self.answer = {"option": "allow_always"}
            case "n" | "no":
                self.answer = {"option": "reject_once", **({"note": note} if note else {})}
            case _:
                return f"That is none of the answers: {one_line(line or '')}" if word else "Answer with a letter."
        return ""


class QuestionsForm(Form):
    """One question after the other. Each may be skipped, or answered with something that was not thought of."""

    def __init__(self, request: Json) -> None:
        super().__init__(request)
        self._questions = request.items("questions")
        self._answers: list[dict[str, object]] = []
        self._end()

    @property
    def head(self) -> list[Shown]:
        return [
            (f"A question: {one_line(self.request.text('title'))}", "bold"),
            *_indented(self.request.text("reason")),
        ]

    @property
    def lines(self) -> list[Shown]:
        question = self._question
        count = f"{len(self._answers) + 1}/{len(self._questions)} " if len(self._questions) > 1 else ""
        lines: list[Shown] = [(f"  {count}{one_line(question.text('question'))}", "")]
        lines += _indented(question.text("description"))
        for number, choice in enumerate(question.items("choices"), 1):
            more = choice.text("description")
            lines.append((f"  {number}  {one_line(choice.text('label'))}{f' – {one_line(more)}' if more else ''}", ""))
        return lines

    @property
    def prompt(self) -> str:
        match self._question.text("type"):
            case "yes_no":
                what = "y, n or something else"
            case "single_choice":
                what = "a number, or something else"
            case "multi_choice":
                what = "numbers, or something else"
            case _:
                what = "your answer"
        return f"{what} (Enter skips): "

    def take(self, line: str | None) -> str:
        if line is None:  # nobody answers any more
            self._answers += [{} for _ in self._questions[len(self._answers) :]]
            self._end()
            return ""
        text, kind = line.strip(), self._question.text("type")
        if text and kind == "yes_no" and text.lower() in ("y", "yes", "n", "no"):
            answer: dict[str, object] = {"yes": text.lower() in ("y", "yes")}
        elif text and kind in ("single_choice", "multi_choice") and _are_numbers(text):
            ids = [choice.text("id") for choice in self._question.items("choices")]
            numbers = list(dict.fromkeys(map(int, text.replace(",", " ").split())))
            if not all(1 <= number <= len(ids) for number in numbers):
                return f"The choices are 1 to {len(ids)}."
            if kind == "single_choice" and len(numbers) > 1:
                return "Only one of them can be chosen."
            answer = {"choices": [ids[number - 1] for number in numbers]}
        else:
            answer = {"text": text} if text else {}
        self._answers.append(answer)
        self._end()
        return ""

    @property
    def _question(self) -> Json:
        return self._questions[len(self._answers)]

    def _end(self) -> None:
        if len(self._answers) == len(self._questions):
            self.answer = {"answers": self._answers}


def form_of(request: Json) -> Form:
    """For a request as the server lists it."""
    return QuestionsForm(request) if "questions" in request else PermissionForm(request)


def _are_numbers(text: str) -> bool:
    return all(
        each.isascii() and each.isdecimal() and len(each) < 6 for each in text.replace(",", " ").split()
    ) and any(each.isdecimal() for each in text)


def _arguments(input: str) -> list[Shown]:
    """What the call is to be done with, an argument a line; the lines of a longer one below it."""
    try:
        arguments = Json(json.loads(input)).raw
    except ValueError:
        return []
    shown: list[Shown] = []
    for name, value in arguments.items():
        lines = visible(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)).splitlines()
        if len(lines) < 2:
            shown.append((f"  {one_line(name)}: {''.join(lines)}", ""))
            continue
        most = len(lines) if name == "command" else MOST_LINES
        shown += [(f"  {one_line(name)}:", ""), *((f"    {line}", "") for line in lines[:most])]
        if len(lines) > most:
            shown.append((f"    … {len(lines) - most} more lines", "dim"))
    return shown


def _indented(text: str) -> list[Shown]:
    return [(f"  {line}", "dim") for line in visible(text).splitlines() if line.strip()]
