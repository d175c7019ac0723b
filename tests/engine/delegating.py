"""What the tests of sub-agents have in common: a diary of all that was written, and the beginning of every story."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from quell.core import facts as f
from quell.core.messages import ToolMessage, ToolResult, Usage, UserMessage
from quell.core.ports import Journal
from quell.core.session import Summary
from quell.testing.faults import FaultyJournal, Refuse
from quell.testing.harness import Asked, Play

COSTS: dict[str, Any] = {"usage": Usage(input=10, output=1), "cost": Decimal("0.5")}


class Diary(FaultyJournal):
    """Remembers what was written, in order over all sessions; `dies_at` is the first append that is not."""

    def __init__(self, journal: Journal, dies_at: int | None = None) -> None:
        super().__init__(journal)
        self.written: list[tuple[str, f.AnyFact]] = []
        self.dead = asyncio.Event()
        self._dies_at = dies_at
        self.slow_for = ""
        self.quick = asyncio.Event()

    async def append(
        self,
        session: str,
        expected: int,
        records: Sequence[f.Recorded],
        summary: Summary,
        generation: int | None = None,
    ) -> None:
        if self.appends + 1 == self._dies_at:
            self.always = Refuse("the process died")
            self.dead.set()
        if session == self.slow_for:
            await self.quick.wait()
        await super().append(session, expected, records, summary, generation)
        self.written.extend((session, recorded.fact) for recorded in records)

    def ends(self) -> list[tuple[str, str]]:
        """Which runs and calls ended, in order: `("s1", "cancelled")`."""
        return [
            (session, fact.outcome if isinstance(fact, f.RunSettled) else f"call {fact.result.status}")
            for session, fact in self.written
            if isinstance(fact, f.RunSettled | f.CallFinished)
        ]


async def delegated(play: Play, *tasks: str, **fields: Any) -> tuple[str, list[str]]:
    """A session whose model has just started a sub-agent for each task; its id, and theirs."""
    session = await play.session()
    await play.submit(session, "go", **fields)
    asked = await play.asked()
    calls = [asked.call("agent", prompt=task) for task in tasks]
    asked.reply(**COSTS)
    return session, [f"{session}-{call}" for call in calls]


async def turns() -> None:
    """Let everybody do what they can do at once: a test that would pass for want of time fails."""
    for _ in range(100):
        await asyncio.sleep(0)


async def asked_for(play: Play, task: str) -> Asked:
    """The next sample, which has to be one of that task."""
    asked = await play.asked()
    assert task_of(asked) == task
    return asked


def task_of(asked: Asked) -> str:
    return next(m.text for m in reversed(asked.request.messages) if isinstance(m, UserMessage))


async def results(play: Play, session: str) -> list[ToolResult]:
    return [m.result for m in (await play.engine.transcript(session)).messages if isinstance(m, ToolMessage)]
