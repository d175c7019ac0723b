"""Decisions on checkpoints, and on going back to one (contract K8).

A revert is recorded twice: before the first file is touched, and when the last one was. In between its effect is due, also after a crash,
and doing it again is no different from doing it once. What files are changed was found out, and kept, before it is decided here.
"""

from __future__ import annotations

from quell.core import facts as f
from quell.core import inputs as i
from quell.core.errors import Busy, Conflict, Edited, InvalidRequest, NotFound
from quell.core.session import Session, run_seq
from quell.core.step import Step

NAMED = 10
"""Files that a refusal names."""


def since(session: Session, to: str) -> int:
    """The fact with which the message came into the conversation. Raises `NotFound`, `InvalidRequest` for one that cannot be gone back to."""
    record = session.prompts.get(to)
    if record is None or record.run is None:
        raise NotFound(f"There is no message {to} of a user in this conversation.")
    started = run_seq(record.run)
    if record.joined:
        raise InvalidRequest(f"Message {to} joined a run that was in progress; go back to the one that started it.")
    if any(revert.since <= started <= revert.upto for revert in session.reverts):
        raise NotFound(f"Message {to} is no part of this conversation any more: it was reverted.")
    return started


def revert(step: Step, input: i.Revert) -> None:
    session = step.session
    if session.busy:
        raise Busy("The session is at work; wait for it, or cancel it, before going back.")
    if input.to is None and not session.undoable:
        raise NotFound("There is nothing to undo: no revert since the last prompt.")
    start = session.reverts[-1].since if input.to is None else since(session, input.to)
    if input.upto != session.seq:
        raise Conflict("The session has changed while this was being prepared; look again.")
    if input.edited and not input.force:
        raise Edited(_refusal(input.edited))
    to = session.reverts[-1].to if input.to is None else input.to
    step.add(f.RevertStarted(to=to, since=start, source=input.source, target=input.target, undo=input.to is None))
    if not input.target:
        _done(step)


def _refusal(edited: tuple[str, ...]) -> str:
    more = f" and {len(edited) - NAMED} more" if len(edited) > NAMED else ""
    named = ", ".join(edited[:NAMED])
    return f"Changed since the agent left them, and would be overwritten: {named}{more}. With `force` they are."


def restored(step: Step, input: i.Restored) -> None:
    reverting = step.session.reverting
    if reverting is not None and reverting.seq == input.revert:
        _done(step, input.left, input.problem)


def _done(step: Step, left: tuple[str, ...] = (), problem: str = "") -> None:
    reverting = step.session.reverting
    assert reverting is not None, "it was started"
    if reverting.undo:
        step.add(f.RevertUndone(to=reverting.to, left=left, problem=problem))
    else:
        step.add(f.Reverted(to=reverting.to, left=left, problem=problem))
    step.start_next()


def kept(step: Step, input: i.Kept) -> None:
    """Before the run's first change, while it may make one; or after its end, unless the next run has been here meanwhile."""
    session = step.session
    if input.after:
        expected = session.unkept == input.run and not session.deleting
    else:
        expected = step.active(input.run) is not None and input.run not in session.checkpoints
    if expected:
        step.add(f.WorkspaceKept(run=input.run, snapshot=input.snapshot, after=input.after, problem=input.problem))
