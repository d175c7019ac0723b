"""What a command prints: the beginning and the end of it for the model, a live view of it for screens.

However much a command prints, what is kept in memory is bounded: the first part, and a ring with the last. What is too long for the model
goes to a file as well, up to a limit, and the model is told where. What goes to screens is bounded in rate: about twenty pieces a second, each
of at most `_PIECE` characters; if more came, the newest is shown.
"""

from __future__ import annotations

import asyncio
import codecs
import os
import re
from collections.abc import Callable
from typing import BinaryIO

from quell.core.messages import LONGEST_RESULT

FILE_LIMIT = 64 * 1024 * 1024
"""Bytes of one command's output that are put into a file."""

_HALF = LONGEST_RESULT // 2
_KEPT = 4 * _HALF
"""Bytes that hold at least `_HALF` characters."""
_TICK = 0.05
_PIECE = 4_000
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_OVERWRITTEN = re.compile(r"[^\n]*\r(?!\n)")


class Output:
    """Takes bytes as they come. `close` when the command has ended; `path` is the file for what is too long, empty for none."""

    def __init__(self, show: Callable[[str], None], path: str = "") -> None:
        self._show: Callable[[str], None] | None = show
        self._file = _File(path)
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
        self._file.take(chunk)
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

    def hide(self) -> None:
        """Show what has come, and nothing more: the call has ended, and the command goes on."""
        if self._timer is not None:
            self._timer.cancel()
        self._tick()
        self._show = None

    def close(self) -> None:
        self.hide()
        self._file.close()

    def text(self) -> str:
        """What the model gets to see."""
        if not self._dropped:
            whole = clean(bytes(self._head + self._tail).decode("utf-8", "replace"))
            if len(whole) <= LONGEST_RESULT:
                return whole
            first, last = whole[:_HALF], whole[-_HALF:]
        else:
            first = clean(self._head.decode("utf-8", "replace"))[:_HALF]
            last = clean(self._tail[-_KEPT:].decode("utf-8", "replace"))[-_HALF:]
        # Whole lines read better than half ones, unless a line is most of it.
        first = first[: first.rfind("\n") + 1] or first
        last = last[last.find("\n") + 1 :] or last
        left_out = max(1, self._lines - first.count("\n") - last.count("\n"))
        return f"{first.rstrip()}\n\n… [{left_out:,} lines truncated{self._file.note()}] …\n\n{last}"

    def _tick(self) -> None:
        self._timer = None
        if not self._pending:
            return
        if self._skipped:
            self._decoder.reset()
        text = clean(self._decoder.decode(self._pending))
        mark = "\n…\n" if self._skipped else ""
        self._pending, self._skipped = b"", False
        if text and self._show is not None:
            self._show(mark + text)


class _File:
    """All of an output, once it is longer than what the model gets, up to the limit. A disk that refuses it costs the file, not the call."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._head: bytes | None = b""
        self._file: BinaryIO | None = None
        self._room = FILE_LIMIT

    def take(self, chunk: bytes) -> None:
        if self._head is not None:
            self._head += chunk
            if len(self._head) <= LONGEST_RESULT:
                return
            chunk, self._head = self._head, None
            self._file = self._open()
        if self._file is not None and self._room:
            try:
                self._room -= self._file.write(chunk[: self._room])
            except OSError:
                self.close()
                self._file = None

    def note(self) -> str:
        """Where it is, for the line that says what was left out."""
        if self._file is None:
            return ""
        part = "all of it" if self._room else f"its first {FILE_LIMIT // 1024 // 1024} MiB"
        return f"; {part} is in {self._path}, for `view` and `grep`"

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _open(self) -> BinaryIO | None:
        if not self._path:
            return None
        try:
            os.makedirs(os.path.dirname(self._path), mode=0o700, exist_ok=True)
            return open(self._path, "wb", buffering=0)  # closed with the command
        except OSError:
            return None


def clean(text: str) -> str:
    """As a plain terminal would show it: without colours, and without what was overwritten by a carriage return."""
    text = _ESCAPES.sub("", text)
    if "\r" in text:
        text = _OVERWRITTEN.sub("", text.replace("\r\n", "\n"))
    return _CONTROLS.sub("\ufffd", text)
