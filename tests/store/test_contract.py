"""The contract of journals, on all of ours and on one that could fail but is not told to; alone, and beside another process's."""

from collections.abc import Callable

import pytest

from quell.core.ports import Journal
from quell.store.memory import MemoryJournal
from quell.store.postgres.journal import PostgresJournal
from quell.store.sqlite import SqliteJournal
from quell.testing.faults import FaultyJournal
from quell.testing.journals import CONTRACT, Check, name
from quell.testing.ownership import OWNERSHIP, Nodes, NodesCheck
from tests.store.postgres import Place

Fixture = pytest.FixtureRequest


def in_postgres(request: Fixture) -> PostgresJournal:
    return Place(request.getfixturevalue("postgresql")).open()


JOURNALS: dict[str, Callable[[Fixture], Journal]] = {
    "memory": lambda request: MemoryJournal(),
    "sqlite": lambda request: SqliteJournal.open(request.getfixturevalue("tmp_path") / "journal.db"),
    "postgres": in_postgres,
    "faulty": lambda request: FaultyJournal(MemoryJournal()),
}


def two_in_memory(request: Fixture) -> Nodes:
    first = MemoryJournal()
    return Nodes(first, first.beside(), first.seem_dead)


def two_on_disk(request: Fixture) -> Nodes:
    """The lock's file is taken away: the first one holds a lock that nobody asks for any more."""
    path = request.getfixturevalue("tmp_path") / "journal.db"
    first = SqliteJournal.open(path)
    return Nodes(first, SqliteJournal.open(path, guest=True), path.with_name("journal.db.lock").unlink)


def two_in_postgres(request: Fixture) -> Nodes:
    """The lease has ended, as that of a process that was stopped for longer."""
    place = Place(request.getfixturevalue("postgresql"))
    return Nodes(place.open(), place.open(guest=True), place.end_lease)


PAIRS: dict[str, Callable[[Fixture], Nodes]] = {
    "memory": two_in_memory,
    "sqlite": two_on_disk,
    "postgres": two_in_postgres,
}


@pytest.mark.parametrize("kind", JOURNALS)
@pytest.mark.parametrize("check", CONTRACT, ids=name)
async def test_journal_keeps_the_contract(check: Check, kind: str, request: Fixture) -> None:
    journal = JOURNALS[kind](request)
    try:
        await check(journal)
    finally:
        await journal.close()


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize("check", OWNERSHIP, ids=name)
async def test_i10_a_journal_has_one_owner(check: NodesCheck, kind: str, request: Fixture) -> None:
    nodes = PAIRS[kind](request)
    try:
        await check(nodes)
    finally:
        await nodes.first.close()
        await nodes.second.close()
