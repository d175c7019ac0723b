"""Which names a listing or a search leaves out.

Three things have a say: built-in patterns (`default.ignore`), git's (`.gitignore` of every folder from the top of the repository down,
`.git/info/exclude`, and the user's own file for every repository), and ours (`.quellignore`, the same way). Within one of them the last pattern that speaks about a name
decides. A name is left out if git's or ours say so; or if the built-in ones do and neither of the others brings it back (`!name`). An
ignored folder is not entered. What is asked for by its own path is never ignored: this is about what a search meets on its way.
"""

from __future__ import annotations

import os
import re
from collections.abc import Container, Sequence
from functools import cache
from typing import TYPE_CHECKING

from msgspec import Struct

from quell.core.access import repository_root

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

DEFAULTS = os.path.join(os.path.dirname(__file__), "default.ignore")
"""A file, because ripgrep reads it too."""

OWN = ".quellignore"
_EXCLUDES = re.compile(r"\s*excludesfile\s*=\s*\"?\s*(\S+?)\s*\"?\s*", re.IGNORECASE)


class _Patterns(Struct, frozen=True):
    """Patterns and the folder that they are relative to."""

    folder: str
    spec: GitIgnoreSpec

    def say(self, path: str, *, folder: bool) -> bool | None:
        relative = path[len(self.folder) :].lstrip("/")
        return self.spec.check_file(relative + "/" if folder else relative).include


class _Rules(Struct, frozen=True):
    """What has a say about the names in one folder: from the top down."""

    git: tuple[_Patterns, ...] = ()
    own: tuple[_Patterns, ...] = ()


class Ignored:
    """Asked about names below `top`. It reads each ignore file once: make one for each walk."""

    def __init__(self, top: str, patterns: Sequence[str] = ()) -> None:
        self._asked = _Patterns(top, parse(tuple(patterns))) if patterns else None
        self._defaults = _Patterns(top, _defaults())
        repo = repository(top)
        self._rules: dict[str, _Rules] = {os.path.dirname(repo): _Rules((_Patterns(repo, parse(_lines(_users()))),))}
        self._hidden: dict[str, bool] = {top: False}

    def covers(self, path: str, *, folder: bool) -> bool:
        """Whether this one name is ignored; its folders are the caller's business."""
        if self._asked is not None and self._asked.say(path, folder=folder):
            return True
        rules = self._of(os.path.dirname(path))
        git, own = _last(rules.git, path, folder), _last(rules.own, path, folder)
        if git or own:
            return True
        return git is None and own is None and bool(self._defaults.say(path, folder=folder))

    def hides(self, path: str) -> bool:
        """Whether our own patterns ignore the file, or a folder between it and `top`: what ripgrep does not know."""
        above = os.path.dirname(path)
        for folder in _unknown(above, self._hidden):
            over = os.path.dirname(folder)
            self._hidden[folder] = self._hidden[over] or bool(_last(self._of(over).own, folder, folder=True))
        return self._hidden[above] or bool(_last(self._of(above).own, path, folder=False))

    def _of(self, folder: str) -> _Rules:
        for each in _unknown(folder, self._rules):
            above = self._rules[os.path.dirname(each)]
            git = [*_read(each, os.path.join(".git", "info", "exclude")), *_read(each, ".gitignore")]
            self._rules[each] = _Rules((*above.git, *git), (*above.own, *_read(each, OWN)))
        return self._rules[folder]


def _unknown(folder: str, known: Container[str]) -> list[str]:
    """The folder and those above it up to a known one, from the top down. Not by recursion: a path may have two thousand folders."""
    found: list[str] = []
    while folder not in known:
        found.append(folder)
        folder = os.path.dirname(folder)
    return found[::-1]


def _last(patterns: Sequence[_Patterns], path: str, folder: bool) -> bool | None:
    said = (each.say(path, folder=folder) for each in reversed(patterns))
    return next((each for each in said if each is not None), None)


def _read(folder: str, name: str) -> list[_Patterns]:
    lines = _lines(os.path.join(folder, name))
    return [_Patterns(folder, parse(lines))] if lines else []


def parse(lines: tuple[str, ...]) -> GitIgnoreSpec:
    """Lines that cannot be read are passed over, as git does."""
    from pathspec import GitIgnoreSpec  # 30 ms that only a first search should pay

    good = []
    for line in lines:
        try:
            GitIgnoreSpec.from_lines([line])
        except ValueError:
            continue
        good.append(line)
    return GitIgnoreSpec.from_lines(good)


@cache
def _defaults() -> GitIgnoreSpec:
    return parse(_lines(DEFAULTS))


def _users() -> str:
    """The file in which the user's own git looks for patterns, as ripgrep finds it."""
    folder = os.path.join(os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config"), "git")
    for config in (os.path.expanduser("~/.gitconfig"), os.path.join(folder, "config")):
        for line in _lines(config):
            if found := _EXCLUDES.fullmatch(line):
                return os.path.expanduser(found[1])
    return os.path.join(folder, "ignore")


def _lines(path: str) -> tuple[str, ...]:
    try:
        if not os.path.isfile(path):
            return ()
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return tuple(file.read(1 << 20).splitlines())
    except OSError:
        return ()


def repository(folder: str) -> str:
    """The top of the repository that the folder is in, or the folder itself: patterns above it do not count."""
    return repository_root(folder, os.path.lexists) or folder
