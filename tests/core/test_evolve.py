"""What one more fact costs, however old its session is: contract F2."""

from __future__ import annotations

import tracemalloc

from quell.core import inputs as i
from quell.core.decide import decide
from quell.core.evolve import evolve
from quell.core.messages import Reply, ToolCall, ToolResult, call_id
from quell.core.session import Session
from quell.testing.exploration import NOW
from quell.testing.exploration.worlds import CREATE


def after(session: Session, *inputs: i.Input) -> Session:
    for input in inputs:
        session = decide(session, input, NOW).session
    return session


def grown(turns: int) -> Session:
    """A session in which so many prompts have ended, each with a call that a person has allowed."""
    session = after(Session(), CREATE)
    for number in range(turns):
        session = after(session, i.Submit(prompt=f"p{number}", text="go"))
        assert session.run is not None
        run, call = session.run.id, call_id(session.run.message, 0)
        asks = Reply(parts=(ToolCall(call, "tool", "{}"),), stop_reason="tool_use")
        session = after(
            session,
            i.SampleReplied(run=run, turn=1, attempt=1, reply=asks),
            i.CallNeedsAnswer(run=run, call=call, tool="t", title="t", reason="r"),
            i.Answer(request=f"{call}-ask", option="allow_once"),
            i.CallReturned(run=run, call=call, result=ToolResult(text="done")),
            i.SampleReplied(run=run, turn=2, attempt=1, reply=Reply()),
        )
    assert not session.busy
    return session


def allocated(session: Session) -> int:
    """The most memory, in bytes, that any of the facts of a further prompt takes."""
    most = 0
    for recorded in decide(session, i.Submit(prompt="last", text="go"), NOW).records:
        tracemalloc.start()
        following = evolve(session, recorded)
        most = max(most, tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        session = following
    return most


def test_f2_a_fact_costs_no_more_in_a_session_of_a_thousand_prompts() -> None:
    """Fails when what grows with a session's age is copied: a thousand references are eight thousand bytes."""
    young, old = allocated(grown(1)), allocated(grown(1000))
    assert old < young + 1000
