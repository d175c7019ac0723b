"""Two processes on one journal: the owner ends, or is paused, or cannot renew its claim, and another takes over. I10, K2, K3, K6.

Where a claim ends by itself, time is virtual: on a machine that stands still it would end where the story does not say so.
"""

from __future__ import annotations

import asyncio

import pytest

from quell.core import facts as f
from quell.core import inputs as i
from quell.core.errors import SessionNotFound
from quell.core.messages import AssistantMessage, Text, ToolMessage
from quell.engine import owner
from quell.store.memory import MemoryJournal
from quell.testing.doorbells import Wire
from quell.testing.faults import Hold, Refuse
from tests.engine.nodes import node, outcomes, question, two
from tests.engine.virtual import in_virtual_time


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner, "CLAIM_SECONDS", 0.001)


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


async def test_race_owner_paused_and_resumed_begins_nothing_that_another_has_begun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """I10, K3. It reads what the new owner has recorded before anything tells it that there is one. Found by the simulation.

    Fails when whoever reads facts does not read whose they are: the call is executed twice.
    """
    monkeypatch.setattr(owner, "LOOK_SECONDS", 3600.0)
    wire = Wire()
    async with two(wire=wire) as (first, second):
        session = await first.play.session()
        wire.cut = True
        bell = wire.bell()
        first.journal.seem_dead()
        await second.play.engine.ownership.owned.wait()
        await second.play.submit(session, "one")
        (asked := await second.play.asked()).call("touch")
        asked.reply()
        touched = await second.play.touched()
        wire.cut = False
        bell.ring(session)
        await first.play.until(session, lambda state: state.run is not None)
        touched.finish()
        (await second.play.asked()).reply()
        assert await outcomes(first.play, session) == ["completed"]
        assert not first.owns
        assert first.play.nothing_touched


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


@in_virtual_time
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


@in_virtual_time
async def test_race_owner_paused_and_resumed_stops_in_time_also_while_an_append_gets_no_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """I10. The network between is gone, and the session waits for it to take a prompt.

    Fails when what runs is stopped by the session alone, which does nothing meanwhile.
    """
    monkeypatch.setattr(owner, "LOOK_SECONDS", 0.01)
    journal, wire = MemoryJournal(holds=1.0), Wire()
    async with node(journal, wire) as first, node(journal.beside(), wire) as second:
        session = await first.play.session()
        await first.play.submit(session, "one")
        (asked := await first.play.asked()).call("touch")
        asked.reply()
        touched = await first.play.touched()
        first.faults.always = Hold()
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(first.play.submit(session, "two"))
            await first.faults.until_held()
            first.faults.unanswered = True
            await touched.stopped.wait()
            assert not waiting.done()
            first.faults.always = None
            await first.faults.release()
        journal.seem_dead()
        (await second.play.asked()).reply()
        assert await outcomes(second.play, session) == ["interrupted", "completed"]


async def test_i10_what_was_found_out_under_a_claim_that_is_over_is_not_recorded_under_the_next() -> None:
    """The owner loses its claim and has it again before it has looked at a reply: by then the run has been recovered, and may be another's."""
    journal, wire = MemoryJournal(), Wire()
    async with node(journal, wire) as only:
        session = await only.play.session()
        await only.play.submit(session, "one")
        asked = await only.play.asked()
        only.faults.plan[only.faults.appends + 1] = Hold()
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(only.play.submit(session, "two"))
            await only.faults.until_held()
            asked.reply()  # it waits behind the prompt
            await asked.closed.wait()
            only.play.engine.ownership.lose(only.play.engine.ownership.generation)
            await only.play.engine.ownership.owned.wait()
            await only.faults.release()
        assert waiting.result().run is None
        again = await only.play.asked()
        again.say("from the new claim")
        again.reply()
        (await only.play.asked()).reply()
        assert await outcomes(only.play, session) == ["completed", "completed"]


@in_virtual_time
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


async def test_k6_a_guest_that_takes_over_and_leaves_at_once_settles_what_it_has_not_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """K3. It was asked for the session before there was one. Found by the torture: its actor failed.

    Fails when an actor that is closed before it has recovered takes what it knows for what there is.
    """
    monkeypatch.setattr(owner, "LOOK_SECONDS", 3600.0)
    wire = Wire()
    async with two(wire=wire) as (first, guest):
        with pytest.raises(SessionNotFound):
            await guest.play.engine.state("s")
        wire.cut = True
        await first.play.engine.apply("s", i.Create(session="s", workspace="/work", model="played/model"))
        await first.play.submit("s", "one")
        (asked := await first.play.asked()).call("touch")
        asked.reply()
        await first.play.touched()
        first.journal.seem_dead()
        await guest.play.engine.ownership.owned.wait()
        await guest.play.engine.shutdown()
        settled = [record.fact for record in await first.journal.read("s") if isinstance(record.fact, f.RunSettled)]
        assert [fact.outcome for fact in settled] == ["interrupted"]


async def test_e5_c7_what_streams_in_a_session_that_the_owner_opens_for_a_guest_s_prompt_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """K3. Found by the simulation: its text was in no draft, and a cancel lost it.

    Fails when what was recorded before a message began counts as its end.
    """
    monkeypatch.setattr(owner, "LOOK_SECONDS", 0.01)
    wire = Wire()
    async with two(wire=wire) as (first, second):
        session = await first.play.session()
        await first.play.submit(session, "one")
        (await first.play.asked()).reply()
        await first.play.idle(session)
        first.journal.seem_dead()
        await second.play.engine.ownership.owned.wait()
        await first.play.engine.ownership.lost.wait()
        wire.cut = True
        await first.play.submit(session, "two")
        (asked := await second.play.asked()).say("so far")
        await first.play.cancel(session)
        await asked.closed.wait()
        assert await outcomes(first.play, session) == ["completed", "cancelled"]
        messages = (await first.play.engine.transcript(session)).messages
        assert [part for m in messages if isinstance(m, AssistantMessage) for part in m.parts][-1:] == [Text("so far")]
