"""What a line of shell would touch: its simple commands, each with whether it only reads, and every path that it names.

`shell` takes the line apart, `readonly` knows commands; here words become places. Where a line changes folders, a relative path is taken to
mean all that it may mean. What this cannot tell makes the access opaque.
"""

from __future__ import annotations

import os
import re

from quell.core.permissions import Access, Command
from quell.core.ports import Place, Workspace
from quell.tools.readonly import is_read_only
from quell.tools.shell import Line, Simple, Word, parse
from quell.tools.tool import place

_STREAMS = frozenset({"/dev/null", "/dev/stdin", "/dev/stdout", "/dev/stderr"})
_NETWORK = ("/dev/tcp/", "/dev/udp/")
"""Not files: bash connects."""
_FOLDERS = 16
_WORDS = 2000
"""Lines with more are not looked at word by word: that would hold up everybody."""
_PRINTING = frozenset({"echo", "printf", ":"})
_GREPS = frozenset({"grep", "egrep", "fgrep", "rg"})
_GLOB = re.compile(r"[*?\[@!+(]")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def access(command: str, where: Place, workspace: Workspace) -> Access:
    """The access of the line, run in the folder `where`."""
    line = parse(command)
    folders = _folders(line, where, workspace)
    opaque = line.opaque or not folders or any(word.text.startswith(_NETWORK) for word in (*line.writes, *line.reads))
    if sum(len(simple.words) for simple in line.commands) > _WORDS:
        opaque, folders = True, []
    written = [p for word in line.writes if word.text not in _STREAMS for p in _places(word.text, folders, workspace)]
    beyond = [] if where.inside else [where.path]
    beyond += [each.path for word in line.reads for each in _places(word.text, folders, workspace) if not each.inside]
    commands = [_command(simple, folders, workspace) for simple in line.commands]
    if commands:
        first = commands[0]
        commands[0] = Command(first.words, first.read_only, tuple(dict.fromkeys([*first.outside, *beyond])))
    return Access(
        tool="bash",
        kind="execute",
        title=f"Run {' '.join(command.split())[:200]}",
        paths=tuple(dict.fromkeys(each.path for each in written)),
        outside=tuple(dict.fromkeys(each.path for each in written if not each.inside)),
        commands=tuple(commands),
        opaque=opaque or (bool(beyond) and not commands),
        root=workspace.root,
        home=workspace.place("~").path,
    )


def _folders(line: Line, where: Place, workspace: Workspace) -> list[str]:
    """Every folder in which a part of the line may run; none when the line does not say."""
    folders = [where.path]
    for simple in line.commands:
        name, *words = simple.words
        if name.text in {"pushd", "popd"}:
            return []
        if name.text != "cd":
            continue
        targets = [word for word in words if word.text == "-" or not word.text.startswith("-")] or [Word("~")]
        if (
            len(targets) > 1
            or len(folders) > _FOLDERS
            or targets[0].dynamic
            or targets[0].glob
            or targets[0].text == "-"
        ):
            return []
        folders += [each.path for each in _places(targets[0].text, folders, workspace) if each.path not in folders]
    return folders


def _places(text: str, folders: list[str], workspace: Workspace) -> list[Place]:
    """What a path may mean."""
    bases = [""] if text.startswith(("/", "~")) else folders
    return [place(workspace, os.path.join(base, text)) for base in bases]


_BRINGS_PATTERN = re.compile("-[A-Za-z0-9]*[ef]|--regexp|--file")
"""With such an option, alone or among others, grep takes its pattern from there, and every word is a file."""


def _command(simple: Simple, folders: list[str], workspace: Workspace) -> Command:
    words = tuple(_CONTROLS.sub("\ufffd", word.text) for word in simple.words)  # with one the line is opaque already
    found = [each for text in _paths(simple) for each in _places(text, folders, workspace)] if folders else []
    return Command(words, is_read_only(simple.words), tuple(dict.fromkeys(p.path for p in found if not p.inside)))


def _paths(simple: Simple) -> list[str]:
    """The words, and the values of options, that may be paths."""
    name, *words = simple.words
    if name.text in _PRINTING:
        return []
    if name.text == "cd" and not words:
        return ["~"]
    if name.text in _GREPS and not any(_BRINGS_PATTERN.match(word.text) for word in words):
        pattern = next((index for index, word in enumerate(words) if not word.text.startswith("-")), len(words))
        words = words[:pattern] + words[pattern + 1 :]
    texts = [_path(word) for word in words if not word.dynamic]
    return [text for text in texts if text]


def _path(word: Word) -> str:
    """The path in a word; of a glob, the folder that it begins in."""
    text = word.text
    if text.startswith("-"):
        option, equals, value = text.partition("=")
        text = value if equals else option[option.find("/") :] if "/" in option else ""
    if word.glob:
        fixed = _GLOB.split(text, maxsplit=1)[0].rpartition("/")
        text = fixed[0] or fixed[1]
    return text
