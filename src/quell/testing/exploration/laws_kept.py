"""The laws of what is kept of a workspace, and of its coming back (contract K8)."""

from __future__ import annotations

from quell.core import facts as f
from quell.core import inputs as i
from quell.core.session import Checkpoint
from quell.testing.exploration.worlds import Taken


def of_checkpoint(taken: Taken, input: i.Kept | i.Restored) -> None:
    """K8: as it was found out."""
    fact = taken.records[0].fact
    if isinstance(input, i.Kept):
        kept = f.WorkspaceKept(run=input.run, after=input.after, snapshot=input.snapshot, problem=input.problem)
        assert fact == kept, "K8: a snapshot is recorded"
        if not input.after:
            known = taken.after.session.checkpoints[input.run]
            assert known == Checkpoint(input.snapshot, problem=input.problem), "K8: it is known, or why there is none"
    else:
        assert isinstance(fact, f.Reverted | f.RevertUndone)
        assert (fact.left, fact.problem) == (input.left, input.problem), "K8: what could not be restored is said"


def of_left(taken: Taken) -> None:
    """K8: a run that settles as its last outcome brings a snapshot of what it has left records that first, so that nobody has to look again."""
    turn, input, facts = taken.before.ledger.run, taken.input, [recorded.fact for recorded in taken.records]
    if not (isinstance(input, i.SampleReplied | i.Unwound) and input.snapshot and turn is not None and turn.restorable):
        return
    settled = next((at for at, fact in enumerate(facts) if isinstance(fact, f.RunSettled)), None)
    if settled is not None:
        kept = f.WorkspaceKept(run=input.run, snapshot=input.snapshot, after=True)
        assert kept in facts[:settled], "K8: what the run has left is recorded before it settles"
