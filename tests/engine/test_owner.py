"""Two processes on one journal: who performs effects, and what becomes of them when that changes. I10, E5, K2, K3.

Each engine stands for a process, with a journal of its own on the same facts; the test is the model of both.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from quell.core import facts as f
from quell.core import inputs as i
from quell.core.errors import AppendTimeout, Conflict, SessionNotFound
from quell.core.events import Deleted
from quell.core.facts import Recorded
from quell.core.messages import ToolMessage, UserMessage
from quell.core.session import Summary
from quell.engine import Options, owner
from quell.store.memory import MemoryJournal
from quell.testing.doorbells import Wire
from quell.testing.faults import FaultyJournal, Overtake, Refuse
from quell.testing.harness import Asked, Play, played

names = itertools.count(1)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner, "CLAIM_SECONDS", 0.001)


@dataclass
class Node:
    """`journal.seem_dead()` lets the other one claim."""

    play: Play
    journal: MemoryJournal
    faults: FaultyJournal

    @property
    def owns(self) -> bool:
        return self.play.engine.ownership.owned.is_set()


@asynccontextmanager
async def node(journal: MemoryJournal, wire: Wire, options: Options = Options()) -> AsyncIterator[Node]:
    bell, faults = wire.bell(), FaultyJournal(journal)
    async with played(faults, options, bell, name=f"{next(names)}-") as play:
        yield Node(play, journal, faults)
    bell.close()
    await journal.close()


@asynccontextmanager
async def two(options: Options = Options(), wire: Wire | None = None) -> AsyncIterator[tuple[Node, Node]]:
    """An owner, and a guest."""
    journal, wire = MemoryJournal(), wire or Wire()
    async with node(journal, wire, options) as first, node(journal.beside(), wire, options) as second:
        assert (first.owns, second.owns) == (True, False)
        yield first, second


def question(asked: Asked) -> str:
    return next(m.text for m in reversed(asked.request.messages) if isinstance(m, UserMessage))


async def outcomes(play: Play, session: str) -> list[str]:
    await play.idle(session)
    return [fact.outcome for fact in await play.facts(session) if isinstance(fact, f.RunSettled)]


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


# Takeover


async def test_k3_a_guest_takes_over_when_the_owner_is_gone() -> None:
    """K2. What ran is interrupted, no call is started twice, what waits goes on; a parked queue stays parked."""
    async with two() as (first, second):
        session, parked = await first.play.session(), await first.play.session(title="parked")
        await first.play.submit(parked, "parked one")
        (await first.play.asked()).say("so far")
        await first.play.submit(parked, "parked two")
        await first.play.cancel(parked, scope="active")
        await first.play.idle(parked)
        await first.play.submit(session, "one")
        (asked := await first.play.asked()).call("touch")
        asked.reply()
        touched = await first.play.touched()
        await second.play.submit(session, "two")
        assert (await second.play.engine.state(session)).busy
        first.faults.always = Refuse("the process died")
        first.journal.seem_dead()
        await second.play.engine.ownership.owned.wait()
        asked = await second.play.asked()
        assert question(asked) == "two"
        asked.reply()
        assert await outcomes(second.play, session) == ["interrupted", "completed"]
        results = [m for m in (await second.play.engine.transcript(session)).messages if isinstance(m, ToolMessage)]
        assert [m.result.status for m in results] == ["unknown"]
        state = await second.play.engine.state(parked)
        assert (state.parked, [entry.text for entry in state.waiting]) == (True, ["parked two"])
        assert second.play.nothing_asked
        await touched.stopped.wait()


async def test_race_owner_paused_and_resumed_records_nothing_and_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    """I10. It wakes with a reply and a result in hand. Fails when an append does not name its writer's claim."""
    monkeypatch.setattr(owner, "LOOK_SECONDS", 3600.0)  # it finds out by nothing but a refused append
    wire = Wire()
    async with two(wire=wire) as (first, second):
        sessions = [await first.play.session(title=title) for title in ("sampling", "calling")]
        await first.play.submit(sessions[0], "one")
        sampling = await first.play.asked()
        await first.play.submit(sessions[1], "two")
        (asked := await first.play.asked()).call("touch")
        asked.reply()
        touched = await first.play.touched()
        wire.cut = True
        first.journal.seem_dead()
        await second.play.engine.ownership.owned.wait()
        again = await second.play.asked()
        assert question(again) == "one"  # nothing of it was seen: it is due again
        sampling.reply()
        touched.finish()
        await first.play.engine.ownership.lost.wait()
        wire.cut = False
        again.say("from the new owner")
        again.reply()
        assert await outcomes(second.play, sessions[0]) == ["completed"]
        assert await outcomes(second.play, sessions[1]) == ["interrupted"]
        assert first.play.nothing_asked
        for session in sessions:  # as a guest it goes on
            await first.play.submit(session, "three")
            (await second.play.asked()).reply()
        assert await outcomes(first.play, sessions[0]) == ["completed", "completed"]
        assert await outcomes(first.play, sessions[1]) == ["interrupted", "completed"]
        for session in sessions:
            assert await first.play.facts(session) == await second.play.facts(session)


async def test_i10_an_owner_that_is_told_of_another_stops_at_once() -> None:
    """Before it has anything to record: its model is let go of, its tool is stopped."""
    async with two() as (first, second):
        session = await first.play.session()
        await first.play.submit(session, "one")
        sampling = await first.play.asked()
        first.journal.seem_dead()
        await sampling.closed.wait()
        assert (first.owns, second.owns) == (False, True)
        (await second.play.asked()).reply()
        assert await outcomes(first.play, session) == ["completed"]


async def test_race_owner_paused_and_resumed_stops_before_another_can_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    """I10. Its renewal gets no answer, as when the network between is gone. Nobody has claimed yet, and nothing of it runs any more.

    Fails when it waits for the answer.
    """
    monkeypatch.setattr(owner, "LOOK_SECONDS", 0.01)
    journal, wire = MemoryJournal(holds=1.0), Wire()
    async with node(journal, wire) as first, node(journal.beside(), wire) as second:
        sessions = [await first.play.session(title=title) for title in ("sampling", "calling")]
        await first.play.submit(sessions[0], "one")
        sampling = await first.play.asked()
        await first.play.submit(sessions[1], "two")
        (asked := await first.play.asked()).call("touch")
        asked.reply()
        touched = await first.play.touched()
        first.faults.unanswered = True
        await sampling.closed.wait()
        await touched.stopped.wait()
        assert (first.owns, second.owns) == (False, False)
        journal.seem_dead()
        (await second.play.asked()).reply()
        assert await outcomes(second.play, sessions[0]) == ["completed"]
        assert await outcomes(second.play, sessions[1]) == ["interrupted"]


async def test_i10_an_owner_that_renews_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """For longer than a claim holds by itself."""
    monkeypatch.setattr(owner, "LOOK_SECONDS", 0.01)
    async with node(MemoryJournal(holds=0.5), Wire()) as only:
        session = await only.play.session()
        await only.play.submit(session, "one")
        asked = await only.play.asked()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.7):
                await asked.closed.wait()
        asked.reply()
        assert await outcomes(only.play, session) == ["completed"]


async def test_i10_who_owned_before_may_own_again() -> None:
    """K3. What its first claim left unfinished is recovered as anybody's; nothing that it had started goes on."""
    async with two() as (first, second):
        session = await first.play.session()
        await first.play.submit(session, "one")
        sampling = await first.play.asked()
        first.journal.seem_dead()
        await second.play.engine.ownership.owned.wait()
        second_asked = await second.play.asked()
        second.journal.seem_dead()
        await first.play.engine.ownership.owned.wait()
        await second_asked.closed.wait()
        await sampling.closed.wait()
        assert await outcomes(first.play, session) == ["interrupted"]  # due again once, then interrupted
        await second.play.submit(session, "two")
        (await first.play.asked()).reply()
        assert await outcomes(second.play, session) == ["interrupted", "completed"]


async def test_k6_a_guest_that_leaves_settles_nothing() -> None:
    journal, wire = MemoryJournal(), Wire()
    async with node(journal, wire) as first:
        async with node(journal.beside(), wire) as guest:
            session = await guest.play.session()
            await guest.play.submit(session, "one")
            asked = await first.play.asked()
            await guest.play.engine.state(session)
        asked.reply()
        assert await outcomes(first.play, session) == ["completed"]


async def test_k6_an_owner_that_leaves_is_followed_at_once() -> None:
    journal, wire = MemoryJournal(), Wire()
    other = journal.beside()
    async with node(journal, wire) as first:
        session = await first.play.session()
        await first.play.submit(session, "one")
        (asked := await first.play.asked()).say("so far")
        await first.play.submit(session, "two")
        second = node(other, wire)
        guest = await second.__aenter__()
    asked = await guest.play.asked()
    assert question(asked) == "two"
    asked.reply()
    assert await outcomes(guest.play, session) == ["interrupted", "completed"]
    await second.__aexit__(None, None, None)


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
