"""A journal in one SQLite file, the one that `quell` uses by default.

Two threads, each with a connection of its own: one writes, all that has gathered in one commit that survives power
loss; the other reads, so that a long history never delays an append. An append alone takes hardly longer than the
disk's own flush. The tables are in `migrations/`.

One process owns the file until it ends (contract I10); others that open it as guests read, and append what anybody may.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec

from quell.core.facts import Recorded
from quell.core.ports import Claim, Draft, Snapshot
from quell.core.session import Summary
from quell.store import database, reading
from quell.store.database import Lock, SqliteOptions
from quell.store.orders import Delete, SaveSnapshot, appended, drafted, stale_owner
from quell.store.refusals import refusal, unreadable
from quell.store.rows import Search, make_decoders
from quell.store.steps import Migration, migrations
from quell.store.thread import Order, Worker
from quell.store.writing import Look, Own, Write, Writer

__all__ = ["SqliteJournal", "SqliteOptions"]

T = TypeVar("T")
Query = Callable[[sqlite3.Connection], object]


class SqliteJournal:
    """The `Journal` port. Made by `open`."""

    def __init__(self, path: Path, lock: Lock, writer: Writer, reader: sqlite3.Connection) -> None:
        self._path = path
        self._lock = lock
        self._reader = reader

        def finish() -> None:
            try:
                writer.close()
            finally:
                lock.release()

        self._writing: Worker[Write] = Worker("journal-writer", writer.work, finish)
        self._reading: Worker[Query] = Worker("journal-reader", self._answer, reader.close)

    @classmethod
    def open(
        cls,
        path: Path,
        options: SqliteOptions = SqliteOptions(),
        steps: Sequence[Migration] | None = None,
        *,
        guest: bool = False,
    ) -> SqliteJournal:
        """Own the file at `path`, making it if there is none and bringing an older one up to date.

        As a `guest` also when another process owns it, as it is. Blocks for a few milliseconds, longer after a crash or for a
        migration. Raises `StorageRefused`, with the file left as it was.
        """
        steps = migrations(database.MIGRATIONS) if steps is None else steps
        path = database.place(path, options)
        with ExitStack() as undo:
            lock = Lock(path)
            undo.callback(lock.release)
            owned = lock.take() if guest else lock.take_soon()
            if not (owned or guest):
                raise lock.in_use()
            if owned:
                database.make(path)
            newest = steps[-1].number
            try:
                database.check(path, options, newest, oldest=0 if owned else newest)
                connection = database.connect_writer(path, options)
                undo.callback(connection.close)
                if owned:
                    database.migrate(connection, steps)
                reader = database.connect_reader(path, options)
            except sqlite3.Error as error:
                raise refusal(path, "opened", error) from error
            undo.pop_all()
        return cls(path, lock, Writer(path, connection, partial(database.connect_writer, path, options)), reader)

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
        return await self._query(lambda connection: reading.facts(connection, session, after, limit))

    async def summary(self, session: str) -> Summary | None:
        return await self._query(lambda connection: reading.summary(connection, session))

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
        return await self._query(lambda connection: reading.summaries(connection, search))

    async def busy(self) -> Sequence[str]:
        return await self._query(reading.busy)

    async def save_draft(self, session: str, draft: Draft, generation: int | None = None) -> None:
        await self._writing.ask(drafted(session, draft, generation))

    async def draft(self, session: str) -> Draft | None:
        return await self._query(lambda connection: reading.draft(connection, session))

    async def save_snapshot(self, session: str, snapshot: Snapshot) -> None:
        await self._writing.ask(SaveSnapshot(session, snapshot))

    async def snapshot(self, session: str) -> Snapshot | None:
        return await self._query(lambda connection: reading.snapshot(connection, session))

    async def delete(self, session: str, generation: int | None = None) -> None:
        await self._writing.ask(Delete(session, generation))

    async def claim(self) -> Claim | None:
        if not self._lock.take():
            return None
        answer: Claim = await self._writing.ask(Own())  # type: ignore[assignment]  # what owning is answered with
        return answer

    async def renew(self, generation: int) -> None:
        if await self._query(reading.generation) != generation:
            raise stale_owner(generation)

    async def version(self) -> int:
        answer: int = await self._writing.ask(Look())  # type: ignore[assignment]  # what looking is answered with
        return answer

    async def close(self) -> None:
        await self._reading.close()
        await self._writing.close()

    async def _query(self, query: Callable[[sqlite3.Connection], T]) -> T:
        make_decoders()
        answer: T = await self._reading.ask(query)  # type: ignore[assignment]  # it is what the query returned
        return answer

    def _answer(self, orders: Sequence[Order[Query]]) -> None:
        """In the reading thread."""
        for order in orders:
            try:
                order.answer(order.job(self._reader))
            except sqlite3.Error as error:
                order.refuse(refusal(self._path, "read", error))
            except msgspec.DecodeError as error:
                order.refuse(unreadable(self._path, str(error)))
            except Exception as error:  # noqa: BLE001 - an unreadable fact refuses its own query only
                order.refuse(error)
