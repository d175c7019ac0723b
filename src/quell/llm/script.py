"""The file of a scripted model: its form, and reading it with errors that name file, line and remedy.

A script is TOML: replies in order (`[[reply]]`), branches (`[[when]]`) that answer certain prompts or results
instead, and the roles of sub-agents (`[[agent]]`). A reply is made of steps, each named by its verb: `text`, `reasoning`, `tool`, `wait`, `fail`, `silence`,
`endless`.
`docs/reference/scripted-model.md` describes it for those who write one.

Playing it is the business of `scripted`.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta, Struct

from quell.core.errors import FailureCode, UnknownModel
from quell.core.messages import StopReason, Usage

Seconds = Annotated[float, Meta(ge=0)]
Count = Annotated[int, Meta(ge=1)]


class Say(Struct, frozen=True, tag_field="verb", tag="text", forbid_unknown_fields=True):
    """Text, in pieces of `chunk` code points, `interval` seconds apart; the whole `repeat` times over."""

    text: str
    chunk: Count | None = None
    interval: Seconds | None = None
    repeat: Count = 1


class Think(Struct, frozen=True, tag_field="verb", tag="reasoning", forbid_unknown_fields=True):
    """Reasoning, paced like text."""

    reasoning: str
    chunk: Count | None = None
    interval: Seconds | None = None
    repeat: Count = 1


class Use(Struct, frozen=True, tag_field="verb", tag="tool", forbid_unknown_fields=True):
    """A tool call. `input` is a table, or, to write invalid JSON, the very text."""

    tool: str
    input: dict[str, Any] | str = {}
    chunk: Count | None = None
    interval: Seconds | None = None


class Wait(Struct, frozen=True, tag_field="verb", tag="wait", forbid_unknown_fields=True):
    """Seconds without a sign of life."""

    wait: Seconds


class Fail(Struct, frozen=True, tag_field="verb", tag="fail", forbid_unknown_fields=True):
    """A provider's failure. After `times` attempts at the same place in a conversation the reply goes on behind it."""

    fail: FailureCode
    detail: str = "the script says so"
    retry_after: Seconds | None = None
    times: Count = 1


class Silence(Struct, frozen=True, tag_field="verb", tag="silence", forbid_unknown_fields=True):
    """Nothing more, until cancelled."""

    silence: Literal[True]


class Endless(Struct, frozen=True, tag_field="verb", tag="endless", forbid_unknown_fields=True):
    """The same text again and again, until cancelled."""

    endless: Annotated[str, Meta(min_length=1)]
    interval: Annotated[float, Meta(gt=0)] = 0.01


Step = Say | Think | Use | Wait | Fail | Silence | Endless

VERBS: frozenset[str] = frozenset(str(kind.__struct_config__.tag) for kind in get_args(Step))


class Tokens(Usage, frozen=True, forbid_unknown_fields=True):
    """What a reply says that it used."""


class ScriptedReply(Struct, frozen=True, forbid_unknown_fields=True):
    """One answer. Without a stop reason it is `tool_use` when a tool is called and `end_turn` when none is."""

    step: tuple[Step, ...] = ()
    stop_reason: StopReason | None = None
    usage: Tokens = Tokens()
    cost: Decimal | None = None


class Branch(Struct, frozen=True, forbid_unknown_fields=True):
    """Replies for the requests that all the given regular expressions are found in.

    They are searched in the text of the last prompt, in the result that the request ends with, in the system prompt.
    """

    reply: Annotated[tuple[ScriptedReply, ...], Meta(min_length=1)]
    prompt: str | None = None
    result: str | None = None
    system: str | None = None


class Role(Struct, frozen=True, forbid_unknown_fields=True):
    """What a sub-agent plays: like a branch, for every task or for those that the expressions are found in."""

    reply: Annotated[tuple[ScriptedReply, ...], Meta(min_length=1)]
    prompt: str | None = None
    result: str | None = None


class Script(Struct, frozen=True, forbid_unknown_fields=True):
    """A whole file; sub-agents play nothing of it but their roles. `chunk` and `interval` are the pace of steps that name none: by default all at once.

    `vision`: images can be shown to it. `title` answers a request for one; without it, and without a branch on the system prompt, there is none.
    """

    reply: tuple[ScriptedReply, ...] = ()
    when: tuple[Branch, ...] = ()
    agent: tuple[Role, ...] = ()
    title: str | None = None
    vision: bool = False
    window: Count | None = None
    chunk: Count | None = None
    interval: Seconds = 0.0


class ScriptError(UnknownModel):
    """The script cannot be played: the file, the line, what is wrong."""


def parse_script(source: str, name: str) -> Script:
    """Read a script from its text; `name` is what errors call the file."""
    try:
        tree = tomllib.loads(source)
    except tomllib.TOMLDecodeError as error:
        problem, line = _split_position(str(error), source)
        raise ScriptError(f"{name}:{line}: not TOML: {problem}") from None
    for path, step in _steps(tree):
        if isinstance(step, dict):
            _name_verb(step, path, source, name)
    try:
        script = msgspec.convert(tree, Script)
    except msgspec.ValidationError as error:
        problem, _, where = str(error).partition(" - at `")
        path = _parse_path(where.rstrip("`"))
        raise ScriptError(f"{name}:{_line_of(source, path)}: {_spoken(path)}{_with_nearest(problem, path)}") from None
    for position, branch in enumerate(script.when):
        patterns = {"prompt": branch.prompt, "result": branch.result, "system": branch.system}
        if not any(patterns.values()):
            raise ScriptError(
                f"{name}:{_line_of(source, ('when', position))}: {_spoken(('when', position))}needs `prompt`, `result` or `system`"
            )
        _check_patterns(patterns, ("when", position), source, name)
    for position, role in enumerate(script.agent):
        _check_patterns({"prompt": role.prompt, "result": role.result}, ("agent", position), source, name)
    if not (script.reply or script.when or script.agent):
        raise ScriptError(f"{name}:1: the script has no [[reply]], no [[when]] and no [[agent]]")
    return script


def _steps(tree: dict[str, Any]) -> Iterator[tuple[_Path, object]]:
    """Every step of the parsed file with its path; what has another shape is left for the conversion to refuse."""
    places: list[tuple[_Path, object]] = [(("reply",), tree.get("reply"))]
    for kind in ("when", "agent"):
        branches = tree.get(kind)
        for number, branch in enumerate(branches if isinstance(branches, list) else ()):
            if isinstance(branch, dict):
                places.append(((kind, number, "reply"), branch.get("reply")))
    for place, replies in places:
        for number, reply in enumerate(replies if isinstance(replies, list) else ()):
            steps = reply.get("step") if isinstance(reply, dict) else None
            for position, step in enumerate(steps if isinstance(steps, list) else ()):
                yield (*place, number, "step", position), step


def _name_verb(step: dict[str, Any], path: _Path, source: str, name: str) -> None:
    """Tag a step with its verb, which in the file is the key that gives its main value."""
    verb = next((key for key in step if key in VERBS), None)
    if verb is None:
        nearest = [match for key in step for match in difflib.get_close_matches(key, VERBS, n=1)]
        hint = f"; did you mean `{nearest[0]}`?" if nearest else ""
        verbs = ", ".join(sorted(VERBS))
        raise ScriptError(f"{name}:{_line_of(source, path)}: {_spoken(path)}a step needs one of {verbs}{hint}")
    step["verb"] = verb


def _check_patterns(patterns: dict[str, str | None], path: _Path, source: str, name: str) -> None:
    for key, pattern in patterns.items():
        try:
            re.compile(pattern or "")
        except re.error as error:
            line = _line_of(source, (*path, key))
            raise ScriptError(f"{name}:{line}: {_spoken(path)}`{key}` is no regular expression: {error}") from None


# Where in the file: a parsed TOML value has no position, so that errors find theirs again, and only errors pay for it.

_Path = tuple[str | int, ...]


def _parse_path(path: str) -> _Path:
    return tuple(int(number) if number else key for key, number in re.findall(r"\.(\w+)|\[(\d+)\]", path))


def _line_of(source: str, path: _Path) -> int:
    """The line on which the value at `path` is complete; for a table with a header of its own, the line of that."""
    lines = source.splitlines()
    first, depth = 0, 1
    if len(path) > 1:
        # Skip to the header of the n-th [[reply]], [[when]] or [[agent]], which starts a piece that parses alone.
        header = re.compile(rf"\s*\[\[\s*{path[0]}\s*\]\]")
        depth = 2
        for number in (number for number, line in enumerate(lines) if header.match(line)):
            found = _parse_prefix(lines[: number + 1])
            if found is not None and len(found.get(str(path[0]), ())) == int(path[1]) + 1:
                first = number
                path = (path[0], 0, *path[2:])
                break
        else:  # written inline
            depth = 1
    best = first + 1
    for number in range(first, len(lines)):
        found = _parse_prefix(lines[first : number + 1])
        reached = _reaches(found, path) if found is not None else 0
        if reached == len(path):
            return number + 1
        if reached > depth:
            depth, best = reached, number + 1
    return best


def _parse_prefix(lines: list[str]) -> dict[str, Any] | None:
    text = "\n".join(lines)
    for closed in (text, text + "\n]", text + "\n]}"):  # the prefix may end within an array
        try:
            return tomllib.loads(closed)
        except tomllib.TOMLDecodeError:
            continue
    return None


def _reaches(tree: object, path: _Path) -> int:
    """How many steps of `path` exist in `tree`."""
    for depth, key in enumerate(path):
        match tree, key:
            case dict(), str() if key in tree:
                tree = tree[key]
            case list(), int() if key < len(tree):
                tree = tree[key]
            case _:
                return depth
    return len(path)


def _spoken(path: _Path) -> str:
    """`reply 2, step 1: ` for `("reply", 1, "step", 0)`; numbers as people count."""
    words = [f"{path[at]} {int(path[at + 1]) + 1}" for at in range(len(path) - 1) if isinstance(path[at + 1], int)]
    last = f"`{path[-1]}`" if path and isinstance(path[-1], str) else None
    return ", ".join([*words, *([last] if last else [])]) + ": " if path else ""


def _with_nearest(problem: str, path: _Path) -> str:
    """The problem as the converter put it, with the words that fit and the nearest of them when one was misspelt."""
    misspelt = re.search(r"unknown field `(\w+)`|enum value '([^']*)'", problem)
    if misspelt is None:
        return problem[:1].lower() + problem[1:]
    key, value = misspelt.groups()
    if key:
        kinds = (Script, Branch, Role, ScriptedReply, *get_args(Step))
        words = {field.name for kind in kinds for field in msgspec.structs.fields(kind)}
        said = f"unknown key `{key}`"
    else:
        words = {*get_args(FailureCode if path[-1:] == ("fail",) else StopReason)}
        said = f"`{value}` is none of {', '.join(sorted(words))}"
    nearest = difflib.get_close_matches(key or value, words, n=1)
    return said + (f"; did you mean `{nearest[0]}`?" if nearest and nearest[0] != (key or value) else "")


def _split_position(message: str, source: str) -> tuple[str, int]:
    """Take the line out of a TOML error's text; at the end of the document it has none."""
    found = re.search(r" \(at line (\d+), column \d+\)$", message)
    if found is None:
        return message.removesuffix(" (at end of document)"), source.count("\n") + 1
    return message[: found.start()], int(found[1])
