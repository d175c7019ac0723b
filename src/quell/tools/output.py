"""What a command prints: the beginning and the end of it for the model, a live view of it for screens.

However much a command prints, what is kept is bounded: the first part, and a ring with the last. What goes to screens is bounded in rate:
about twenty pieces a second, each of at most `_PIECE` characters; if more came, the newest is shown.
"""

from __future__ import annotations

import asyncio
import codecs
import re
from collections.abc import Callable

CAP = 30_000
"""Characters of output that the model gets: the first half and the last."""

_HALF = CAP // 2
_KEPT = 4 * _HALF
"""Bytes that hold at least `_HALF` characters."""
_TICK = 0.05
_PIECE = 4_000
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_OVERWRITTEN = re.compile(r"[^\n]*\r(?!\n)")


class Output:
    """Takes bytes as they come. `close` when the command has ended."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show = show
        self._loop = asyncio.get_running_loop()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._head = bytearray()
        self._tail = bytearray()
        self._lines = 0
        self._dropped = False
        self._pending = b""
        self._skipped = False
        self._timer: asyncio.TimerHandle | None = None

    def take(self, chunk: bytes) -> None:
        self._lines += chunk.count(b"\n")
        room = _KEPT - len(self._head)
        self._head += chunk[:room] if room else b""
        self._tail += chunk[room:][-_KEPT:]
        if len(self._tail) > 2 * _KEPT:
            del self._tail[:-_KEPT]
            self._dropped = True
        elif len(chunk) > room + _KEPT:
            self._dropped = True
        self._pending += chunk[-_PIECE:]
        if len(self._pending) > _PIECE or len(chunk) > _PIECE:
            self._pending = self._pending[-_PIECE:]
            self._skipped = True
        if self._timer is None:
            self._timer = self._loop.call_later(_TICK, self._tick)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._tick()

    def text(self) -> str:
        """What the model gets to see."""
        if not self._dropped:
            whole = clean(bytes(self._head + self._tail).decode("utf-8", "replace"))
            if len(whole) <= CAP:
                return whole
            first, last = whole[:_HALF], whole[-_HALF:]
        else:
            first = clean(self._head.decode("utf-8", "replace"))[:_HALF]
            last = clean(self._tail[-_KEPT:].decode("utf-8", "replace"))[-_HALF:]
        # Whole lines read better than half ones, unless a line is most of it.
        first = first[: first.rfind("\n") + 1] or first
        last = last[last.find("\n") + 1 :] or last
        left_out = max(1, self._lines - first.count("\n") - last.count("\n"))
        return f"{first.rstrip()}\n\n… [{left_out:,} lines truncated] …\n\n{last}"

    def _tick(self) -> None:
        self._timer = None
        if not self._pending:
            return
        if self._skipped:
            self._decoder.reset()
        text = clean(self._decoder.decode(self._pending))
        mark = "\n…\n" if self._skipped else ""
        self._pending, self._skipped = b"", False
        if text:
            self._show(mark + text)


def clean(text: str) -> str:
    """As a plain terminal would show it: without colours, and without what was overwritten by a carriage return."""
    text = _ESCAPES.sub("", text)
    if "\r" in text:
        text = _OVERWRITTEN.sub("", text.replace("\r\n", "\n"))
    return _CONTROLS.sub("\ufffd", text)
