"""Content codings, undone in small pieces: what a few bytes may swell to is never in memory at once.

Only gzip and deflate are offered to servers, because their decoders can be told where to stop. A server that packs in another way, or twice, is
refused before a byte of it is read.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncGenerator, AsyncIterator

from quell.core.errors import WebRefused
from quell.core.web import PIECE

OFFERED = "gzip, deflate"

_YIELD_AFTER = 1024 * 1024
"""Bytes after which others get their turn, though there is more in what has arrived already."""


def check(coding: str, host: str) -> str:
    """The one coding of a `Content-Encoding` header, empty for none. Raises `WebRefused`."""
    codings = [each for part in coding.lower().split(",") if (each := part.strip()) not in ("", "identity")]
    if not codings:
        return ""
    if len(codings) == 1 and codings[0] in ("gzip", "x-gzip", "deflate"):
        return codings[0].removeprefix("x-")
    raise WebRefused(
        f"{host} sent its answer packed as {', '.join(codings)[:100]!a}, which it was not asked to; it was not read."
    )


async def unpacked(raw: AsyncIterator[bytes], coding: str, host: str) -> AsyncGenerator[bytes]:
    """In pieces of at most `PIECE` bytes. Raises `WebRefused` when it is broken."""
    if not coding:
        async for chunk in raw:  # closed by whoever made it
            for start in range(0, len(chunk), PIECE):
                yield chunk[start : start + PIECE]
        return
    decoder = _Decoder(coding)
    swollen = 0
    try:
        async for chunk in raw:
            decoder.take(chunk)
            while piece := decoder.piece():
                yield piece
                swollen += len(piece)
                if swollen >= _YIELD_AFTER:
                    swollen = 0
                    await asyncio.sleep(0)
    except zlib.error:
        raise WebRefused(f"{host} sent an answer that says it is {coding}, and is not.") from None
    if not decoder.complete:
        raise WebRefused(f"The answer of {host} was cut short.")


class _Decoder:
    """One stream of deflate, or any number of gzip members in a row."""

    def __init__(self, coding: str) -> None:
        self._gzip = coding == "gzip"
        self._waiting = b""
        self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 16) if self._gzip else None
        self._begun = False

    @property
    def complete(self) -> bool:
        return not self._begun or (self._inflate is not None and self._inflate.eof)

    def take(self, chunk: bytes) -> None:
        self._waiting += chunk

    def piece(self) -> bytes:
        """Empty when more has to arrive first, or all is out."""
        while True:
            if self._inflate is None and len(self._waiting) >= 2:
                # "deflate" means zlib's format; some servers send the bare stream.
                zlib_format = self._waiting[0] & 0x0F == 8 and int.from_bytes(self._waiting[:2], "big") % 31 == 0
                self._inflate = zlib.decompressobj(zlib.MAX_WBITS if zlib_format else -zlib.MAX_WBITS)
            if self._inflate is None or not self._waiting:
                self._begun = self._begun or bool(self._waiting)
                return b"" if self._inflate is None else self._rest()
            if self._inflate.eof:
                if not self._gzip or not self._waiting.startswith(b"\x1f"):
                    self._waiting = b""  # padding after the end
                    return b""
                self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 16)
            self._begun = True
            out = self._inflate.decompress(self._waiting, PIECE)
            self._waiting = self._inflate.unused_data if self._inflate.eof else self._inflate.unconsumed_tail
            if out:
                return out

    def _rest(self) -> bytes:
        """What was taken in already and did not fit into the last piece."""
        if self._inflate is None or self._inflate.eof or not self._begun:
            return b""
        return self._inflate.decompress(b"", PIECE)
