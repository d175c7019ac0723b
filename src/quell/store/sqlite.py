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
from typing import Any, ClassVar

import msgspec

from quell.core.ports import Claim
from quell.store import database, reading
from quell.store.database import Lock, SqliteOptions
from quell.store.orders import stale_owner
from quell.store.refusals import refusal, unreadable
from quell.store.steps import Migration, migrations
from quell.store.thread import Order, Worker
from quell.store.threaded import ThreadedJournal
from quell.store.writing import Look, Own, Writer

__all__ = ["SqliteJournal", "SqliteOptions"]

Query = Callable[[sqlite3.Connection], object]


class SqliteJournal(ThreadedJournal[sqlite3.Connection]):
    """The `Journal` port. Made by `open`."""

    worker: ClassVar[type[Worker[Any]]] = Worker
    """What the work is done in."""

    def __init__(self, path: Path, lock: Lock, writer: Writer, reader: sqlite3.Connection) -> None:
        self._path = path
        self._lock = lock
        self._reader = reader

        def finish() -> None:
            try:
                writer.close()
            finally:
                lock.release()

        super().__init__(
            self.worker("journal-writer", writer.work, finish),
            self.worker("journal-reader", self._answer, reader.close),
            reading,
        )

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
