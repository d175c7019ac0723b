"""Invariants: contract I1–I10, on conversations of some length. Every journal that a test leaves is audited as well."""

from __future__ import annotations

from pathlib import Path

import pytest

from quell.client.client import NewLimits
from quell.core import facts as f
from quell.core.errors import StorageRefused
from quell.core.evolve import evolve
from quell.core.messages import SummaryMessage, ToolMessage, UserMessage
from quell.core.session import Session
from quell.core.transcript import STILL
from quell.core.view import NoticeItem, View, apply
from quell.store.sqlite import SqliteJournal
from quell.testing.faults import Hold
from tests.interaction.audit import audit, check_sendable
from tests.interaction.conversation import Chat, Place, Talk, meanwhile, question, results, settlements


async def long_story(talk: Talk) -> Chat:
    """Calls that are denied, stopped and done; steers; a failure, a retry, a compaction; a stop of each kind; a parked queue."""
    chat = await talk.chat()
    await chat.says("one", id="one")
    touched = await talk.calls()
    await chat.says("two", id="two")
    await chat.says("steer", id="steer", delivery="steer")
    touched.finish()
    await talk.answers("with the steer")
    (await talk.asked()).fail("overloaded", retry_after=0.001)
    await talk.wants(chat)
    await chat.says("three", id="three")
    await chat.stops(scope="active")
    await chat.says("now this", id="now")
    (await talk.asked()).fail("invalid_request", "no")
    await chat.rests()
    await chat.resume()
    await talk.answers("three")
    await chat.compact()
    await talk.answers("the summary")
    await chat.rests()
    await chat.says("four", id="four")
    asked = await talk.asked()
    asked.say("half")
    await chat.says("never", id="never")
    await chat.stops()
    await chat.rests()
    return chat


async def test_i1_every_prompt_ends_exactly_once(tmp_path: Path) -> None:
    async with Place(tmp_path).life() as talk:
        chat = await long_story(talk)
        ends = {}
        for id in ("one", "steer", "two", "three", "now", "four", "never"):
            ended = await chat.ended(id)
            ends[id] = ended.outcome or ended.state
        assert ends == {
            "one": "completed",
            "steer": "completed",
            "two": "cancelled",
            "three": "completed",
            "now": "failed",
            "four": "cancelled",
            "never": "dropped",
        }
        audit(await chat.records())


async def test_i1_a_wait_is_answered_when_the_prompt_rests(tmp_path: Path) -> None:
    """Parked, or awaiting a person: at once, and long before the time is up."""
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        one = await chat.says("one")
        await talk.wants(chat)
        assert (await chat.prompt(one.prompt, wait=60)).state == "running"
        two = await chat.says("two")
        await chat.stops(scope="active")
        assert (await chat.prompt(two.prompt, wait=60)).state == "queued"
        assert (await chat.prompt(two.prompt, wait=0.001)).state == "queued"


async def test_i1_a_wait_that_begins_while_the_end_is_being_written_is_answered(tmp_path: Path) -> None:
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        one = await chat.says("one")
        asked = await talk.asked()
        talk.journal.plan[talk.journal.appends + 1] = Hold("before")
        asked.reply()
        await talk.journal.until_held()
        followers = talk.play.engine.followers
        async with meanwhile(chat.prompt(one.prompt, wait=60)) as (waiting,):
            while talk.play.engine.followers == followers:
                await talk.client.health()
            for _ in range(5):
                await talk.client.health()  # it may look at the journal, which is ahead of the answer
            await talk.journal.release()
        assert waiting.result().outcome == "completed"


async def test_i2_i3_one_run_at_a_time_in_the_order_of_acceptance(tmp_path: Path) -> None:
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        texts = [f"prompt {n}" for n in range(12)]
        for text in texts:
            await chat.says(text)
        for text in texts:
            asked = await talk.asked()
            assert question(asked) == text
            assert talk.nothing_asked
            asked.reply()
        await chat.rests()
        audit(await chat.records())


async def test_i4_a_follower_sees_no_gap(tmp_path: Path) -> None:
    """The view after every single fact: busy from each acceptance to the last settlement before rest."""
    async with Place(tmp_path).life() as talk:
        chat = await long_story(talk)
        view, session, idle = View(), Session(), list[int]()
        for recorded in await chat.records():
            apply(view, recorded)
            session = evolve(session, recorded)
            assert view.busy == session.busy
            if not view.busy:
                idle.append(recorded.seq)
                assert session.run is None
                assert all(entry.parked for entry in session.waiting)
        rests = [
            recorded.seq
            for recorded in await chat.records()
            if isinstance(recorded.fact, f.SessionCreated | f.RunSettled | f.SettingsChanged)
        ]
        assert set(idle) <= set(rests)
        assert not (await chat.show()).busy


async def test_i5_every_call_has_one_result_and_any_prefix_can_be_sent(tmp_path: Path) -> None:
    async with Place(tmp_path).life() as talk:
        chat = await long_story(talk)
        audit(await chat.records())  # checks every prefix
        assert [status for _, status in results(await chat.said())] == ["completed", "cancelled"]
        assert all(message.stop_reason for message in await chat.said() if hasattr(message, "stop_reason"))


async def test_i6_a_failure_does_not_strand_the_queue(tmp_path: Path) -> None:
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        await chat.says("one")
        two = await chat.says("two")
        (await talk.asked()).fail("invalid_request")
        await talk.answers()
        assert (await chat.ended(two)).outcome == "completed"


@pytest.mark.parametrize("failure", ["no_key", "unauthorized", "quota", "unreachable", "unknown_model"])
async def test_i6_a_failure_that_would_meet_the_next_prompt_parks_the_queue_visibly(
    tmp_path: Path, failure: str
) -> None:
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        one = await chat.says("one")
        await chat.says("two")
        (await talk.asked()).fail(failure, "cannot be reached")  # type: ignore[arg-type]  # one of the codes
        assert (await chat.ended(one)).error == "cannot be reached"
        view = await chat.rests()
        assert (view.parked, [item.text for item in view.queue]) == (True, ["two"])
        assert talk.nothing_asked


async def test_i7_a_steer_joins_its_run_and_no_other(tmp_path: Path) -> None:
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        idle = await chat.steers("nothing runs")
        assert idle.run is not None
        touched = await talk.calls()
        await chat.says("waits")
        steer = await chat.steers("joins")
        touched.finish()
        asked = await talk.asked()
        assert question(asked) == "joins"
        asked.reply()
        await talk.answers()
        await chat.rests()
        assert (await chat.ended(steer)).run == idle.run
        audit(await chat.records())


async def test_i8_a_manual_compaction_is_a_queue_entry(tmp_path: Path) -> None:
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        await chat.says("one")
        asked = await talk.asked()
        compaction = await chat.compact()
        assert [(item.id, item.kind) for item in (await chat.queue()).items] == [(compaction.prompt, "compaction")]
        assert (await chat.compact()).prompt == compaction.prompt
        await chat.drop(compaction.prompt)
        again = await chat.compact()
        assert again.prompt != compaction.prompt
        asked.reply()
        await talk.answers("the summary")
        await chat.rests()
        assert settlements(await chat.facts()) == ["completed", "completed"]


async def test_i8_an_automatic_compaction_is_a_phase_and_steers_join_after_it(tmp_path: Path) -> None:
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        one = await chat.says("one")
        (await talk.asked()).fail("context_overflow")
        compacting = await talk.asked()
        steer = await chat.steers("and this")
        compacting.say("the summary")
        compacting.reply()
        asked = await talk.asked()
        assert question(asked) == "and this"
        asked.reply()
        assert (await chat.ended(steer)).run == one.run
        records = await chat.records()
        started = next(record for record in records if isinstance(record.fact, f.CompactionStarted))
        compacted = next(record.fact for record in records if isinstance(record.fact, f.Compacted))
        assert isinstance(started.fact, f.CompactionStarted)
        assert compacted.upto == started.fact.upto < started.seq
        audit(records)


async def test_i8_what_is_asked_for_survives_its_compaction_word_for_word(tmp_path: Path) -> None:
    """The window fills in the middle of a run; its prompt, and the steer that joined it, go with the summary, also into the next one."""
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        await chat.says("before")
        await talk.answers()
        await chat.rests()
        one = await chat.says("mend the parser")
        touched = await talk.calls()
        await chat.steers("and the lexer")
        touched.finish("x" * 100_000)
        (await talk.asked()).fail("context_overflow")
        compacting = await talk.asked()
        assert [spec.name for spec in compacting.request.tools] == ["touch", "agent"]
        (result,) = [m.result.text for m in compacting.request.messages if isinstance(m, ToolMessage)]
        assert 8_000 <= len(result) < 9_000
        compacting.say("the summary")
        compacting.reply()
        for kept in range(2):
            asked = await talk.asked()
            summary, *said = asked.request.messages
            assert isinstance(summary, SummaryMessage)
            texts = [m.text for m in said if isinstance(m, UserMessage)]
            assert [text.removeprefix(f"{STILL}\n\n") for text in texts[:2]] == ["mend the parser", "and the lexer"]
            assert texts[2:] == ["next"] * kept
            check_sendable(asked.request.messages)
            asked.say("done")
            asked.reply()
            await chat.rests()
            if not kept:
                assert (await chat.ended(one)).outcome == "completed"
                await chat.says("next")


async def test_i8_i9_an_overflow_is_compacted_for_once_and_is_then_a_clear_failure(tmp_path: Path) -> None:
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        one = await chat.says("one")
        (await talk.asked()).fail("context_overflow", "too long")
        await talk.answers("the summary")
        (await talk.asked()).fail("context_overflow", "still too long")
        ended = await chat.ended(one)
        assert (ended.outcome, ended.error) == ("failed", "still too long")
        two = await chat.says("two")
        (await talk.asked()).fail("context_overflow", "too long")
        (await talk.asked()).fail("context_overflow", "the summary is too long")
        assert (await chat.ended(two)).error == "the summary is too long"
        assert not (await chat.queue()).parked
        audit(await chat.records())


async def test_i9_a_limit_is_a_completed_run_with_its_stop_reason_and_the_user_sees_it(tmp_path: Path) -> None:
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        one = await chat.says("one", limits=NewLimits(turns=1))
        (await talk.calls()).finish()
        ended = await chat.ended(one)
        assert (ended.outcome, ended.stop_reason) == ("completed", "max_turn_requests")
        notices = [item.text for item in (await chat.view()).view.items if isinstance(item, NoticeItem)]
        assert [text for text in notices if "max_turn_requests" in text]
        assert talk.nothing_asked


async def test_i10_a_database_has_one_process(tmp_path: Path) -> None:
    place = Place(tmp_path)
    async with place.life() as talk:
        chat = await talk.chat()
        with pytest.raises(StorageRefused, match="process"):
            SqliteJournal.open(tmp_path / "quell.db")
        accepted = await chat.says("hello")
        await talk.answers()
        assert (await chat.ended(accepted)).outcome == "completed"
    async with place.life() as talk:
        assert (await talk.again(chat).ended(accepted)).outcome == "completed"
