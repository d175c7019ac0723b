"""Sub-agents in the machine: a session that is created with its task, and what a restart makes of it (contract T4)."""

from __future__ import annotations

from decimal import Decimal

import pytest
from msgspec.structs import replace

from quell.core import facts as f
from quell.core import inputs as i
from quell.core.decide import Decision, decide
from quell.core.errors import Conflict, EmptyPrompt, ShuttingDown
from quell.core.evolve import fold
from quell.core.messages import Reply, Spent, Text, ToolCall, ToolResult, Usage, call_id
from quell.core.permissions import Rule
from quell.core.session import Session, child_id
from quell.core.view import View, apply
from quell.testing.exploration import NOW, Budget, Search, Taken, World
from quell.testing.exploration.ledger import Ledger

TASK = i.Submit(prompt="task", text="find it", origin="parent", on_ask="deny")
BIRTH = i.Create(session="s-r3-1-1-c0", workspace="/w", model="m", mode="plan", parent="s", prompt=TASK)
SPENT = Spent(Usage(input=70, output=3), Decimal("0.5"))


def play(session: Session, *inputs: i.Input) -> Decision:
    """The last of the decisions, with the facts of all of them."""
    first, *rest = inputs
    decision = decide(session, first, NOW)
    for input in rest:
        following = decide(decision.session, input, NOW)
        decision = replace(following, records=(*decision.records, *following.records))
    return decision


def kinds(decision: Decision) -> list[str]:
    return [type(recorded.fact).__name__ for recorded in decision.records]


def replied(session: Session, *calls: str) -> i.SampleReplied:
    """The model's answer to what it is asked now."""
    assert session.run is not None
    parts = tuple(ToolCall(call, "agent", "{}") for call in calls)
    reply = Reply(parts=parts, stop_reason="tool_use" if calls else "end_turn", usage=Usage(input=1), cost=Decimal(1))
    return i.SampleReplied(run=session.run.id, turn=session.run.turn, attempt=session.run.attempt, reply=reply)


def calling(calls: int = 2) -> tuple[Session, list[str]]:
    """A session whose model has started so many sub-agents, and the ids of the calls."""
    session = play(Session(), i.Create(session="s", workspace="/w"), i.Submit(prompt="p", text="go")).session
    assert session.run is not None
    ids = [call_id(session.run.message, number) for number in range(calls)]
    session = play(session, replied(session, *ids)).session
    for id in ids:
        session = play(session, i.CallAllowed(run="r3", call=id, concurrent=True)).session
    return session, ids


def test_t4_the_session_of_a_sub_agent_is_named_after_its_call() -> None:
    assert child_id("s", call_id("r3-1-1", 0)) == "s-r3-1-1-c0"


def test_t4_a_sub_agent_and_its_task_are_one_decision() -> None:
    born = play(Session(), BIRTH)
    assert kinds(born) == ["SessionCreated", "PromptAccepted", "RunStarted", "SettingsChanged"]
    assert born.reaction == i.Accepted("task", 2, "r3")
    assert (born.session.parent, born.session.title) == ("s", "find it")
    with pytest.raises(Conflict):
        play(born.session, BIRTH)


@pytest.mark.parametrize(
    ("task", "refusal"),
    [(replace(TASK, shutting_down=True), ShuttingDown), (replace(TASK, text=" "), EmptyPrompt)],
    ids=["shutting down", "empty"],
)
def test_a_task_that_is_refused_leaves_no_session(task: i.Submit, refusal: type[Exception]) -> None:
    with pytest.raises(refusal):
        play(Session(), replace(BIRTH, prompt=task))


def test_a_session_begins_with_the_rules_that_it_is_given() -> None:
    rules = (Rule("deny", "view(secret)", "session"),)
    assert play(Session(), replace(BIRTH, rules=rules)).session.rules == rules


@pytest.mark.parametrize("stopping", [False, True])
@pytest.mark.parametrize("reply", [None, Reply(parts=(Text("so far"),))], ids=["silent", "with a draft"])
def test_t4_a_sub_agent_does_not_go_on_after_a_restart(reply: Reply | None, stopping: bool) -> None:
    """T4, K3: neither by asking again nor by a follow-up, and it is interrupted at once."""
    restarted = i.Restarted(reply=reply, resume_interrupted=True, stopping=stopping)
    after = play(play(Session(), BIRTH).session, restarted)
    assert kinds(after) == ["Replied", "RunSettled"]
    assert after.session.runs["r3"].outcome == "interrupted"
    assert not after.session.busy


def test_t4_a_sub_agent_that_was_being_cancelled_is_cancelled_by_a_restart() -> None:
    born = play(Session(), BIRTH).session
    after = play(born, i.Cancel(prompt="task", origin="parent"), i.Restarted(resume_interrupted=True))
    assert after.session.runs["r3"].outcome == "cancelled"
    assert not after.session.busy


def test_t4_what_waits_for_a_parent_is_dropped_by_a_restart_and_the_users_own_goes_on() -> None:
    first = i.Submit(prompt="p1", text="mine")
    session = play(Session(), replace(BIRTH, prompt=None), first, TASK, replace(first, prompt="p2")).session
    after = play(session, i.Restarted(reply=Reply(parts=(Text("so far"),))))
    assert after.session.prompts["task"].dropped
    assert after.session.run is not None
    assert after.session.run.entry.id == "p2"


def test_what_a_sub_agent_spent_is_its_parents_once_and_in_the_view() -> None:
    session, (one, two) = calling()
    done = i.CallReturned(run="r3", call=one, result=ToolResult(text="found"), spent=SPENT)
    after = play(session, done, done, replace(done, call=two))
    assert after.session.run is not None
    both = Spent(Usage(input=141, output=6), Decimal(2))
    assert after.session.run.spent == both
    assert (after.session.usage, after.session.cost) == (both.usage, both.cost)
    view = View()
    before = play(Session(), i.Create(session="s", workspace="/w"), i.Submit(prompt="p", text="go"))
    for recorded in (*before.records, *play(before.session, replied(before.session, one, two)).records, *after.records):
        apply(view, recorded)
    assert (view.usage, view.cost, view.context) == (both.usage, both.cost, 1)


def test_what_a_sub_agent_spent_counts_against_the_budget_of_its_parent() -> None:
    limits = f.Limits(cost=Decimal("1.5"))
    session = play(
        Session(), i.Create(session="s", workspace="/w"), i.Submit(prompt="p", text="go", limits=limits)
    ).session
    session = play(session, replied(session, "r3-1-1-c0"), i.CallAllowed(run="r3", call="r3-1-1-c0")).session
    after = play(session, i.CallReturned(run="r3", call="r3-1-1-c0", result=ToolResult(text="found"), spent=SPENT))
    assert after.session.runs["r3"].stop_reason == "budget"
    assert after.session.runs["r3"].spent.cost == Decimal("1.5")


@pytest.mark.parametrize(
    "end",
    [(i.Restarted(spent={"r3-1-1-c1": SPENT}),), (i.Cancel(), i.Unwound(run="r3", spent={"r3-1-1-c1": SPENT}))],
    ids=["restart", "unwinding"],
)
def test_what_an_unfinished_sub_agent_spent_is_kept_when_its_call_is_closed(end: tuple[i.Input, ...]) -> None:
    session, (one, _) = calling()
    done = i.CallReturned(run="r3", call=one, result=ToolResult(text="found"), spent=SPENT)
    after = play(session, done, *end)
    assert after.session.runs["r3"].spent.cost == 2
    assert fold(after.records, session).cost == 2


def test_t4_every_order_of_a_sub_agents_life_keeps_the_invariants() -> None:
    """A world of the exploration, begun with a task of a parent's."""
    birth = decide(Session(), BIRTH, NOW)
    first = World(birth.session, Ledger().after(birth.records))
    size = Budget(submits=1, cancels=1, calls=1, restarts=1)
    assert Search(size, _check_task, first=first).run().states > 100


def _check_task(taken: Taken) -> None:
    before, after = taken.before.session, taken.after.session
    for recorded in taken.records:
        match recorded.fact:
            case f.RunRecovered(run=run) | f.FollowUpAccepted(run=run):
                assert run != "r3", "T4: a sub-agent resumes by itself"
            case _:
                pass
    if isinstance(taken.input, i.Restarted) and before.run is not None and before.run.id == "r3":
        ending = before.run.ending
        assert after.runs["r3"].outcome == (ending.outcome if ending is not None else "interrupted")
