"""The journal in PostgreSQL: what only a database across a network can do to one, and what is said of it. The contract is in `test_contract`."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from quell.core import inputs as i
from quell.core.errors import StaleOwner, StaleWriter, StorageRefused
from quell.core.evolve import fold
from quell.core.messages import Reply, Text
from quell.core.ports import Draft
from quell.core.session import summary
from quell.engine import owner
from quell.store.orders import columns
from quell.store.postgres import tables
from quell.store.postgres.address import PostgresOptions, address
from quell.store.postgres.doorbell import NotifyDoorbell
from quell.store.postgres.journal import PostgresJournal
from quell.store.postgres.lease import STOPPING
from quell.store.postgres.line import OLDEST, Patient, check
from quell.store.steps import Migration, migrations
from quell.testing.harness import Play, played
from quell.testing.journals import LONG, Author, claimed
from quell.testing.postgresql import WITH_PASSWORD, Server
from tests.store.postgres import Place
from tests.store.proxy import Proxy

STEPS = migrations(tables.MIGRATIONS)
NEWEST = len(STEPS)


@pytest.fixture
def place(postgresql: Server) -> Place:
    return Place(postgresql)


@asynccontextmanager
async def far(server: Server, options: PostgresOptions = PostgresOptions()) -> AsyncIterator[tuple[Place, Proxy]]:
    """A place with a network between."""
    async with Proxy(server.folder) as proxy:
        yield Place(server, options, proxy.url()), proxy


async def opened(place: Place) -> PostgresJournal:
    """In a thread: what is between may be in this loop."""
    return await asyncio.to_thread(place.open)


class Haste:
    """Nobody waits long for the server at this `port`. What has to be answered is waited for as usual: the machine may stand still for a while."""

    port: int | None = None

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        wait = Patient.wait

        def hasty(connection: Patient, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
            return wait(connection, gen, interval, 0.3 if connection.info.port == self.port else timeout)

        monkeypatch.setattr(Patient, "wait", hasty)


@pytest.fixture
def haste(monkeypatch: pytest.MonkeyPatch) -> Haste:
    return Haste(monkeypatch)


# What is kept


async def test_everything_is_there_when_it_is_opened_again_and_rows_can_be_rebuilt_from_the_facts(place: Place) -> None:
    journal = place.open()
    authors = [await Author(journal, f"s{number}").create(title=f"Nr.\0 {number}") for number in range(3)]
    for author in authors[1:]:
        await author.prompt()
        await author.prompt("x" * LONG)
    await authors[1].reply()
    draft = Draft(authors[2].message, Reply(parts=(Text("I will"),)))
    await journal.save_draft("s2", draft)
    await journal.close()
    journal = place.open()
    for author in authors:
        assert fold(await journal.read(author.id)) == author.session
    assert await journal.draft("s2") == draft
    assert list(await journal.busy()) == ["s1", "s2"]
    await journal.close()
    stored = place.ask("SELECT id, seq, workspace, parent, folded, updated, busy, summary FROM sessions ORDER BY id")
    rows = [(author.id, *columns(summary(author.session))) for author in authors]
    assert stored == [(*row[:4], str(row[4]).replace("\0", ""), *row[5:]) for row in rows]


async def test_a_stale_append_fails_alone_in_its_batch(place: Place) -> None:
    """Of many at once, every third stale, and drafts between them; in a few statements, and not one each."""
    journal = place.open()
    authors = [await Author(journal, f"s{number}").create() for number in range(30)]
    written = place.ask("SELECT sum(writes) FROM writers")[0][0]
    stale: list[str] = []

    async def write(number: int) -> None:
        author = authors[number] if number % 3 else Author(journal, f"s{number}")
        try:
            await (author.prompt() if number % 3 else author.create())
        except StaleWriter:
            stale.append(author.id)

    async with asyncio.TaskGroup() as tasks:
        for number in range(30):
            tasks.create_task(write(number))
            tasks.create_task(journal.save_draft(f"s{number}", Draft("r3-1-1", Reply(parts=(Text("I"),)))))
    assert sorted(stale) == sorted(f"s{number}" for number in range(0, 30, 3))
    for number, author in enumerate(authors):
        assert len(await journal.read(author.id)) == (3 if number % 3 else 1)
        assert await journal.draft(author.id) is not None
    assert place.ask("SELECT sum(writes) FROM writers")[0][0] - written <= 10
    await journal.close()


async def test_one_that_no_database_can_hold_refuses_nobody_else(place: Place) -> None:
    journal = place.open()
    good, odd = Author(journal, "good"), Author(journal, "o\0dd")
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(journal.busy())
        writing = [tasks.create_task(_refused(author.create())) for author in (good, odd)]
    assert [task.result() is None for task in writing] == [True, False]
    await journal.close()


async def _refused(call: object) -> str | None:
    try:
        await call  # type: ignore[misc]  # whatever can be awaited
    except StorageRefused as refused:
        return str(refused)
    return None


async def test_nothing_is_left_of_a_deleted_session(place: Place) -> None:
    journal = place.open()
    author = await Author(journal).create()
    await author.prompt("x" * LONG)
    await journal.save_draft("s1", Draft(author.message, Reply(parts=(Text("I"),))))
    await journal.delete("s1")
    await journal.close()
    assert [place.ask(f"SELECT count(*) FROM {table}") for table in ("sessions", "facts", "drafts")] == [[(0,)]] * 3
    assert place.ask("SELECT id FROM ids") == [("s1",)]


# The lease


async def test_i10_the_lease_ends_by_the_database_s_clock_and_is_given_back_at_the_end(place: Place) -> None:
    first, second = place.open(), place.open(guest=True)
    claim = await claimed(first)
    assert claim.holds == place.options.lease - STOPPING
    await first.renew(claim.generation)
    (left,) = place.ask("SELECT extract(epoch FROM expires - clock_timestamp()) FROM owner")[0]
    assert 0 < left <= place.options.lease
    assert await second.claim() is None
    await first.close()
    assert place.ask("SELECT count(*) FROM writers WHERE process <> ''") == [(0,)]
    await claimed(second)
    await second.close()


async def test_i10_a_second_owner_is_told_who_the_first_one_is(place: Place) -> None:
    """As soon as it is seen to renew; of one that does not, the lease is waited for."""
    first = place.open()
    generation = (await claimed(first)).generation
    opening = asyncio.get_running_loop().run_in_executor(None, place.open)
    while not opening.done():
        await first.renew(generation)
    with pytest.raises(StorageRefused, match=r"in use by another quell \(.*, process \d+\).*--standby"):
        await opening
    place.ask("UPDATE owner SET expires = clock_timestamp() + interval '0.2 s'")
    second = await opened(place)
    with pytest.raises(StaleOwner):
        await first.renew(generation)
    await second.close()
    await first.close()


async def test_i10_a_claim_waits_for_what_its_predecessor_is_writing_and_lists_it(place: Place) -> None:
    """Fails when the list is read before the lock is had: a session that was begun meanwhile would be started twice."""
    first, second = place.open(), place.open(guest=True)
    generation = (await claimed(first)).generation
    author = await Author(first).create()
    place.ask(
        "CREATE TABLE told (); CREATE FUNCTION when_told() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN WHILE NOT EXISTS (SELECT FROM told) LOOP PERFORM pg_sleep(0.01); END LOOP; RETURN NULL; END $$;"
        "CREATE TRIGGER when_told AFTER INSERT ON facts FOR EACH STATEMENT EXECUTE FUNCTION when_told()"
    )
    place.end_lease()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(author.write(i.Submit(prompt="p1", text="Go."), generation=generation))
        await _is_seen(place, "wait_event = 'PgSleep'")
        claiming = tasks.create_task(claimed(second))
        await _is_seen(place, "wait_event_type = 'Lock'")
        place.ask("INSERT INTO told DEFAULT VALUES")
    claim = claiming.result()
    assert claim.unfinished == ("s1",)
    await first.close()
    await second.close()


async def _is_seen(place: Place, waits: str) -> None:
    """One of the place's connections waits for something."""
    of_place = f"SELECT 1 FROM pg_stat_activity WHERE application_name = '{place.options.schema}'"
    while not await asyncio.to_thread(place.ask, f"{of_place} AND {waits}"):
        pass


names = itertools.count(1)


@asynccontextmanager
async def node(place: Place, *, guest: bool = False) -> AsyncIterator[Play]:
    """An engine, as a process of its own would have one."""
    journal = await asyncio.to_thread(lambda: place.open(guest=guest))
    bell = await asyncio.to_thread(NotifyDoorbell, place.address, place.options, asyncio.get_running_loop())
    async with played(journal, doorbell=bell, name=f"{next(names)}-") as play:
        yield play
    bell.close()
    await journal.close()


async def test_race_owner_paused_and_resumed_by_the_network_stops_before_another_can_claim(
    postgresql: Server, haste: Haste, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I10. Nothing gets through to the database any more, and nothing says so. When its effects have ended, the lease has not.

    Fails when it waits for an answer.
    """
    monkeypatch.setattr(owner, "LOOK_SECONDS", 0.1)
    async with far(postgresql, PostgresOptions(lease=STOPPING + 1.5)) as (place, proxy):
        near = Place(postgresql, place.options)
        near.options = place.options
        async with node(place) as first, node(near, guest=True) as second:
            session = await first.session()
            await first.submit(session, "one")
            asked = await first.asked()
            proxy.silence()
            haste.port = proxy.port
            await asked.closed.wait()
            assert place.ask("SELECT expires > clock_timestamp() FROM owner") == [(True,)]
            assert not first.engine.ownership.owned.is_set()
            await second.engine.ownership.owned.wait()
            (await second.asked()).reply()
            await second.idle(session)
            haste.port = None
            proxy.mend()
            while await _refused(first.submit(session, "two", prompt="two")) is not None:
                pass
            (await second.asked()).reply()
            await second.idle(session)
            while await first.facts(session) != await second.facts(session):  # a ring takes a moment
                pass


# The connection


async def test_k5_a_connection_that_the_server_ends_between_two_requests_is_nobody_s_problem(place: Place) -> None:
    journal = place.open()
    author = await Author(journal).create()
    for _ in range(2):
        place.hang_up()
        await author.prompt()
        assert len(await journal.read("s1")) == author.session.seq
        await claimed(journal)
    await journal.close()


async def test_k5_an_append_whose_answer_is_lost_is_refused_and_found(postgresql: Server, haste: Haste) -> None:
    """It says so, another process's number changes in it, and nothing is written twice."""
    async with far(postgresql) as (place, proxy):
        journal = await opened(place)
        author = await Author(journal).create()
        version = await journal.version()
        proxy.lose_answers()
        records, session = author.decide(i.Submit(prompt="p1", text="Go."))
        haste.port = proxy.port
        with pytest.raises(StorageRefused, match=r"may have been done"):
            await journal.append("s1", 1, records, summary(session))
        while place.ask("SELECT count(*) FROM facts") == [(1,)]:  # noqa: ASYNC110  # it is on its way, and no event says when it is there
            await asyncio.sleep(0)
        haste.port = None
        proxy.cut()
        proxy.mend()
        assert list(await journal.read("s1", after=1)) == list(records)
        with pytest.raises(StaleWriter):
            await journal.append("s1", 1, records, summary(session))
        assert await journal.version() != version
        await journal.close()


async def test_k5_what_is_asked_for_while_the_database_is_away_is_refused_in_clear_words(postgresql: Server) -> None:
    async with far(postgresql) as (place, proxy):
        journal = await opened(place)
        author = await Author(journal).create()
        proxy.cut()
        for call in (
            author.prompt(),
            journal.read("s1"),
            journal.claim(),
            journal.save_draft("s1", Draft("m", Reply())),
        ):
            said = await _refused(call)
            assert said is not None
            assert f"the PostgreSQL database postgres at 127.0.0.1:{proxy.port} as user quell" in said
            assert "again by itself" in said
        proxy.mend()
        while await _refused(author.prompt()) is not None:
            pass
        assert len(await journal.read("s1")) == author.session.seq
        await journal.close()


async def test_k5_a_database_that_does_not_answer_is_not_waited_for(postgresql: Server, haste: Haste) -> None:
    async with far(postgresql) as (place, proxy):
        journal = await opened(place)
        author = await Author(journal).create()
        proxy.silence()
        haste.port = proxy.port
        async with asyncio.TaskGroup() as tasks:
            calls = [tasks.create_task(_refused(call)) for call in (author.prompt(), journal.busy(), journal.version())]
        assert all(call.result() for call in calls)
        proxy.mend()
        await journal.close()


async def test_e5_a_doorbell_that_was_lost_is_hung_up_again_and_looks_everywhere(place: Place) -> None:
    loop = asyncio.get_running_loop()
    first, second = (NotifyDoorbell(place.address, place.options, loop) for _ in range(2))
    first.ring("s1")
    while "s1" not in await second.rung():
        pass
    place.hang_up()
    while "" not in await second.rung():
        pass
    heard: set[str] = set()
    while "s2" not in heard:
        first.ring("s2")
        heard |= set(await second.rung())
    first.close()
    second.close()


# Opening


def refused(url: str, *words: str) -> None:
    with pytest.raises(StorageRefused) as refusal:
        PostgresJournal.open(address(url))
    for word in words:
        assert word in str(refusal.value)
    assert "s3cret" not in str(refusal.value)


def test_what_keeps_it_from_being_opened_is_said_with_what_to_do(
    postgresql: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = f"?host={postgresql.folder}"
    role, database = f"r{Place(postgresql).options.schema}", postgresql.database()
    postgresql.execute(f"CREATE ROLE {WITH_PASSWORD} LOGIN PASSWORD 'right'; CREATE ROLE {role} LOGIN")
    postgresql.execute(f"REVOKE CREATE ON DATABASE {database} FROM PUBLIC")
    refused(
        "postgresql://quell:s3cret@127.0.0.1:1/db",
        "db at 127.0.0.1:1 as user quell",
        "nobody answers",
        "QUELL_DATABASE",
    )
    refused(f"postgresql://{WITH_PASSWORD}:s3cret@/postgres{host}", "the password is wrong", "~/.pgpass")
    monkeypatch.delenv("PGPASSWORD", raising=False)
    monkeypatch.setenv("PGPASSFILE", "/dev/null")
    refused(f"postgresql://{WITH_PASSWORD}@/postgres{host}", "a password and none was given", "~/.pgpass or $PGPASS")
    monkeypatch.setenv("PGPASSWORD", "s3cret")
    refused(f"postgresql://{WITH_PASSWORD}@/postgres{host}", "the password is wrong", "PGPASSWORD")
    refused(f"postgresql://quell@/nowhere{host}", "no such database", "createdb")
    refused(f"postgresql://nobody@/postgres{host}", "does not let this user in")
    refused(f"postgresql://{role}@/{database}{host}", "may not do that", "GRANT CREATE ON DATABASE")
    with pytest.raises(StorageRefused, match="cannot be understood") as refusal:
        address("postgresql://quell:s3cret@host:port:5/db")
    assert "s3cret" not in str(refusal.value)


@pytest.mark.parametrize(
    ("version", "encoding", "replica", "words"),
    [
        (OLDEST - 1, "UTF8", False, "too old"),
        (OLDEST, "SQL_ASCII", False, "createdb --encoding UTF8"),
        (OLDEST, "UTF8", True, "a replica"),
    ],
)
def test_a_server_that_no_journal_can_be_in(version: int, encoding: str, replica: bool, words: str) -> None:
    with pytest.raises(StorageRefused, match=words):
        check("the database", version, encoding, replica)
    check("the database", OLDEST, "UTF8", False)


async def test_tables_of_a_newer_version_are_left_as_they_are(place: Place) -> None:
    await place.open().close()
    place.ask(f"INSERT INTO versions (number) VALUES ({NEWEST + 1})")
    with pytest.raises(StorageRefused, match=r"written by a newer quell .*Update quell"):
        place.open()


async def test_older_tables_are_brought_up_to_date_when_nobody_owns_them(place: Place) -> None:
    """A standby server of a newer version leaves them to their owner; an owner of the older version that wakes writes nothing."""
    journal = place.open()
    author = await Author(journal).create()
    generation = (await claimed(journal)).generation
    steps = (
        *STEPS,
        Migration(NEWEST + 1, "ALTER TABLE sessions ADD COLUMN words text; UPDATE sessions SET words = 'a; b'"),
    )
    with pytest.raises(StorageRefused, match="in use by an older quell"):
        PostgresJournal.open(place.address, place.options, steps, guest=True)
    place.end_lease()
    guest = PostgresJournal.open(place.address, place.options, steps, guest=True)
    assert place.ask("SELECT words FROM sessions") == [("a; b",)]
    with pytest.raises(StaleOwner):
        await author.write(i.Submit(prompt="p", text="Go."), generation=generation)
    await guest.close()
    await journal.close()


async def test_a_migration_that_fails_changes_nothing(place: Place) -> None:
    await place.open().close()
    steps = (*STEPS, Migration(NEWEST + 1, "ALTER TABLE sessions ADD COLUMN words text; DROP TABLE nowhere"))
    with pytest.raises(StorageRefused, match="nowhere"):
        PostgresJournal.open(place.address, place.options, steps)
    assert place.ask("SELECT max(number) FROM versions") == [(NEWEST,)]
    assert (
        place.ask(
            "SELECT 1 FROM information_schema.columns WHERE column_name = 'words' AND table_schema = current_schema()"
        )
        == []
    )


async def test_a_migration_that_takes_too_long_is_said_to(place: Place, haste: Haste) -> None:
    """And not what went wrong while it was given up."""
    await place.open().close()
    steps = (*STEPS, Migration(NEWEST + 1, "SELECT pg_sleep(3)"))
    haste.port = 5432
    with pytest.raises(StorageRefused, match="does not answer in time"):
        PostgresJournal.open(place.address, place.options, steps)


async def test_of_many_that_open_it_first_one_makes_the_tables(place: Place) -> None:
    async with asyncio.TaskGroup() as tasks:
        opening = [tasks.create_task(asyncio.to_thread(lambda: place.open(guest=True))) for _ in range(5)]
    for each in opening:
        await each.result().close()
    assert place.ask("SELECT count(*) FROM versions") == [(NEWEST,)]
