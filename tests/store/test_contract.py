"""The contract of journals, on both of ours and on one that could fail but is not told to."""

from collections.abc import Callable
from pathlib import Path

import pytest

from quell.core.ports import Journal
from quell.store.memory import MemoryJournal
from quell.store.sqlite import SqliteJournal
from quell.testing.faults import FaultyJournal
from quell.testing.journals import CONTRACT, Check, name

JOURNALS: dict[str, Callable[[Path], Journal]] = {
    "memory": lambda folder: MemoryJournal(),
    "sqlite": lambda folder: SqliteJournal.open(folder / "journal.db"),
    "faulty": lambda folder: FaultyJournal(MemoryJournal()),
}


@pytest.mark.parametrize("kind", JOURNALS)
@pytest.mark.parametrize("check", CONTRACT, ids=name)
async def test_journal_keeps_the_contract(check: Check, kind: str, tmp_path: Path) -> None:
    journal = JOURNALS[kind](tmp_path)
    try:
        await check(journal)
    finally:
        await journal.close()
