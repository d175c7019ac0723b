"""What the exploration found in the machine: each a story that went wrong once."""

from __future__ import annotations

from quell.core import inputs as i
from quell.core.decide import decide
from quell.core.messages import Reply, Text, ToolCall, ToolResult
from quell.core.session import Compacting, Session

AT = "2026-01-01T00:00:00.000Z"
CALL = Reply(parts=(ToolCall("r2-1-1-c0", "bash", "{}"),), stop_reason="tool_use")
DONE = Reply(parts=(Text("I give up."),))


def _play(*inputs: i.Input) -> Session:
    session = decide(Session(), i.Create(session="s", workspace="/w", title="t"), AT).session
    for input in inputs:
        session = decide(session, input, AT).session
    return session


def _submit() -> i.Submit:
    return i.Submit(prompt="p", text="Go.")


def test_a_follow_up_compacts_a_full_window_first() -> None:
    """It was sampled with a window that was known to be full: only a prompt's run looked."""
    session = _play(
        _submit(),
        i.SampleReplied(run="r3", turn=1, attempt=1, reply=CALL, crowded=True),
        i.Restarted(resume_interrupted=True),
    )
    assert session.run is not None
    assert session.run.entry.kind == "follow_up"
    assert isinstance(session.run.phase, Compacting)
    assert session.run.phase.upto < int(session.run.id[1:]), "its own message is not summarised before it is answered"


def test_a_compaction_does_not_forget_that_everything_was_denied() -> None:
    """All calls denied, the window full, and the model gives up: the run said `end_turn` rather than `permission`."""
    session = _play(
        _submit(),
        i.SampleReplied(run="r3", turn=1, attempt=1, reply=CALL, crowded=True),
        i.CallReturned(run="r3", call="r2-1-1-c0", result=ToolResult(text="no", status="denied")),
    )
    assert session.run is not None
    assert isinstance(session.run.phase, Compacting)
    named = {"run": "r3", "turn": 1, "attempt": session.run.attempt}
    done = i.CompactionDone(**named, upto=session.run.phase.upto, summary="Little.")  # type: ignore[arg-type]  # as named
    session = decide(session, done, AT).session
    session = decide(session, i.SampleReplied(run="r3", turn=2, attempt=1, reply=DONE), AT).session
    assert session.runs["r3"].stop_reason == "permission"


def test_a_rejection_by_a_person_is_no_lack_of_permission() -> None:
    """Rejected with words, and the model did as it was told: the run said `permission`, as if nobody had been there."""
    call: dict[str, str] = {"run": "r3", "call": "r2-1-1-c0"}
    session = _play(
        _submit(),
        i.SampleReplied(run="r3", turn=1, attempt=1, reply=CALL),
        i.CallNeedsAnswer(**call, tool="t", title="t", reason="r", always="t"),  # type: ignore[arg-type]  # as named
    )
    request = session.awaiting[0].request
    assert request is not None
    session = decide(session, i.Answer(request=request, option="reject_once", note="Do not."), AT).session
    session = decide(session, i.SampleReplied(run="r3", turn=2, attempt=1, reply=DONE), AT).session
    assert session.runs["r3"].stop_reason == "end_turn"
