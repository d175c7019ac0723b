"""Crash, restart, shutdown, deletion: contract K2–K8. kill -9 between any two transactions is `test_crash`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from pathlib import Path

import pytest
import uvloop

from quell.client.client import SessionChange
from quell.core import facts as f
from quell.core.errors import SessionNotFound, StorageRefused
from quell.core.events import Deleted
from quell.core.session import Summary
from quell.engine import Options, live
from quell.testing.faults import Refuse
from quell.wire import sse
from tests.interaction.audit import audit
from tests.interaction.conversation import Place, last_reply, meanwhile, question, results, settlements


async def test_k2_waiting_prompts_go_on_by_themselves_in_order(tmp_path: Path) -> None:
    place = Place(tmp_path)
    async with place.life(dies=True) as talk:
        chat = await talk.chat()
        await chat.says("one")
        await talk.calls()
        await chat.says("two")
        await chat.steers("three")
    async with place.life() as talk:
        chat = talk.again(chat)
        for text in ("two", "three"):
            asked = await talk.asked()
            assert question(asked) == text
            asked.reply()
        await chat.rests()
        assert settlements(await chat.facts()) == ["interrupted", "completed", "completed"]


async def test_k2_after_a_long_time_the_queue_is_parked(tmp_path: Path) -> None:
    place = Place(tmp_path)
    async with place.life(dies=True) as talk:
        chat = await talk.chat()
        await chat.says("one")
        await talk.calls()
        await chat.says("two")
    async with place.life(Options(recover_within=-1)) as talk:
        view = await talk.again(chat).rests()
        assert (view.parked, [item.text for item in view.queue]) == (True, ["two"])
        assert talk.nothing_asked


async def test_k3_what_was_streamed_is_kept_and_no_call_is_started_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "DRAFT_INTERVAL", 0.001)
    place = Place(tmp_path)
    async with place.life(dies=True) as talk:
        chat = await talk.chat()
        await chat.says("one", id="one")
        await talk.calls()
        other = await talk.chat()
        await other.says("two", id="two")
        asked = await talk.asked()
        asked.say("so far")
        while await talk.journal.draft(other.id) is None:
            await talk.client.health()
    async with place.life() as talk:
        chat, other = talk.again(chat), talk.again(other)
        assert (await chat.ended("one")).outcome == "interrupted"
        assert [status for _, status in results(await chat.said())] == ["unknown"]
        assert (await other.ended("two")).outcome == "interrupted"
        assert last_reply(await other.said()) == ("so far", "interrupted")
        assert talk.nothing_asked
        audit(await chat.records())
        audit(await other.records())


async def test_k3_a_run_with_nothing_to_show_is_due_again_once(tmp_path: Path) -> None:
    place = Place(tmp_path)
    async with place.life(dies=True) as talk:
        chat = await talk.chat()
        await chat.says("one", id="one")
        await talk.asked()
    async with place.life(dies=True) as talk:
        assert question(await talk.asked()) == "one"
    async with place.life() as talk:
        chat = talk.again(chat)
        assert (await chat.ended("one")).outcome == "interrupted"
        assert talk.nothing_asked


async def test_k3_an_interrupted_run_is_followed_up_twice_at_most(tmp_path: Path) -> None:
    place, options = Place(tmp_path), Options(resume_interrupted=True)
    async with place.life(options, dies=True) as talk:
        chat = await talk.chat()
        await chat.says("one", id="one")
        await talk.calls()
        await chat.says("two", id="two")
    for _ in range(2):
        async with place.life(options, dies=True) as talk:
            await talk.calls()  # the follow-up, before the queue
    async with place.life(options) as talk:
        asked = await talk.asked()
        assert question(asked) == "two"
        asked.reply()
        chat = talk.again(chat)
        await chat.rests()
        assert settlements(await chat.facts()) == ["interrupted"] * 3 + ["completed"]


async def test_k3_a_stopped_run_is_not_followed_up(tmp_path: Path) -> None:
    place, options = Place(tmp_path), Options(resume_interrupted=True)
    async with place.life(options, dies=True) as talk:
        chat = await talk.chat()
        await chat.says("one", id="one")
        (await talk.calls()).hold(asyncio.Event())
        await chat.stops()
    async with place.life(options) as talk:
        chat = talk.again(chat)
        assert (await chat.ended("one")).outcome == "cancelled"
        await chat.rests()
        assert talk.nothing_asked


async def test_c2_k3_a_cancel_of_what_was_accepted_before_a_crash_covers_its_follow_up(tmp_path: Path) -> None:
    """A client repeats the cancel whose answer the crash took along. Fails when a follow-up counts as accepted at the restart."""
    place, options = Place(tmp_path), Options(resume_interrupted=True)
    async with place.life(options, dies=True) as talk:
        chat = await talk.chat()
        one = await chat.says("one")
        await talk.calls()
        upto = (await chat.show()).seq
    async with place.life(options) as talk:
        chat = talk.again(chat)
        asked = await talk.asked()
        covered = await chat.stops(upto=upto)
        assert covered.run is not None
        await asked.closed.wait()
        await chat.rests()
        assert settlements(await chat.facts()) == ["interrupted", "cancelled"]
        assert (await chat.ended(one)).outcome == "interrupted"


async def test_k4_only_unfinished_work_is_woken(tmp_path: Path) -> None:
    place = Place(tmp_path)
    async with place.life(dies=True) as talk:
        idle, parked, busy = [await talk.chat() for _ in range(3)]
        one = await idle.says("one")
        await talk.answers()
        await idle.ended(one)
        await parked.says("two")
        await talk.asked()
        await parked.says("parked")
        await parked.stops(scope="active")
        await parked.rests()
        await busy.says("three")
        await talk.asked()
    async with place.life() as talk:
        asked = await talk.asked()
        assert question(asked) == "three"
        assert set(talk.journal.read_sessions) == {busy.id}
        assert (await talk.client.health()).sessions == 1


async def test_k5_an_append_that_is_refused_is_an_error_and_never_an_acknowledgement(tmp_path: Path) -> None:
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        talk.journal.always = Refuse("the disk is full")
        with pytest.raises(StorageRefused, match="disk is full"):
            await chat.says("one", id="one")
        talk.journal.always = None
        assert (await chat.show()).seq == 1
        again = await chat.says("one", id="one")
        await talk.answers()
        assert (await chat.ended(again)).outcome == "completed"


async def test_k5_an_outcome_that_cannot_be_recorded_is_kept_and_nothing_new_starts(tmp_path: Path) -> None:
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        one = await chat.says("one")
        touched = await talk.calls()
        talk.journal.always = Refuse("the disk is full")
        refusals = talk.journal.appends
        touched.finish("done once")
        while talk.journal.appends < refusals + 2:  # it is tried again
            await talk.client.health()
        assert talk.nothing_asked
        talk.journal.always = None
        await talk.answers()
        assert (await chat.ended(one)).outcome == "completed"
        assert results(await chat.said()) == [("done once", "completed")]


async def test_k5_a_session_that_stalls_says_so_and_why(tmp_path: Path) -> None:
    async with Place(tmp_path).life() as talk:
        chat, other = await talk.chat(), await talk.chat()
        one = await chat.says("one")
        asked = await talk.asked()
        async with talk.client.watch() as changes:
            talk.journal.always = Refuse("the disk is full")
            asked.reply()
            async for row in changes:
                if isinstance(row, Summary) and row.stalled:
                    break
            assert isinstance(row, Summary)
            assert row.id == chat.id
            listed = {each.id: each.stalled for each in (await talk.client.sessions()).items}
            assert listed[other.id] is None
            assert (await talk.client.health()).stalled.keys() == {chat.id}
            for told in (row.stalled, listed[chat.id], (await chat.show()).stalled):
                assert told is not None
                assert "the disk is full" in told
            talk.journal.always = None
            assert (await chat.ended(one)).outcome == "completed"
        assert (await chat.show()).stalled is None
        assert (await talk.client.health()).stalled == {}


async def test_k6_a_shutdown_settles_what_runs_and_starts_nothing(tmp_path: Path) -> None:
    place = Place(tmp_path)
    async with place.life() as talk:
        chat = await talk.chat()
        await chat.says("one")
        asked = await talk.asked()
        asked.say("so far")
        await chat.says("two")
    assert asked.closed.is_set()
    async with place.life() as talk:
        chat = talk.again(chat)
        asked = await talk.asked()
        assert question(asked) == "two"
        asked.reply()
        await chat.rests()
        assert settlements(await chat.facts()) == ["interrupted", "completed"]
        facts = await chat.facts()
        first = next(fact for fact in facts if isinstance(fact, f.Replied))
        assert first.reply.stop_reason == "interrupted"


def test_k6_a_server_that_fails_lets_go_of_its_loop(tmp_path: Path) -> None:
    """uvloop's `close` waits for servers that still listen: the process would never end."""

    async def fail() -> None:
        async with Place(tmp_path).life():
            raise RuntimeError("a bug")

    with pytest.raises(BaseExceptionGroup), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(fail())


async def test_k7_deletion_cancels_everything_ends_the_streams_and_answers_the_waiters(tmp_path: Path) -> None:
    place = Place(tmp_path)
    async with place.life() as talk:
        chat = await talk.chat()
        one = await chat.says("one")
        touched = await talk.calls()
        stuck = asyncio.Event()
        touched.hold(stuck)
        two = await chat.says("two")
        async with chat.events(0) as pieces:
            async with meanwhile(_gone(chat.prompt(two.prompt, wait=60)), _gone(chat.prompt(one.prompt, wait=60))):
                await anext(pieces)
                await chat.delete()
                assert not touched.stopped.is_set()
                stuck.set()
            decoder, last = sse.Decoder(), None
            async for piece in pieces:
                last = next((sse.parse(frame) for frame in reversed(decoder.feed(piece))), last)
            assert last == Deleted(chat.id)
        assert touched.stopped.is_set()
        for request in (chat.show(), chat.says("three"), chat.view()):
            with pytest.raises(SessionNotFound):
                await request
    async with place.life() as talk:
        with pytest.raises(SessionNotFound):
            await talk.again(chat).show()
        assert (await talk.client.sessions()).items == ()


async def _gone(request: Awaitable[object]) -> None:
    """A waiter is answered with how it ended, or that the session is gone."""
    try:
        await request
    except SessionNotFound:
        pass


async def test_k8_a_change_of_mode_applies_from_the_next_check(tmp_path: Path) -> None:
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        one = await chat.says("one")
        asked = await talk.asked()
        asked.call("touch")
        await chat.change(SessionChange(mode="plan"))
        asked.reply()
        await talk.answers()
        assert (await chat.ended(one)).outcome == "completed"
        assert [status for _, status in results(await chat.said())] == ["denied"]


async def test_k8_a_change_of_model_applies_from_the_next_sample(tmp_path: Path) -> None:
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat(model="played/one")
        one = await chat.says("one")
        asked = await talk.asked()
        asked.call("touch")
        await chat.change(SessionChange(model="played/two"))
        assert talk.play.opened == ["played/one"]
        asked.reply()
        (await talk.touched()).finish()
        await talk.answers()
        assert (await chat.ended(one)).outcome == "completed"
        assert talk.play.opened == ["played/one", "played/two"]
