"""Engines that stand for processes, each with a journal of its own on the same facts; the test is the model of all."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from quell.core import facts as f
from quell.core.messages import UserMessage
from quell.engine import Options
from quell.store.memory import MemoryJournal
from quell.testing.doorbells import Wire
from quell.testing.faults import FaultyJournal
from quell.testing.harness import Asked, Play, played

names = itertools.count(1)


@dataclass
class Node:
    """`journal.seem_dead()` lets the other one claim."""

    play: Play
    journal: MemoryJournal
    faults: FaultyJournal

    @property
    def owns(self) -> bool:
        return self.play.engine.ownership.owned.is_set()


@asynccontextmanager
async def node(journal: MemoryJournal, wire: Wire, options: Options = Options()) -> AsyncIterator[Node]:
    bell, faults = wire.bell(), FaultyJournal(journal)
    async with played(faults, options, bell, name=f"{next(names)}-") as play:
        yield Node(play, journal, faults)
    bell.close()
    await journal.close()


@asynccontextmanager
async def two(options: Options = Options(), wire: Wire | None = None) -> AsyncIterator[tuple[Node, Node]]:
    """An owner, and a guest."""
    journal, wire = MemoryJournal(), wire or Wire()
    async with node(journal, wire, options) as first, node(journal.beside(), wire, options) as second:
        assert (first.owns, second.owns) == (True, False)
        yield first, second


def question(asked: Asked) -> str:
    return next(m.text for m in reversed(asked.request.messages) if isinstance(m, UserMessage))


async def outcomes(play: Play, session: str) -> list[str]:
    await play.idle(session)
    return [fact.outcome for fact in await play.facts(session) if isinstance(fact, f.RunSettled)]
