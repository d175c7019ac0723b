"""A screen in the simulation: `client.follow` over the bytes of the event stream, with the virtual process at the other end.

It has to show what the server shows, whatever became of its connection, and nothing that streams when nothing does.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from msgspec.structs import replace

from quell.client.follow import Began, Following
from quell.core.errors import SessionNotFound, Unavailable
from quell.core.events import Deleted
from quell.core.view import View
from quell.server.events import encoded
from quell.testing.audit import differs
from quell.testing.simulation import plan as p
from quell.testing.simulation.node import ConnectionLost
from quell.testing.simulation.nodes import Nodes
from quell.wire.api import Snapshot


class Line:
    """The `Source` port of a follower, over the simulated connection."""

    def __init__(self, session: str, node: Nodes) -> None:
        self.id = session
        self._node = node

    @asynccontextmanager
    async def events(self, after: int) -> AsyncIterator[AsyncIterator[bytes]]:
        try:
            await self._node.request(
                lambda engine: engine.state(self.id)
            )  # what is refused looks like an end to a stream
            stream = await self._node.stream(self.id, after)
        except ConnectionLost as lost:
            raise Unavailable(str(lost)) from lost

        async def pieces() -> AsyncIterator[bytes]:
            while (batch := await stream.get()) is not None:
                yield b"".join(encoded(event) for event in batch)

        try:
            yield pieces()
        finally:
            self._node.hang_up(stream)

    async def view(self, *, tail: int) -> Snapshot:
        try:
            seq, view = await self._node.request(lambda engine: engine.view(self.id))
        except ConnectionLost as lost:
            raise Unavailable(str(lost)) from lost
        start = max(0, len(view.items) - tail)
        return Snapshot(seq, replace(view, items=view.items[start:]), start or None)


class Screen:
    """One that is looked at for a while, and again at the end."""

    def __init__(self, planned: p.Following, node: Nodes) -> None:
        self.session = planned.session
        self.wrong: list[str] = []
        self.deleted = False
        self._planned = planned
        self._pause = planned.pause
        self._following = Following(Line(planned.session, node), tail=5)
        self._entered = False

    @property
    def seq(self) -> int:
        return self._following.seq

    async def follow(self) -> None:
        await asyncio.sleep(self._planned.at)
        await self.read_until(lambda: False, self._planned.stays)
        self._pause = 0.0

    async def read_until(self, enough: Callable[[], bool], seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                while not self.deleted and not (self._entered and enough()):
                    await self._read()
        except TimeoutError:
            pass

    async def _read(self) -> None:
        if not self._entered:
            try:
                await self._following.__aenter__()
            except Unavailable:
                await asyncio.sleep(0.05)
            except SessionNotFound:
                self.deleted = True
            else:
                self._entered = True
            return
        seq, reverting = self.seq, self._following.view.reverting
        happening = await anext(self._following)
        if isinstance(happening, Began) and reverting is None:
            self.wrong.append(f"E1: a screen of {self.session} began anew at {happening.seq}, after {seq} facts")
        self.deleted = isinstance(happening, Deleted)
        await asyncio.sleep(self._pause)

    def compare(self, seq: int, view: View) -> None:
        """At rest, with what the server shows."""
        following = self._following
        if self.deleted or following.seq != seq:
            self.wrong.append(
                f"E1: a screen of {self.session} shows {following.seq} of {seq} facts, deleted: {self.deleted}"
            )
        elif wrong := differs(following.view, following.more or 0, view):
            self.wrong.append(f"E1: on a screen of {self.session} {wrong}")
        elif following.drafts.open:
            self.wrong.append(f"E2: a screen of {self.session} shows drafts at rest: {list(following.drafts.open)}")
