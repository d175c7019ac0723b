"""The instructions that a person and a project have written down for agents: AGENTS.md and its relatives.

Order, from the most general to what is nearest, so that later ones may refine earlier ones: the user's own folder; then
each folder from the root of the repository down to the workspace; then the extra folders. Within a folder the order of
`NAMES`.

Rules: the same file, or the same text, is given once. Only ordinary files that really are where they seem to be are
read: a link in a repository must not send something from elsewhere to a provider. Long ones are cut, with a note.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence

from msgspec import Struct

from quell.core.access import repository_root, within

NAMES = (
    "AGENTS.md",
    "CLAUDE.md",
    "GEMINI.md",
    ".github/copilot-instructions.md",
    ".cursorrules",
    ".quell/AGENTS.md",
    "AGENTS.local.md",
    "CLAUDE.local.md",
)
USER_NAMES = ("AGENTS.md",)
LONGEST = 32_000
LONGEST_TOGETHER = 64_000
"""Characters. When all together are too long, what is nearest to the workspace is kept."""


class Found(Struct, frozen=True):
    """A context file as it is now. `stamp` changes when it does."""

    path: str
    stamp: tuple[int, int, int, int]


def find(user_folder: str | None, root: str, extra: Sequence[str]) -> tuple[Found, ...]:
    """Those that exist, in order. Only looks at names and inodes: it is asked on every turn."""
    found: dict[tuple[int, int], Found] = {}
    for folder, names, limit in _places(user_folder, root, extra):
        for name in names:
            path = os.path.join(folder, name)
            try:
                seen = os.lstat(path)
                direct = folder == limit and os.sep not in name and not stat.S_ISLNK(seen.st_mode)
                if not direct:
                    seen = os.stat(path)
            except (OSError, ValueError):
                continue
            known = (seen.st_dev, seen.st_ino) in found
            if stat.S_ISREG(seen.st_mode) and not known and (direct or _belongs(path, limit)):
                stamp = (seen.st_dev, seen.st_ino, seen.st_mtime_ns, seen.st_size)
                found[seen.st_dev, seen.st_ino] = Found(path, stamp)
    return tuple(found.values())


def _places(user_folder: str | None, root: str, extra: Sequence[str]) -> Iterator[tuple[str, Sequence[str], str]]:
    """Folder, names to look for, and the folder that what is found must really be in."""
    if user_folder is not None:
        yield user_folder, USER_NAMES, ""
    top = repository_root(root, os.path.lexists) or root
    below = os.path.relpath(root, top)
    folder = top
    yield folder, NAMES, top
    for name in () if below == "." else below.split(os.sep):
        folder = os.path.join(folder, name)
        yield folder, NAMES, top
    for folder in extra:
        yield folder, NAMES, folder


def _belongs(path: str, limit: str) -> bool:
    """The user's own files may be links to anywhere; a project's may not leave it."""
    return not limit or within(os.path.realpath(path), os.path.realpath(limit))


def render(found: Sequence[Found], home: str = "") -> str:
    """What the model is told. Empty when there is nothing to tell."""
    blocks: list[str] = []
    seen: set[str] = set()
    left = LONGEST_TOGETHER
    for file in reversed(found):
        text = _text(file.path)
        if not text or text in seen:
            continue
        seen.add(text)
        shown = text[: min(LONGEST, left)]
        left -= len(shown)
        note = "" if len(shown) == len(text) else _note(len(shown), file.stamp[-1])
        name = "~" + file.path[len(home) :] if home and file.path.startswith(home + os.sep) else file.path
        blocks.append(f'<instructions from="{name}">\n{shown}{note}\n</instructions>')
    return "\n\n".join(reversed(blocks))


def _note(shown: int, size: int) -> str:
    return f"\n[cut here, after {shown:,} characters of a file of {size:,} bytes; view it for the rest]"


def _text(path: str) -> str:
    """What can be read of a file that may have changed, or gone, since it was found."""
    try:
        with open(path, "rb", opener=_opener) as file:
            content = file.read(LONGEST * 4 + 1) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else b""
    except OSError:
        return ""
    return content.decode("utf-8-sig", errors="replace").strip()


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
