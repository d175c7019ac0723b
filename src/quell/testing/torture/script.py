"""The model's part: a script for `quell.llm.scripted` in which what a prompt says first decides what is done.

Every prompt ends with a number of its own in its session (`work 17`), and a command writes that number down: what was executed, and how
often, is to be read in the workspace.
"""

from __future__ import annotations

import json
from pathlib import Path

from quell.core.questions import QuestionAnswer
from quell.core.transcript import GO_ON

KINDS = {
    "talk": 24,
    "work": 20,
    "stubborn": 8,
    "ask": 12,
    "question": 8,
    "write": 10,
    "edit": 8,
    "delegate": 8,
    "crowd": 3,
    "stumble": 6,
    "refuse": 2,
    "mute": 3,
    "endless": 4,
}
"""Kind of prompt → how often it is asked."""

JOBS = {"job": 8, "jobs": 2}
"""The same, of background jobs: that one runs on, and that they are listed."""

NUMBERS = 60
"""Prompts that a session can have: each has an entry of its own in the script where it runs a command."""

TIMED = frozenset({"mute", "endless"})
"""Kinds that end by their time limit only, so they have to have a run of their own."""

DONE = "../${PWD##*/}.executed"
"""The file beside a workspace where commands write down their numbers, a line each: what was executed stays so when files go back."""


def executed(workspace: str) -> Path:
    """That file."""
    return Path(f"{workspace}.executed")


LARGE = {letter: f"version {letter}\n" + letter * 300_000 + "\n" for letter in "AB"}
SMALL = {word: f"first\n{word}\nlast\n" for word in ("one", "two")}
FILES = {"large.txt": LARGE, "small.txt": SMALL}
"""File → what it may hold."""

_QUESTIONS = [{"type": "yes_no", "question": "Go on?"}, {"type": "free_text", "question": "How?"}]
ANSWERS = (QuestionAnswer(yes=True), QuestionAnswer(text="slowly"))
"""To what the model asks."""

_PACE = "chunk = 6, interval = 0.02"


def script(mark: str) -> str:
    """The file. Commands that stay behind have `mark` in their command line."""
    return "\n".join(["window = 100000", *_talk(), *_commands(mark), *_jobs(mark), *_files(), *_troubles()])


def _talk() -> list[str]:
    return [
        _when('system = "too long for your window"', [_say("In short: it went on.")]),
        _when(f"prompt = {GO_ON[:40]!r}", [_say("I look at what is there, and go on with it.")]),
        _when(
            'prompt = "^delegate"',
            [_use("agent", prompt="talk it over"), _use("agent", prompt="talk of something else")],
            [_say("They said so. ")],
        ),
        _when('prompt = "^question"', [_use("question", questions=_QUESTIONS)], [_say("So be it. ")]),
        _when('prompt = "^talk"', [_say("I talk a little, word by word, so that there is something to lose. " * 3)]),
    ]


def _commands(mark: str) -> list[str]:
    """`work` leaves children behind, one of them without our environment and all out of its group; `stubborn` ignores SIGTERM."""
    away = f"(setsid sleep {mark} >/dev/null 2>&1 &); (setsid env -i /bin/sleep {mark} >/dev/null 2>&1 &)"
    deaf = f"(setsid bash -c 'trap \"\" TERM HUP; sleep {mark}; sleep {mark}' >/dev/null 2>&1 &)"
    lines = {
        "work": f"{away}; echo begun; sleep 0.2; echo NUMBER >> {DONE} && echo worked",
        "stubborn": f"trap '' TERM; {deaf}; echo NUMBER >> {DONE}; echo begun; sleep 0.4; sleep {mark} & sleep 0.3; echo stubborn",
        "ask": f"echo NUMBER >> {DONE} && echo allowed",
    }
    return [
        _when(
            f'prompt = "^{kind} {number}$"',
            ["{ text = 'I run it.' }, " + _use("bash", command=line.replace("NUMBER", str(number)))],
            [_say(f"That was {number}, then. ")],
        )
        for kind, line in lines.items()
        for number in range(NUMBERS)
    ]


def _jobs(mark: str) -> list[str]:
    """They go on until they are ended: some at once in the background, some when the call has waited long enough, some deaf to SIGTERM."""
    ways = ({"run_in_background": True}, {"auto_background_after": 1})
    ears = ("", "trap '' TERM; ")
    runs = [
        _when(
            f'prompt = "^job {number}$"',
            [_use("bash", command=f"{ear}echo {number} >> {DONE}; (setsid sleep {mark} &); sleep {mark}", **way)],
            [_say(f"It goes on, number {number}. ")],
        )
        for number in range(NUMBERS)
        for way, ear in [(ways[number % 2], ears[number // 2 % 2])]
    ]
    return [*runs, _when('prompt = "^jobs"', [_use("job_output")], [_say("So these run. ")])]


def _files() -> list[str]:
    """An edit of what was never seen is refused, which is an answer too."""
    return [
        _when(
            'prompt = "^write"',
            *[[_use("write", file_path=name, content=content) for name, content in _both(word)] for word in (0, 1)],
            [_say("Written. ")],
        ),
        _when(
            'prompt = "^edit"',
            [_use("view", file_path="small.txt")],
            [_use("edit", file_path="small.txt", old_string="one", new_string="two")],
            [_use("edit", file_path="small.txt", old_string="two", new_string="one")],
            [_say("Edited. ")],
        ),
    ]


def _both(word: int) -> list[tuple[str, str]]:
    return [(name, list(versions.values())[word]) for name, versions in FILES.items()]


def _troubles() -> list[str]:
    return [
        _when('prompt = "^crowd"', [_say("So much to read. "), _use("ls", path=".")], [_say("Done. ")], usage="90000"),
        _when(
            'prompt = "^stumble"',
            [_say("Half a "), "{ fail = 'overloaded', retry_after = 0.1, times = 2 }", _say("word. ")],
        ),
        _when('prompt = "^refuse"', ["{ fail = 'unauthorized', detail = 'the key is not good' }"]),
        _when('prompt = "^mute"', [_say("Hm. "), "{ silence = true }"]),
        _when('prompt = "^endless"', ["{ endless = 'and on ', interval = 0.02 }"]),
        _when('system = "(?s).*"', [_say("You said something else.")]),
    ]


def _when(pattern: str, *replies: list[str], usage: str = "100") -> str:
    lines = [f"[[when]]\n{pattern}"]
    for number, reply in enumerate(replies):
        tokens = usage if number == 0 else "100"
        lines.append(
            f"[[when.reply]]\nstep = [{', '.join(reply)}]\nusage = {{ input = {tokens}, output = 20 }}\ncost = '0.001'"
        )
    return "\n".join(lines)


def _say(text: str) -> str:
    return f"{{ text = {_quoted(text)}, {_PACE} }}"


def _use(tool: str, **input: object) -> str:
    return f"{{ tool = '{tool}', input = {_quoted(json.dumps(input))} }}"


def _quoted(text: str) -> str:
    """A TOML basic string."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
