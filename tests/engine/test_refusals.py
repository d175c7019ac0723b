"""Races between the engine and a journal that refuses, is ahead of it, or loses its answer. The simulation found each of them.

Virtual time: the second attempts of contract K5 come at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import reduce
from typing import Any

import pytest

from quell.core import facts as f
from quell.core import inputs as i
from quell.core.decide import decide
from quell.core.errors import AppendTimeout, StaleWriter, StorageRefused
from quell.core.events import Deleted, DraftPart, Reset
from quell.core.evolve import evolve
from quell.core.messages import Text, ToolMessage, UserMessage
from quell.core.session import Session, Summary
from quell.core.session import summary as summary_of
from quell.engine import Event, Options
from quell.engine.live import DRAFT_INTERVAL
from quell.store.memory import MemoryJournal
from quell.testing.faults import FaultyJournal, Hold, LoseAnswer, Refuse
from quell.testing.harness import Asked, Play, crashed, played
from tests.engine.virtual import in_virtual_time


@in_virtual_time
async def test_a_cancel_that_was_refused_does_not_reach_a_newer_prompt() -> None:
    """C2, K5"""
    journal = FaultyJournal(MemoryJournal())
    async with played(journal) as play:
        session = await play.session()
        await play.submit(session, "one")
        asked = await play.asked()
        journal.always = Refuse()
        with pytest.raises(StorageRefused):
            await play.cancel(session)
        journal.always = None
        await play.submit(session, "two")
        await asked.closed.wait()
        asked = await play.asked()
        assert _question(asked) == "two"
        asked.reply()
        assert await _outcomes(play, session) == ["cancelled", "completed"]


@in_virtual_time
async def test_a_refused_cancel_of_a_waiting_prompt_leaves_the_run_alone() -> None:
    journal = FaultyJournal(MemoryJournal())
    async with played(journal) as play:
        session = await play.session()
        await play.submit(session, "one")
        asked = await play.asked()
        waiting = await play.submit(session, "two")
        journal.always = Refuse()
        with pytest.raises(StorageRefused):
            await play.cancel(session, prompt=waiting.prompt)
        journal.always = None
        await play.until(session, lambda state: not state.waiting)
        asked.reply()
        assert await _outcomes(play, session) == ["completed"]


@in_virtual_time
async def test_a_cancel_refused_while_the_run_unwinds_does_not_stop_the_unwinding() -> None:
    """C4, C7"""
    journal = FaultyJournal(MemoryJournal())
    async with played(journal) as play:
        session = await play.session()
        await play.submit(session, "one")
        (asked := await play.asked()).call("touch")
        asked.reply()
        (touched := await play.touched()).hold(release := asyncio.Event())
        await play.cancel(session)
        journal.always = Refuse()
        with pytest.raises(StorageRefused):
            await play.cancel(session, scope="active")
        journal.always = None
        release.set()
        await touched.stopped.wait()
        assert await _outcomes(play, session) == ["cancelled"]


@in_virtual_time
async def test_i9_an_idle_engine_does_not_close_a_session_whose_first_prompt_is_on_its_way_to_a_slow_disk() -> None:
    journal = FaultyJournal(MemoryJournal(), {2: Hold()})
    async with played(journal, Options(idle_actors=0, idle_seconds=3)) as play, asyncio.TaskGroup() as group:
        session = await play.session()
        group.create_task(play.submit(session, "one"))
        await journal.until_held(2)
        await asyncio.sleep(4)
        await play.session()
        await journal.release()
        (await play.asked()).reply()
        assert await _outcomes(play, session) == ["completed"]


class Contested(MemoryJournal):
    """Another writer is faster: `once`, with a prompt of its own, or `always`."""

    once: i.Input | None = None
    always = False

    async def append(
        self,
        session: str,
        expected: int,
        records: Sequence[f.Recorded],
        summary: Summary,
        generation: int | None = None,
    ) -> None:
        if self.always:
            raise StaleWriter("another writer was first")
        faster, self.once = self.once, None
        if faster is not None:
            state = reduce(evolve, await self.read(session), Session())
            decision = decide(state, faster, state.updated)
            await super().append(session, state.seq, decision.records, summary_of(decision.session))
        await super().append(session, expected, records, summary, generation)


@in_virtual_time
async def test_a_cancel_that_is_decided_again_after_another_writer_s_prompt_ends_the_run_and_drops_both() -> None:
    """C2, C7: the model is not asked again."""
    journal = Contested()
    async with played(journal) as play:
        session = await play.session()
        await play.submit(session, "one")
        asked = await play.asked()
        asked.say("half of it")
        journal.once = i.Submit(prompt="two", text="two")
        covered = await play.cancel(session)
        assert covered.prompts[-1] == "two"
        await asked.closed.wait()
        assert await _outcomes(play, session) == ["cancelled"]
        assert play.nothing_asked


@in_virtual_time
async def test_a_cancel_that_others_outran_for_too_long_is_kept_and_its_run_does_not_hang() -> None:
    """C2, K5"""
    journal = Contested()
    async with played(journal, Options(append_timeout=0)) as play:
        session = await play.session()
        await play.submit(session, "one")
        asked = await play.asked()
        journal.always = True
        with pytest.raises(AppendTimeout):
            await play.cancel(session)
        await asked.closed.wait()
        journal.always = False
        assert await _outcomes(play, session) == ["cancelled"]
        assert play.nothing_asked


@in_virtual_time
async def test_an_outcome_that_others_outran_for_too_long_is_kept() -> None:
    """K5"""
    journal = Contested()
    async with played(journal, Options(append_timeout=0)) as play:
        session = await play.session()
        await play.submit(session, "one")
        journal.always = True
        (await play.asked()).reply()
        with pytest.raises(AppendTimeout):
            await play.engine.apply(session, i.Change(title="new"))
        journal.always = False
        assert await _outcomes(play, session) == ["completed"]


@in_virtual_time
async def test_a_prompt_that_was_written_runs_although_the_answer_was_lost() -> None:
    """K5"""
    journal = FaultyJournal(MemoryJournal(), {2: LoseAnswer()})
    async with played(journal) as play:
        session = await play.session()
        with pytest.raises(StorageRefused):
            await play.submit(session, "one")
        (await play.asked()).reply()
        assert await _outcomes(play, session) == ["completed"]


@in_virtual_time
async def test_a_recovery_whose_answer_was_lost_is_not_decided_twice() -> None:
    """K3: the second one would interrupt the run that the first one started."""
    memory = MemoryJournal()
    async with crashed(memory) as play:
        session = await _in_a_call(play)
        await play.submit(session, "two")
    async with played(FaultyJournal(memory, {1: LoseAnswer()})) as play:
        asked = await play.asked()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await asked.closed.wait()
        asked.reply()
        assert await _outcomes(play, session) == ["interrupted", "completed"]
        assert not any(isinstance(fact, f.RunRecovered) for fact in await play.facts(session))


@in_virtual_time
async def test_a_recovery_on_a_full_disk_starts_no_call_twice() -> None:
    """K3, K5"""
    memory = MemoryJournal()
    async with crashed(memory) as play:
        session = await _in_a_call(play)
    journal = FaultyJournal(memory)
    journal.always = Refuse()
    async with played(journal) as play:
        with pytest.raises(StorageRefused):
            await play.engine.apply(session, i.Change(title="new"))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await play.touched()
        journal.always = None
        assert await _outcomes(play, session) == ["interrupted"]
        results = [m for m in (await play.engine.transcript(session)).messages if isinstance(m, ToolMessage)]
        assert [m.result.status for m in results] == ["unknown"]


@in_virtual_time
async def test_a_fact_that_is_written_and_not_applied_is_shown_to_nobody_yet_and_then_once() -> None:
    """E1: who has seen a fact gets no answer that is older."""
    journal = FaultyJournal(MemoryJournal(), {2: Hold("before")})
    async with played(journal) as play, asyncio.TaskGroup() as group:
        session = await play.session()
        group.create_task(play.submit(session, "one"))
        await journal.until_held(2)
        async with play.engine.follow(session, 0) as events:
            seen = [*await anext(events)]
            written = (await journal.read(session))[-1].seq
            known = (await play.engine.state(session)).seq
            assert [event.seq for event in seen if isinstance(event, f.Recorded)][-1] == known < written
            assert (await play.engine.view(session))[0] == known
            await journal.release(2)
            (await play.asked()).reply()
            while not _settled(seen):
                seen += await anext(events)
        numbers = [event.seq for event in seen if isinstance(event, f.Recorded)]
        assert numbers == list(range(1, len(numbers) + 1))


@in_virtual_time
async def test_a_follower_that_is_ahead_of_the_actor_is_neither_reset_nor_sent_old_drafts() -> None:
    """E1, E2"""
    journal = FaultyJournal(MemoryJournal(), {3: Hold("before")})
    async with played(journal) as play, asyncio.TaskGroup() as group:
        session = await play.session()
        await play.submit(session, "one")
        (asked := await play.asked()).say("hello")
        asked.reply()
        await journal.until_held(3)
        end = len(await journal.read(session))
        async with play.engine.follow(session, end) as events:
            first = group.create_task(_first(events))
            await asyncio.wait([first], timeout=1)
            await journal.release(3)
            await play.engine.apply(session, i.Change(title="new"))
            seen = await first
        assert not any(isinstance(event, Reset | DraftPart) for event in seen)
        assert [event.seq for event in seen if isinstance(event, f.Recorded)] == [end + 1]


@in_virtual_time
async def test_k3_a_draft_that_was_refused_is_saved_when_there_is_room_again() -> None:
    """Though nothing more is streamed."""
    journal = FaultyJournal(MemoryJournal())
    async with played(journal) as play:
        session = await play.session()
        await play.submit(session, "one")
        asked = await play.asked()
        journal.always = Refuse()
        asked.say("hello")
        await asyncio.sleep(3)
        assert await journal.draft(session) is None
        journal.always = None
        await asyncio.sleep(DRAFT_INTERVAL + 0.1)
        draft = await journal.draft(session)
        assert draft is not None
        assert draft.reply.parts == (Text("hello"),)
        asked.reply()


class SlowToRead(MemoryJournal):
    """The next read waits for `gate`, when there is one."""

    gate: asyncio.Event | None = None

    async def read(self, session: str, after: int = 0, limit: int | None = None) -> Sequence[f.Recorded]:
        gate, self.gate = self.gate, None
        if gate is not None:
            await gate.wait()
        return await super().read(session, after, limit)


@in_virtual_time
async def test_a_follower_that_joins_while_the_session_is_deleted_is_told_so_and_sees_no_gap() -> None:
    """E1, K7"""
    journal = SlowToRead()
    async with played(journal) as play, asyncio.TaskGroup() as group:
        session = await play.session()
        async with play.engine.follow(session, 0) as early, play.engine.follow(session, 0) as late:
            await anext(early)
            journal.gate = asyncio.Event()
            gate = journal.gate
            joining = group.create_task(_all(late))
            await play.engine.apply(session, i.Delete())
            await _all(early)
            gate.set()
            assert await joining == [Deleted(session)]


@in_virtual_time
async def test_a_session_that_awaits_a_person_is_not_closed_as_idle() -> None:
    """I9: nothing has interrupted its run."""
    async with played(options=Options(idle_actors=1, idle_seconds=1.0)) as play:
        session = await play.session()
        await play.submit(session, "one")
        (asked := await play.asked()).call("touch", outside=True)
        asked.reply()
        state = await play.until(session, lambda state: bool(state.awaiting))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await play.touched()
        await play.session()
        request = state.awaiting[0].request
        assert request is not None
        await play.engine.apply(session, i.Answer(request=request, option="allow_once"))
        (await play.touched()).finish()
        (await play.asked()).reply()
        assert await _outcomes(play, session) == ["completed"]


@in_virtual_time
async def test_a_tool_that_ignores_everything_does_not_hold_up_a_shutdown() -> None:
    """K6, T1"""
    memory = MemoryJournal()
    async with played(memory) as play:
        session = await _in_a_call(play, hold=(release := asyncio.Event()))
        async with asyncio.timeout(3):
            await play.engine.shutdown()
        settled = [r.fact for r in await memory.read(session) if isinstance(r.fact, f.RunSettled)]
        assert [fact.outcome for fact in settled] == ["interrupted"]
        release.set()


async def _in_a_call(play: Play, hold: asyncio.Event | None = None) -> str:
    """A session whose run is in the middle of a call."""
    session = await play.session()
    await play.submit(session, "one")
    (asked := await play.asked()).call("touch")
    asked.reply()
    touched = await play.touched()
    if hold is not None:
        touched.hold(hold)
    return session


async def _outcomes(play: Play, session: str) -> list[str]:
    await play.idle(session)
    return [fact.outcome for fact in await play.facts(session) if isinstance(fact, f.RunSettled)]


async def _first(events: Any) -> list[Event]:
    return [*await anext(events)]


async def _all(events: Any) -> list[Event]:
    return [event async for batch in events for event in batch]


def _settled(seen: Sequence[Event]) -> bool:
    return any(isinstance(event, f.Recorded) and isinstance(event.fact, f.RunSettled) for event in seen)


def _question(asked: Asked) -> str:
    message = asked.request.messages[-1]
    assert isinstance(message, UserMessage)
    return message.text
