"""A model on loopback in a process of its own: `python -m benchmarks.provider openai|anthropic`.

It prints its port, then one line for each thing that it saw: `asked`, `done` or `closed`, the moment, and the request's number.
It ends with its standard input. Rules: it must not be what is measured, so all bytes are made beforehand, requests are not parsed, and
nothing is awaited: timers and a raw protocol. The events are those of `quell.testing.providers`.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import time
from collections.abc import Iterator
from functools import cache
from typing import Literal, cast

import uvloop

from benchmarks.play import WORD, Play, wanted
from quell.core.messages import Text
from quell.testing.providers import Dialect, Stream, anthropic_events, openai_events

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"
SHOWN_CHUNKS = 3
"""Chunks of the sample from which all answers are put together."""

Moment = Literal["asked", "done", "closed"]


class Tape:
    """An answer as bytes: what comes before the chunks, one of them, and what comes after."""

    def __init__(self, dialect: Dialect) -> None:
        events = openai_events if dialect == "openai" else anthropic_events
        answer = Stream(parts=(Text(WORD * SHOWN_CHUNKS),), chunk=len(WORD))
        framed = [b"%x\r\n%b\r\n" % (len(event), event) for event in events(answer, "loopback")]
        first = next(number for number, event in enumerate(framed) if WORD.encode() in event)
        self.before = HEAD + b"".join(framed[:first])
        self.chunk = framed[first]
        self.after = b"".join(framed[first + SHOWN_CHUNKS :]) + END


@cache
def tape(dialect: Dialect) -> Tape:
    return Tape(dialect)


class Connection(asyncio.Protocol):
    """One client: a request is read whole, then answered chunk by chunk."""

    _numbers = itertools.count(1)

    def __init__(self, dialect: Dialect) -> None:
        self._tape = tape(dialect)
        self._received = bytearray()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._number = 0
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own class is not derived from it

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, _ = self._received.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or b"0")
        if len(self._received) < len(head) + 4 + length:
            return
        play = wanted(bytes(self._received))
        self._received.clear()
        self._number = next(self._numbers)
        say("asked", self._number)
        self._play(play)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._number:
            say("closed", self._number)

    def _play(self, play: Play) -> None:
        begun = self._loop.time()
        count: Iterator[int] = itertools.count() if play.chunks is None else iter(range(play.chunks))
        self._transport.write(self._tape.before)

        def step() -> None:
            self._timer = None
            for number in count:
                due = begun + number * play.interval / 1000
                self._transport.write(self._tape.chunk)
                if play.interval and number + 1 != play.chunks:
                    self._timer = self._loop.call_at(due + play.interval / 1000, step)
                    return
            self._transport.write(self._tape.after)
            say("done", self._number)
            self._number = 0

        step()


def say(what: Moment, number: int) -> None:
    os.write(1, b"%b %.6f %d\n" % (what.encode(), time.perf_counter(), number))


async def main(dialect: Dialect) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(dialect), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    orphaned = asyncio.Event()
    loop.add_reader(0, orphaned.set)
    await orphaned.wait()


if __name__ == "__main__":
    chosen = sys.argv[1]
    assert chosen in ("openai", "anthropic"), f"no dialect of ours: {chosen}"
    uvloop.run(main("openai" if chosen == "openai" else "anthropic"))
