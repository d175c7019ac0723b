"""A journal that fails as planned, around one that works: for tests of whoever has to live with that.

journal = FaultyJournal(MemoryJournal(), {3: Refuse()})      the third append is refused
journal.always = Refuse("the disk is full")                  from now on all are
journal.always = None                                        until it has passed
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Literal, assert_never

from msgspec import Struct

from quell.core.errors import QuellError, StaleWriter, StorageRefused
from quell.core.facts import Recorded
from quell.core.ports import Claim, Draft, Journal, Snapshot
from quell.core.session import Summary


class Refuse(Struct, frozen=True):
    """Nothing is written, and the caller is told."""

    reason: str = "the disk is full"


class LoseAnswer(Struct, frozen=True):
    """It is written, but the caller is told that it was not."""


class Hold(Struct, frozen=True):
    """It does not return until `release`, and is written `before` or `after` that; even if it is cancelled."""

    written: Literal["before", "after"] = "after"


class Overtake(Struct, frozen=True):
    """Another writer was first: nothing is written, and it is to be decided again."""


Fault = Refuse | LoseAnswer | Hold | Overtake


class FaultyJournal:
    """The `Journal` port. `plan` numbers the appends from 1; `always` holds for those that it does not name.

    `unanswered`: from now on a renewal is waited for in vain.
    """

    def __init__(self, journal: Journal, plan: Mapping[int, Fault] | None = None) -> None:
        self.plan: dict[int, Fault] = dict(plan or {})
        self.always: Fault | None = None
        self.unanswered = False
        self.appends = 0
        self._journal = journal
        self._changed = asyncio.Condition()
        self._held: set[int] = set()

    async def append(
        self,
        session: str,
        expected: int,
        records: Sequence[Recorded],
        summary: Summary,
        generation: int | None = None,
    ) -> None:
        self.appends += 1
        number = self.appends
        fault = self.plan.get(number, self.always)
        match fault:
            case None:
                await self._journal.append(session, expected, records, summary, generation)
            case Refuse(reason):
                raise StorageRefused(f"Append {number} was refused as planned: {reason}.")
            case Overtake():
                raise StaleWriter(f"Append {number} was overtaken as planned.")
            case LoseAnswer():
                await self._journal.append(session, expected, records, summary, generation)
                raise StorageRefused(f"Append {number} was written, and its answer was lost as planned.")
            case Hold("before"):
                await self._journal.append(session, expected, records, summary, generation)
                await self._hold(number)
            case Hold():
                try:
                    await self._hold(number)
                except asyncio.CancelledError:
                    try:
                        await self._journal.append(session, expected, records, summary, generation)
                    except QuellError:
                        pass  # nobody waits for it
                    raise
                await self._journal.append(session, expected, records, summary, generation)
            case _:
                assert_never(fault)

    async def until_held(self, number: int | None = None) -> None:
        """Wait until that append is held; None: any."""
        async with self._changed:
            await self._changed.wait_for(lambda: bool(self._held) if number is None else number in self._held)

    async def release(self, number: int | None = None) -> None:
        """Let that append go on; None: all that are held."""
        async with self._changed:
            self._held -= set(self._held) if number is None else {number}
            self._changed.notify_all()

    async def _hold(self, number: int) -> None:
        async with self._changed:
            self._held.add(number)
            self._changed.notify_all()
            try:
                await self._changed.wait_for(lambda: number not in self._held)
            finally:
                self._held.discard(number)

    async def read(self, session: str, after: int = 0, limit: int | None = None) -> Sequence[Recorded]:
        return await self._journal.read(session, after, limit)

    async def summary(self, session: str) -> Summary | None:
        return await self._journal.summary(session)

    async def summaries(
        self,
        *,
        workspace: str | None = None,
        parent: str | None = None,
        query: str = "",
        limit: int = 50,
        before: str | None = None,
    ) -> Sequence[Summary]:
        return await self._journal.summaries(
            workspace=workspace, parent=parent, query=query, limit=limit, before=before
        )

    async def busy(self) -> Sequence[str]:
        return await self._journal.busy()

    async def save_draft(self, session: str, draft: Draft, generation: int | None = None) -> None:
        if isinstance(self.always, Refuse):
            raise StorageRefused(f"The draft was refused as planned: {self.always.reason}.")
        await self._journal.save_draft(session, draft, generation)

    async def draft(self, session: str) -> Draft | None:
        return await self._journal.draft(session)

    async def save_snapshot(self, session: str, snapshot: Snapshot) -> None:
        await self._journal.save_snapshot(session, snapshot)

    async def snapshot(self, session: str) -> Snapshot | None:
        return await self._journal.snapshot(session)

    async def delete(self, session: str, generation: int | None = None) -> None:
        await self._journal.delete(session, generation)

    async def claim(self) -> Claim | None:
        return await self._journal.claim()

    async def renew(self, generation: int) -> None:
        if self.unanswered:
            await asyncio.Event().wait()
        await self._journal.renew(generation)

    async def version(self) -> int:
        return await self._journal.version()

    async def close(self) -> None:
        await self._journal.close()
