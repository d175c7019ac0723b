"""Pictures, recognised by their content: what kind, how large, and whether all of it is there.

Only what models can be shown: PNG, JPEG, GIF, WebP. Nothing is decoded. But a file that is cut off or broken is told from a whole one,
because a provider would refuse it, and with it every later request of the session.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable
from typing import Literal

from msgspec import Struct

Kind = Literal["PNG", "JPEG", "GIF", "WebP"]

LARGEST = 200 * 1024
"""Bytes of a picture that is shown."""
WIDEST = 8000
"""Pixels of the longer side: what providers take."""

_Size = tuple[int, int]

_JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
"""Markers of the segment that holds the size."""


class Picture(Struct, frozen=True):
    """`size` is its width and height in pixels; None: it is cut off or broken."""

    kind: Kind
    size: tuple[int, int] | None

    @property
    def media_type(self) -> str:
        return f"image/{self.kind.lower()}"


def recognise(content: bytes) -> Picture | None:
    """None: it is none of these, whatever its name says."""
    for kind, (magic, read) in _KINDS.items():
        if magic.match(content):
            try:
                size = read(content)
            except (struct.error, IndexError):  # it ends where a number should be
                size = None
            return Picture(kind, size if size is not None and all(size) else None)
    return None


def _png(content: bytes) -> _Size | None:
    width, height = struct.unpack_from(">II", content, 16)
    position, filled = 8, False
    while True:
        length, kind = struct.unpack_from(">I4s", content, position)
        end = position + 8 + length
        if zlib.crc32(content[position + 4 : end]) != struct.unpack_from(">I", content, end)[0]:
            return None
        filled = filled or kind == b"IDAT"
        if kind == b"IEND":
            return (width, height) if filled else None
        position = end + 4


def _jpeg(content: bytes) -> _Size | None:
    size: _Size | None = None
    position = 2
    while content[position] == 0xFF:
        marker = content[position + 1]
        if marker == 0xFF:  # padding
            position += 1
            continue
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", content, position + 5)
            size = (width, height)
        position += 2 + struct.unpack_from(">H", content, position + 2)[0]
        if marker == 0xDA:  # the picture itself follows, up to the mark of the end
            return size if content.find(b"\xff\xd9", position) >= 0 else None
    return None


def _gif(content: bytes) -> _Size | None:
    width, height, flags = struct.unpack_from("<HHB", content, 6)
    position, filled = 13 + _colours(flags), False
    while (block := content[position]) != 0x3B:
        if block == 0x2C:
            position += 11 + _colours(content[position + 9])
            filled = True
        elif block == 0x21:
            position += 2
        else:
            return None
        while length := content[position]:
            position += 1 + length
        position += 1
    return (width, height) if filled else None


def _colours(flags: int) -> int:
    """Bytes of the table of colours that a GIF's flags announce."""
    return 3 << (1 + (flags & 7)) if flags & 0x80 else 0


def _webp(content: bytes) -> _Size | None:
    if len(content) < 8 + struct.unpack_from("<I", content, 4)[0]:
        return None
    match content[12:16]:
        case b"VP8X":
            return (
                1 + int.from_bytes(content[24:27], "little"),
                1 + int.from_bytes(content[27:30], "little"),
            )
        case b"VP8 ":
            width, height = struct.unpack_from("<HH", content, 26)
            return width & 0x3FFF, height & 0x3FFF
        case b"VP8L":
            bits = struct.unpack_from("<I", content, 21)[0]
            return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        case _:
            return None


_KINDS: dict[Kind, tuple[re.Pattern[bytes], Callable[[bytes], _Size | None]]] = {
    "PNG": (re.compile(rb"\x89PNG\r\n\x1a\n"), _png),
    "JPEG": (re.compile(rb"\xff\xd8\xff"), _jpeg),
    "GIF": (re.compile(rb"GIF8[79]a"), _gif),
    "WebP": (re.compile(rb"RIFF....WEBP", re.DOTALL), _webp),
}
