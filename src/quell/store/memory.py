"""A journal in memory: the same behaviour as the one on disk, for tests and for exploring the engine.

Nothing survives the process. Every call is done when it is called, without giving way to another task, so that whoever
explores interleavings decides all of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from quell.core.errors import StaleWriter, StorageRefused
from quell.core.facts import Recorded
from quell.core.ports import Draft, position
from quell.core.session import Summary
from quell.store.rules import check_append, recorded_message


class _Kept:
    """What is known of one session."""

    __slots__ = ("draft", "messages", "records", "summary")

    def __init__(self, summary: Summary) -> None:
        self.records: list[Recorded] = []
        self.summary = summary
        self.messages: set[str] = set()
        self.draft: Draft | None = None


class MemoryJournal:
    """The `Journal` port."""

    def __init__(self) -> None:
        self._sessions: dict[str, _Kept] = {}
        self._deleted: set[str] = set()
        self._closed = False

    async def append(self, session: str, expected: int, records: Sequence[Recorded], summary: Summary) -> None:
        check_append(session, expected, records, summary)
        self._check_open()
        kept = self._sessions.get(session)
        last = 0 if kept is None else len(kept.records)
        if session in self._deleted or last != expected:
            raise StaleWriter(f"Session {session} is not at fact {expected} any more.")
        if kept is None:
            kept = self._sessions[session] = _Kept(summary)
        kept.records.extend(records)
        kept.summary = summary
        kept.messages.update(message for r in records if (message := recorded_message(r.fact)) is not None)
        if kept.draft is not None and kept.draft.message in kept.messages:
            kept.draft = None

    async def read(self, session: str, after: int = 0, limit: int | None = None) -> Sequence[Recorded]:
        self._check_open()
        kept = self._sessions.get(session)
        if kept is None:
            return ()
        return tuple(kept.records[after:] if limit is None else kept.records[after : after + limit])

    async def summary(self, session: str) -> Summary | None:
        self._check_open()
        kept = self._sessions.get(session)
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
            for kept in self._sessions.values()
            if (workspace is None or kept.summary.workspace == workspace)
            and (parent is None or (kept.summary.parent or "") == parent)
            and query.casefold() in kept.summary.title.casefold()
            and (before is None or position(kept.summary) < before)
        ]
        return tuple(sorted(rows, key=position, reverse=True)[:limit])

    async def busy(self) -> Sequence[str]:
        self._check_open()
        return tuple(sorted(id for id, kept in self._sessions.items() if kept.summary.busy))

    async def save_draft(self, session: str, draft: Draft) -> None:
        self._check_open()
        kept = self._sessions.get(session)
        if kept is not None and draft.message not in kept.messages:
            kept.draft = draft

    async def draft(self, session: str) -> Draft | None:
        self._check_open()
        kept = self._sessions.get(session)
        return None if kept is None else kept.draft

    async def delete(self, session: str) -> None:
        self._check_open()
        if self._sessions.pop(session, None) is not None:
            self._deleted.add(session)

    async def close(self) -> None:
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise StorageRefused(
                "The journal was closed: nothing can be read or written any more. Start the server again."
            )
