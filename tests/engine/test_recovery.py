"""What a new process makes of what the last one left."""

from __future__ import annotations

import pytest

from quell.core import facts as f
from quell.core import inputs as i
from quell.core.events import Deleted
from quell.core.messages import AssistantMessage, Text, ToolMessage
from quell.engine import Options
from quell.engine.live import Streams
from quell.store.memory import MemoryJournal
from quell.testing.harness import crashed, played


async def test_a2_a_prompt_that_was_accepted_runs_after_a_crash() -> None:
    journal = MemoryJournal()
    async with crashed(journal) as play:
        session = await play.session()
        await play.submit(session, "hello")
    async with played(journal) as play:
        (await play.asked()).reply()
        assert (await play.settled(session)).outcome == "completed"


async def test_k2_waiting_prompts_go_on_in_order_and_k3_the_run_is_interrupted() -> None:
    journal = MemoryJournal()
    async with crashed(journal) as play:
        session = await play.session()
        await play.submit(session, "one")
        (asked := await play.asked()).call("touch")
        asked.reply()
        await play.touched()
        await play.submit(session, "two")
        await play.submit(session, "three")
    async with played(journal) as play:
        for text in ("two", "three"):
            asked = await play.asked()
            assert asked.request.messages[-1].text == text  # type: ignore[union-attr]  # a user's
            asked.reply()
        await play.idle(session)
        outcomes = [fact.outcome for fact in await play.facts(session) if isinstance(fact, f.RunSettled)]
        assert outcomes == ["interrupted", "completed", "completed"]
        results = [m for m in (await play.engine.transcript(session)).messages if isinstance(m, ToolMessage)]
        assert [m.result.status for m in results] == ["unknown"]


async def test_k2_after_a_long_time_the_queue_is_parked_instead() -> None:
    journal = MemoryJournal()
    async with crashed(journal) as play:
        session = await play.session()
        await play.submit(session, "one")
        (asked := await play.asked()).call("touch")
        asked.reply()
        await play.touched()
        await play.submit(session, "two")
    async with played(journal, Options(recover_within=-1)) as play:
        state = await play.idle(session)
        assert state.parked
        assert play.nothing_asked


async def test_k6_a_shutdown_stops_what_runs_keeps_its_text_and_starts_nothing() -> None:
    journal = MemoryJournal()
    async with played(journal) as play:
        session = await play.session()
        await play.submit(session, "one")
        asked = await play.asked()
        asked.say("so far")
        await play.submit(session, "two")
    assert asked.closed.is_set()
    async with played(journal) as play:
        asked = await play.asked()
        assert asked.request.messages[-1].text == "two"  # type: ignore[union-attr]  # a user's
        asked.reply()
        await play.idle(session)
        first = next(m for m in (await play.engine.transcript(session)).messages if isinstance(m, AssistantMessage))
        assert (first.parts, first.stop_reason) == ((Text("so far"),), "interrupted")


async def test_k3_a_run_is_followed_up_when_that_is_wanted() -> None:
    journal = MemoryJournal()
    async with crashed(journal) as play:
        session = await play.session()
        await play.submit(session, "one")
        (asked := await play.asked()).call("touch")
        asked.reply()
        await play.touched()
    async with played(journal, Options(resume_interrupted=True)) as play:
        (await play.asked()).reply()
        assert (await play.settled(session)).outcome == "completed"


async def test_k7_a_deleted_session_is_gone_and_its_followers_are_told() -> None:
    from quell.core import inputs as i

    async with played() as play:
        session = await play.session()
        await play.submit(session, "one")
        asked = await play.asked()
        async with play.engine.follow(session, 0) as events:
            await play.engine.apply(session, i.Delete())
            seen = [event async for batch in events for event in batch]
        assert seen[-1] == Deleted(session)
        assert asked.closed.is_set()
        assert await play.engine.summaries() == ()


async def test_an_actor_that_fails_is_replaced_and_starts_no_call_twice(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A bug in one session's actor is recovered like a crash of the process, and touches no other session."""
    async with played() as play:
        session, other = await play.session(), await play.session()
        await play.submit(session, "one")
        (asked := await play.asked()).call("touch")
        asked.reply()
        await play.touched()

        def fail(self: Streams, *_: object) -> None:
            raise RuntimeError("a bug, as planned")

        with monkeypatch.context() as patch:
            patch.setattr(Streams, "settle", fail)
            await play.engine.apply(session, i.Change(title="new"))
        assert (await play.settled(session)).outcome == "interrupted"
        await play.submit(other, "two")
        (await play.asked()).reply()
        assert (await play.settled(other)).outcome == "completed"
        caplog.clear()
