"""Going back: what a revert would do, and having it done.

A revert is planned from a state of the session and of the disk. It is decided for that state only; when there is another one, it is planned
again. The files are changed by the owner, when it is due, and whoever asked waits for the fact that says so.
"""

from __future__ import annotations

import asyncio

from msgspec import Struct
from msgspec.structs import replace

from quell.core import inputs as i
from quell.core.checkpoints import CheckpointRefused, Plan
from quell.core.decide import decide
from quell.core.decide_revert import since
from quell.core.errors import Conflict, SessionNotFound, StorageRefused, Unavailable
from quell.core.facts import Recorded, Reverted, RevertUndone
from quell.core.messages import Attachment, UserMessage
from quell.core.session import Checkpoint, Session, run_seq
from quell.engine.engine import Engine
from quell.engine.keeping import folders

ATTEMPTS = 5
"""At planning, when the session changes meanwhile: a title is found, a job ends."""

PATIENCE = 60.0
"""Seconds that the files may take before whoever asked is told that it goes on without them."""


class Outcome(Struct, frozen=True, kw_only=True):
    """`to` is the message, `text` and `attachments` what it said; `left` and `problem` as in the fact, once it is `done`."""

    to: str
    seq: int
    plan: Plan
    done: bool = False
    text: str = ""
    attachments: tuple[Attachment, ...] = ()
    left: tuple[str, ...] = ()
    problem: str = ""


async def revert(
    engine: Engine, session: str, to: str | None, *, force: bool = False, preview: bool = False
) -> Outcome:
    """Back to before the message `to`; None: undo the last revert. A `preview` says what would be done.

    Raises what `Revert` is refused with: `Busy`, `NotFound`, and `Edited` unless `force`.
    """
    for _ in range(ATTEMPTS):
        state = await engine.state(session)
        request = i.Revert(to=to, force=force, upto=state.seq)
        decide(state, request, state.updated)  # refuses what is not possible, before anything is looked at
        plan = await _plan(engine, state, to)
        request = replace(request, source=plan.source, target=plan.target, edited=plan.edited)
        outcome = await _outcome(engine, session, to or state.reverts[-1].to, state.seq, plan, said=to is not None)
        if preview:
            return outcome
        try:
            await engine.apply(session, request)
        except Conflict:
            continue
        return await _done(engine, session, outcome)
    raise Conflict("The session changes all the time; try again when it rests.")


async def _plan(engine: Engine, state: Session, to: str | None) -> Plan:
    if engine.checkpoints is None:
        return Plan()
    try:
        if to is not None:
            return await engine.checkpoints().plan(state.id, folders(state), _spans(state, since(state, to)))
        last = state.reverts[-1]
        return await engine.checkpoints().plan_undo(state.id, folders(state), last.source, last.target)
    except CheckpointRefused as refusal:
        raise StorageRefused(f"The files cannot be had back: {refusal}.") from None


def _spans(session: Session, start: int) -> tuple[Checkpoint, ...]:
    """The checkpoints of the runs from the fact `start` on that are part of the conversation, oldest first."""
    runs = sorted((run_seq(run), checkpoint) for run, checkpoint in session.checkpoints.items())
    hidden = [(revert.since, revert.upto) for revert in session.reverts]
    return tuple(
        checkpoint
        for begun, checkpoint in runs
        if begun >= start and not any(first <= begun <= last for first, last in hidden)
    )


async def _outcome(engine: Engine, session: str, to: str, seq: int, plan: Plan, *, said: bool) -> Outcome:
    outcome = Outcome(to=to, seq=seq, plan=plan)
    if said:
        for message in (await engine.transcript(session)).messages:
            if isinstance(message, UserMessage) and message.id == to:
                return replace(outcome, text=message.text, attachments=message.attachments)
    return outcome


async def _done(engine: Engine, session: str, outcome: Outcome) -> Outcome:
    try:
        async with asyncio.timeout(PATIENCE), engine.follow(session, outcome.seq) as events:
            async for batch in events:
                for event in batch:
                    if isinstance(event, Recorded) and isinstance(event.fact, Reverted | RevertUndone):
                        fact = event.fact
                        return replace(outcome, done=True, seq=event.seq, left=fact.left, problem=fact.problem)
    except TimeoutError:
        raise Unavailable("The files are still being restored; the session says when it is done.") from None
    raise SessionNotFound(f"Session {session} was deleted meanwhile.")
