"""The doorbell of a journal on disk: a named pipe for each process, in a folder beside the database.

Rules: a ring is one line, the session's id, written at once or not at all; an empty line says "look everywhere". A process hangs up its
bell before it rings for the first time, so whoever is there learns of it. The pipe of a process that is gone has nobody who reads:
whoever finds that takes it away. A bell that cannot be heard (a full pipe, a file system without pipes) costs time, not truth: the
journal's version is looked at every second.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

LINE = 512
"""Bytes that a pipe takes whole or not at all, everywhere."""

UNSETTLED_NS = 50_000_000
"""A folder that was changed so recently may have been changed again without looking changed: file systems' clocks are coarse."""

READ = 1 << 16


class PipeDoorbell:
    """The `Doorbell` port. Made in the event loop that waits for it."""

    def __init__(self, database: Path) -> None:
        self._folder = database.with_name(database.name + ".bells")
        self._looked_at = str(self._folder)  # at every append: a `Path` takes longer to say what it is than to look
        self._name = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._others: dict[str, int] = {}
        self._known_at = -1
        self._rung: set[str] = set()
        self._arrival = asyncio.Event()
        self._begun = b""
        self._loop = asyncio.get_running_loop()
        self._own = self._hang_up()
        if self._own is not None:
            self._loop.add_reader(self._own, self._hear)
        self.ring("")

    def ring(self, session: str) -> None:
        self._look_around()
        line = session.encode("utf-8", "surrogateescape") + b"\n"
        if len(line) > LINE or line.count(b"\n") > 1:
            line = b"\n"
        for name, bell in list(self._others.items()):
            try:
                os.write(bell, line)
            except BlockingIOError:
                pass  # it has more to look at than it can take
            except OSError:  # nobody reads any more
                self._forget(name)

    async def rung(self) -> Collection[str]:
        await self._arrival.wait()
        self._arrival.clear()
        rung, self._rung = self._rung, set()
        return rung

    def close(self) -> None:
        if self._own is not None:
            self._loop.remove_reader(self._own)
            os.close(self._own)
            self._own = None
            with suppress(OSError):
                (self._folder / self._name).unlink()
        for bell in self._others.values():
            os.close(bell)
        self._others.clear()

    def _hang_up(self) -> int | None:
        """Our own pipe, which gets its name only when it can be rung."""
        hidden = self._folder / f".{self._name}"
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            os.mkfifo(hidden, 0o600)
            bell = os.open(hidden, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)  # of a writer as well: it never ends
            hidden.rename(self._folder / self._name)
        except OSError:
            return None
        return bell

    def _look_around(self) -> None:
        """Get to know the others, if somebody has come or gone."""
        try:
            changed = os.stat(self._looked_at).st_mtime_ns
            if changed == self._known_at:
                return
            names = set(os.listdir(self._folder))
        except OSError:
            return
        self._known_at = changed if time.time_ns() - changed > UNSETTLED_NS else -1
        for name in names - self._others.keys() - {self._name}:
            if name.startswith("."):
                continue
            try:
                self._others[name] = os.open(self._folder / name, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError:
                self._forget(name)
        for name in self._others.keys() - names:
            self._forget(name)

    def _forget(self, name: str) -> None:
        bell = self._others.pop(name, None)
        if bell is not None:
            os.close(bell)
        with suppress(OSError):
            (self._folder / name).unlink()

    def _hear(self) -> None:
        assert self._own is not None, "it is heard only while it hangs"
        try:
            heard = self._begun + os.read(self._own, READ)
        except OSError:
            return
        *lines, self._begun = heard.split(b"\n")
        rung = {line.decode("utf-8", "surrogateescape") for line in lines}
        self._rung |= rung
        if rung:
            self._arrival.set()
