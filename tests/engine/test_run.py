"""A prompt through the engine: accepted, answered, with and without tools."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from quell.core import facts as f
from quell.core.errors import Conflict, EmptyPrompt, InvalidRequest, SessionNotFound
from quell.core.messages import AssistantMessage, Text, ToolMessage, UserMessage
from quell.engine import Options
from quell.testing.harness import played


async def test_a_prompt_is_answered() -> None:
    async with played() as play:
        session = await play.session()
        accepted = await play.submit(session, "hello")
        asked = await play.asked()
        assert [type(message) for message in asked.request.messages] == [UserMessage]
        asked.say("hi")
        asked.reply()
        settled = await play.settled(session)
        assert (settled.run, settled.outcome, settled.stop_reason) == (accepted.run, "completed", "end_turn")
        transcript = await play.engine.transcript(session)
        user, assistant = transcript.messages
        assert isinstance(user, UserMessage)
        assert user.text == "hello"
        assert isinstance(assistant, AssistantMessage)
        assert assistant.parts == (Text("hi"),)


async def test_a_tool_call_goes_round() -> None:
    async with played() as play:
        session = await play.session()
        await play.submit(session, "touch it")
        asked = await play.asked()
        call = asked.call("touch")
        asked.reply()
        touched = await play.touched()
        touched.finish("done")
        asked = await play.asked()
        result = asked.request.messages[-1]
        assert isinstance(result, ToolMessage)
        assert (result.call, result.result.text) == (call, "done")
        asked.say("finished")
        asked.reply()
        assert (await play.settled(session)).outcome == "completed"


async def test_what_a_tool_prints_reaches_followers_while_it_runs() -> None:
    async with played() as play:
        session = await play.session()
        await play.submit(session, "go")
        asked = await play.asked()
        call = asked.call("touch")
        asked.reply()
        touched = await play.touched()
        async with play.engine.follow(session, (await play.engine.state(session)).seq) as events:
            touched.output("line 1\n")
            first = (await anext(events))[0]
            assert getattr(first, "call", None) == call
            touched.finish()
            (await play.asked()).reply()
            await play.idle(session)


async def test_a1_an_empty_prompt_and_an_unknown_session_are_rejected_with_nothing_written() -> None:
    async with played() as play:
        session = await play.session()
        with pytest.raises(EmptyPrompt):
            await play.submit(session, " \n")
        with pytest.raises(SessionNotFound):
            await play.submit("nobody", "hello")
        assert len(await play.facts(session)) == 1


async def test_a3_the_same_submission_again_is_the_same_prompt() -> None:
    async with played() as play:
        session = await play.session()
        first = await play.submit(session, "hello", prompt="mine")
        again = await play.submit(session, "hello", prompt="mine")
        assert (first.prompt, first.seq) == (again.prompt, again.seq)
        with pytest.raises(Conflict):
            await play.submit(session, "other", prompt="mine")
        (await play.asked()).reply()
        await play.idle(session)
        assert (await play.submit(session, "hello", prompt="mine")).run == first.run
        assert play.nothing_asked


async def test_prompts_run_one_after_another_in_the_order_of_acceptance() -> None:
    async with played() as play:
        session = await play.session()
        for text in ("one", "two", "three"):
            await play.submit(session, text)
        for text in ("one", "two", "three"):
            asked = await play.asked()
            last = asked.request.messages[-1]
            assert isinstance(last, UserMessage)
            assert last.text == text
            assert play.nothing_asked
            asked.reply()
        await play.idle(session)


async def test_a_failed_attempt_is_repeated_and_said() -> None:
    async with played() as play:
        session = await play.session()
        await play.submit(session, "hello")
        (await play.asked()).fail("overloaded", "come back later", retry_after=0.01)
        (await play.asked()).reply()
        assert (await play.settled(session)).outcome == "completed"
        failed = [fact for fact in await play.facts(session) if isinstance(fact, f.SampleFailed)]
        assert [(fact.failure, fact.retry_at is not None) for fact in failed] == [("overloaded", True)]


async def test_i6_a_failure_that_would_meet_the_next_prompt_too_parks_the_queue() -> None:
    async with played() as play:
        session = await play.session()
        await play.submit(session, "one")
        await play.submit(session, "two")
        (await play.asked()).fail("unauthorized", "wrong key")
        state = await play.idle(session)
        assert state.parked
        assert [entry.text for entry in state.waiting] == ["two"]
        assert play.nothing_asked


async def test_i6_any_other_failure_lets_the_queue_go_on() -> None:
    async with played() as play:
        session = await play.session()
        await play.submit(session, "one")
        await play.submit(session, "two")
        (await play.asked()).fail("invalid_request")
        (await play.asked()).reply()
        assert (await play.settled(session)).outcome == "completed"


async def test_i9_a_run_that_goes_round_in_circles_is_stopped_visibly() -> None:
    async with played() as play:
        session = await play.session()
        await play.submit(session, "go")
        for _ in range(6):
            (asked := await play.asked()).call("touch", path="same")
            asked.reply()
            (await play.touched()).finish("the same as ever")
        settled = await play.settled(session)
        assert (settled.outcome, settled.stop_reason) == ("completed", "loop")
        assert play.nothing_asked


async def test_a_rule_for_a_tool_that_does_not_exist_is_refused() -> None:
    async with played() as play:
        session = await play.session()
        with pytest.raises(InvalidRequest, match="touch"):
            await play.submit(session, "go", allow=("tuoch(a)",))


async def test_a_session_that_was_closed_is_gone_without_the_garbage_collector() -> None:
    """It has its whole transcript in memory; the collector may not come round to it for thousands of runs."""
    async with played(options=Options(idle_actors=1, idle_seconds=0.0)) as play:
        session = await play.session()
        await play.submit(session, "hello")
        asked = await play.asked()
        asked.say("hi")
        asked.reply()
        await play.idle(session)
        gone = asyncio.Event()
        watch = weakref.ref(await play.engine.transcript(session), lambda _: gone.set())
        gc.disable()
        try:
            await play.session()
            async with asyncio.timeout(10):
                await gone.wait()
        finally:
            gc.enable()
        assert watch() is None


async def test_a2_in_a_crowd_everybody_is_accepted_before_the_runs_get_far() -> None:
    """Not by time: an effect begins in each turn of the loop, and no more."""
    async with played() as play:
        sessions = [await play.session() for _ in range(50)]
        asked: list[int] = []
        async with asyncio.TaskGroup() as group:
            for session in sessions:
                submitted = group.create_task(play.submit(session, "hello"))
                submitted.add_done_callback(lambda _: asked.append(play.asks))
        assert asked[-1] <= 5
        for _ in sessions:
            (await play.asked()).reply()
        for session in sessions:
            await play.idle(session)


async def test_who_has_asked_is_answered_before_those_who_follow_are_told() -> None:
    """In a crowd everybody's answer would wait for everybody's followers."""
    async with played() as play:
        session = await play.session()
        order: list[str] = []
        async with play.engine.follow(session, (await play.engine.state(session)).seq) as events:

            async def told() -> None:
                await anext(events)
                order.append("told")

            async def submit() -> None:
                await play.submit(session, "hello")
                order.append("answered")

            async with asyncio.TaskGroup() as group:
                group.create_task(told())
                group.create_task(submit())
        assert order == ["answered", "told"]
        (await play.asked()).reply()
        await play.idle(session)
