"""What a program prints: a pipe whose other end the program has, read by callbacks of the event loop.

The pipe is large, and read with a pause after each piece: a program that prints without end, in pieces of any size, is slowed down by its
full pipe and takes a few per cent of this process. What is left at its end is read at once.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Callable

_PIPE = 1 << 20
_PAUSE = 0.005
"""Seconds without reading after a piece: with a full pipe each time, 200 MB a second are let through."""


class Outlet:
    """`writer` is the program's end, to be closed here when the program has it."""

    def __init__(self, output: Callable[[bytes], None]) -> None:
        self._output = output
        self._pipe, self.writer = os.pipe()
        self._resume: asyncio.TimerHandle | None = None
        os.set_blocking(self._pipe, False)
        try:
            fcntl.fcntl(self._pipe, fcntl.F_SETPIPE_SZ, _PIPE)
        except (AttributeError, OSError):
            pass  # not on this system, or the user's share of pipe memory is used up: the usual 64 KiB will do

    def read(self) -> None:
        """Begin to."""
        asyncio.get_running_loop().add_reader(self._pipe, self._read)

    def drain(self) -> None:
        """Take what is still in the pipe. Nobody of the tree holds its other end now; if a stranger does, it is not waited for."""
        if self._resume is not None:
            self._resume.cancel()
        asyncio.get_running_loop().remove_reader(self._pipe)
        try:
            while chunk := os.read(self._pipe, _PIPE):
                self._output(chunk)
        except BlockingIOError:
            pass
        os.close(self._pipe)

    def abandon(self) -> None:
        """There is no program."""
        os.close(self._pipe)

    def _read(self) -> None:
        try:
            chunk = os.read(self._pipe, _PIPE)
        except BlockingIOError:
            return
        asyncio.get_running_loop().remove_reader(self._pipe)
        if chunk:
            self._resume = asyncio.get_running_loop().call_later(_PAUSE, self.read)
            self._output(chunk)
