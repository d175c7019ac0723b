"""What every journal must do, as checks to run on yours. `faults` has one that fails on purpose.

    @pytest.mark.parametrize("check", CONTRACT, ids=name)
    async def test_contract(check):
        await check(MyJournal())

Each check gets an empty journal and leaves it open. Survival of crashes and of power loss is not checked here: that
takes a real disk, and is the business of the journal's own tests.

Who owns is a matter of two processes as well: `ownership` has the checks for that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from msgspec.structs import replace

from quell.core import inputs as i
from quell.core.decide import decide
from quell.core.errors import StaleOwner, StaleWriter, StorageRefused
from quell.core.evolve import fold
from quell.core.facts import Recorded
from quell.core.messages import Reply, Text
from quell.core.ports import Claim, Draft, Journal, Snapshot, position
from quell.core.session import Session, Summary, summary
from quell.wire import times

Check = Callable[[Journal], Awaitable[None]]


LONG = 64 * 1024


def name(check: Callable[..., object]) -> str:
    return getattr(check, "__name__", repr(check))


def moment(milliseconds: int) -> str:
    """Times that follow each other, without a clock."""
    return times.later("2026-11-02T09:30:00.000Z", milliseconds / 1000)


class Author:
    """Writes a session as the engine does: decide, append, go on from the new state."""

    def __init__(self, journal: Journal, id: str = "s1") -> None:
        self.journal = journal
        self.id = id
        self.session = Session()
        self.time = 0

    def decide(self, input: i.Input) -> tuple[Sequence[Recorded], Session]:
        decision = decide(self.session, input, moment(self.time))
        return decision.records, decision.session

    async def write(self, input: i.Input, at: int | None = None, generation: int | None = None) -> Sequence[Recorded]:
        """One decision; a millisecond after the last one unless told otherwise."""
        self.time = self.time + 1 if at is None else at
        records, session = self.decide(input)
        await self.journal.append(self.id, self.session.seq, records, summary(session), generation)
        self.session = session
        return records

    async def create(self, workspace: str = "/work", title: str = "A session", at: int | None = None) -> Author:
        await self.write(i.Create(session=self.id, workspace=workspace, title=title), at)
        return self

    async def prompt(self, text: str = "Repair the tests.", at: int | None = None) -> str:
        """Submit a prompt; returns its id."""
        id = f"p{self.session.seq + 1}"
        await self.write(i.Submit(prompt=id, text=text), at)
        return id

    async def reply(self, text: str = "Done.", generation: int | None = None) -> None:
        """The model answers what is asked of it now, and the run settles."""
        run = self.session.run
        assert run is not None, "nothing was asked"
        reply = Reply(parts=(Text(text),))
        await self.write(i.SampleReplied(run=run.id, turn=run.turn, attempt=1, reply=reply), generation=generation)

    @property
    def run(self) -> str:
        assert self.session.run is not None, "nothing runs"
        return self.session.run.id

    @property
    def message(self) -> str:
        """The message that is being written now."""
        assert self.session.run is not None, "nothing was asked"
        return self.session.run.message


async def stale(append: Awaitable[object]) -> None:
    try:
        await append
    except StaleWriter:
        return
    raise AssertionError("a stale append was accepted")


async def _all_rows(journal: Journal) -> Sequence[Summary]:
    return await journal.summaries(limit=1000)


# Facts


async def an_unknown_session_is_empty(journal: Journal) -> None:
    assert list(await journal.read("nobody")) == []
    assert await journal.summary("nobody") is None
    assert await journal.draft("nobody") is None
    assert list(await journal.busy()) == []
    assert list(await _all_rows(journal)) == []
    await journal.delete("nobody")
    assert list(await _all_rows(journal)) == []


async def facts_are_read_in_order(journal: Journal) -> None:
    author = await Author(journal).create()
    written = list(await journal.read("s1"))
    for _ in range(3):
        await author.prompt()
        await author.reply()
    other = await Author(journal, "s2").create()
    facts = list(await journal.read("s1"))
    assert [recorded.seq for recorded in facts] == list(range(1, author.session.seq + 1))
    assert facts[:1] == written
    assert list(await journal.read("s1", after=2)) == facts[2:]
    assert list(await journal.read("s1", after=2, limit=3)) == facts[2:5]
    assert list(await journal.read("s1", after=author.session.seq)) == []
    assert list(await journal.read("s1", limit=0)) == []
    assert len(await journal.read("s2")) == other.session.seq


async def an_append_may_hold_many_facts(journal: Journal) -> None:
    author = await Author(journal).create()
    session, records = author.session, list[Recorded]()
    for number in range(130):
        decision = decide(session, i.Submit(prompt=f"p{number}", text=f"Number {number}.", queue_limit=1000), moment(2))
        session = decision.session
        records += decision.records
    await journal.append("s1", 1, records, summary(session))
    assert list(await journal.read("s1", after=1)) == records
    assert await journal.summary("s1") == summary(session)


async def a_stale_append_writes_nothing(journal: Journal) -> None:
    author = await Author(journal).create()
    late = Author(journal)
    late.session, late.time = author.session, author.time
    await author.prompt("First.")
    before = (list(await journal.read("s1")), await journal.summary("s1"))
    await stale(late.write(i.Change(title="late")))
    ahead = Author(journal)
    ahead.session = fold([*before[0], *author.decide(i.Change(title="unwritten"))[0]])
    await stale(ahead.write(i.Change(title="ahead")))
    await stale(Author(journal).create())
    assert (list(await journal.read("s1")), await journal.summary("s1")) == before
    records, session = author.decide(i.Change(title="of a session that is not there"))
    row = replace(summary(session), id="s2")
    await stale(journal.append("s2", author.session.seq, records, row))
    assert await journal.summary("s2") is None


async def of_many_writers_one_is_first(journal: Journal) -> None:
    origin = await Author(journal).create()
    landed: list[str] = []

    async def write(title: str) -> None:
        author = Author(journal)
        author.session = origin.session
        with suppress(StaleWriter):
            await author.write(i.Change(title=title))
            landed.append(title)

    async with asyncio.TaskGroup() as tasks:
        for number in range(20):
            tasks.create_task(write(f"writer {number}"))
    row = await journal.summary("s1")
    assert row is not None
    assert landed == [row.title]
    assert len(await journal.read("s1")) == 2


async def a_row_is_the_fold_of_the_facts(journal: Journal) -> None:
    authors = [await Author(journal, f"s{number}").create(title=f"Number {number}") for number in range(3)]
    for author in authors:
        await author.prompt()
    await authors[0].reply()
    await authors[1].write(i.Cancel(scope="active"))
    await authors[2].write(i.Submit(prompt="p9", text="And the documentation."))
    for author in authors:
        row = await journal.summary(author.id)
        assert row == summary(author.session)
        assert row == summary(fold(await journal.read(author.id)))
    assert list(await journal.busy()) == ["s1", "s2"]
    rows = {row.id: row for row in await _all_rows(journal)}
    assert rows == {author.id: summary(author.session) for author in authors}


async def long_facts_come_back_whole(journal: Journal) -> None:
    author = await Author(journal).create()
    texts = ["x" * LONG, "ü" * LONG, "x" * (LONG // 2), "\x00\n\u2028🙂" * LONG, "x" * LONG]
    for text in texts:
        await author.prompt(text)
    entries = [entry.text for entry in fold(await journal.read("s1")).waiting]
    assert entries == texts[1:]
    assert [recorded.seq for recorded in await journal.read("s1", after=3, limit=2)] == [4, 5]


async def a_cancelled_append_is_carried_out(journal: Journal) -> None:
    """C10: the facts that settle a run are written even when the task writing them is being cancelled."""
    author = await Author(journal).create()
    records, session = author.decide(i.Change(title="written all the same"))
    begun = asyncio.Event()

    async def append() -> None:
        begun.set()
        await journal.append("s1", 1, records, summary(session))

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(append())
        await begun.wait()
        task.cancel()
    author.session = session
    await author.write(i.Change(title="and the next"))
    assert len(await journal.read("s1")) == 3


async def mistakes_of_the_caller_are_no_refusals(journal: Journal) -> None:
    author = await Author(journal).create()
    records, session = author.decide(i.Submit(prompt="p1", text="Go."))
    row = summary(session)
    mistakes: list[tuple[str, int, Sequence[Recorded], Summary]] = [
        ("s1", 1, (), summary(author.session)),
        ("s1", 0, records, row),
        ("s1", 1, records[1:], row),
        ("s1", 1, records[::-1], row),
        ("s2", 1, records, row),
        ("s1", 1, records, summary(author.session)),
    ]
    for mistake in mistakes:
        try:
            await journal.append(*mistake)
        except ValueError:
            continue
        raise AssertionError(f"accepted: {mistake}")
    assert len(await journal.read("s1")) == 1


# Lists


async def rows_are_listed_newest_first(journal: Journal) -> None:
    for number, (id, workspace) in enumerate([("a", "/one"), ("b", "/two"), ("c", "/one"), ("d", "/one")]):
        await Author(journal, id).create(workspace=workspace, title=f"Title {id}", at=min(number, 2))
    assert [row.id for row in await _all_rows(journal)] == ["d", "c", "b", "a"]  # two at the same moment: by id
    assert [row.id for row in await journal.summaries(limit=2)] == ["d", "c"]
    assert [row.id for row in await journal.summaries(workspace="/one")] == ["d", "c", "a"]
    assert list(await journal.summaries(workspace="/o")) == []
    assert [row.id for row in await journal.summaries(workspace="/one", query="title C")] == ["c"]


async def titles_are_searched_in_any_case(journal: Journal) -> None:
    for id, title in {"a": "Ärger mit der Straße", "b": "100% done", "c": "100 done"}.items():
        await Author(journal, id).create(title=title)
    assert [row.id for row in await journal.summaries(query="äRGER")] == ["a"]
    assert [row.id for row in await journal.summaries(query="STRASSE")] == ["a"]
    assert [row.id for row in await journal.summaries(query="0% d")] == ["b"]
    assert list(await journal.summaries(query="nothing like it")) == []


async def sub_agents_are_listed_by_their_parent(journal: Journal) -> None:
    await Author(journal, "a").create(at=1)
    for at, (id, parent) in enumerate((("b", "a"), ("c", "a"), ("d", "b")), 2):
        author = Author(journal, id)
        await author.write(i.Create(session=id, workspace="/work", parent=parent), at)
        await author.prompt(at=10 * at)
    assert [row.id for row in await journal.summaries(parent="a")] == ["c", "b"]
    assert [row.id for row in await journal.summaries(parent="a", limit=1)] == ["c"]
    assert [row.id for row in await journal.summaries(parent="")] == ["a"]
    assert [row.id for row in await journal.summaries(parent="b", workspace="/work")] == ["d"]
    assert list(await journal.summaries(parent="nobody")) == []
    assert [row.id for row in await _all_rows(journal)] == ["d", "c", "b", "a"]


async def pages_are_stable(journal: Journal) -> None:
    """Also when the session that ended a page moves to the front, or is deleted, before the next one is asked for."""
    authors = {id: await Author(journal, id).create(at=number) for number, id in enumerate("abcdefg")}
    first = await journal.summaries(limit=3)
    assert [row.id for row in first] == ["g", "f", "e"]
    await authors["e"].write(i.Change(title="moved"), at=100)
    second = await journal.summaries(limit=2, before=position(first[-1]))
    assert [row.id for row in second] == ["d", "c"]
    await journal.delete("c")
    third = await journal.summaries(limit=3, before=position(second[-1]))
    assert [row.id for row in third] == ["b", "a"]
    assert list(await journal.summaries(before=position(third[-1]))) == []


# Drafts


def draft(message: str, text: str) -> Draft:
    return Draft(message, Reply(parts=(Text(text),)))


async def the_last_draft_is_kept(journal: Journal) -> None:
    author = await Author(journal).create()
    await author.prompt()
    for text in ("I", "I will", "I will look"):
        await journal.save_draft("s1", draft(author.message, text))
    await author.write(i.Change(title="something else"))
    assert await journal.draft("s1") == draft(author.message, "I will look")
    async with asyncio.TaskGroup() as tasks:
        for number in range(20):
            tasks.create_task(journal.save_draft("s1", draft(author.message, f"number {number}")))
    assert await journal.draft("s1") == draft(author.message, "number 19")


async def a_recorded_message_has_no_draft(journal: Journal) -> None:
    author = await Author(journal).create()
    await author.prompt()
    await author.prompt()
    failed = author.message
    await journal.save_draft("s1", draft(failed, "I"))
    await author.write(
        i.SampleFailed(run=author.run, turn=1, attempt=1, failure="overloaded", detail="503", retry_at=moment(9))
    )
    assert await journal.draft("s1") is None
    replied = author.message
    await journal.save_draft("s1", draft(failed, "too late"))
    assert await journal.draft("s1") is None
    await journal.save_draft("s1", draft(replied, "I will"))
    await journal.save_draft("s1", draft(failed, "too late, and the other stays"))
    assert await journal.draft("s1") == draft(replied, "I will")
    await author.write(i.SampleReplied(run=author.run, turn=1, attempt=2, reply=Reply(parts=(Text("I did."),))))
    assert await journal.draft("s1") is None
    await journal.save_draft("s1", draft(replied, "too late"))
    assert await journal.draft("s1") is None
    await journal.save_draft("s1", draft(author.message, "of the next run"))
    assert await journal.draft("s1") == draft(author.message, "of the next run")


async def a_draft_needs_a_session(journal: Journal) -> None:
    await journal.save_draft("s1", draft("r3-1-1", "nobody asked"))
    author = await Author(journal).create()
    assert await journal.draft("s1") is None
    await author.prompt()
    await journal.save_draft("s1", draft(author.message, "I"))
    await journal.delete("s1")
    await journal.save_draft("s1", draft(author.message, "I will"))
    assert await journal.draft("s1") is None


# Snapshots


async def the_last_snapshot_is_kept_as_long_as_the_session(journal: Journal) -> None:
    older, newer = Snapshot(1, moment(1), "a", b"\x00state", b"view"), Snapshot(2, moment(2), "b", b"", b"\xff" * LONG)
    await journal.save_snapshot("s1", older)
    assert await journal.snapshot("s1") is None
    author = await Author(journal).create()
    assert await journal.snapshot("s1") is None
    for snapshot in (older, newer):
        await journal.save_snapshot("s1", snapshot)
        assert await journal.snapshot("s1") == snapshot
    await author.prompt()
    assert await journal.snapshot("s1") == newer
    await journal.delete("s1")
    assert await journal.snapshot("s1") is None
    await journal.save_snapshot("s1", older)
    assert await journal.snapshot("s1") is None


# Owning


async def stale_owner(call: Awaitable[object]) -> None:
    try:
        await call
    except StaleOwner:
        return
    raise AssertionError("what a former owner wrote was accepted")


async def claimed(journal: Journal) -> Claim:
    claim = await journal.claim()
    assert claim is not None, "it could not be claimed"
    return claim


async def a_claim_raises_the_generation_and_names_what_is_unfinished(journal: Journal) -> None:
    author = await Author(journal).create()
    first = await claimed(journal)
    assert first.unfinished == ()
    await author.prompt()
    second = await claimed(journal)
    assert (second.unfinished, second.generation > first.generation) == (("s1",), True)
    await journal.renew(second.generation)
    await stale_owner(journal.renew(first.generation))


async def only_the_owner_writes_what_carries_its_generation(journal: Journal) -> None:
    author = await Author(journal).create()
    generation = (await claimed(journal)).generation
    await author.write(i.Submit(prompt="p1", text="Go."), generation=generation)
    await author.prompt()
    await journal.save_draft("s1", draft(author.message, "I"), generation)
    await author.reply(generation=generation)
    await journal.delete("s1", generation)
    assert await journal.summary("s1") is None


# The end


async def a_deleted_session_is_forgotten(journal: Journal) -> None:
    author = await Author(journal).create(title="to be forgotten")
    other = await Author(journal, "s2").create(title="to be kept")
    shared = i.Submit(prompt="p1", text="x" * LONG)
    for each in (author, other):
        await each.write(shared)  # the same long fact at the same place: a journal may keep it once
    await journal.save_draft("s1", draft(author.message, "I"))
    kept = list(await journal.read("s2"))
    await journal.delete("s1")
    assert list(await journal.read("s1")) == []
    assert await journal.summary("s1") is None
    assert await journal.draft("s1") is None
    assert list(await journal.busy()) == ["s2"]
    assert [row.id for row in await _all_rows(journal)] == ["s2"]
    assert list(await journal.read("s2")) == kept
    await journal.delete("s1")


async def the_id_of_a_deleted_session_is_not_used_again(journal: Journal) -> None:
    author = await Author(journal).create()
    await author.prompt()
    await journal.delete("s1")
    await stale(author.reply())
    await stale(Author(journal).create())
    assert await journal.summary("s1") is None


async def a_closed_journal_refuses(journal: Journal) -> None:
    author = await Author(journal).create()
    await journal.close()
    await journal.close()
    calls: list[Awaitable[object]] = [
        author.prompt(),
        journal.read("s1"),
        journal.summary("s1"),
        journal.summaries(),
        journal.busy(),
        journal.draft("s1"),
        journal.save_draft("s1", draft("r3-1-1", "I")),
        journal.save_snapshot("s1", Snapshot(1, moment(1), "a", b"", b"")),
        journal.snapshot("s1"),
        journal.renew(1),
        journal.version(),
        journal.delete("s1"),
    ]
    for call in calls:
        try:
            await call
        except StorageRefused:
            continue
        raise AssertionError("a closed journal answered")


CONTRACT: tuple[Check, ...] = (
    an_unknown_session_is_empty,
    facts_are_read_in_order,
    an_append_may_hold_many_facts,
    a_stale_append_writes_nothing,
    of_many_writers_one_is_first,
    a_row_is_the_fold_of_the_facts,
    long_facts_come_back_whole,
    a_cancelled_append_is_carried_out,
    mistakes_of_the_caller_are_no_refusals,
    rows_are_listed_newest_first,
    titles_are_searched_in_any_case,
    sub_agents_are_listed_by_their_parent,
    pages_are_stable,
    the_last_draft_is_kept,
    a_recorded_message_has_no_draft,
    a_draft_needs_a_session,
    the_last_snapshot_is_kept_as_long_as_the_session,
    a_claim_raises_the_generation_and_names_what_is_unfinished,
    only_the_owner_writes_what_carries_its_generation,
    a_deleted_session_is_forgotten,
    the_id_of_a_deleted_session_is_not_used_again,
    a_closed_journal_refuses,
)
