"""A journal in memory: the same behaviour as the one on disk, for tests and for exploring the engine.

Nothing survives the process. Every call is done when it is called, without giving way to another task, so that whoever
explores interleavings decides all of them. `beside` makes what another process would have: its own journal on the same facts.
A claim lasts until `seem_dead`; `holds` is what is said of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from quell.core.facts import Recorded
from quell.core.ports import Claim, Draft, Snapshot, position
from quell.core.session import Summary
from quell.store.orders import stale_owner, stale_writer
from quell.store.rules import check_append, closed, recorded_message


class _Kept:
    """What is known of one session."""

    __slots__ = ("draft", "messages", "records", "snapshot", "summary")

    def __init__(self, summary: Summary) -> None:
        self.records: list[Recorded] = []
        self.summary = summary
        self.messages: set[str] = set()
        self.draft: Draft | None = None
        self.snapshot: Snapshot | None = None


class _Memory:
    """What the journals of several processes share. `owner` is known to live; `writes` tells each journal of the others' ones."""

    def __init__(self) -> None:
        self.sessions: dict[str, _Kept] = {}
        self.deleted: set[str] = set()
        self.generation = 0
        self.owner: MemoryJournal | None = None
        self.writes = 0

    def check_owner(self, generation: int | None) -> None:
        if generation is not None and generation != self.generation:
            raise stale_owner(generation)


class MemoryJournal:
    """The `Journal` port."""

    def __init__(self, memory: _Memory | None = None, holds: float | None = None) -> None:
        self._memory = memory or _Memory()
        self._holds = holds
        self._own_writes = 0
        self._closed = False

    def beside(self) -> MemoryJournal:
        """The journal of another process on the same facts."""
        return MemoryJournal(self._memory, self._holds)

    async def append(
        self,
        session: str,
        expected: int,
        records: Sequence[Recorded],
        summary: Summary,
        generation: int | None = None,
    ) -> None:
        check_append(session, expected, records, summary)
        self._check_open()
        memory = self._memory
        memory.check_owner(generation)
        kept = memory.sessions.get(session)
        last = 0 if kept is None else len(kept.records)
        if session in memory.deleted or last != expected:
            raise stale_writer(session, expected)
        if kept is None:
            kept = memory.sessions[session] = _Kept(summary)
        kept.records.extend(records)
        kept.summary = summary
        kept.messages.update(message for r in records if (message := recorded_message(r.fact)) is not None)
        if kept.draft is not None and kept.draft.message in kept.messages:
            kept.draft = None
        self._wrote()

    async def read(self, session: str, after: int = 0, limit: int | None = None) -> Sequence[Recorded]:
        kept = self._kept(session)
        if kept is None:
            return ()
        return tuple(kept.records[after:] if limit is None else kept.records[after : after + limit])

    async def summary(self, session: str) -> Summary | None:
        kept = self._kept(session)
        return None if kept is None else kept.summary

    async def summaries(
        self,
        *,
        workspace: str | None = None,
        parent: str | None = None,
        query: str = "",
        limit: int = 50,
        before: str | None = None,
    ) -> Sequence[Summary]:
        self._check_open()
        rows = [
            kept.summary
            for kept in self._memory.sessions.values()
            if (workspace is None or kept.summary.workspace == workspace)
            and (parent is None or (kept.summary.parent or "") == parent)
            and query.casefold() in kept.summary.title.casefold()
            and (before is None or position(kept.summary) < before)
        ]
        return tuple(sorted(rows, key=position, reverse=True)[:limit])

    async def busy(self) -> Sequence[str]:
        self._check_open()
        return tuple(sorted(id for id, kept in self._memory.sessions.items() if kept.summary.busy))

    async def save_draft(self, session: str, draft: Draft, generation: int | None = None) -> None:
        kept = self._kept(session)
        self._memory.check_owner(generation)
        if kept is not None and draft.message not in kept.messages:
            kept.draft = draft
            self._wrote()

    async def draft(self, session: str) -> Draft | None:
        kept = self._kept(session)
        return None if kept is None else kept.draft

    async def save_snapshot(self, session: str, snapshot: Snapshot) -> None:
        kept = self._kept(session)
        if kept is not None:
            kept.snapshot = snapshot
            self._wrote()

    async def snapshot(self, session: str) -> Snapshot | None:
        kept = self._kept(session)
        return None if kept is None else kept.snapshot

    async def delete(self, session: str, generation: int | None = None) -> None:
        self._check_open()
        self._memory.check_owner(generation)
        if self._memory.sessions.pop(session, None) is not None:
            self._memory.deleted.add(session)
            self._wrote()

    async def claim(self) -> Claim | None:
        self._check_open()
        if self._memory.owner not in (None, self):
            return None
        self._memory.owner = self
        self._memory.generation += 1
        self._wrote()
        return Claim(self._memory.generation, tuple(await self.busy()), self._holds)

    async def renew(self, generation: int) -> None:
        self._check_open()
        self._memory.check_owner(generation)

    async def version(self) -> int:
        self._check_open()
        return self._memory.writes - self._own_writes

    def seem_dead(self) -> None:
        """Another process may claim, although this one lives: a lock that was lost, a lease that ran out."""
        if self._memory.owner is self:
            self._memory.owner = None

    async def close(self) -> None:
        self.seem_dead()
        self._closed = True

    def _kept(self, session: str) -> _Kept | None:
        self._check_open()
        return self._memory.sessions.get(session)

    def _wrote(self) -> None:
        self._memory.writes += 1
        self._own_writes += 1

    def _check_open(self) -> None:
        if self._closed:
            raise closed()
