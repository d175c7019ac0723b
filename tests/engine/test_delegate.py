"""Sub-agents: a call that is a session of its own, and how it is cancelled (contract T4, C7)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from decimal import Decimal

import pytest

from quell.core import facts as f
from quell.core import inputs as i
from quell.core.messages import Usage
from quell.core.permissions import Rule
from quell.core.ports import JobState
from quell.core.session import Session
from quell.engine import Options
from quell.store.memory import MemoryJournal
from quell.testing.faults import FaultyJournal, Hold, LoseAnswer, Refuse
from quell.testing.harness import Play, PlayedTools, played
from tests.engine.delegating import COSTS, Diary, asked_for, delegated, results, task_of


async def test_t4_a_sub_agent_works_in_a_session_of_its_own_and_its_last_words_are_the_result() -> None:
    async with played() as play:
        session, (child,) = await delegated(play, "find it", on_ask="wait")
        asked = await asked_for(play, "find it")
        assert [tool.name for tool in asked.request.tools] == ["touch"]
        state = await play.engine.state(child)
        assert (state.parent, state.mode, state.model, state.workspace) == (session, "plan", "played/model", "/work")
        assert state.run is not None
        assert (state.run.entry.origin, state.run.entry.on_ask) == ("parent", "deny")
        assert [row.id for row in await play.engine.summaries(parent=session)] == [child]
        assert [row.id for row in await play.engine.summaries(parent="")] == [session]
        asked.say("It is in file.")
        asked.reply(**COSTS)
        asked = await asked_for(play, "go")
        assert [tool.name for tool in asked.request.tools] == ["touch", "agent"]
        asked.reply(**COSTS)
        assert (await play.settled(session)).outcome == "completed"
        (result,) = await results(play, session)
        assert (result.text, result.status, result.metadata["session"]) == ("It is in file.", "completed", child)


async def test_a_sub_agent_has_no_sub_agents() -> None:
    async with played() as play:
        session, (child,) = await delegated(play, "find it")
        (asked := await play.asked()).call("agent", prompt="you do it")
        asked.reply()
        (await asked_for(play, "find it")).reply()
        (await asked_for(play, "go")).reply()
        await play.idle(session)
        assert [result.status for result in await results(play, child)] == ["failed"]
        assert not await play.engine.summaries(parent=child)


async def test_sub_agents_of_one_turn_work_side_by_side_and_no_more_than_allowed() -> None:
    async with played(options=Options(sub_agents=2)) as play:
        session, children = await delegated(play, "one", "two", "three")
        one, two = await play.asked(), await play.asked()
        assert {task_of(one), task_of(two)} == {"one", "two"}
        state = await play.until(session, lambda state: _started(state) == 3)
        assert state.busy
        assert len(await play.engine.summaries(parent=session)) == 2
        two.say("second")
        two.reply()
        three = await asked_for(play, "three")
        three.reply()
        one.reply()
        (await asked_for(play, "go")).reply()
        await play.idle(session)
        assert {row.id for row in await play.engine.summaries(parent=session)} == set(children)
        assert sorted(result.status for result in await results(play, session)) == ["completed", "failed", "failed"]


def _started(state: Session) -> int:
    assert state.run is not None
    return sum(call.status == "started" for call in getattr(state.run.phase, "calls", ()))


async def test_what_a_sub_agent_spent_counts_for_its_parent() -> None:
    async with played() as play:
        session, (child,) = await delegated(play, "find it", limits=f.Limits(turns=9, cost=Decimal("0.9"), seconds=900))
        asked = await play.asked()
        run = (await play.engine.state(child)).run
        assert run is not None
        assert run.entry.limits == f.Limits(turns=9, cost=Decimal("0.4"))
        asked.say("here")
        asked.reply(**COSTS)
        settled = await play.settled(session)
        assert settled.stop_reason == "budget"
        state = await play.engine.state(session)
        assert (state.cost, state.usage) == (Decimal(1), Usage(input=20, output=2))
        assert (await play.engine.state(child)).cost == Decimal("0.5")


async def test_a_sub_agent_may_not_do_more_than_its_parent() -> None:
    """Its parent's rules hold, and where commands are asked about, it runs none."""
    rule = Rule("deny", "touch", "session")
    async with played() as play:
        session = await play.session(mode="ask", rules=(rule,))
        await play.submit(session, "go", allow=("touch(/else/**)",))
        (asked := await play.asked()).call("agent", prompt="find it")
        asked.reply()
        asked = await play.asked()
        child = (await play.engine.summaries(parent=session))[0].id
        state = await play.engine.state(child)
        assert state.rules == (rule, Rule("ask", "kind:execute", "session"))
        assert state.run is not None
        assert state.run.entry.allow == ("touch(/else/**)",)
        asked.call("touch", kind="read")
        asked.reply()
        (await asked_for(play, "find it")).reply()
        (await asked_for(play, "go")).reply()
        await play.idle(session)
        assert [result.status for result in await results(play, child)] == ["denied"]


async def test_a_sub_agent_has_its_parents_environment() -> None:
    async with played() as play:
        session = await play.session()
        submit = i.Submit(prompt="p", text="go")
        await play.engine.apply(session, submit, {"API_KEY": "secret"})
        (asked := await play.asked()).call("agent", prompt="find it")
        asked.reply()
        await play.asked()
        assert play.engine.environment((await play.engine.summaries(parent=session))[0].id) == {"API_KEY": "secret"}


async def test_failures_of_a_sub_agent_are_results() -> None:
    async with played() as play:
        session, (child,) = await delegated(play, "find it")
        (await play.asked()).fail("quota", "The credit is used up.")
        (await asked_for(play, "go")).reply()
        await play.idle(session)
        (result,) = await results(play, session)
        assert (result.status, result.metadata["outcome"]) == ("failed", "failed")
        assert "The credit is used up." in result.text
        assert not (await play.engine.state(child)).busy


async def test_a_sub_agent_that_cannot_be_started_is_a_result() -> None:
    journal = FaultyJournal(MemoryJournal())
    async with played(journal) as play:
        session = await play.session()
        await play.submit(session, "go")
        asked = await play.asked()
        asked.call("agent", prompt="find it")
        journal.plan = {journal.appends + 3: Refuse()}  # after the reply and the start of the call
        asked.reply()
        (await asked_for(play, "go")).reply()
        await play.idle(session)
        (result,) = await results(play, session)
        assert result.status == "failed"
        assert "the disk is full" in result.text
        assert not await play.engine.summaries(parent=session)


async def test_a_sub_agent_whose_start_was_not_heard_of_is_stopped() -> None:
    """K5, T4: it was written, and its parent is told that it was not."""
    journal = FaultyJournal(MemoryJournal())
    async with played(journal) as play:
        session = await play.session()
        await play.submit(session, "go")
        asked = await play.asked()
        asked.call("agent", prompt="find it")
        journal.plan = {journal.appends + 3: LoseAnswer()}
        asked.reply()
        while task_of(asked := await play.asked()) == "find it":
            await asked.closed.wait()
        asked.reply()
        await play.idle(session)
        (child,) = await play.engine.summaries(parent=session)
        assert not child.busy
        assert [end.outcome for end in (await play.engine.state(child.id)).runs.values()] == ["cancelled"]


async def test_what_a_sub_agents_commands_left_running_ends_with_its_task() -> None:
    """T2, T4: its jobs are its own, and nobody looks at them when it has answered."""
    ended: list[str] = []

    class Jobs(PlayedTools):
        def jobs(self, session: str) -> Sequence[JobState]:
            state = JobState(id="j1", command="tail -f log", description="", started="", running=not ended)
            return [state] if "-" in session else []

        async def end_job(self, session: str, job: str) -> JobState:
            ended.append(session)
            return JobState(id=job, command="tail -f log", description="", started="", running=False)

    async with played() as play:
        play.engine._performer.delegates.toolset = Jobs(asyncio.Queue())
        session, (child,) = await delegated(play, "find it")
        (asked := await play.asked()).say("here")
        asked.reply()
        (await asked_for(play, "go")).reply()
        await play.idle(session)
        assert ended == [child]


# Cancelling


async def streams(play: Play) -> None:
    (await play.asked()).say("half of it")


async def runs_a_tool(play: Play) -> None:
    (asked := await play.asked()).call("touch", kind="read")
    asked.reply()
    await play.touched()


async def backs_off(play: Play) -> None:
    (await play.asked()).fail("overloaded", retry_after=3600)
    (row,) = [row for row in await play.engine.summaries() if row.parent is not None]
    await play.until(row.id, lambda state: state.run is not None and state.run.attempt == 2)


@pytest.mark.parametrize("while_it", [streams, runs_a_tool, backs_off])
async def test_t4_c7_cancelling_the_parent_cancels_the_child_which_settles_first(
    while_it: Callable[[Play], Awaitable[None]],
) -> None:
    diary = Diary(MemoryJournal())
    async with played(diary, Options(unwind_grace=3600)) as play:
        session, (child,) = await delegated(play, "find it")
        await while_it(play)
        await play.cancel(session)
        assert (await play.settled(session)).outcome == "cancelled"
        ends = diary.ends()
        assert ends[-3:] == [(child, "cancelled"), (session, "call cancelled"), (session, "cancelled")]
        ending = next(fact for id, fact in diary.written if id == child and isinstance(fact, f.RunEnding))
        assert ending.origin == "parent"
        assert play.nothing_asked


async def test_t4_c7_cancelling_the_parent_covers_the_child_that_is_being_made() -> None:
    """Its prompt is on the way to the disk when the parent is cancelled."""
    diary = Diary(MemoryJournal())
    async with played(diary, Options(unwind_grace=3600)) as play:
        session = await play.session()
        await play.submit(session, "go")
        asked = await play.asked()
        asked.call("agent", prompt="find it")
        diary.plan[diary.appends + 3] = Hold()
        asked.reply()
        await diary.until_held()
        await play.cancel(session)
        await diary.release()
        assert (await play.settled(session)).outcome == "cancelled"
        (child,) = await play.engine.summaries(parent=session)
        assert diary.ends()[-3:] == [(child.id, "cancelled"), (session, "call cancelled"), (session, "cancelled")]


async def test_c7_a_child_whose_tool_does_not_stop_does_not_hold_up_its_parent() -> None:
    release = asyncio.Event()
    diary = Diary(MemoryJournal())
    async with played(diary, Options(unwind_grace=0.5)) as play:
        session, (child,) = await delegated(play, "find it")
        (asked := await play.asked()).call("touch", kind="read")
        asked.reply()
        touched = await play.touched()
        touched.hold(release)
        await play.cancel(session)
        assert (await play.settled(session)).outcome == "cancelled"
        assert [end for end in diary.ends() if end[1] == "cancelled"] == [(child, "cancelled"), (session, "cancelled")]
        assert not touched.stopped.is_set()
        release.set()


async def test_t4_a_task_that_was_done_when_its_parent_was_cancelled_is_a_result() -> None:
    """C7: what really finishes meanwhile is recorded as it was."""
    diary = Diary(MemoryJournal())
    async with played(diary) as play:
        session, (child,) = await delegated(play, "find it")
        asked = await play.asked()
        asked.say("here")
        diary.plan[diary.appends + 1] = Hold()
        asked.reply(**COSTS)
        await diary.until_held()
        await play.cancel(session)
        await diary.release()
        assert (await play.settled(session)).outcome == "cancelled"
        assert [result.text for result in await results(play, session)] == ["here"]
        assert (await play.engine.state(session)).cost == Decimal(1)
        assert diary.ends()[0] == (child, "completed")


async def test_t4_a_child_that_a_user_cancels_is_a_result_and_its_parent_goes_on() -> None:
    async with played() as play:
        session, (child, other) = await delegated(play, "one", "two")
        one, two = await play.asked(), await play.asked()
        one, two = (one, two) if task_of(one) == "one" else (two, one)
        one.say("It may be in")
        await play.cancel(child)
        two.say("two is here")
        two.reply()
        (await asked_for(play, "go")).reply()
        assert (await play.settled(session)).outcome == "completed"
        stopped, found = sorted(await results(play, session), key=lambda result: result.metadata["session"])
        assert (stopped.status, found.status) == ("cancelled", "completed")
        assert "The user stopped this sub-agent" in stopped.text
        assert "It may be in" in stopped.text
        assert found.metadata["session"] == other


async def test_a_child_can_be_talked_to_and_that_is_not_its_parents() -> None:
    async with played() as play:
        session, (child,) = await delegated(play, "find it")
        asked = await play.asked()
        await play.submit(child, "and why?")
        asked.say("here")
        asked.reply(**COSTS)
        one, two = await play.asked(), await play.asked()
        assert {task_of(one), task_of(two)} == {"and why?", "go"}
        one.reply(**COSTS)
        two.reply(**COSTS)
        await play.idle(session)
        await play.idle(child)
        assert [result.text for result in await results(play, session)] == ["here"]
        assert (await play.engine.state(session)).cost == Decimal("1.5")
        assert (await play.engine.state(child)).cost == Decimal(1)
