"""The machine in every order that a small world allows, against the invariants of contract.md."""

from __future__ import annotations

import pytest

from quell.core.decide import decide
from quell.core.evolve import fold
from quell.core.messages import ToolCall, ToolMessage
from quell.core.session import Session
from quell.core.transcript import Transcript
from quell.core.view import View, apply
from quell.testing.explore import CREATE, NOW, Budget, Taken, World, explore

WORLDS = {
    "a call, a failure, a cancel": Budget(submits=("queue", "steer"), cancels=1, calls=1, failures=1, restarts=0),
    "a crash at any point": Budget(submits=("queue", "steer"), cancels=0, calls=1, failures=0, restarts=1),
    "two cancels": Budget(submits=("queue", "queue"), cancels=2, calls=0, failures=0, restarts=0),
    "two calls": Budget(submits=("queue",), cancels=1, calls=2, failures=0, restarts=0),
    "edits": Budget(submits=("queue", "queue", "steer"), cancels=0, edits=2, calls=0, failures=0, restarts=0),
    "compactions": Budget(submits=("queue",), cancels=1, compactions=2, calls=1, failures=1, restarts=0),
    "deletion": Budget(submits=("queue",), cancels=1, calls=1, failures=0, restarts=1, deletions=1),
}


@pytest.mark.parametrize("name", WORLDS)
def test_every_order_keeps_the_invariants(name: str) -> None:
    assert explore(WORLDS[name]) > 100


def test_folding_the_facts_again_gives_the_state_that_was_decided() -> None:
    def refold(taken: Taken) -> None:
        assert fold(taken.records, taken.before.session) == taken.after.session

    explore(WORLDS["compactions"], refold)


def test_the_view_and_the_transcript_agree_with_every_state() -> None:
    """Along the first path to each state, with every move from there."""

    def walk(taken: Taken) -> None:
        records = (*paths[taken.before], *taken.records)
        paths.setdefault(taken.after, records)
        view = View()
        for recorded in records:
            apply(view, recorded)
        session = taken.after.session
        assert [item.id for item in view.queue] == [entry.id for entry in session.waiting]
        assert [item.delivery for item in view.queue] == [entry.delivery for entry in session.waiting]
        assert (view.run.id if view.run else None) == (session.run.id if session.run else None)
        assert [request.call for request in view.requests] == [call.id for call in session.awaiting]
        assert (view.parked, view.usage, view.cost) == (session.parked, session.usage, session.cost)
        _check_sendable(Transcript(records))

    budget = Budget(submits=("queue", "steer"), cancels=1, calls=1, failures=0, restarts=0)
    created = decide(Session(), CREATE, NOW)
    paths = {World(created.session, budget): created.records}
    explore(budget, walk)


def _check_sendable(transcript: Transcript) -> None:
    """I5: every call that is sent is followed by exactly its results, in call order."""
    messages = list(transcript.to_send())
    position = 0
    while position < len(messages):
        message = messages[position]
        position += 1
        assert not isinstance(message, ToolMessage), "a result without its call"
        for part in getattr(message, "parts", ()):
            if isinstance(part, ToolCall):
                result = messages[position]
                assert isinstance(result, ToolMessage)
                assert result.call == part.id
                position += 1
