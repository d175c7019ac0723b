"""The client of the measurements: HTTP on raw protocols, so that it takes next to no time itself.

Line       one connection: one request after the other
Follower   an event stream: counts deltas, and knows the moment at which each run settled
"""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any, cast

import msgspec
from msgspec import Struct

SETTLED = re.compile(rb'"kind":"run_settled","v":\d+,"run":"([^"]+)","outcome":"([a-z]+)"')
ANSWER_SECONDS = 30.0
RUN_SECONDS = 60.0


class Answer(Struct, frozen=True):
    """`at` is the moment when it was complete, `took` the seconds since it was asked for."""

    status: int
    body: bytes
    at: float
    took: float

    def text(self, key: str) -> str:
        assert self.status < 400, self.body.decode()
        found = msgspec.json.decode(self.body, type=dict[str, Any]).get(key)
        return "" if found is None else str(found)


class _Socket(asyncio.Protocol):
    """What both have in common: a transport, and bytes that gather."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.lost = False
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's own class is not derived from it

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True

    def close(self) -> None:
        self.transport.close()


class Line(_Socket):
    """A connection that is kept open between requests."""

    _waiting: asyncio.Future[Answer] | None = None
    _asked = 0.0

    @classmethod
    async def open(cls, path: str) -> Line:
        _, line = await asyncio.get_running_loop().create_unix_connection(cls, path)
        return line

    async def request(self, method: str, path: str, body: object = None) -> Answer:
        content = b"" if body is None else msgspec.json.encode(body)
        head = f"{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(content)}\r\n\r\n"
        self._waiting = asyncio.get_running_loop().create_future()
        self._asked = time.perf_counter()
        self.transport.write(head.encode() + content)
        async with asyncio.timeout(ANSWER_SECONDS):
            return await self._waiting

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        self.received += data
        head, found, body = bytes(self.received).partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or b"0")
        if found and len(body) >= length and self._waiting is not None and not self._waiting.done():
            self.received.clear()
            self._waiting.set_result(Answer(int(head[9:12]), body, now, now - self._asked))

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(ConnectionError("the daemon closed the connection"))


class Settled(Struct, frozen=True):
    outcome: str
    at: float


class Follower(_Socket):
    """Follows one session from its present end on."""

    def __init__(self) -> None:
        super().__init__()
        self.deltas = 0
        self._settled: dict[str, Settled] = {}
        self._news = asyncio.Event()

    @classmethod
    async def open(cls, path: str, session: str) -> Follower:
        """Returns when the stream has begun."""
        _, follower = await asyncio.get_running_loop().create_unix_connection(cls, path)
        follower.transport.write(b"GET /v1/sessions/%b/events HTTP/1.1\r\nhost: localhost\r\n\r\n" % session.encode())
        async with asyncio.timeout(ANSWER_SECONDS):
            await follower._news.wait()
        return follower

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        self.received += data
        cut = self.received.rfind(b"\n\n") + 2
        if cut < 2:
            return
        whole = bytes(self.received[:cut])
        del self.received[:cut]
        self.deltas += whole.count(b"event: delta\n")
        for run, outcome in SETTLED.findall(whole):
            self._settled[run.decode()] = Settled(outcome.decode(), now)
        self._news.set()

    async def settled(self, run: str, patience: float = RUN_SECONDS) -> Settled:
        """When and how that run ended. Raises `TimeoutError`."""
        async with asyncio.timeout(patience):
            while run not in self._settled:
                await self._arrival()
        return self._settled[run]

    async def streamed(self, deltas: int) -> None:
        """Return when so many deltas have come altogether."""
        async with asyncio.timeout(ANSWER_SECONDS):
            while self.deltas < deltas:
                await self._arrival()

    async def _arrival(self) -> None:
        if self.lost:
            raise ConnectionError("the daemon ended the event stream")
        self._news.clear()
        await self._news.wait()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._news.set()
