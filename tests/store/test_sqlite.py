"""What only the journal on disk has: tables that were made by an older version, blobs, indexes, and threads."""

import asyncio
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from functools import partial
from pathlib import Path

import msgspec
import pytest

from quell.core import facts as f
from quell.core import inputs as i
from quell.core.errors import StaleWriter, StorageRefused
from quell.core.evolve import fold
from quell.core.messages import Attachment, Reply, Text, ToolCall, ToolResult
from quell.core.ports import Draft
from quell.core.session import summary
from quell.store.database import MIGRATIONS, connect_writer, statements
from quell.store.orders import SaveDraft, columns
from quell.store.sqlite import SqliteJournal, SqliteOptions
from quell.store.steps import Migration, migrations
from quell.store.thread import Order
from quell.store.writing import LONG, Write, Writer
from quell.testing.journals import Author
from quell.wire.facts import encode


def rows(path: Path, question: str, *values: object) -> list[tuple[object, ...]]:
    """Only of a journal that is closed: whoever opens the file beside SQLite takes its locks away."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(question, values).fetchall()


async def lived_in(path: Path) -> list[Author]:
    """A journal with sessions in all sorts of states; closed."""
    journal = SqliteJournal.open(path)
    authors = [await Author(journal, f"s{number}").create(title=f"Nr. {number}") for number in range(4)]
    for author in authors[1:]:
        await author.prompt()
        await author.prompt("x" * LONG)
    await authors[1].reply()
    await authors[2].write(i.Cancel(scope="active"))
    await journal.save_draft("s3", Draft(authors[3].message, Reply(parts=(Text("I will"),))))
    await journal.close()
    return authors


async def test_everything_is_there_when_it_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    authors = await lived_in(path)
    journal = SqliteJournal.open(path)
    for author in authors:
        assert fold(await journal.read(author.id)) == author.session
        assert await journal.summary(author.id) == summary(author.session)
    assert list(await journal.busy()) == ["s1", "s2", "s3"]
    assert await journal.draft("s3") == Draft(authors[3].message, Reply(parts=(Text("I will"),)))
    await journal.close()


MAKES = """
import asyncio, sys, threading
import msgspec
from pathlib import Path

made, there = [], msgspec.json.Decoder

def make(kind):
    made.append(threading.current_thread() is threading.main_thread())
    return there(kind)

msgspec.json.Decoder = make
from quell.store.sqlite import SqliteJournal

async def main():
    journal = SqliteJournal.open(Path(sys.argv[1]))
    assert await journal.summaries() and await journal.summary("s3") and await journal.draft("s3") and await journal.read("s3")
    await journal.close()

made.clear()
asyncio.run(main())
assert made == [True] * 3, made
"""


async def test_what_decodes_is_made_in_the_thread_of_the_loop(tmp_path: Path) -> None:
    """Made in the reading thread, it could be half made for the loop's: the process dies of that (found by the torture, as SIGSEGV)."""
    path = tmp_path / "journal.db"
    await lived_in(path)
    command = [sys.executable, "-c", MAKES, str(path)]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


async def test_rows_can_be_rebuilt_from_the_facts_alone(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    authors = await lived_in(path)
    journal = SqliteJournal.open(path)
    folded = {author.id: fold(await journal.read(author.id)) for author in authors}
    await journal.close()
    stored = rows(path, "SELECT id, seq, workspace, parent, folded, updated, busy, summary FROM sessions ORDER BY id")
    assert stored == [(id, *columns(summary(session))) for id, session in sorted(folded.items())]


async def test_what_is_stored_is_what_is_sent(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    author = (await lived_in(path))[3]
    journal = SqliteJournal.open(path)
    facts = await journal.read(author.id)
    await journal.close()
    stored = rows(
        path,
        "SELECT coalesce(facts.body, blobs.body) FROM facts LEFT JOIN blobs ON sha256 = blob"
        " WHERE session = (SELECT key FROM sessions WHERE id = 's3') ORDER BY seq",
    )
    assert stored == [(encode(recorded),) for recorded in facts]


async def test_f2_whatever_is_long_is_a_blob_and_comes_back_whole(tmp_path: Path) -> None:
    """What people write, models say and tools print. Fails when a kind of fact is kept in its row at any length."""
    path = tmp_path / "journal.db"
    journal = SqliteJournal.open(path)
    author = await Author(journal).create()
    await author.write(i.Submit(prompt="p", text="x" * LONG, attachments=(Attachment(name="a", content="y" * LONG),)))
    run = author.session.run
    assert run is not None
    call = ToolCall(f"{run.message}-c0", "touch", "{}")
    reply = Reply(parts=(Text("z" * LONG), call), stop_reason="tool_use")
    await author.write(i.SampleReplied(run=run.id, turn=1, attempt=1, reply=reply))
    await author.write(i.CallAllowed(run=run.id, call=call.id))
    await author.write(i.CallReturned(run=run.id, call=call.id, result=ToolResult(text="ü" * LONG)))
    assert fold(await journal.read("s1")) == author.session
    long = {type(recorded.fact) for recorded in await journal.read("s1") if len(encode(recorded)) > LONG}
    assert {f.PromptAccepted, f.Replied, f.CallFinished} <= long
    await journal.close()
    assert rows(path, "SELECT count(*) FROM facts WHERE body IS NOT NULL AND length(body) > ?", LONG) == [(0,)]
    assert rows(path, "SELECT count(*) FROM facts WHERE blob IS NOT NULL") == [(len(long),)]


async def test_long_bodies_are_kept_once_and_go_with_the_last_who_needs_them(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    journal = SqliteJournal.open(path)
    authors = [await Author(journal, id).create(at=0) for id in ("a", "b")]
    for author in authors:
        await author.write(i.Submit(prompt="p", text="x" * LONG), at=1)
        await author.write(i.Submit(prompt="q", text=author.id * LONG), at=2)
    await journal.close()
    assert rows(path, "SELECT count(*) FROM blobs") == [(3,)]
    assert rows(path, "SELECT count(*) FROM facts WHERE body IS NOT NULL AND length(body) > ?", LONG) == [(0,)]
    journal = SqliteJournal.open(path)
    await journal.delete("a")
    assert fold(await journal.read("b")) == authors[1].session
    await journal.close()
    assert rows(path, "SELECT count(*) FROM blobs") == [(2,)]
    journal = SqliteJournal.open(path)
    await journal.delete("b")
    await journal.close()
    for table in ("sessions", "facts", "blobs", "drafts"):
        assert rows(path, f"SELECT count(*) FROM {table}") == [(0,)]
    assert rows(path, "SELECT id FROM deleted ORDER BY id") == [("a",), ("b",)]


async def test_what_was_deleted_is_nowhere_on_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    journal = SqliteJournal.open(path)
    author = await Author(journal).create(title="open sesame")
    for length in (20, 5000, LONG):
        await author.prompt("open sesame " * (length // 12))
    await journal.save_draft("s1", Draft(author.message, Reply(parts=(Text("open sesame " * 900),))))
    files = [path, path.with_name("journal.db-wal")]
    await journal.delete("s1")
    assert [b"sesame" in file.read_bytes() for file in files[1:]] == [False]
    await journal.close()
    assert b"sesame" not in path.read_bytes()


async def test_lists_are_read_off_an_index(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    await lived_in(path)
    plans = {
        "SELECT id FROM sessions WHERE busy ORDER BY id": "sessions_busy",
        "SELECT summary FROM sessions ORDER BY updated DESC, id DESC LIMIT 9": "sessions_by_update",
        "SELECT summary FROM sessions WHERE workspace = '/w' AND (updated, id) < ('2026', 's')"
        " ORDER BY updated DESC, id DESC LIMIT 9": "sessions_by_workspace",
    }
    for question, index in plans.items():
        plan = " ".join(str(row[3]) for row in rows(path, f"EXPLAIN QUERY PLAN {question}"))
        assert index in plan
        assert "TEMP B-TREE" not in plan


# Migrations

NEWEST = len(migrations(MIGRATIONS))
STEPS = (
    *migrations(MIGRATIONS),
    Migration(
        NEWEST + 1, "ALTER TABLE sessions ADD COLUMN words TEXT;\nUPDATE sessions SET words = 'two;\n--';\n-- the end\n"
    ),
    Migration(NEWEST + 2, "CREATE TABLE notes (text TEXT);\nINSERT INTO notes SELECT words FROM sessions;\n"),
)


@pytest.mark.parametrize("begin", range(len(migrations(MIGRATIONS)), len(STEPS) + 1))
async def test_a_journal_of_every_older_version_is_brought_up_to_date(tmp_path: Path, begin: int) -> None:
    path = tmp_path / "journal.db"
    authors = await lived_in(path)
    await SqliteJournal.open(path, steps=STEPS[:begin]).close()
    journal = SqliteJournal.open(path, steps=STEPS)
    assert fold(await journal.read("s1")) == authors[1].session
    await journal.close()
    assert rows(path, "PRAGMA user_version") == [(len(STEPS),)]
    assert rows(path, "SELECT count(*), text FROM notes") == [(4, "two;\n--")]


async def test_a_migration_that_fails_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    authors = await lived_in(path)
    broken = (*STEPS, Migration(NEWEST + 3, "DROP TABLE notes; \nINSERT INTO notes VALUES ('where?');\n"))
    before = rows(path, "SELECT sql FROM sqlite_master")
    with pytest.raises(StorageRefused, match="no such table: notes"):
        SqliteJournal.open(path, steps=broken)
    assert rows(path, "SELECT sql FROM sqlite_master") == before
    assert rows(path, "PRAGMA user_version") == [(len(migrations(MIGRATIONS)),)]
    journal = SqliteJournal.open(path)
    assert fold(await journal.read("s1")) == authors[1].session
    await journal.close()


def test_migrations_are_numbered_without_gaps_and_are_whole_statements() -> None:
    assert [step.number for step in migrations(MIGRATIONS)] == list(range(1, len(migrations(MIGRATIONS)) + 1))
    for step in migrations(MIGRATIONS):
        assert "".join(statements(step.script)).strip() == step.script.strip()


# Batches


async def test_of_the_drafts_in_a_batch_only_the_last_is_written(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    await lived_in(path)
    connection = connect_writer(path, SqliteOptions())
    before = connection.total_changes
    writer = Writer(path, connection, partial(connect_writer, path, SqliteOptions()))
    replies = [Reply(parts=(Text("word " * number),)) for number in range(20)]
    drafts: list[Order[Write]] = [Order(SaveDraft("s1", "r9-1-1", msgspec.json.encode(reply))) for reply in replies]
    writer.work(drafts)
    assert connection.total_changes - before == 1
    writer.close()
    journal = SqliteJournal.open(path)
    assert await journal.draft("s1") == Draft("r9-1-1", replies[-1])
    await journal.close()


async def test_a_stale_append_fails_alone_in_its_batch(tmp_path: Path) -> None:
    """Fifty appends at once, every third of them stale, and drafts between them."""
    journal = SqliteJournal.open(tmp_path / "journal.db")
    authors = [await Author(journal, f"s{number}").create() for number in range(50)]
    stale: list[str] = []

    async def write(number: int) -> None:
        author = authors[number]
        if number % 3 == 0:
            author = Author(journal, author.id)  # one that knows nothing of what was written
        try:
            await (author.create() if number % 3 == 0 else author.prompt())
        except StaleWriter:
            stale.append(author.id)

    async with asyncio.TaskGroup() as tasks:
        for number in range(50):
            tasks.create_task(write(number))
            tasks.create_task(journal.save_draft(f"s{number}", Draft("r3-1-1", Reply(parts=(Text("I"),)))))
    assert sorted(stale) == sorted(f"s{number}" for number in range(0, 50, 3))
    for number, author in enumerate(authors):
        assert len(await journal.read(author.id)) == (1 if number % 3 == 0 else 3)
        assert await journal.draft(author.id) is not None
    await journal.close()


def test_parameters_are_bound_by_their_place() -> None:
    """Numbered ones (`?1`) are warned of by some versions of Python 3.12, and warnings are errors here."""
    sources = [path.read_text(encoding="utf-8") for path in MIGRATIONS.parent.glob("*.py")]
    assert any("VALUES (?, " in source for source in sources)
    assert not [found for source in sources for found in re.findall(r"\W\?\d", source)]
