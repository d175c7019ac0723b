"""Followers under torture: one that lets `client.follow` do everything, and one that keeps the facts itself and folds them.

Both change to another session now and then; the second one drops its connection as well, and goes on behind the last fact it has. Either
goes on at any server that answers, when its own does not any more.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from random import Random
from typing import Literal

from quell.client.client import RemoteSession
from quell.client.follow import Began, Following, Found, Lost
from quell.core.errors import QuellError, SessionNotFound
from quell.core.events import Deleted, Reset
from quell.core.facts import Recorded
from quell.core.session import Summary
from quell.core.view import View, apply
from quell.testing.torture.ledger import Held, Ledger
from quell.testing.torture.servers import Servers
from quell.wire import sse

CATCHES_UP = 45.0
"""Seconds that a follower may take to hold what was recorded long ago, on a slow machine."""


GIVES_UP = 3.0
"""Seconds without a connection after which a follower looks for another server."""

LAGS = 30.0
"""Seconds in which a guest has to show what another server has shown: 1, on a slow machine more."""


class Follower(ABC):
    """`seq` and `view` are what it holds of `session`; `ended`: it was told that the session is gone."""

    by: Literal["following", "facts"]

    def __init__(self, servers: Servers, notes: Ledger, random: Random) -> None:
        self.session = ""
        self.seq = 0
        self.start = 0
        self.view = View()
        self.ended = False
        self.notes = notes
        self.random = random
        self._servers = servers
        self._moved = asyncio.Condition()
        self._leave = asyncio.Event()

    @abstractmethod
    async def hold(self, session: RemoteSession) -> None:
        """Follow until the session ends, or the connection does."""

    def leave(self) -> None:
        """Follow another one from now on."""
        self._leave.set()

    async def follow(self, some_session: Callable[[], Awaitable[Summary | None]]) -> None:
        while True:
            self._leave.clear()
            self.session, self.seq, self.start, self.view, self.ended = "", 0, 0, View(), False
            try:
                found = await some_session()
            except QuellError:
                found = None
            if found is None:
                await asyncio.sleep(0.1)
                continue
            self.session = found.id
            async with asyncio.TaskGroup() as group:
                holding = group.create_task(self._keep(found.id))
                await self._leave.wait()
                holding.cancel()

    async def _keep(self, session: str) -> None:
        while not self.ended:
            try:
                await self.hold(self._servers.some().session(session))
            except SessionNotFound:
                self.ended = True
            except QuellError:
                await asyncio.sleep(0.05)
        await self.moved()

    async def moved(self) -> None:
        async with self._moved:
            self._moved.notify_all()

    async def compare(self, ends: Mapping[str, int]) -> None:
        """Note what is held, once it is all that there is. A session that is not in `ends` has gone."""
        if not self.session:
            return
        end = ends.get(self.session)
        try:
            async with asyncio.timeout(CATCHES_UP), self._moved:
                await self._moved.wait_for(lambda: self.ended or (end is not None and self.seq >= end))
        except TimeoutError:
            told = "its end" if end is None else f"fact {end}"
            self.notes.wrong(
                self.session, f"E1: a follower ({self.by}) holds {self.seq} facts, and is not told of {told}"
            )
            return
        view = None if self.ended else self.view
        self.notes.write(Held(time.time(), self.session, self.by, self.seq, self.start, view))


class ViewFollower(Follower):
    """As a screen does it."""

    by = "following"

    async def hold(self, session: RemoteSession) -> None:
        async with session.follow() as following:
            if not await self._catches_up(following):
                return
            await self._see(following.view, following.seq, following.more)
            reverting, lost = following.view.reverting, False
            while True:
                try:
                    async with asyncio.timeout(GIVES_UP if lost else None):
                        happening = await anext(following, None)
                except TimeoutError:
                    return  # nobody is there any more
                if happening is None:
                    return
                lost = isinstance(happening, Lost) or (lost and not isinstance(happening, Found))
                if isinstance(happening, Began) and reverting is None:  # nothing else of what it has seen can go away
                    self.notes.wrong(self.session, f"E1: a follower of {self.seq} facts began anew at {happening.seq}")
                reverting = following.view.reverting
                if isinstance(happening, Deleted):
                    self.ended = True
                    return
                if following.seq != self.seq:
                    await self._see(following.view, following.seq, following.more)

    async def _catches_up(self, following: Following) -> bool:
        """Another server may have been told of less, for a moment."""
        try:
            async with asyncio.timeout(LAGS):
                while following.seq < self.seq:
                    if isinstance(await anext(following, None), Lost | Deleted | None):
                        return False
        except TimeoutError:
            self.notes.wrong(self.session, f"E1: a server shows {following.seq} facts, and {self.seq} were seen before")
        return True

    async def _see(self, view: View, seq: int, more: int | None) -> None:
        self.view, self.seq, self.start = view, seq, more or 0
        await self.moved()


class FactFollower(Follower):
    """Every fact from the first one on, each once, in order; whatever the connection does."""

    by = "facts"

    async def hold(self, session: RemoteSession) -> None:
        try:
            async with asyncio.timeout(self.random.choice((0.05, 0.3, 1.0, 30.0))):
                await self._read(session)
        except TimeoutError:
            await asyncio.sleep(self.random.choice((0.0, 0.1)))

    async def _read(self, session: RemoteSession) -> None:
        decoder = sse.Decoder()
        async with session.events(self.seq) as pieces:
            async for piece in pieces:
                for frame in decoder.feed(piece):
                    match sse.parse(frame):
                        case Recorded() as recorded:
                            if recorded.seq != self.seq + 1:
                                self.notes.wrong(self.session, f"E1: fact {recorded.seq} came after {self.seq}")
                            apply(self.view, recorded)
                            self.seq = recorded.seq
                        case Reset(seq):
                            self.notes.wrong(self.session, f"E1: reset to {seq}, and {self.seq} were seen")
                        case Deleted():
                            self.ended = True
                            return
                        case _:
                            pass
                await self.moved()
