"""`view`: a section of a text file with line numbers, or a picture.

A file that could be edited is read whole, because what the model knows of it is remembered as a hash. A larger one is read only as far
as needed, and is not remembered. What is a picture is told by its content; its bytes are kept for the session as they are now, so that
what a model has seen does not change with the file.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from typing import Annotated

from msgspec import Meta, Struct

from quell.core.images import image_of, image_path
from quell.core.messages import ToolResult
from quell.core.pictures import LARGEST, WIDEST, Picture, recognise
from quell.core.ports import Place, ToolContext, Workspace
from quell.tools.contents import Contents
from quell.tools.language import touching
from quell.tools.paths import not_found
from quell.tools.text import decode, looks_binary
from quell.tools.tool import Call, Options, Refused, place, touches

EDITABLE = 10 * 1024 * 1024
"""Larger files are not edited, and not remembered."""
_LINE = 2000
_SECTION = 200 * 1024
_FIRST = 256 * 1024
_CHUNK = 4 * 1024 * 1024
_PATIENCE = 32 * 1024 * 1024
"""Bytes that are read beyond the beginning of the section to find the ends of its lines."""
_OTHER_IMAGES = {".bmp", ".ico", ".tif", ".tiff", ".heic", ".avif", ".jxl"}


class View(Struct, frozen=True, forbid_unknown_fields=True):
    file_path: Annotated[str, Meta(description="The file, relative to the workspace or absolute.")]
    offset: Annotated[int, Meta(ge=0, description="Lines to skip at the beginning.")] = 0
    limit: Annotated[int, Meta(ge=1, description="Lines to show.")] = 200


class Section(Struct, frozen=True):
    """Lines from number `first` on; `more` when there are others after them."""

    first: int
    lines: tuple[str, ...]
    more: bool
    note: str = ""
    long: bool = False


def prepare_view(asked: View, workspace: Workspace, options: Options) -> Call:
    where = place(workspace, asked.file_path)
    access = touches("view", "read", f"View {where.shown}", where, workspace)
    return Call(
        "read", access, touching(partial(_view, asked, where, options.contents), where, options), concurrent=True
    )


async def _view(asked: View, where: Place, contents: Contents, context: ToolContext) -> ToolResult:
    size = await _size(context.workspace, where)
    seen: dict[str, str] = {}
    if size <= EDITABLE:
        content = await context.workspace.read(where.path, limit=EDITABLE)
        if (picture := recognise(content)) is not None:
            return await _show(picture, content, where, context)
        section = _of_small(content, asked, where)
        seen = {where.path: contents.keep(content)}
    else:
        section = await _of_large(context.workspace, asked, where, size)
    return ToolResult(
        text=_shown(section, asked, where),
        metadata={"path": where.path, "first": section.first, "lines": len(section.lines), "seen": seen},
    )


async def _show(picture: Picture, content: bytes, where: Place, context: ToolContext) -> ToolResult:
    size, workspace = len(content), context.workspace
    what = f"{where.shown} is a {picture.kind} image ({size:,} bytes)"
    if not context.vision:
        raise Refused(
            f"{what}, and the model in use is not known to see images. Do not guess what is on it: find out with `bash`, or ask the user."
            " For a model of one's own, `vision = true` in the settings says that it sees."
        )
    if picture.size is None:
        raise Refused(f"{what} that is cut off or damaged. It cannot be shown.")
    width, height = picture.size
    if size > LARGEST or max(picture.size) > WIDEST:
        raise Refused(
            f"{what} of {width}×{height} pixels, which is too large to be shown: the limits are {LARGEST:,} bytes and"
            f" {WIDEST} pixels a side. Make a smaller copy with `bash`, if there is a program for it, and view that."
        )
    if not workspace.kept:
        raise Refused(f"{what}. It cannot be shown: there is no place to keep it.")
    image = image_of(where.shown, content, picture.media_type, picture.size)
    await workspace.write(image_path(workspace.kept, image), content, replaces=None)  # False: it is there already
    return ToolResult(
        text=f"{where.shown}: {picture.kind} image, {width}×{height} pixels, {size:,} bytes.",
        metadata={"path": where.path, "image": picture.media_type, "width": width, "height": height, "bytes": size},
        images=(image,),
    )


async def _size(workspace: Workspace, where: Place) -> int:
    try:
        entry = await workspace.entry(where.path)
    except FileNotFoundError:
        raise Refused(await not_found(workspace, where)) from None
    except NotADirectoryError:
        raise Refused(f"There is no file {where.shown}: a part of the path is a file, not a folder.") from None
    match entry.kind:
        case "file":
            pass
        case "directory":
            raise Refused(f"{where.shown} is a folder. Use `ls` to see what is in it.")
        case "link":
            raise Refused(f"{where.shown} is a symbolic link that leads in a circle or has just been replaced.")
        case "other":
            raise Refused(f"{where.shown} is a pipe, a socket or a device; only files can be viewed.")
    return entry.size


def _of_small(content: bytes, asked: View, where: Place) -> Section:
    document = decode(content)
    if document is None:
        raise Refused(_not_text(where, len(content)))
    lines = document.text.split("\n")
    if lines[-1] == "":
        lines.pop()
    if asked.offset and asked.offset >= len(lines):
        raise Refused(f"{where.shown} has only {len(lines)} lines: an offset of {asked.offset} is beyond its end.")
    wanted = lines[asked.offset : asked.offset + asked.limit]
    return _section(asked, wanted, len(lines) > asked.offset + len(wanted), document.note)


async def _of_large(workspace: Workspace, asked: View, where: Place, size: int) -> Section:
    if looks_binary(await workspace.read(where.path, limit=8192)):
        raise Refused(_not_text(where, size))
    scan = _Scan(asked.offset, asked.limit)
    position = 0
    size_read = _FIRST
    while not scan.done and (chunk := await workspace.read(where.path, position, size_read)):
        position += len(chunk)
        size_read = min(_CHUNK, 2 * size_read)
        scan.take(chunk)
    lines, more = scan.finish(position < size)
    if not lines:
        raise Refused(f"{where.shown} has only {scan.skipped} lines: an offset of {asked.offset} is beyond its end.")
    texts = [line.decode("utf-8", "replace").removesuffix("\r") for line in lines]
    return _section(
        asked, texts, more, f"The file is large ({size:,} bytes): it can be viewed in sections, but not edited."
    )


def _not_text(where: Place, size: int) -> str:
    if os.path.splitext(where.path)[1].lower() in _OTHER_IMAGES:
        return f"{where.shown} ({size:,} bytes) is of a kind that cannot be shown. Make a PNG copy with `bash`, if there is a program for it."
    return f"{where.shown} is a binary file ({size:,} bytes), not text. Inspect it with `bash` if you have to."


class _Scan:
    """Collects lines from chunks of a large file, without keeping more of a line than can be shown."""

    def __init__(self, offset: int, limit: int) -> None:
        self.skipped = 0
        self.done = False
        self._offset = offset
        self._limit = limit
        self._lines: list[bytes] = []
        self._line = bytearray()
        self._begun = False
        self._read = 0

    def take(self, chunk: bytes) -> None:
        position = self._skip(chunk)
        self._read += len(chunk) - position
        while position < len(chunk):
            self._begun = True
            if len(self._lines) == self._limit:
                self.done = True
                return
            end = chunk.find(b"\n", position)
            stop = len(chunk) if end < 0 else end
            room = max(0, 4 * _LINE + 8 - len(self._line))
            self._line += chunk[position : min(stop, position + room)]
            position = stop + 1
            if end >= 0:
                self._end_line()
        self.done = self._read > _PATIENCE

    def finish(self, unread: bool) -> tuple[list[bytes], bool]:
        """The lines, and whether there are more."""
        if self._begun and len(self._lines) < self._limit:
            self._end_line()
            return self._lines, unread
        return self._lines, unread or self._begun

    def _end_line(self) -> None:
        self._lines.append(bytes(self._line))
        self._line.clear()
        self._begun = False

    def _skip(self, chunk: bytes) -> int:
        missing = self._offset - self.skipped
        if missing == 0:
            return 0
        there = chunk.count(b"\n")
        if there < missing:
            self.skipped += there
            return len(chunk)
        position = 0
        for _ in range(missing):
            position = chunk.index(b"\n", position) + 1
        self.skipped = self._offset
        return position


def _section(asked: View, lines: Sequence[str], more: bool, note: str) -> Section:
    kept: list[str] = []
    used = 0
    long = False
    for line in lines:
        shown = line if len(line) <= _LINE else line[:_LINE] + "…"
        long = long or len(line) > _LINE
        used += len(shown.encode("utf-8", "replace")) + 8
        if used > _SECTION:
            return Section(asked.offset + 1, tuple(kept), True, note, long)
        kept.append(shown)
    return Section(asked.offset + 1, tuple(kept), more, note, long)


def _shown(section: Section, asked: View, where: Place) -> str:
    if not section.lines:
        return f"{where.shown} is empty."
    numbered = "\n".join(f"{number:6}|{line}" for number, line in enumerate(section.lines, section.first))
    notes = [section.note] if section.note else []
    if section.long:
        notes.append(f"Lines longer than {_LINE} characters are cut.")
    if section.more:
        last = section.first + len(section.lines) - 1
        notes.append(f"There are more lines after line {last}; go on with offset={asked.offset + len(section.lines)}.")
    return "\n".join([f"<file>\n{numbered}\n</file>", *notes])
