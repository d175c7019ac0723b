"""Sub-agents: a call that is a session of its own, in every way that it can end (contract.md T4, K7, C7)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from decimal import Decimal
from typing import Any

import pytest

from quell.core import facts as f
from quell.core import inputs as i
from quell.core.decide import decide
from quell.core.errors import QuellError, SessionNotFound
from quell.core.events import Deleted
from quell.core.evolve import fold
from quell.core.messages import Spent, ToolMessage, ToolResult, Usage, UserMessage
from quell.core.permissions import Rule
from quell.core.ports import Journal
from quell.core.session import Session, Summary, summary
from quell.engine import Options
from quell.store.memory import MemoryJournal
from quell.testing.faults import FaultyJournal, Hold, LoseAnswer, Refuse
from quell.testing.harness import Asked, Play, crashed, played

COSTS: dict[str, Any] = {"usage": Usage(input=10, output=1), "cost": Decimal("0.5")}


class Diary(FaultyJournal):
    """Remembers what was written, in order over all sessions; `dies_at` is the first append that is not."""

    def __init__(self, journal: Journal, dies_at: int | None = None) -> None:
        super().__init__(journal)
        self.written: list[tuple[str, f.AnyFact]] = []
        self.dead = asyncio.Event()
        self._dies_at = dies_at
        self.slow_for = ""
        self.quick = asyncio.Event()

    async def append(self, session: str, expected: int, records: Sequence[f.Recorded], summary: Summary) -> None:
        if self.appends + 1 == self._dies_at:
            self.always = Refuse("the process died")
            self.dead.set()
        if session == self.slow_for:
            await self.quick.wait()
        await super().append(session, expected, records, summary)
        self.written.extend((session, recorded.fact) for recorded in records)

    def ends(self) -> list[tuple[str, str]]:
        """Which runs and calls ended, in order: `("s1", "cancelled")`."""
        return [
            (session, fact.outcome if isinstance(fact, f.RunSettled) else f"call {fact.result.status}")
            for session, fact in self.written
            if isinstance(fact, f.RunSettled | f.CallFinished)
        ]


async def delegated(play: Play, *tasks: str, **fields: Any) -> tuple[str, list[str]]:
    """A session whose model has just started a sub-agent for each task; its id, and theirs."""
    session = await play.session()
    await play.submit(session, "go", **fields)
    asked = await play.asked()
    calls = [asked.call("agent", prompt=task) for task in tasks]
    asked.reply(**COSTS)
    return session, [f"{session}-{call}" for call in calls]


async def asked_for(play: Play, task: str) -> Asked:
    """The next sample, which has to be one of that task."""
    asked = await play.asked()
    assert task_of(asked) == task
    return asked


def task_of(asked: Asked) -> str:
    return next(m.text for m in reversed(asked.request.messages) if isinstance(m, UserMessage))


async def results(play: Play, session: str) -> list[ToolResult]:
    return [m.result for m in (await play.engine.transcript(session)).messages if isinstance(m, ToolMessage)]


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


# Deletion


async def test_k7_deleting_a_parent_deletes_its_children_first() -> None:
    diary = Diary(MemoryJournal())
    async with played(diary, Options(unwind_grace=3600)) as play:
        session, (old,) = await delegated(play, "old")
        (await play.asked()).reply()
        (await asked_for(play, "go")).call("agent", prompt="new")
        await play.cancel(session)
        await play.idle(session)
        await play.submit(session, "again")
        (asked := await play.asked()).call("agent", prompt="newer")
        asked.reply()
        asked = await asked_for(play, "newer")
        assert len(await play.engine.summaries(parent=session)) == 2
        async with play.engine.follow(old, 0) as old_events, play.engine.follow(session, 0) as events:
            await play.engine.apply(session, i.Delete())
            async for _ in old_events:
                pass
            async for _ in events:
                pass
        assert asked.closed.is_set()
        assert await play.engine.summaries() == ()
        deletions = [id for id, fact in diary.written if isinstance(fact, f.DeletionStarted)]
        assert deletions[0] == session
        assert len(deletions) == 3
        with pytest.raises(SessionNotFound):
            await play.engine.state(old)


async def test_k7_a_deletion_that_a_crash_cut_short_goes_on() -> None:
    journal = MemoryJournal()
    async with crashed(journal) as play:
        session, _ = await delegated(play, "find it")
        (await play.asked()).reply()
        (await asked_for(play, "go")).reply()
        await play.idle(session)
        await journal.append(session, *_deletion(fold(await journal.read(session))))
    async with played(journal) as play:
        async with play.engine.follow_all() as changes:
            async for news in changes:
                if Deleted(session) in news:
                    break
        assert not await play.engine.summaries()
        assert await journal.read(session) == ()


def _deletion(session: Session) -> tuple[int, Sequence[f.Recorded], Summary]:
    decision = decide(session, i.Delete(), session.updated)
    return session.seq, decision.records, summary(decision.session)


async def test_t4_a_child_that_a_user_deletes_is_a_result_and_what_it_spent_is_not_lost() -> None:
    async with played() as play:
        session, (child,) = await delegated(play, "find it")
        (asked := await play.asked()).call("touch", kind="read")
        asked.reply(**COSTS)
        await play.touched()
        await play.engine.apply(child, i.Delete())
        (await asked_for(play, "go")).reply()
        assert (await play.settled(session)).outcome == "completed"
        (result,) = await results(play, session)
        assert result.status == "cancelled"
        assert "deleted" in result.text
        assert (await play.engine.state(session)).cost == Decimal(1)


# Crash and shutdown


async def test_t4_k3_a_crash_interrupts_the_child_then_its_parent_and_neither_goes_on() -> None:
    journal = MemoryJournal()
    async with crashed(journal) as play:
        session, (child,) = await delegated(play, "find it")
        (asked := await play.asked()).call("touch", kind="read")
        asked.reply(**COSTS)
        await play.touched()
    diary = Diary(journal)
    async with played(diary, Options(resume_interrupted=False)) as play:
        await play.idle(session)
        await play.idle(child)
        assert diary.ends() == [
            (child, "call unknown"),
            (child, "interrupted"),
            (session, "call unknown"),
            (session, "interrupted"),
        ]
        assert (await play.engine.state(session)).cost == Decimal(1)
        assert play.nothing_asked


async def test_t4_k3_a_child_that_was_being_cancelled_is_cancelled_after_a_crash() -> None:
    journal = MemoryJournal()
    async with crashed(journal) as play:
        session, (child,) = await delegated(play, "find it")
        (asked := await play.asked()).call("touch", kind="read")
        asked.reply()
        (await play.touched()).hold(asyncio.Event())
        await play.cancel(session)
        await play.until(child, lambda state: state.run is not None and state.run.ending is not None)
    diary = Diary(journal)
    async with played(diary, Options(resume_interrupted=True)) as play:
        await play.idle(session)
        assert [end for end in diary.ends() if "call" not in end[1]] == [(child, "cancelled"), (session, "cancelled")]
        assert play.nothing_asked


@pytest.mark.parametrize("dies_at", range(2, 12))
async def test_race_crash_between_any_two_transactions_of_a_parent_and_its_child(dies_at: int) -> None:
    """K1, T4, I1. Fails without the recovery of children before their parent, and if a child could go on by itself."""
    journal = MemoryJournal()
    diary = Diary(journal, dies_at)
    try:
        async with played(diary) as play, asyncio.TaskGroup() as group:
            story = group.create_task(_story(play))
            await diary.dead.wait()
            story.cancel()
    except* QuellError:
        pass  # a dead process refuses the story's own requests
    assert diary.dead.is_set()
    async with played(journal) as play, asyncio.TaskGroup() as group:
        asked_again: list[str] = []
        model = group.create_task(_answer(play, asked_again))
        rows = await play.engine.summaries()
        for row in rows:
            await play.idle(row.id)
        model.cancel()
        assert "find it" not in asked_again
        for row in await play.engine.summaries(parent=""):
            children = await play.engine.summaries(parent=row.id)
            own = sum((fact.reply.cost or 0) for fact in await play.facts(row.id) if isinstance(fact, f.Replied))
            state = await play.engine.state(row.id)
            assert state.cost == own + sum(child.cost for child in children)
            assert set(state.prompts) == {"p2"} or not state.prompts


async def _story(play: Play) -> None:
    """Eleven appends, of the parent and the child in turn."""
    session, _ = await delegated(play, "find it")
    asked = await play.asked()
    asked.call("touch", kind="read")
    asked.reply(**COSTS)
    (await play.touched()).finish()
    asked = await play.asked()
    asked.say("here")
    asked.reply(**COSTS)
    (await asked_for(play, "go")).reply(**COSTS)
    await play.idle(session)


async def _answer(play: Play, asked_again: list[str]) -> None:
    while True:
        asked = await play.asked()
        asked_again.append(task_of(asked))
        asked.reply(**COSTS)


async def test_k6_a_shutdown_settles_the_child_then_its_call_and_starts_nothing() -> None:
    """T4, K6: the two actors end at once, and neither waits for the other for ever."""
    journal = MemoryJournal()
    diary = Diary(journal)
    async with played(diary, Options(stop_grace=3600)) as play:
        session, (child,) = await delegated(play, "find it")
        (asked := await play.asked()).call("touch", kind="read")
        asked.reply(**COSTS)
        await play.touched()
    assert [end for end in diary.ends() if "call" not in end[1]] == [(child, "interrupted"), (session, "interrupted")]
    assert fold(await journal.read(session)).cost == Decimal(1)
    async with played(journal, Options(resume_interrupted=False)) as play:
        assert not play.engine.busy
        assert play.nothing_asked


async def test_an_idle_engine_does_not_close_a_parent_that_waits() -> None:
    async with played(options=Options(idle_actors=0, idle_seconds=0.001)) as play:
        session, (child,) = await delegated(play, "find it")
        asked = await play.asked()
        for _ in range(3):
            await play.session()
        asked.say("here")
        asked.reply()
        await play.session()
        (await asked_for(play, "go")).reply()
        assert (await play.settled(session)).outcome == "completed"
        assert [result.text for result in await results(play, session)] == ["here"]
        assert (await play.engine.state(child)).parent == session


async def test_what_was_spent_is_counted_once_when_a_call_is_closed_from_outside() -> None:
    """C7: the disk takes its time with the child, and its parent settles without it."""
    diary = Diary(MemoryJournal())
    async with played(diary, Options(unwind_grace=0.2)) as play:
        session, (child,) = await delegated(play, "find it")
        (asked := await play.asked()).call("touch", kind="read")
        asked.reply(**COSTS)
        await play.touched()
        diary.slow_for = child
        await play.cancel(session)
        assert (await play.settled(session)).outcome == "cancelled"
        assert (await play.engine.state(session)).runs["r3"].spent == Spent(Usage(input=20, output=2), Decimal(1))
        assert (await play.engine.state(child)).busy
        diary.quick.set()
        await play.idle(child)
        assert diary.ends()[-1] == (child, "cancelled")
