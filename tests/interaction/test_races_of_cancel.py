"""The races of the run contract that a cancel can be in.

Each docstring names the lines that it is about, and the change to the code that makes the test fail.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from quell.client.client import RemoteSession
from quell.core import facts as f
from quell.core import inputs as i
from quell.core.errors import Stale
from quell.engine import Options
from quell.testing.faults import Hold
from quell.testing.harness import Asked
from tests.interaction.conversation import (
    Place,
    Talk,
    last_reply,
    meanwhile,
    question,
    results,
    settlements,
)


async def test_race_cancel_right_after_acceptance(tmp_path: Path) -> None:
    """A2, C5, C8. Fails when accepting and starting are two decisions."""
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        number = talk.journal.hold_next()
        async with meanwhile(chat.says("hello", id="p")):
            await talk.journal.until_held(number)
            async with meanwhile(chat.stops()) as (stopping,):
                await talk.waits_behind(chat)
                await talk.journal.release(number)
        covered = stopping.result()
        ended = await chat.ended("p")
        assert (covered.run, covered.prompts) == (ended.run, ("p",))
        assert ended.outcome == "cancelled"
        assert await chat.asked_prompts() == ["hello"]
        assert last_reply(await chat.said()) == ("", "cancelled")


async def test_race_cancel_before_the_first_byte(tmp_path: Path) -> None:
    """C5, C7, C8. Fails when the sample of an ending run stays due."""
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        accepted = await chat.says("hello")
        asked = await talk.asked()
        await chat.stops()
        assert (await chat.ended(accepted)).outcome == "cancelled"
        assert asked.closed.is_set()
        assert last_reply(await chat.said()) == ("", "cancelled")


async def test_race_cancel_against_a_silent_provider(tmp_path: Path) -> None:
    """C7, C8. Fails when the text streamed so far is not kept."""
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        accepted = await chat.says("hello")
        asked = await talk.asked()
        asked.say("half of ")
        asked.say("it")
        await chat.stops()
        assert (await chat.ended(accepted)).outcome == "cancelled"
        assert asked.closed.is_set()
        assert last_reply(await chat.said()) == ("half of it", "cancelled")


async def test_race_cancel_between_a_tool_result_and_the_next_sample(tmp_path: Path) -> None:
    """C7, C8. Fails when a result lets an ending run go on to its next turn."""
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        accepted = await chat.says("touch it")
        touched = await talk.calls()
        number = talk.journal.hold_next()
        async with meanwhile(chat.stops()):
            await talk.journal.until_held(number)
            touched.finish("done")
            await talk.waits_behind(chat)
            await talk.journal.release(number)
        assert (await chat.ended(accepted)).outcome == "cancelled"
        assert results(await chat.said()) == [("done", "completed")]
        facts = await chat.facts()
        assert not [fact for fact in facts if isinstance(fact, f.TurnStarted)]
        assert talk.nothing_asked


async def test_race_cancel_between_a_tool_result_and_the_next_sample_that_is_due(tmp_path: Path) -> None:
    """C7, C8. The result was first: the sample is due already. Fails when an ending run's sample is still due."""
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        accepted = await chat.says("touch it")
        touched = await talk.calls()
        number = talk.journal.hold_next()
        touched.finish("done")
        await talk.journal.until_held(number)
        async with meanwhile(chat.stops()) as (stopping,):
            await talk.waits_behind(chat)
            await talk.journal.release(number)
        assert stopping.result().run == accepted.run
        assert (await chat.ended(accepted)).outcome == "cancelled"
        assert results(await chat.said()) == [("done", "completed")]
        while not talk.nothing_asked:
            assert (await talk.asked()).closed.is_set()


async def test_race_cancel_in_retry_back_off(tmp_path: Path) -> None:
    """C8. Fails when the back-off cannot be interrupted."""
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        accepted = await chat.says("hello")
        (await talk.asked()).fail("overloaded", "come back in an hour", retry_after=3600)
        await chat.until(lambda view: view.run and view.run.retry_at)
        await chat.stops()
        assert (await chat.ended(accepted)).outcome == "cancelled"
        assert talk.nothing_asked


async def test_race_cancel_during_a_manual_compaction(tmp_path: Path) -> None:
    """C7, C8, I8. Fails when a compaction stays due in a run that is ending."""
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        first = await chat.says("hello")
        await talk.answers()
        await chat.ended(first)
        compaction = await chat.compact()
        asked = await talk.asked()
        asked.say("Of old times")
        assert (await chat.stops()).run == compaction.run
        await chat.rests()
        assert asked.closed.is_set()
        assert settlements(await chat.facts()) == ["completed", "cancelled"]
        assert not [fact for fact in await chat.facts() if isinstance(fact, f.Compacted)]
        second = await chat.says("go on")
        await talk.answers()
        assert (await chat.ended(second)).outcome == "completed"


async def test_race_cancel_during_an_automatic_compaction(tmp_path: Path) -> None:
    """C5, C8, I8. Fails when a compaction stays due in a run that is ending."""
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        accepted = await chat.says("hello")
        (await talk.asked()).fail("context_overflow")
        compacting = await talk.asked()
        await chat.until(lambda view: view.run and view.run.phase == "compacting")
        await chat.stops()
        assert (await chat.ended(accepted)).outcome == "cancelled"
        assert compacting.closed.is_set()
        assert not [fact for fact in await chat.facts() if isinstance(fact, f.Compacted)]
        assert talk.nothing_asked


async def test_race_cancel_during_title_generation(tmp_path: Path) -> None:
    """C8, K7. It neither holds up the cancel nor is stopped by it, and is stopped at once when its session is deleted.

    Fails when a run that unwinds waits for titles, and when a session that is being deleted has one due.
    """
    async with Place(tmp_path).life(Options(titles=True, unwind_grace=3600.0)) as talk:
        chat = await talk.chat()
        accepted = await chat.says("hello")
        title, turn = await both_asked(talk)
        await chat.stops()
        assert (await chat.ended(accepted)).outcome == "cancelled"
        assert turn.closed.is_set()
        assert not title.closed.is_set()
        title.say("Greeting")
        title.reply()
        await chat.until(lambda view: view.title == "Greeting")
        other = await talk.chat()
        await other.says("hello")
        title, turn = await both_asked(talk)
        settling = talk.journal.appends + 2  # after the deletion itself
        talk.journal.plan[settling] = Hold()
        async with meanwhile(other.delete()):
            await title.closed.wait()
            await talk.journal.until_held(settling)
            await talk.journal.release(settling)
        assert turn.closed.is_set()


async def both_asked(talk: Talk) -> list[Asked]:
    """The title, and the turn."""
    return sorted([await talk.asked(), await talk.asked()], key=lambda asked: asked.request.purpose)


async def test_race_cancel_from_another_client(tmp_path: Path) -> None:
    """A4, C9. Fails when a session has an actor for each request."""
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        accepted = await chat.says("hello")
        asked = await talk.asked()
        async with meanwhile(chat.prompt(accepted.prompt, wait=30)) as (waiting,), talk.another_client(chat) as other:
            covered = await other.stops()
        assert (covered.run, covered.prompts) == (accepted.run, (accepted.prompt,))
        assert (waiting.result().state, waiting.result().outcome) == ("settled", "cancelled")
        assert asked.closed.is_set()


async def test_race_double_cancel_from_two_clients(tmp_path: Path) -> None:
    """C4, C9. Both are answered alike and the run ends once. Fails when a run can be ended again."""
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        accepted = await chat.says("hello")
        await talk.asked()
        number = talk.journal.hold_next()
        async with talk.another_client(chat) as other, meanwhile(chat.stops(), other.stops()) as cancels:
            await talk.journal.until_held(number)
            await talk.waits_behind(chat)
            await talk.journal.release(number)
        assert {cancel.result().run for cancel in cancels} == {accepted.run}
        assert (await chat.ended(accepted)).outcome == "cancelled"
        facts = await chat.facts()
        assert len([fact for fact in facts if isinstance(fact, f.RunEnding)]) == 1
        assert settlements(facts) == ["cancelled"]


async def test_race_cancel_repeated_after_its_answer_was_lost_with_a_new_prompt_between(tmp_path: Path) -> None:
    """C2, C4. Fails when `upto` does not say what was meant."""
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        old = await chat.says("old")
        touched = await talk.calls()
        stuck = asyncio.Event()
        touched.hold(stuck)
        older = await chat.says("older")
        seen = (await chat.show()).seq
        await chat.stops(upto=seen)  # its answer is lost
        new = await chat.says("new")
        assert (await chat.stops(upto=seen)).prompts == (old.prompt,)  # while the run unwinds
        stuck.set()
        asked = await talk.asked()
        assert (await chat.stops(upto=seen)).prompts == ()  # while the new one runs
        asked.reply()
        assert (await chat.ended(old)).outcome == "cancelled"
        assert (await chat.ended(older)).state == "dropped"
        assert (await chat.ended(new)).outcome == "completed"


async def test_race_cancel_meant_for_a_run_that_has_just_settled(tmp_path: Path) -> None:
    """C2. Fails when `run` is not compared."""
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        one = await chat.says("one")
        two = await chat.says("two")
        asked = await talk.asked()
        number = talk.journal.hold_next()
        asked.reply()
        await talk.journal.until_held(number)
        async with meanwhile(chat.stops(run=one.run)) as (stopping,):
            await talk.waits_behind(chat)
            await talk.journal.release(number)
        assert (stopping.result().run, stopping.result().prompts) == (None, ())
        assert (await chat.ended(one)).outcome == "completed"
        await talk.answers()
        assert (await chat.ended(two)).outcome == "completed"


async def test_race_active_then_all_while_unwinding(tmp_path: Path) -> None:
    """C2, C3, C4. Fails when `all` passes over what is parked."""
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        one = await chat.says("one")
        touched = await talk.calls()
        stuck = asyncio.Event()
        touched.hold(stuck)
        two = await chat.says("two")
        first = await chat.stops(scope="active")
        assert first.prompts == (one.prompt, two.prompt)
        assert (await chat.queue()).parked
        second = await chat.stops()
        assert (second.run, second.prompts) == (one.run, (one.prompt, two.prompt))
        assert not (await chat.queue()).parked
        stuck.set()
        assert (await chat.ended(one)).outcome == "cancelled"
        assert (await chat.ended(two)).state == "dropped"
        assert settlements(await chat.facts()) == ["cancelled"]


async def test_race_cancel_of_a_prompt_that_has_just_been_joined(tmp_path: Path) -> None:
    """C2, I7. Fails when a joined prompt stands for its run."""
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        one = await chat.says("one")
        touched = await talk.calls()
        steer = await chat.steers("also this")
        number = talk.journal.hold_next()
        touched.finish()
        await talk.journal.until_held(number)
        async with meanwhile(chat.stops(prompt=steer.prompt)) as (stopping,):
            await talk.waits_behind(chat)
            await talk.journal.release(number)
        assert (stopping.result().run, stopping.result().prompts) == (None, ())
        asked = await talk.asked()
        assert question(asked) == "also this"
        asked.reply()
        assert (await chat.ended(one)).outcome == "completed"
        ended = await chat.ended(steer)
        assert (ended.run, ended.outcome) == (one.run, "completed")


async def test_race_cancel_against_the_first_fact_after_a_crash(tmp_path: Path) -> None:
    """C7, K3. Fails when it is not decided first what the restart makes of the run."""
    place = Place(tmp_path)
    async with place.life(dies=True) as talk:
        chat = await talk.chat()
        await chat.says("hello", id="p")
        await talk.asked()
    async with place.life(plan={1: Hold()}) as talk:
        chat = talk.again(chat)
        await talk.journal.until_held(1)
        async with meanwhile(chat.stops()) as (stopping,):
            await talk.waits_behind(chat)
            await talk.journal.release(1)
        ended = await chat.ended("p")
        assert stopping.result().run == ended.run
        assert ended.outcome == "cancelled"
        facts = await chat.facts()
        assert [type(fact) for fact in facts[-4:]] == [f.RunRecovered, f.RunEnding, f.Replied, f.RunSettled]
        while not talk.nothing_asked:
            assert (await talk.asked()).closed.is_set()


async def test_race_cancel_then_a_crash_before_it_has_settled(tmp_path: Path) -> None:
    """K3, I9. Fails when a restart takes a cancelled run for an interrupted one."""
    place = Place(tmp_path)
    async with place.life(dies=True) as talk:
        chat = await talk.chat()
        await chat.says("hello", id="p")
        touched = await talk.calls()
        touched.hold(asyncio.Event())
        await chat.stops()
    async with place.life() as talk:
        chat = talk.again(chat)
        assert (await chat.stops()).run is None
        assert (await chat.ended("p")).outcome == "cancelled"
        assert settlements(await chat.facts()) == ["cancelled"]
        assert talk.nothing_asked


async def test_race_steer_acknowledged_then_cancel(tmp_path: Path) -> None:
    """C2, C6, I7. Fails when `all` passes over steers."""
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        one = await chat.says("one")
        await talk.asked()
        steer = await chat.steers("also this")
        assert steer.run is None or steer.run == one.run
        covered = await chat.stops()
        assert set(covered.prompts) == {one.prompt, steer.prompt}
        assert (await chat.ended(one)).outcome == "cancelled"
        assert (await chat.ended(steer)).state == "dropped"
        assert await chat.asked_prompts() == ["one"]
        assert [fact.text for fact in await chat.facts() if isinstance(fact, f.EntryDropped)] == ["also this"]
        assert talk.nothing_asked


async def test_race_tool_that_finishes_after_its_cancel(tmp_path: Path) -> None:
    """C7, I5. Fails when the true result is replaced by a synthetic one."""
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        accepted = await chat.says("touch it")
        touched = await talk.calls()
        number = talk.journal.hold_next()
        async with meanwhile(chat.stops()):
            await talk.journal.until_held(number)
            touched.finish("written after all")
            await talk.waits_behind(chat)
            await talk.journal.release(number)
        assert (await chat.ended(accepted)).outcome == "cancelled"
        assert results(await chat.said()) == [("written after all", "completed")]


async def test_race_late_outcome_of_an_earlier_turn_whose_provider_reuses_call_ids(tmp_path: Path) -> None:
    """I5, T1. A stuck tool of a settled run stops at last, when the first call of the next one runs.

    Fails when outcomes are matched by the provider's numbering of calls.
    """
    async with Place(tmp_path).life(Options(unwind_grace=0.01)) as talk:
        chat = await talk.chat()
        one = await chat.says("one")
        stuck = asyncio.Event()
        late = await talk.calls()
        late.hold(stuck)
        await chat.stops()
        assert (await chat.ended(one)).outcome == "cancelled"
        two = await chat.says("two")
        touched = await talk.calls()
        before = (await chat.show()).seq
        stuck.set()
        await late.stopped.wait()
        await talk.client.health()
        assert (await chat.show()).seq == before
        touched.finish("the second")
        await talk.answers()
        assert (await chat.ended(two)).outcome == "completed"
        assert [text for text, _ in results(await chat.said())][1:] == ["the second"]


@pytest.mark.parametrize("first", ["cancel", "answer"])
async def test_t6_c8_a_late_answer_to_a_permission_request(tmp_path: Path, first: str) -> None:
    """The answer and the cancel at once, in either order."""
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        accepted = await chat.says("go outside")
        request = await talk.wants(chat)
        number = talk.journal.hold_next()
        works = [chat.stops(), _answer(chat, request)]
        if first == "answer":
            works.reverse()
        async with asyncio.TaskGroup() as group:
            group.create_task(works[0])
            await talk.journal.until_held(number)
            late = group.create_task(works[1])
            await talk.waits_behind(chat)
            await talk.journal.release(number)
        assert (await chat.ended(accepted)).outcome == "cancelled"
        assert (await chat.requests()).items == ()
        if first == "cancel":
            assert late.result() == "stale"
            assert not [fact for fact in await chat.facts() if isinstance(fact, f.PermissionAnswered)]


async def _answer(chat: RemoteSession, request: str) -> i.Noted | str:
    try:
        return await chat.answer(request, "allow_once")
    except Stale as refusal:
        return refusal.code
