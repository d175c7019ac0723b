"""What `edit`, `multiedit` and `write` share: the file as the model knows it, the replacing of it, and the diff that tells of it.

A file is changed only if the model knows its content: `ToolContext.seen` has the hash of what it saw. The comparison is repeated by the
workspace in the moment of replacing, so of two edits at once the second is refused rather than undoing the first.
"""

from __future__ import annotations

import hashlib

from msgspec import Struct

from quell.core.messages import ToolResult, printable
from quell.core.ports import Place, ToolContext
from quell.tools.contents import Contents
from quell.tools.diff import compare
from quell.tools.paths import not_found
from quell.tools.text import Document, Unwritable, decode
from quell.tools.tool import Refused
from quell.tools.view import EDITABLE

_SHOWN = 40
_WIDTH = 200
"""Lines of what changed, and characters of each, that a model is told."""


class Known(Struct, frozen=True):
    """A file and its content, which the model has seen."""

    where: Place
    content: bytes
    document: Document

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


async def exists(context: ToolContext, where: Place) -> bool:
    """Whether there is a file with something in it. What is no file is refused."""
    try:
        entry = await context.workspace.entry(where.path)
    except FileNotFoundError:
        return False
    except NotADirectoryError:
        raise Refused(f"{where.shown} cannot be a file: a part of its path is a file, not a folder.") from None
    if entry.kind == "directory":
        raise Refused(f"{where.shown} is a folder, not a file.")
    if entry.kind != "file":
        raise Refused(f"{where.shown} is a pipe, a socket, a device or a broken link; only files can be changed.")
    return True


async def known(context: ToolContext, where: Place, contents: Contents) -> Known:
    """The file, if the model may change it as it is now."""
    if not await exists(context, where):
        raise Refused(await not_found(context.workspace, where))
    entry = await context.workspace.entry(where.path)
    if entry.size > EDITABLE:
        limit = EDITABLE // 1024 // 1024
        raise Refused(
            f"{where.shown} is too large to be edited ({entry.size:,} bytes; the limit is {limit} MB). Change it with `bash`."
        )
    content = await context.workspace.read(where.path)
    file = _understood(where, content)
    saw = context.seen.get(where.path)
    if saw is None:
        raise Refused(
            f"{where.shown} has not been viewed in this session. View it first, so that the change fits what is there."
        )
    if saw != file.digest:
        raise Refused(_changed(file, contents.find(saw)))
    return file


def _changed(now: Known, before: bytes | None) -> str:
    """`before` is what the model saw, if that is still known."""
    where = now.where
    then = None if before is None else decode(before)
    return (
        f"{where.shown} has changed since you last saw it: a command, a person or another session wrote to it. Nothing was written."
        f" View it again, then make the change anew, on what is there now.{_difference(then, now.document)}"
    )


def _difference(before: Document | None, after: Document) -> str:
    if before is None:
        return ""
    hunks = compare("", before.text, after.text).text.split("\n")[2:-1]
    if not hunks:
        return " Only its line endings or its encoding changed."
    more = f"\n… ({len(hunks) - _SHOWN} more lines of the difference)" if len(hunks) > _SHOWN else ""
    return "\nWhat changed:\n" + "\n".join(line[:_WIDTH] for line in hunks[:_SHOWN]) + more


def _understood(where: Place, content: bytes) -> Known:
    document = decode(content)
    if document is None:
        raise Refused(f"{where.shown} is a binary file, not text: it cannot be edited.")
    return Known(where, content, document)


async def save(context: ToolContext, file: Known, raw: str, contents: Contents) -> bytes:
    """Replace the file's content."""
    try:
        content = file.document.encode(raw)
    except Unwritable as problem:
        raise Refused(
            f"Nothing was written: {problem}. Use other characters, or convert {file.where.shown} to UTF-8 with `bash` first."
        ) from None
    if not await context.workspace.write(file.where.path, content, replaces=file.digest):
        try:
            now = _understood(file.where, await context.workspace.read(file.where.path, limit=EDITABLE))
        except FileNotFoundError:
            raise Refused(f"{file.where.shown} was removed in this moment. Nothing was written.") from None
        raise Refused(_changed(now, file.content))
    contents.keep(content)
    return content


async def create(context: ToolContext, where: Place, text: str, contents: Contents) -> bytes:
    """Make a new file. One that is empty counts as new."""
    content = text.encode()
    empty = hashlib.sha256(b"").hexdigest()
    replaces = empty if await exists(context, where) else None
    if not await context.workspace.write(where.path, content, replaces=replaces):
        raise Refused(f"{where.shown} exists already, and nothing was written. View it and change it with `edit`.")
    contents.keep(content)
    return content


def done(where: Place, before: str, content: bytes, after: str, text: str) -> ToolResult:
    """The result of a change: `text` for the model, the diff for screens."""
    diff = compare(where.shown, before, after)
    return ToolResult(
        text=f"{text} (+{diff.additions} -{diff.removals} lines)",
        metadata={
            "path": where.path,
            "diff": printable(diff.text),
            "additions": diff.additions,
            "removals": diff.removals,
            "seen": {where.path: hashlib.sha256(content).hexdigest()},
        },
    )
