"""What a line of shell would touch: its simple commands, each with whether it only reads, and every path that it names.

`shell` takes the line apart, `readonly` knows commands; here words become places. Where a line changes folders, a relative path is taken to
mean all that it may mean. What this cannot tell makes the access opaque.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from msgspec.structs import replace

from quell.core.access import Access, Command, is_protected
from quell.core.patterns import path_names
from quell.core.ports import Place, Workspace
from quell.tools.readonly import is_read_only
from quell.tools.shell import Line, Simple, parse
from quell.tools.tool import place
from quell.tools.wrappers import Word

_STREAMS = frozenset({"/dev/null", "/dev/stdin", "/dev/stdout", "/dev/stderr"})
_NETWORK = ("/dev/tcp/", "/dev/udp/")
"""Not files: bash connects."""
_FOLDERS = 16
_WORDS = 2000
"""Lines with more are not looked at word by word: that would hold up everybody."""
_LONGEST_PATH = 4096
"""The system takes no longer ones."""
_PRINTING = frozenset({"echo", "printf", ":"})
_GREPS = frozenset({"grep", "egrep", "fgrep", "rg"})
_GLOB = re.compile(r"[*?\[@!+(]")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def access(command: str, where: Place, workspace: Workspace, own: Sequence[str] = ()) -> Access:
    """The access of the line, run in the folder `where`."""
    line = parse(command)
    folders = _folders(line, where, workspace)
    opaque = line.opaque or not folders or any(word.text.startswith(_NETWORK) for word in (*line.writes, *line.reads))
    if sum(len(simple.words) for simple in line.commands) > _WORDS:
        opaque, folders = True, []
    written = [p for word in line.writes if word.text not in _STREAMS for p in _places(word.text, folders, workspace)]
    beyond = [] if where.inside else [where.path]
    beyond += [each.path for word in line.reads for each in _places(word.text, folders, workspace) if not each.inside]
    programs = _Programs(workspace)
    commands = [_command(simple, folders, programs, own) for simple in line.commands]
    if commands:
        first = commands[0]
        commands[0] = replace(first, outside=tuple(dict.fromkeys([*first.outside, *beyond])))
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
        name, *words = simple.words or (Word(""),)
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


class _Programs:
    """What the repositories that a line looks into have git run; each is looked at once."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._known: dict[str, tuple[str, ...]] = {}

    def of(self, simple: Simple, folders: list[str]) -> tuple[str, ...]:
        words = [word.text for word in simple.words]
        if words[:1] != ["git"]:
            return ()
        while words[1:2] and words[1].startswith("-"):
            if words[1] == "-C" and words[2:]:
                folders = [place.path for place in _places(words[2], folders, self.workspace)]
            del words[1 : 3 if words[1] == "-C" else 2]
        for folder in folders:
            if folder not in self._known:
                self._known[folder] = self.workspace.git_programs(folder)
        return tuple(dict.fromkeys(name for folder in folders for name in self._known[folder]))


def _command(simple: Simple, folders: list[str], programs: _Programs, own: Sequence[str]) -> Command:
    words = tuple(_CONTROLS.sub("\ufffd", word.text) for word in simple.words)  # with one the line is opaque already
    reads, doubt = is_read_only(simple), ""
    if reads and (named := programs.of(simple, folders)):
        reads = False
        doubt = f"would have git run what the repository itself names: {', '.join(named[:3])}"
    outside: list[str] = []
    protected: list[str] = []
    for word in _named(simple) if folders else ():
        for found in _places(_path(word), folders, programs.workspace):
            if not found.inside:
                outside.append(found.path)
            if not reads and is_protected(path_names(found.path), own):
                protected.append(_CONTROLS.sub("\ufffd", word.text))
    return Command(words, reads, tuple(dict.fromkeys(outside)), tuple(dict.fromkeys(protected)), doubt)


def _named(simple: Simple) -> list[Word]:
    """The words that may be paths, or have one as the value of an option."""
    name, *words = simple.words
    if name.text in _PRINTING:
        return []
    if name.text == "cd" and not words:
        return [Word("~")]
    if name.text in _GREPS and not any(_BRINGS_PATTERN.match(word.text) for word in words):
        pattern = next((index for index, word in enumerate(words) if not word.text.startswith("-")), len(words))
        words = words[:pattern] + words[pattern + 1 :]
    return [word for word in words if not word.dynamic and 0 < len(_path(word)) <= _LONGEST_PATH]


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
