"""Reverts (contract K8): what is left of a conversation is what it was before the message, and what comes back is all of it."""

from __future__ import annotations

import pytest

from quell.core import facts as f
from quell.core import inputs as i
from quell.core.decide import decide
from quell.core.evolve import fold
from quell.core.messages import Reply, ToolCall, ToolResult
from quell.core.session import Session
from quell.core.transcript import Transcript
from quell.core.view import View, apply
from quell.testing.audit import unsendable
from quell.testing.exploration import NOW, Budget
from quell.testing.exploration.forks import prefixes
from quell.wire import snapshots

WORLDS = {
    "calls": Budget(submits=2, calls=1),
    "steers": Budget(submits=3, cancels=1),
    "compactions": Budget(submits=2, compactions=1, crowded=True),
    "failures and notes": Budget(submits=1, failures=1, changes=1),
}


def viewed(records: tuple[f.Recorded, ...]) -> View:
    view = View()
    for recorded in records:
        apply(view, recorded)
    return view


def goes(session: Session, to: str | None) -> tuple[f.Recorded, ...]:
    return decide(session, i.Revert(to=to, upto=session.seq), NOW).records


@pytest.mark.parametrize("name", WORLDS)
def test_k8_what_is_left_is_what_was_there_before_and_what_comes_back_is_all(name: str) -> None:
    tried = 0
    for records in prefixes(WORLDS[name]):
        session = fold(records)
        if session.busy:
            continue
        for prompt, record in session.prompts.items():
            if record.run is None or record.joined:
                continue
            tried += 1
            since = int(record.run[1:])
            before, after = records[: since - 1], (*records, *goes(session, prompt))
            transcript = Transcript(after)
            assert transcript.to_send() == Transcript(before).to_send()
            assert transcript.messages == Transcript(before).messages
            assert viewed(after).items[:-1] == viewed(before).items
            gone = fold(after)
            state = snapshots.state(snapshots.snapshot(gone, snapshots.encode(gone, transcript), viewed(after)))
            assert state is not None
            kept, copy = state
            assert kept == gone

            undone = goes(gone, None)
            for each in (transcript, copy):
                for recorded in undone:
                    each.add(recorded)
                assert each.to_send() == Transcript(records).to_send()
                assert each.messages == Transcript(records).messages
            assert viewed((*after, *undone)).items == viewed(records).items
            assert fold(undone, gone).crowded == session.crowded
            assert unsendable(transcript.to_send()) is None
    assert tried > 10


def test_the_list_of_what_is_to_do_goes_back_as_well_and_files_are_not_known_any_more() -> None:
    transcript, view = Transcript(), View()
    seq = 0

    def add(*facts: f.AnyFact) -> None:
        nonlocal seq
        for fact in facts:
            seq += 1
            transcript.add(f.Recorded(seq, NOW, fact))
            apply(view, f.Recorded(seq, NOW, fact))

    def run(prompt: str, todo: str) -> int:
        id = f"r{seq + 2}"
        call = ToolCall(f"{id}-1-1-c0", "todos", "{}")
        item = {"content": todo, "status": "pending", "active_form": todo}
        result = ToolResult(text="", metadata={"todos": [item], "seen": {"/file": todo}})
        add(
            f.PromptAccepted(prompt=prompt, text=prompt, digest=""),
            f.RunStarted(run=id, entry=prompt, entry_kind="prompt"),
            f.Replied(
                run=id, turn=1, attempt=1, message=f"{id}-1-1", reply=Reply(parts=(call,), stop_reason="tool_use")
            ),
            f.CallFinished(run=id, call=call.id, result=result),
            f.RunSettled(run=id, outcome="completed", stop_reason="end_turn"),
        )
        return int(id[1:])

    run("p1", "one")
    second = run("p2", "two")
    assert ([todo.content for todo in transcript.todos], transcript.seen) == (["two"], {"/file": "two"})
    add(f.RevertStarted(to="p2", since=second), f.Reverted(to="p2"))
    assert ([todo.content for todo in transcript.todos], transcript.seen) == (["one"], {})
    assert [todo.content for todo in view.todos] == ["one"]
    add(f.Noted(text="A job has ended."))
    add(f.RevertStarted(to="p2", since=second, undo=True), f.RevertUndone(to="p2"))
    assert [todo.content for todo in transcript.todos] == [todo.content for todo in view.todos] == ["two"]
    assert transcript.messages[-1].text == "[A job has ended.]"  # type: ignore[union-attr]  # a note
    assert view.items[-1].text == "A job has ended."  # type: ignore[union-attr]  # a note
