"""The processes that are killed: the daemon, one life after another, and the clients."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time

import msgspec

from quell.testing.torture.client import Order, Part
from quell.testing.torture.ledger import Reader
from quell.testing.torture.place import Place

STARTS = 240.0
"""Seconds that a start may take on a slow machine."""


class Daemon:
    """One life of `quell serve`, at a socket: the usual one, or one of those for standby servers."""

    def __init__(self, place: Place, socket: str) -> None:
        reading, writing = os.pipe()
        beside = () if socket == place.sockets[0] else ("--standby",)
        with place.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "quell", "serve", *beside, "--ready-fd", str(writing)],
                env=place.environment,
                pass_fds=(writing,),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
            )
        os.close(writing)
        os.set_blocking(reading, False)
        self.pid = self._process.pid
        self.socket = socket
        self.answers = False
        self._ready = reading

    @property
    def gone(self) -> bool:
        return self.status is not None

    @property
    def status(self) -> int | None:
        """What it has ended with; less than 0: by which signal."""
        return self._process.poll()

    async def ready(self) -> bool:
        """Wait until it answers; False when it does not, or says why it cannot."""
        said = b""
        async with asyncio.timeout(STARTS):
            while not said.endswith(b"\n") and not self.gone:
                try:
                    said += os.read(self._ready, 4096)
                except BlockingIOError:
                    pass
                await asyncio.sleep(0.01)
        self.answers = said == b"\n"
        return self.answers

    def signal(self, number: signal.Signals) -> None:
        if not self.gone:
            self._process.send_signal(number)

    async def end(self, seconds: float) -> bool:
        """Wait until it has gone; False when it does not go."""
        until = time.monotonic() + seconds
        while not self.gone:
            if time.monotonic() > until:
                return False
            await asyncio.sleep(0.005)
        return True

    async def kill(self) -> None:
        self.signal(signal.SIGKILL)
        await self.end(STARTS)
        self.close()

    def close(self) -> None:
        if self._ready >= 0:
            os.close(self._ready)
            self._ready = -1


class Member:
    """One client after another of a name, with one ledger."""

    def __init__(self, place: Place, name: str, seed: int, kinds: dict[str, int]) -> None:
        self.name = name
        self.ledger = place.root / "ledgers" / f"{name}.jsonl"
        self.reader = Reader(self.ledger)
        self._place = place
        self._seed = seed
        self._kinds = kinds
        self._lives = 0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._lives += 1
        part = Part(
            name=self.name,
            seed=f"{self._seed} {self.name} {self._lives}",
            sockets=self._place.sockets,
            kinds=self._kinds,
            workspaces=str(self._place.workspaces),
            numbers=str(self._place.root / "numbers"),
            model=self._place.model,
            ledger=str(self.ledger),
        )
        with (self._place.root / "clients.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "quell.testing.torture.client", msgspec.json.encode(part).decode()],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
            )

    @property
    def gone(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def order(self, order: Order) -> None:
        if not self.gone and self._process is not None and self._process.stdin is not None:
            self._process.stdin.write(msgspec.json.encode(order) + b"\n")
            self._process.stdin.flush()

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            if self._process.stdin is not None:
                self._process.stdin.close()
            self._process = None
