"""The contract of journals, on both of ours and on one that could fail but is not told to; alone, and beside another process's."""

from collections.abc import Callable
from pathlib import Path

import pytest

from quell.core.ports import Journal
from quell.store.memory import MemoryJournal
from quell.store.sqlite import SqliteJournal
from quell.testing.faults import FaultyJournal
from quell.testing.journals import CONTRACT, Check, name
from quell.testing.ownership import OWNERSHIP, Nodes, NodesCheck

JOURNALS: dict[str, Callable[[Path], Journal]] = {
    "memory": lambda folder: MemoryJournal(),
    "sqlite": lambda folder: SqliteJournal.open(folder / "journal.db"),
    "faulty": lambda folder: FaultyJournal(MemoryJournal()),
}


def in_memory(folder: Path) -> Nodes:
    first = MemoryJournal()
    return Nodes(first, first.beside(), first.seem_dead)


def on_disk(folder: Path) -> Nodes:
    """The lock's file is taken away: the first one holds a lock that nobody asks for any more."""
    path = folder / "journal.db"
    first = SqliteJournal.open(path)
    return Nodes(first, SqliteJournal.open(path, guest=True), path.with_name("journal.db.lock").unlink)


PAIRS: dict[str, Callable[[Path], Nodes]] = {"memory": in_memory, "sqlite": on_disk}


@pytest.mark.parametrize("kind", JOURNALS)
@pytest.mark.parametrize("check", CONTRACT, ids=name)
async def test_journal_keeps_the_contract(check: Check, kind: str, tmp_path: Path) -> None:
    journal = JOURNALS[kind](tmp_path)
    try:
        await check(journal)
    finally:
        await journal.close()


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize("check", OWNERSHIP, ids=name)
async def test_i10_a_journal_has_one_owner(check: NodesCheck, kind: str, tmp_path: Path) -> None:
    nodes = PAIRS[kind](tmp_path)
    try:
        await check(nodes)
    finally:
        await nodes.first.close()
        await nodes.second.close()
