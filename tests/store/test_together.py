"""What one batch of the writing thread writes together, and what becomes of it when one of those is too late."""

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import msgspec
import pytest

from quell.core import inputs as i
from quell.core.errors import StaleOwner, StaleWriter
from quell.core.evolve import fold
from quell.core.messages import Reply, Text
from quell.core.ports import Claim, Draft
from quell.core.session import summary
from quell.store import writing
from quell.store.database import connect_writer
from quell.store.orders import appended, drafted
from quell.store.sqlite import SqliteJournal, SqliteOptions
from quell.store.thread import Order
from quell.store.writing import LONG, Own, Write, Writer
from quell.testing.journals import Author

CROWD = 30


class Batches:
    """A journal's file with a crowd of sessions that each have a draft, and the writer, whose statements are noted."""

    def __init__(self, path: Path, authors: list[Author]) -> None:
        self.path = path
        self.authors = authors
        self.statements: list[str] = []
        connect = partial(connect_writer, path, SqliteOptions())
        connection = connect()
        connection.set_trace_callback(self.statements.append)
        self.writer = Writer(path, connection, connect)

    async def write(self, *orders: Order[Write]) -> list[object]:
        """What each is answered or refused with."""
        self.writer.work(orders)
        Order.deliver(orders)
        return [await _outcome(order) for order in orders]


async def _outcome(order: Order[Write]) -> object:
    try:
        return await order.outcome()
    except (StaleWriter, StaleOwner) as error:
        return error


def prompted(author: Author, generation: int | None = None, text: str = "And now?") -> Order[Write]:
    """Its author goes on from what that leads to."""
    records, session = author.decide(i.Submit(prompt=f"q{author.session.seq}", text=text))
    order: Order[Write] = Order(appended(author.id, author.session.seq, records, summary(session), generation))
    author.session = session
    return order


def replied(author: Author) -> Order[Write]:
    assert author.session.run is not None
    run = author.session.run
    records, session = author.decide(
        i.SampleReplied(run=run.id, turn=run.turn, attempt=1, reply=Reply(parts=(Text("Done."),)))
    )
    order: Order[Write] = Order(appended(author.id, author.session.seq, records, summary(session), None))
    author.session = session
    return order


def draft(author: Author, text: str, generation: int | None = None) -> Order[Write]:
    return Order(drafted(author.id, Draft(author.message, Reply(parts=(Text(text),))), generation))


@pytest.fixture
async def batches(tmp_path: Path) -> AsyncIterator[Batches]:
    path = tmp_path / "journal.db"
    journal = SqliteJournal.open(path)
    authors = [await Author(journal, f"s{number}").create() for number in range(CROWD)]
    for author in authors:
        await author.prompt()
        await journal.save_draft(author.id, Draft(author.message, Reply(parts=(Text("I"),))))
    await journal.close()
    made = Batches(path, authors)
    yield made
    made.writer.close()
    journal = SqliteJournal.open(path)
    for author in authors:  # nothing else was written
        assert fold(await journal.read(author.id)) == author.session
        assert await journal.summary(author.id) == summary(author.session)
    await journal.close()


def drafts(path: Path) -> dict[str, str]:
    """The texts, by session."""
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute("SELECT id, reply FROM drafts JOIN sessions ON key = session").fetchall()
    replies = {session: msgspec.json.decode(reply, type=Reply) for session, reply in found}
    return {session: part.text for session, reply in replies.items() for part in reply.parts if isinstance(part, Text)}


async def test_a_crowd_of_appends_takes_as_many_statements_as_one(batches: Batches) -> None:
    assert await batches.write(prompted(batches.authors[0])) == [None]
    alone = len(batches.statements)
    batches.statements.clear()
    assert await batches.write(*map(prompted, batches.authors)) == [None] * CROWD
    assert len(batches.statements) == alone == 4  # begin, the rows, the facts, commit


async def test_a_crowd_of_drafts_takes_as_many_statements_as_one(batches: Batches) -> None:
    for _ in range(2):  # the first one also says that nobody has to wait for the disk
        batches.statements.clear()
        await batches.write(draft(batches.authors[0], "alone"))
    alone = len(batches.statements)
    batches.statements.clear()
    assert await batches.write(*(draft(author, f"of {author.id}") for author in batches.authors)) == [None] * CROWD
    assert len(batches.statements) == alone
    assert drafts(batches.path) == {author.id: f"of {author.id}" for author in batches.authors}


async def test_replies_take_the_place_of_their_own_drafts_only(batches: Batches) -> None:
    ending, going_on = batches.authors[:10], batches.authors[10:]
    orders = [replied(author) if author in ending else draft(author, "more") for author in batches.authors]
    assert await batches.write(*orders) == [None] * CROWD
    assert drafts(batches.path) == {author.id: "more" for author in going_on}


async def test_what_one_session_writes_twice_in_a_batch_is_written_in_order(batches: Batches) -> None:
    one, two, *others = batches.authors
    orders = [draft(one, "before"), replied(one), prompted(two), *map(prompted, others)]
    orders.append(prompted(two, text="x" * LONG))
    assert await batches.write(*orders) == [None] * len(orders)
    assert one.id not in drafts(batches.path)


@pytest.mark.parametrize("together", [True, False], ids=["together", "with an older library"])
async def test_one_that_is_too_late_is_refused_alone(
    batches: Batches, together: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "TOGETHER", together)
    late = Author(batches.authors[3].journal, "s3")
    late.session = batches.authors[3].session
    await batches.write(prompted(batches.authors[3]))
    orders = [prompted(late) if author.id == "s3" else prompted(author) for author in batches.authors]
    found = await batches.write(*orders, draft(batches.authors[3], "goes on"))
    assert isinstance(found.pop(3), StaleWriter)
    assert found == [None] * CROWD
    assert drafts(batches.path)["s3"] == "goes on"


@pytest.mark.parametrize("write", [prompted, lambda author, generation: draft(author, "late", generation)])
async def test_i10_of_a_batch_nothing_is_kept_that_comes_after_another_claim(
    batches: Batches, write: Callable[[Author, int], Order[Write]]
) -> None:
    """The one before the claim, which is in the same batch, is in time."""
    (claim,) = await batches.write(Order(Own()))
    assert isinstance(claim, Claim)
    one, two, three, *_ = batches.authors
    before = [author.session for author in (two, three)]
    orders: list[Order[Write]] = [
        write(one, claim.generation),
        Order(Own()),
        write(two, claim.generation),
        write(three, claim.generation),
    ]
    in_time, _, *late = await batches.write(*orders)
    assert in_time is None
    assert all(isinstance(each, StaleOwner) for each in late)
    two.session, three.session = before
    assert not {"s1", "s2"} & {id for id, text in (drafts(batches.path)).items() if text == "late"}
