"""What has to be true of every journal, read from its facts alone: contract I1–I5, at rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from quell.core import facts as f
from quell.core.evolve import evolve
from quell.core.messages import Message
from quell.core.session import Session
from quell.core.transcript import Transcript
from quell.testing.audit import unsendable


def audit(records: Sequence[f.Recorded]) -> Session:
    """Check a whole journal; the state that it comes to."""
    assert [recorded.seq for recorded in records] == [*range(1, len(records) + 1)], "a gap"
    session, transcript = Session(), Transcript()
    for recorded in records:
        _check_order(session, recorded.fact)
        session = evolve(session, recorded)
        transcript.add(recorded)
        check_sendable(transcript.to_send())
    _check_counts([recorded.fact for recorded in records])
    if not session.busy:
        _check_rest(session, [recorded.fact for recorded in records])
    return session


def _check_order(session: Session, fact: f.AnyFact) -> None:
    match fact:
        case f.RunStarted():
            assert session.run is None, "I2: two runs at once"
            waiting = [entry.id for entry in session.waiting if not entry.parked]
            assert fact.entry == waiting[0], "I3: something overtook"
        case f.RunSettled():
            assert session.run is not None, "I1: settled twice"
            assert session.run.id == fact.run
        case f.SteerJoined():
            entry = session.entry(fact.prompt)
            assert entry is not None
            assert entry.run == fact.run, "I7: joined another run"
        case f.TurnStarted() | f.CallStarted() | f.PermissionRequested():
            assert session.run is not None
            assert session.run.ending is None, "C7: an ending run started something"
        case _:
            pass


def _check_counts(facts: Sequence[f.AnyFact]) -> None:
    once = (
        [("accepted", fact.prompt) for fact in facts if isinstance(fact, f.PromptAccepted)],
        [("started", fact.entry) for fact in facts if isinstance(fact, f.RunStarted)],
        [("settled", fact.run) for fact in facts if isinstance(fact, f.RunSettled)],
        [("call started", fact.call) for fact in facts if isinstance(fact, f.CallStarted)],
        [("call finished", fact.call) for fact in facts if isinstance(fact, f.CallFinished)],
        [("message", fact.message) for fact in facts if isinstance(fact, f.Replied | f.SampleFailed | f.Compacted)],
    )
    for kind in once:
        twice = [what for what, times in Counter(kind).items() if times > 1]
        assert not twice, f"twice: {twice}"


def _check_rest(session: Session, facts: Sequence[f.AnyFact]) -> None:
    """Nothing goes on: every prompt that is not parked has ended, every call has its result."""
    waiting = {entry.id for entry in session.waiting}
    for prompt, record in session.prompts.items():
        ends = (prompt in waiting) + record.dropped + (record.run is not None and record.run in session.runs)
        assert ends == 1, f"I1: {prompt} has ended {ends} times"
    asked = [call.id for fact in facts if isinstance(fact, f.Replied) for call in fact.reply.calls]
    finished = [fact.call for fact in facts if isinstance(fact, f.CallFinished)]
    assert sorted(asked) == sorted(finished), "I5: a call without a result"


def check_sendable(messages: Sequence[Message]) -> None:
    """I5."""
    assert (reason := unsendable(messages)) is None, f"I5: {reason}"
