"""What the configuration of a repository, not the user's own, would have git run though it only reads.

Rules: the files of the repository are read, not git asked: that would run what is looked for. A file that is not understood counts as
one that names a program. What can be overruled without knowing a name is left to those who run git.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from msgspec import Struct

from quell.core.access import repository_root

_LONGEST = 1_000_000
_RUNS = re.compile(r"filter\..*\.(clean|process|smudge)|include\.path|includeif\..*|lfs\.extension\..*")
_LARGE_FILES = frozenset({"git-lfs clean -- %f", "git-lfs smudge -- %f", "git-lfs filter-process"})
"""What `git lfs install --local` writes: a program of the machine, not of the repository."""
_UNREADABLE = "a configuration that cannot be read"
_SECTION = re.compile(r'\[\s*([A-Za-z0-9.-]+)\s*(?:"((?:[^"\\\n]|\\.)*)")?\s*\]')
_KEY = re.compile(r"([A-Za-z][A-Za-z0-9-]*)[ \t]*(=?)[ \t]*")
_VALUE = re.compile(r'(?:"(?:[^"\\\n]|\\[\s\S])*"|\\[\s\S]|[^"\\\n#;])*')


def git_programs(folder: str) -> tuple[str, ...]:
    """The settings of the repository that `folder` is in that name programs; none where there is no repository."""
    found: dict[str, None] = {}
    try:
        top = repository_root(folder, os.path.lexists)
        if top is None:
            return ()
        own = _git_folder(top)
        common = _linked(own, "commondir") or own
        for path in {os.path.join(common, "config"), os.path.join(common, "config.worktree"), f"{own}/config.worktree"}:
            for key, value in settings(_text(path)):
                elsewhere = key == "core.worktree" and os.path.realpath(os.path.join(own, value)) != top
                if elsewhere or (_RUNS.fullmatch(key) and value not in _LARGE_FILES):
                    found[key] = None
    except (OSError, ValueError):
        return (_UNREADABLE,)
    return tuple(found)


class GitFolders(Struct, frozen=True):
    """Where the repository that a folder is in keeps itself. `entry` is its `.git`; `own` and `common` are one, but in a worktree."""

    entry: str
    own: str
    common: str
    hooks: str


def git_folders(folder: str) -> GitFolders | None:
    """None without a repository, and with one that is not understood.

    A `.git` that names a folder elsewhere is believed if that folder names it as well: what came with an archive cannot have made it do so.
    """
    try:
        top = repository_root(folder, os.path.lexists)
        if top is None:
            return None
        entry, own = os.path.join(top, ".git"), _git_folder(top)
        common = _linked(own, "commondir") or own
        configured = dict(settings(_text(os.path.join(common, "config"))))
        if own != entry:
            back = _linked(own, "gitdir")
            worktree = back == entry and common == os.path.dirname(os.path.dirname(own))
            mentioned = configured.get("core.worktree", "")
            module = common == own and bool(mentioned) and os.path.realpath(os.path.join(own, mentioned)) == top
            if not (worktree or module):
                return None
        elif common != own:
            return None
        hooks = os.path.expanduser(configured.get("core.hookspath", ""))
        return GitFolders(entry, own, common, os.path.realpath(os.path.join(top, hooks)) if hooks else "")
    except (OSError, ValueError):
        return None


def settings(text: str) -> Iterator[tuple[str, str]]:
    """Keys, section and name in lower case, and values. Raises `ValueError` for what git would not have written."""
    text = text.replace("\r\n", "\n")
    section = ""
    at = 0
    while at < len(text):
        if text[at] in " \t\r\n":
            at += 1
        elif text[at] in "#;":
            end = text.find("\n", at)
            at = len(text) if end < 0 else end
        elif match := _SECTION.match(text, at):
            section = match[1].lower() + (f".{match[2]}" if match[2] is not None else "")
            at = match.end()
        elif match := _KEY.match(text, at):
            value = _VALUE.match(text, match.end()) if match[2] else None
            yield f"{section}.{match[1].lower()}", _plain(value[0]) if value else ""
            at = value.end() if value else match.end()
        else:
            raise ValueError(text[at : at + 20])


def _plain(value: str) -> str:
    return re.sub(r'\\\n|"', "", value).strip()


def _git_folder(top: str) -> str:
    path = os.path.join(top, ".git")
    if os.path.isdir(path):
        return os.path.realpath(path)
    kind, _, target = _text(path, missing=False).partition(":")
    if kind != "gitdir":
        raise ValueError(path)
    return os.path.realpath(os.path.join(top, target.strip()))


def _linked(own: str, name: str) -> str | None:
    target = _text(os.path.join(own, name)).strip()
    return os.path.realpath(os.path.join(own, target)) if target else None


def _text(path: str, *, missing: bool = True) -> str:
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            content = file.read(_LONGEST + 1)
    except FileNotFoundError:
        if missing:
            return ""
        raise
    if len(content or b"") > _LONGEST:
        raise ValueError(path)
    return (content or b"").decode()
