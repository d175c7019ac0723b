"""The server processes of a simulation: one, or two on one store, of which one owns. Clients reach any of them, another one each time.

When everything is healed and is to come to rest, the owner is asked: what a guest knows may be a second old.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import TypeVar

from quell.core.ports import Journal
from quell.engine import Engine
from quell.testing.simulation.node import ConnectionLost, Node, Site, Stream
from quell.testing.simulation.plan import Part

T = TypeVar("T")


class Nodes:
    """`up` is set while there is a process that answers. `calm`: only the owner is asked. `naps`: when one was stopped, or its disk was slow, from and to."""

    def __init__(self, site: Site) -> None:
        self.up = asyncio.Event()
        self.calm = False
        self.naps: list[tuple[float, float]] = []
        self._site = site
        self._all = [Node(site, self._change) for _ in range(2 if site.plan.two else 1)]
        self._random = Random(f"{site.plan.seed} who is asked")

    def start(self) -> None:
        for node in self._all:
            node.start()

    def _change(self) -> None:
        if any(node.up for node in self._all):
            self.up.set()
        else:
            self.up.clear()

    def part(self, part: Part) -> Node | None:
        """The process that is this at present."""
        return next((node for node in self._all if node.up and node.owns == (part == "owner")), None)

    async def pause(self, node: Node, steps: int, seconds: float, *, dead: bool) -> None:
        began = self._site.loop.time()
        self.naps.append((began, began + seconds + 1.0))
        await node.pause(steps, seconds, dead=dead)

    def slept(self, since: float) -> float:
        """Seconds since then in which a process may have been stopped, or have waited for its disk."""
        return sum(max(0.0, end - max(begin, since)) for begin, end in self.naps)

    async def shut_down(self) -> None:
        for node in self._all:
            await node.shut_down()

    def abandon(self) -> None:
        """Whatever still lives is forgotten."""
        for node in self._all:
            node.abandon()

    def _some(self) -> Node:
        there = [node for node in self._all if (node.owns if self.calm else node.up)]
        if not there:
            raise ConnectionLost("nobody listens")
        return there[0] if len(there) == 1 else self._random.choice(there)

    @property
    def journal(self) -> Journal:
        """What the owner sees of the store."""
        return self._some().journal

    async def request(self, ask: Callable[[Engine], Awaitable[T]]) -> T:
        """Ask an engine, over a connection. Raises what it is refused with, and `ConnectionLost`."""
        return await self._some().request(ask)

    async def stream(self, session: str, after: int) -> Stream:
        """Follow a session. What it was refused with looks like an end."""
        return await self._some().stream(session, after)

    def hang_up(self, stream: Stream) -> None:
        """The follower goes; the process finds out."""
        stream.lose()

    async def agree(self, session: str, seq: int) -> str | None:
        """What is wrong with what a guest shows at rest, where the owner shows so many facts; it may be a second late."""
        guest = self.part("guest")
        until = self._site.loop.time() + 5.0
        while guest is not None:
            held, _ = await guest.request(lambda engine: engine.view(session))
            if held == seq:
                break
            if self._site.loop.time() > until:
                return f"E5: the guest shows {held} facts of {session}, the owner {seq}"
            await asyncio.sleep(0.1)
        return None
