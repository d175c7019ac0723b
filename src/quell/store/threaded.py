"""The `Journal` port on two threads, one that writes and one that reads: which of them each call is for, whatever the database is.

How it is opened and closed, who owns it, and what the threads do with what they are asked for is each database's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar

from quell.core.facts import Recorded
from quell.core.ports import Draft, Snapshot
from quell.core.session import Summary
from quell.store.orders import Delete, SaveSnapshot, appended, drafted
from quell.store.rows import Search, make_decoders
from quell.store.thread import Worker

T = TypeVar("T")
Connection = TypeVar("Connection")
Connection_contra = TypeVar("Connection_contra", contravariant=True)


class Reading(Protocol[Connection_contra]):
    """What is read on a connection: a module of functions."""

    def facts(
        self, connection: Connection_contra, session: str, after: int, limit: int | None
    ) -> Sequence[Recorded]: ...

    def summary(self, connection: Connection_contra, session: str) -> Summary | None: ...

    def summaries(self, connection: Connection_contra, search: Search) -> Sequence[Summary]: ...

    def busy(self, connection: Connection_contra) -> Sequence[str]: ...

    def draft(self, connection: Connection_contra, session: str) -> Draft | None: ...

    def snapshot(self, connection: Connection_contra, session: str) -> Snapshot | None: ...


class ThreadedJournal(Generic[Connection]):
    """All of the port but `claim`, `renew` and `version`. The writing thread knows the orders of `store/orders.py`, and maybe some more."""

    def __init__(
        self,
        writing: Worker[Any],
        querying: Worker[Callable[[Connection], object]],
        reading: Reading[Connection],
    ) -> None:
        self._writing = writing
        self._querying = querying
        self._reading = reading

    async def append(
        self,
        session: str,
        expected: int,
        records: Sequence[Recorded],
        summary: Summary,
        generation: int | None = None,
    ) -> None:
        await self._writing.ask(appended(session, expected, records, summary, generation))

    async def read(self, session: str, after: int = 0, limit: int | None = None) -> Sequence[Recorded]:
        return await self._query(lambda connection: self._reading.facts(connection, session, after, limit))

    async def summary(self, session: str) -> Summary | None:
        return await self._query(lambda connection: self._reading.summary(connection, session))

    async def summaries(
        self,
        *,
        workspace: str | None = None,
        parent: str | None = None,
        query: str = "",
        limit: int = 50,
        before: str | None = None,
    ) -> Sequence[Summary]:
        search = Search(workspace, parent, query, limit, before)
        return await self._query(lambda connection: self._reading.summaries(connection, search))

    async def busy(self) -> Sequence[str]:
        return await self._query(self._reading.busy)

    async def save_draft(self, session: str, draft: Draft, generation: int | None = None) -> None:
        await self._writing.ask(drafted(session, draft, generation))

    async def draft(self, session: str) -> Draft | None:
        return await self._query(lambda connection: self._reading.draft(connection, session))

    async def save_snapshot(self, session: str, snapshot: Snapshot) -> None:
        await self._writing.ask(SaveSnapshot(session, snapshot))

    async def snapshot(self, session: str) -> Snapshot | None:
        return await self._query(lambda connection: self._reading.snapshot(connection, session))

    async def delete(self, session: str, generation: int | None = None) -> None:
        await self._writing.ask(Delete(session, generation))

    async def close(self) -> None:
        await self._querying.close()
        await self._writing.close()

    async def _query(self, query: Callable[[Connection], T]) -> T:
        make_decoders()
        answer: T = await self._querying.ask(query)  # type: ignore[assignment]  # it is what the query returned
        return answer
