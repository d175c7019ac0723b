"""Cancel, in the windows where others lose it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from quell.core import facts as f
from quell.core import inputs as i
from quell.core.errors import Stale
from quell.core.hooks import HookPlace, RunEnd
from quell.core.messages import AssistantMessage, ResultStatus, Text, ToolCall, ToolMessage, UserMessage
from quell.core.session import Calling, Run
from quell.engine import Options
from quell.store.memory import MemoryJournal
from quell.testing.faults import FaultyJournal
from quell.testing.harness import played


async def test_cancel_right_after_acceptance_leaves_a_user_message_and_a_cancelled_one() -> None:
    """C5"""
    async with played() as play:
        session = await play.session()
        accepted = await play.submit(session, "hello")
        covered = await play.cancel(session)
        assert (covered.run, covered.prompts) == (accepted.run, (accepted.prompt,))
        assert (await play.settled(session)).outcome == "cancelled"
        user, assistant = (await play.engine.transcript(session)).messages
        assert isinstance(user, UserMessage)
        assert isinstance(assistant, AssistantMessage)
        assert assistant.stop_reason == "cancelled"


async def test_cancel_when_idle_is_a_no_op_and_no_effect_on_the_next_prompt() -> None:
    """C1"""
    async with played() as play:
        session = await play.session()
        assert await play.cancel(session) == i.Covered(1)
        await play.submit(session, "hello")
        (await play.asked()).reply()
        assert (await play.settled(session)).outcome == "completed"


async def test_cancel_while_streaming_keeps_the_text_and_lets_go_of_the_model() -> None:
    """C7"""
    async with played() as play:
        session = await play.session()
        await play.submit(session, "hello")
        asked = await play.asked()
        asked.say("half of ")
        asked.say("it")
        await play.cancel(session)
        await asked.closed.wait()
        assert (await play.settled(session)).outcome == "cancelled"
        message = (await play.engine.transcript(session)).messages[-1]
        assert isinstance(message, AssistantMessage)
        assert (message.parts, message.stop_reason) == ((Text("half of it"),), "cancelled")


async def test_c7_a_cancel_that_has_a_model_to_stop_and_nothing_else_is_settled_when_it_is_answered() -> None:
    """The two are one append."""
    journal = FaultyJournal(MemoryJournal())
    async with played(journal) as play:
        session = await play.session()
        await play.submit(session, "hello")
        (await play.asked()).say("half")
        appends = journal.appends
        await play.cancel(session)
        assert journal.appends == appends + 1
        assert isinstance((await play.facts(session))[-1], f.RunSettled)


async def test_c7_a_model_that_does_not_let_go_holds_up_the_settlement_and_not_the_answer() -> None:
    async with played() as play:
        session = await play.session()
        await play.submit(session, "hello")
        asked, lets_go = await play.asked(), asyncio.Event()
        asked.hold(lets_go)
        asked.say("half")
        await play.cancel(session)
        assert not asked.closed.is_set()
        assert not any(isinstance(fact, f.RunSettled) for fact in await play.facts(session))
        lets_go.set()
        assert (await play.settled(session)).outcome == "cancelled"


async def test_cancel_all_drops_what_waits_and_nothing_accepted_later() -> None:
    """C2, C6"""
    async with played() as play:
        session = await play.session()
        first = await play.submit(session, "one")
        asked = await play.asked()
        second = await play.submit(session, "two")
        steer = await play.submit(session, "and this", delivery="steer")
        covered = await play.cancel(session)
        assert set(covered.prompts) == {first.prompt, second.prompt, steer.prompt}
        later = await play.submit(session, "three")
        await asked.closed.wait()
        asked = await play.asked()
        asked.reply()
        settled = await play.settled(session)
        assert (settled.run, settled.outcome) == (
            (await play.engine.state(session)).prompts[later.prompt].run,
            "completed",
        )
        dropped = [fact.text for fact in await play.facts(session) if isinstance(fact, f.EntryDropped)]
        assert dropped == ["two", "and this"]
        users = [m.text for m in (await play.engine.transcript(session)).messages if isinstance(m, UserMessage)]
        assert users == ["one", "three"]


async def test_cancel_active_parks_what_waits_until_it_is_resumed() -> None:
    """C3, Q2"""
    async with played() as play:
        session = await play.session()
        await play.submit(session, "one")
        await play.asked()
        await play.submit(session, "two")
        await play.submit(session, "steer", delivery="steer")
        await play.cancel(session, scope="active")
        state = await play.idle(session)
        assert state.parked
        assert [(entry.text, entry.delivery) for entry in state.waiting] == [("two", "queue"), ("steer", "queue")]
        await play.submit(session, "no, do this")
        asked = await play.asked()
        assert isinstance(asked.request.messages[-1], UserMessage)
        assert asked.request.messages[-1].text == "no, do this"
        asked.reply()
        assert len((await play.idle(session)).waiting) == 2
        await play.engine.apply(session, i.Resume())
        for text in ("two", "steer"):
            asked = await play.asked()
            assert isinstance(asked.request.messages[-1], UserMessage)
            assert asked.request.messages[-1].text == text
            asked.reply()
        await play.idle(session)


async def test_cancel_while_a_tool_runs_stops_it_and_keeps_what_it_printed() -> None:
    """C7, I5"""
    async with played() as play:
        session = await play.session()
        await play.submit(session, "go")
        asked = await play.asked()
        call = asked.call("touch")
        asked.reply()
        touched = await play.touched()
        touched.output("42 lines\n")
        await play.cancel(session)
        await touched.stopped.wait()
        assert (await play.settled(session)).outcome == "cancelled"
        results = [m for m in (await play.engine.transcript(session)).messages if isinstance(m, ToolMessage)]
        assert [(m.call, m.result.status) for m in results] == [(call, "cancelled")]
        assert "42 lines" in results[0].result.text


async def test_a_tool_that_will_not_stop_does_not_hold_up_settlement() -> None:
    """C7: whatever hangs"""
    release = asyncio.Event()
    async with played(options=Options(unwind_grace=0.05)) as play:
        session = await play.session()
        await play.submit(session, "go")
        (asked := await play.asked()).call("touch", stubborn=True)
        asked.reply()
        touched = await play.touched()
        touched.hold(release)
        await play.cancel(session)
        assert (await play.settled(session)).outcome == "cancelled"
        assert not touched.stopped.is_set()
        release.set()


class DeafHooks:
    """The port `Hooks`: one that is told of results, and does not stop before `stops` when it is told to."""

    def __init__(self) -> None:
        self.told, self.stops = asyncio.Event(), asyncio.Event()

    async def before(self, call: ToolCall, place: HookPlace, environment: Mapping[str, str]) -> None:
        return None

    async def after(
        self, call: ToolCall, status: ResultStatus, text: str, place: HookPlace, environment: Mapping[str, str]
    ) -> None:
        self.told.set()
        try:
            await asyncio.Event().wait()
        finally:
            await self.stops.wait()

    def settled(self, end: RunEnd, place: HookPlace, environment: Mapping[str, str]) -> None:
        pass


def _are_done(run: Run) -> bool:
    return isinstance(run.phase, Calling) and all(call.status == "done" for call in run.phase.calls)


async def test_c7_what_a_call_has_done_does_not_wait_for_a_hook_that_will_not_stop() -> None:
    """Fails when the result is recorded after the hook: by then the run may have been settled without it."""
    hooks = DeafHooks()
    async with played(hooks=hooks) as play:
        session = await play.session()
        await play.submit(session, "go")
        (asked := await play.asked()).call("touch")
        asked.reply()
        (await play.touched()).finish("it is done")
        await hooks.told.wait()
        await play.cancel(session)
        await play.until(session, lambda state: state.run is None or _are_done(state.run))
        finished = [fact for fact in await play.facts(session) if isinstance(fact, f.CallFinished)]
        assert [(fact.result.text, fact.result.status) for fact in finished] == [("it is done", "completed")]
        hooks.stops.set()
        assert (await play.settled(session)).outcome == "cancelled"


async def test_cancel_in_retry_back_off() -> None:
    """C8"""
    async with played() as play:
        session = await play.session()
        await play.submit(session, "hello")
        (await play.asked()).fail("overloaded", retry_after=3600)
        await play.until(session, lambda state: state.run is not None and state.run.attempt == 2)
        await play.cancel(session)
        assert (await play.settled(session)).outcome == "cancelled"
        assert play.nothing_asked


async def test_cancel_withdraws_an_open_request_and_late_answers_are_stale() -> None:
    """T6, C8"""
    async with played() as play:
        session = await play.session()
        await play.submit(session, "go")
        (asked := await play.asked()).call("touch", outside=True)
        asked.reply()
        state = await play.until(session, lambda state: bool(state.awaiting))
        request = state.awaiting[0].request
        assert request is not None
        await play.cancel(session)
        with pytest.raises(Stale):
            await play.engine.apply(session, i.Answer(request=request, option="allow_once"))
        assert (await play.settled(session)).outcome == "cancelled"


async def test_race_late_answer_to_a_permission_request_while_its_run_unwinds() -> None:
    """T6. Beside the call that asks there is one that does not stop. Fails when an answer to a withdrawn request is taken."""
    async with played() as play:
        session = await play.session()
        await play.submit(session, "go")
        asked, stops = await play.asked(), asyncio.Event()
        asked.call("touch", kind="read")
        asked.call("touch", outside=True)
        asked.reply()
        (await play.touched()).hold(stops)
        request = (await play.until(session, lambda state: bool(state.awaiting))).awaiting[0].request
        assert request is not None
        await play.cancel(session)
        with pytest.raises(Stale):
            await play.engine.apply(session, i.Answer(request=request, option="allow_once"))
        stops.set()
        assert (await play.settled(session)).outcome == "cancelled"
        assert play.nothing_asked


async def test_prompts_cancelled_by_id() -> None:
    async with played() as play:
        session = await play.session()
        first = await play.submit(session, "one")
        second = await play.submit(session, "two")
        third = await play.submit(session, "three")
        await play.cancel(session, prompt=second.prompt)
        await play.cancel(session, prompt=first.prompt)
        await play.asked()
        while (asked := await play.asked()).request.messages[-1].id != third.prompt:  # type: ignore[union-attr]  # a user's
            pass
        asked.reply()
        state = await play.idle(session)
        assert state.prompts[second.prompt].dropped
        assert not state.parked
