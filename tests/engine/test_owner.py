"""Two processes on one journal: what a guest decides and the owner performs. I10, E5. What becomes of that when the owner changes: `test_takeover`."""

from __future__ import annotations

import asyncio

import pytest

from quell.core import facts as f
from quell.core import inputs as i
from quell.core.errors import AppendTimeout, Conflict, SessionNotFound
from quell.core.events import Deleted
from quell.core.facts import Recorded
from quell.core.session import Summary
from quell.engine import Options, owner
from quell.store.memory import MemoryJournal
from quell.testing.doorbells import Wire
from quell.testing.faults import FaultyJournal, Overtake
from quell.testing.harness import played
from tests.engine.nodes import Node, outcomes, question, two


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner, "CLAIM_SECONDS", 0.001)


async def test_i10_a_guest_decides_and_the_owner_performs() -> None:
    async with two() as (owner, guest):
        session = await guest.play.session()
        await guest.play.submit(session, "one")
        asked = await owner.play.asked()
        assert question(asked) == "one"
        await guest.play.submit(session, "two")
        asked.reply()
        (await owner.play.asked()).reply()
        assert await outcomes(guest.play, session) == ["completed", "completed"]
        assert guest.play.nothing_asked
        assert not any(isinstance(fact, f.RunRecovered) for fact in await guest.play.facts(session))
        assert (guest.play.engine.running, guest.play.engine.busy) == (0, 0)


async def test_e5_a_cancel_at_a_guest_stops_the_owner_s_run() -> None:
    async with two() as (owner, guest):
        session = await owner.play.session()
        await owner.play.submit(session, "one")
        asked = await owner.play.asked()
        covered = await guest.play.cancel(session)
        assert covered.run is not None
        await asked.closed.wait()
        assert await outcomes(guest.play, session) == ["cancelled"]


async def test_c2_what_a_guest_has_not_heard_of_yet_is_cancelled_dropped_and_refused_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A decision that writes nothing cannot be stale in the journal's eyes. Fails when it is not looked at again."""
    monkeypatch.setattr(owner, "LOOK_SECONDS", 3600.0)
    wire = Wire()
    async with two(wire=wire) as (first, guest):
        session = await first.play.session()
        await guest.play.engine.state(session)  # it has it open
        wire.cut = True
        one = await first.play.submit(session, "one")
        await first.play.asked()
        two_ = await first.play.submit(session, "two")
        await guest.play.engine.apply(session, i.Drop(entry=two_.prompt))
        with pytest.raises(Conflict):
            await guest.play.submit(session, "other", prompt=one.prompt)
        assert (await guest.play.cancel(session)).prompts == (one.prompt,)


async def test_e5_a_lost_ring_is_made_up_for_by_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a session that the owner has open, and in one that it has not."""
    monkeypatch.setattr(owner, "LOOK_SECONDS", 0.01)
    wire = Wire()
    async with two(wire=wire) as (first, guest):
        session = await first.play.session()
        await first.play.submit(session, "one")
        asked = await first.play.asked()
        wire.cut = True
        await guest.play.cancel(session)
        await asked.closed.wait()
        other = await guest.play.session(title="other")
        await guest.play.submit(other, "two")
        (await first.play.asked()).reply()
        assert await outcomes(guest.play, other) == ["completed"]


async def test_e5_who_follows_at_a_guest_sees_the_facts_live() -> None:
    async with two() as (owner, guest):
        session = await owner.play.session()
        async with guest.play.engine.follow(session, 0) as events:
            seen = list(await anext(events))
            await owner.play.submit(session, "one")
            (await owner.play.asked()).reply()
            while not any(isinstance(e, Recorded) and isinstance(e.fact, f.RunSettled) for e in seen):
                seen += await anext(events)
        numbers = [event.seq for event in seen if isinstance(event, Recorded)]
        assert numbers == list(range(1, len(numbers) + 1))


async def test_e5_the_list_of_sessions_at_a_guest_is_live() -> None:
    async with two() as (owner, guest):
        first = await owner.play.session()
        async with guest.play.engine.follow_all(None) as changes:
            rows = list(await anext(changes))
            await owner.play.submit(first, "one")
            while not any(isinstance(row, Summary) and row.id == first and row.busy for row in rows):
                rows += await anext(changes)


async def test_k7_a_deletion_at_a_guest_is_carried_out_and_told_everywhere() -> None:
    async with two() as (owner, guest):
        session = await guest.play.session()
        await guest.play.submit(session, "one")
        asked = await owner.play.asked()
        async with guest.play.engine.follow(session, 0) as at_guest, owner.play.engine.follow(session, 0) as at_owner:
            await guest.play.engine.apply(session, i.Delete())
            for events in (at_guest, at_owner):
                assert [event async for batch in events for event in batch][-1] == Deleted(session)
        assert asked.closed.is_set()
        with pytest.raises(SessionNotFound):
            await guest.play.engine.state(session)


async def test_i10_a_permission_is_answered_at_a_guest() -> None:
    async with two() as (owner, guest):
        session = await owner.play.session()
        await owner.play.submit(session, "one")
        (asked := await owner.play.asked()).call("touch", outside=True)
        asked.reply()
        state = await guest.play.until(session, lambda state: bool(state.awaiting))
        request = state.awaiting[0].request
        assert request is not None
        await guest.play.engine.apply(session, i.Answer(request=request, option="allow_once"))
        (await owner.play.touched()).finish()
        (await owner.play.asked()).reply()
        assert await outcomes(guest.play, session) == ["completed"]


async def test_race_two_processes_on_one_database_deciding_at_once_lose_and_double_nothing() -> None:
    """I1, I3, I10. Both submit to one session as fast as they can.

    Fails when a stale append is not decided again, or when a guest performs what is due.
    """
    async with two() as (owner, guest):
        session = await owner.play.session()

        async def submit(node: Node, name: str) -> None:
            for number in range(20):
                await node.play.submit(session, f"{name}{number}", prompt=f"{name}{number}")

        async def answer() -> list[str]:
            asked = []
            for _ in range(40):
                each = await owner.play.asked()
                asked.append(question(each))
                each.reply()
            return asked

        async with asyncio.TaskGroup() as group:
            answering = group.create_task(answer())
            group.create_task(submit(owner, "a"))
            group.create_task(submit(guest, "b"))
        assert sorted(answering.result()) == sorted(f"{name}{n}" for name in "ab" for n in range(20))
        facts = await guest.play.facts(session)
        accepted = [fact.prompt for fact in facts if isinstance(fact, f.PromptAccepted)]
        assert answering.result() == accepted
        assert await outcomes(owner.play, session) == ["completed"] * 40
        assert guest.play.nothing_asked


async def test_i10_a_cancel_where_nobody_knows_yet_that_another_owns_is_accepted_and_settled_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What the former owner would report with it is refused, and not the cancel."""
    monkeypatch.setattr(owner, "LOOK_SECONDS", 3600.0)
    wire = Wire()
    async with two(wire=wire) as (former, other):
        session = await former.play.session()
        await former.play.submit(session, "one")
        await former.play.asked()
        wire.cut = True
        former.journal.seem_dead()
        asked = await other.play.asked()  # it has recovered the run, and asks again
        assert former.owns
        assert (await former.play.cancel(session)).run is not None
        assert former.play.engine.ownership.lost.is_set()
        wire.cut = False
        await other.play.engine.apply(session, i.Change(title="look"))
        await asked.closed.wait()
        assert await outcomes(other.play, session) == ["cancelled"]


# Contention


async def test_k5_an_outcome_that_other_writers_are_always_faster_than_is_kept() -> None:
    """Fails when `AppendTimeout` drops what has no other copy."""
    journal = FaultyJournal(MemoryJournal())
    async with played(journal, Options(append_timeout=-1.0)) as play:
        session = await play.session()
        await play.submit(session, "one")
        asked = await play.asked()
        journal.plan[journal.appends + 1] = Overtake()
        asked.reply()
        assert await outcomes(play, session) == ["completed"]
        journal.plan[journal.appends + 1] = Overtake()
        with pytest.raises(AppendTimeout):
            await play.submit(session, "two")
        await play.submit(session, "three")
        assert question(await play.asked()) == "three"


async def test_k5_a_cancel_that_other_writers_are_always_faster_than_stops_the_work_first() -> None:
    journal = FaultyJournal(MemoryJournal())
    async with played(journal, Options(append_timeout=-1.0)) as play:
        session = await play.session()
        await play.submit(session, "one")
        asked = await play.asked()
        journal.plan[journal.appends + 1] = Overtake()
        with pytest.raises(AppendTimeout):
            await play.cancel(session)
        await asked.closed.wait()
        assert await outcomes(play, session) == ["cancelled"]
