"""A journal in a PostgreSQL database, which servers on any number of machines can share.

Three threads, each with a connection of its own: one writes all that has gathered, one reads, one holds the lease, so that neither a long
history nor a full disk keeps it from being renewed. A connection that was lost is opened again; meanwhile what is asked for is refused.

One process owns the journal for as long as it renews its lease (contract I10); others are guests, which read, and append what anybody may.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TypeVar

import msgspec
import psycopg

from quell.core.errors import StorageRefused
from quell.core.ports import Claim
from quell.store.postgres import reading, tables
from quell.store.postgres.address import Address, PostgresOptions
from quell.store.postgres.lease import Lease
from quell.store.postgres.line import Line, Patient
from quell.store.postgres.refusals import refusal
from quell.store.postgres.writing import Writer
from quell.store.steps import Migration, migrations
from quell.store.thread import Order, Worker
from quell.store.threaded import ThreadedJournal

T = TypeVar("T")
Query = Callable[[Patient], object]
log = logging.getLogger(__name__)


class PostgresJournal(ThreadedJournal[Patient]):
    """The `Journal` port. Made by `open`."""

    def __init__(self, address: Address, options: PostgresOptions, lease: Lease, line: Line) -> None:
        reader = Line(address, options, options.patience)
        writer = Writer(Line(address, options, options.patience), lease)
        super().__init__(
            Worker("journal-writer", writer.work, writer.close),
            Worker("journal-reader", _answering(reader, "read"), reader.close),
            reading,
        )
        self._lease = lease
        self._leasing: Worker[Query] = Worker(
            "journal-lease", _answering(line, "claimed"), lambda: _let_go(lease, line)
        )

    @classmethod
    def open(
        cls,
        address: Address,
        options: PostgresOptions = PostgresOptions(),
        steps: Sequence[Migration] | None = None,
        *,
        guest: bool = False,
    ) -> PostgresJournal:
        """Own the journal in that database, making its tables if there are none and bringing older ones up to date.

        As a `guest` also when another process owns it. Blocks for as long as it takes to connect; after a crash of the owner, until its
        lease has ended. Raises `StorageRefused`.
        """
        line = Line(address, options, options.brief)
        lease = Lease(options.lease)
        with ExitStack() as undo:
            undo.callback(line.close)
            tables.prepare(line, options, migrations(tables.MIGRATIONS) if steps is None else steps)
            if not guest:
                lease.take(line)
            undo.pop_all()
        return cls(address, options, lease, line)

    async def claim(self) -> Claim | None:
        return await self._hold(self._lease.claim)

    async def renew(self, generation: int) -> None:
        await self._hold(lambda connection: self._lease.renew(connection, generation))

    async def version(self) -> int:
        return await self._hold(self._lease.version)

    async def close(self) -> None:
        await super().close()
        await self._leasing.close()

    async def _hold(self, query: Callable[[Patient], T]) -> T:
        answer: T = await self._leasing.ask(query)  # type: ignore[assignment]  # it is what the query returned
        return answer


def _answering(line: Line, doing: str) -> Callable[[Sequence[Order[Query]]], None]:
    """What a thread does with queries. One whose connection was closed by the other side is asked once more: nothing of it can be half done."""

    def ask(query: Query) -> object:
        try:
            return line.run(query)
        except psycopg.errors._WaitTimeout:
            raise
        except psycopg.OperationalError:
            if not line.lost:
                raise
            return line.run(query)

    def answer(orders: Sequence[Order[Query]]) -> None:
        for order in orders:
            try:
                order.answer(ask(order.job))
            except psycopg.Error as error:
                order.refuse(refusal(line.shown, doing, error, lost=line.lost))
            except msgspec.DecodeError as error:
                order.refuse(
                    StorageRefused(
                        f"The journal in {line.shown} cannot be read, because it is damaged ({error}). Restore it from a copy."
                    )
                )
            except Exception as error:  # noqa: BLE001 - an unreadable fact refuses its own query only
                order.refuse(error)

    return answer


def _let_go(lease: Lease, line: Line) -> None:
    try:
        line.run(lease.release)
    except (psycopg.Error, StorageRefused) as error:
        log.warning("the lease was not given back, and ends by itself: %s", error)
    finally:
        line.close()
