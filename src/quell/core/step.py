"""One decision in the making: the facts so far, and the state that they lead to.

Also the two moves that every other decision is composed of: ending a run, and starting the next one in the same decision, so that
no follower ever sees a gap (contract I2, I4).
"""

from __future__ import annotations

from quell.core import facts as f
from quell.core.errors import BLOCKING, FailureCode
from quell.core.evolve import evolve
from quell.core.messages import StopReason
from quell.core.session import Run, Session, run_id


class Step:
    """Collects facts; each is applied at once, so that what follows is decided from the state after it. `left` is the snapshot of the
    workspace at this moment, if there is one."""

    def __init__(self, session: Session, at: str) -> None:
        self.left = ""
        self.session = session
        self.at = at
        self.records: list[f.Recorded] = []

    def add(self, fact: f.AnyFact, at: str | None = None) -> None:
        """`at`: of a fact that is a copy, when it happened."""
        recorded = f.Recorded(self.session.seq + 1, at or self.at, fact)
        self.session = evolve(self.session, recorded)
        self.records.append(recorded)

    def active(self, run: str) -> Run | None:
        """The active run, if it is that one and not ending: only then may it start something new."""
        active = self.session.run
        return active if active is not None and active.id == run and active.ending is None else None

    def start_next(self) -> None:
        """Start the first entry that is not parked, if nothing runs (I2, I3)."""
        session = self.session
        if session.run is not None or session.reverting is not None:
            return
        entry = next((entry for entry in session.waiting if not entry.parked), None)
        if entry is None:
            return
        run = run_id(session.seq + 1)
        self.add(f.RunStarted(run=run, entry=entry.id, entry_kind=entry.kind))
        if entry.kind != "compaction" and session.crowded:
            self.add(f.CompactionStarted(run=run, upto=self.session.seq - 1))

    def settle(
        self,
        outcome: f.Outcome,
        stop_reason: StopReason,
        failure: FailureCode | None = None,
        detail: str | None = None,
    ) -> None:
        """End the active run, and start what waits behind it (I6)."""
        run = self.session.run
        assert run is not None, "only a run settles"
        kept = self.session.checkpoints.get(run.id)
        if self.left and kept is not None and kept.before:
            self.add(f.WorkspaceKept(run=run.id, snapshot=self.left, after=True))
        self.add(f.RunSettled(run=run.id, outcome=outcome, stop_reason=stop_reason, failure=failure, detail=detail))
        if failure in BLOCKING:
            waiting = tuple(entry.id for entry in self.session.waiting if not entry.parked)
            if waiting:
                self.add(f.QueueParked(entries=waiting, reason="failure"))
        self.start_next()
