"""What `quell run` accepts, as data, read in two ways.

`parse` understands what is right, in well under a millisecond. For anything else (a mistake, `--help`) it answers None, and the click
command that `commands` makes of the same table explains it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Literal

    Kind = Literal["flag", "text", "many", "count", "seconds", "money", "mode"]

LONGEST_SECONDS = 31_536_000
"""A year: what the server takes, too."""

MODES = ("ask", "edits", "auto", "plan", "yolo")


class Option:
    """One option: its names (the last is the one that `RunOptions` uses), what its value is, and what to say about it."""

    __slots__ = ("help", "kind", "metavar", "names")

    def __init__(self, names: str, kind: Kind, metavar: str, help: str) -> None:
        self.names = tuple(names.split())
        self.kind: Kind = kind
        self.metavar = metavar
        self.help = help

    @property
    def key(self) -> str:
        return self.names[-1][2:].replace("-", "_")


OPTIONS = (
    Option("-s --session", "text", "ID", "Go on in this session; the beginning of its id is enough."),
    Option("-c --continue", "flag", "", "Go on in the last session of this folder."),
    Option("-m --model", "text", "MODEL", "The model, as provider/name or scripted:FILE."),
    Option("-C --cwd", "text", "DIR", "The folder to work in, instead of the present one."),
    Option("--add-dir", "many", "DIR", "Another folder that belongs to the work. May be repeated."),
    Option("-f --file", "many", "FILE", "Attach a text file or an image. May be repeated."),
    Option(
        "--mode",
        "mode",
        "MODE",
        "What this run may do unasked: ask, edits, auto, plan or yolo. Otherwise as configured; if nothing is, auto where there is a"
        " sandbox for commands, else edits.",
    ),
    Option("--allow", "many", "RULE", "Allow this too, in this run: edit(docs/**), bash(npm test). May be repeated."),
    Option("--yolo", "flag", "", "Allow everything that no rule denies: the same as --mode yolo."),
    Option(
        "--ask",
        "flag",
        "",
        "Ask here what a person has to allow or decide. That is so anyway on a terminal, without --json, --stream-json and --quiet.",
    ),
    Option("--no-ask", "flag", "", "Ask nobody: what would ask is denied, with the rule that would allow it."),
    Option("--timeout", "seconds", "SECONDS", "Stop the run after this time."),
    Option("--max-turns", "count", "N", "Stop the run after asking the model so many times."),
    Option("--max-cost", "money", "USD", "Stop the run after it has cost so much, as far as prices are known."),
    Option("--json", "flag", "", "Print one JSON object at the end, instead of text."),
    Option("--stream-json", "flag", "", "Print every event as it happens, one JSON object a line."),
    Option("-q --quiet", "flag", "", "No progress on standard error, errors only."),
)


class RunOptions:
    """The options of one `quell run`, as the user wrote them."""

    words: tuple[str, ...] = ()
    session: str | None = None
    continue_: bool = False
    model: str | None = None
    cwd: str | None = None
    add_dir: tuple[str, ...] = ()
    file: tuple[str, ...] = ()
    mode: str | None = None
    allow: tuple[str, ...] = ()
    yolo: bool = False
    ask: bool = False
    no_ask: bool = False
    timeout: float | None = None
    max_turns: int | None = None
    max_cost: str | None = None
    json: bool = False
    stream_json: bool = False
    quiet: bool = False

    def put(self, option: Option, value: object) -> None:
        """Set an option; of those that may be repeated, add one."""
        name = "continue_" if option.key == "continue" else option.key
        setattr(self, name, (*getattr(self, name), value) if option.kind == "many" else value)


_BY_NAME = {name: option for option in OPTIONS for name in option.names}


def parse(arguments: Sequence[str]) -> RunOptions | None:
    """The options, or None when something about them needs an explanation."""
    options = RunOptions()
    words: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if argument == "--":
            words.extend(rest)
        elif not argument.startswith("-") or argument == "-":
            words.append(argument)
        else:
            name, given, value = argument.partition("=") if argument.startswith("--") else (argument, "", "")
            option = _BY_NAME.get(name)
            if option is None or (given and option.kind == "flag"):
                return None
            if option.kind == "flag":
                options.put(option, True)
                continue
            text = value if given else next(rest, None)
            converted = None if text is None else _convert(option, text)
            if converted is None:
                return None
            options.put(option, converted)
    options.words = tuple(words)
    return options


def _convert(option: Option, text: str) -> str | float | int | None:
    """The value, None when it is none."""
    try:
        match option.kind:
            case "count":
                return count if (count := int(text)) >= 1 else None
            case "seconds":
                return seconds if 0 < (seconds := float(text)) <= LONGEST_SECONDS else None
            case "money":
                return text if is_money(text) else None
            case "mode":
                return text if text in MODES else None
            case _:
                return text
    except ValueError:
        return None


def is_money(text: str) -> bool:
    """An amount of US dollars, as the server takes it."""
    whole, point, cents = text.partition(".")
    digits = text.isascii() and whole.isdecimal() and (cents.isdecimal() or not point)
    return digits and len(whole) <= 9 and len(cents) <= 12 and float(text) > 0
