"""The ledger against the machine: after every move both say the same."""

from __future__ import annotations

from quell.core.session import Calling, Compacting, Entry, Sampling, Session
from quell.testing.exploration.ledger import Fate, Item, Ledger, Turn


def agree(ledger: Ledger, session: Session) -> None:
    """The machine's state says the same as the ledger."""
    waiting = tuple(_item(entry) for entry in session.waiting)
    assert waiting == ledger.waiting, f"Q1: the queue is {waiting}, and should be {ledger.waiting}"
    said = (session.seq, session.parked, session.crowded, session.deleting, session.usage, session.cost)
    noted = (ledger.seq, ledger.parked, ledger.crowded, ledger.deleting, ledger.usage, ledger.cost)
    assert said == noted, f"the state says {said}, and should say {noted}"
    titling = None if session.titling is None else (session.titling.prompt, session.titling.attempt)
    assert titling == ledger.titling, "who is asked for a title"
    reverting = None if session.reverting is None else (session.reverting.to, session.reverting.undo)
    said_of_reverts = (session.unkept, reverting, session.undoable, tuple(revert.to for revert in session.reverts))
    noted_of_reverts = (ledger.keeping, ledger.reverting, ledger.undoable, tuple(to for to, _, _ in ledger.reverted))
    assert said_of_reverts == noted_of_reverts, f"K8: {said_of_reverts}, and should be {noted_of_reverts}"
    for prompt, fate in ledger.fates:
        record = session.prompts[prompt]
        end = "dropped" if record.dropped else None
        if record.run is not None and record.run in session.runs:
            end = session.runs[record.run].outcome
        assert Fate(record.seq, record.run, end) == fate, f"I1: {prompt} is {record}, and should be {fate}"
    if ledger.last is not None:
        run, outcome, _ = ledger.last
        assert session.ended == run, f"{session.ended} ended last, and should be {run}"
        assert session.runs[run].outcome == outcome, f"I9: {run} is {session.runs[run]}, and was settled {outcome}"
    _agree_on_run(ledger.run, session)


def _item(entry: Entry) -> Item:
    return Item(
        entry.id,
        entry.kind,
        entry.seq,
        entry.prompt,
        entry.text,
        entry.delivery == "steer",
        entry.parked,
        entry.resumed,
        entry.limits,
        entry.origin,
    )


def _agree_on_run(turn: Turn | None, session: Session) -> None:
    run = session.run
    if run is None or turn is None:
        assert run is None, "I2: a run that did not start"
        assert turn is None, "I2: a run is lost"
        return
    assert all(entry.run in (None, run.id) for entry in session.waiting), "I7: a steer waits for another run"
    ending = (run.ending.outcome, run.ending.stop_reason) if run.ending else None
    said = (run.id, run.turn, run.attempt, run.joined, ending, run.replied, run.recovered, run.overflowed, run.spent)
    noted = (
        turn.run,
        turn.turn,
        turn.attempt,
        turn.joined,
        turn.ending,
        turn.shown,
        turn.recovered,
        turn.overflowed,
        turn.spent,
    )
    assert said == noted, f"the run is {said}, and should be {noted}"
    assert all(session.prompts[prompt].joined for prompt in turn.joined), "K8: what has joined is not gone back to"
    assert (run.entry.id, run.entry.seq, run.entry.resumed) == (turn.item.id, turn.item.seq, turn.item.resumed), "F1"
    match run.phase:
        case Sampling(not_before):
            assert (turn.doing, turn.backing_off) == ("sample", not_before is not None), "C8: another phase"
        case Compacting(upto, not_before):
            assert (turn.doing, turn.upto, turn.backing_off) == ("compact", upto, not_before is not None), "I8"
        case Calling(calls):
            assert turn.doing == "calls", "another phase"
            assert turn.calls == tuple((call.id, call.status) for call in calls), "I5: the calls differ"
            started = {call.id for call in calls if call.status == "started" and call.concurrent}
            assert started == {id for id, status in turn.calls if status == "started"} & turn.concurrent, "side by side"
