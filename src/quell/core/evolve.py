"""What each fact changes in the state: `evolve(session, recorded) -> session`, and the fold of a journal.

A fact is true: nothing is judged here, only applied. Whether it may happen is `core.decide`'s business.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import assert_never

from msgspec.structs import replace
from rpds import HashTrieMap

from quell.core import facts as f
from quell.core.messages import Reply, Spent, Usage
from quell.core.permissions import Rule
from quell.core.session import (
    Call,
    Calling,
    Checkpoint,
    Compacting,
    Ending,
    Entry,
    PromptRecord,
    Revert,
    Reverting,
    Run,
    Sampling,
    Session,
    Settlement,
    Titling,
)


def fold(records: Iterable[f.Recorded], session: Session = Session()) -> Session:
    """The state after these facts."""
    for recorded in records:
        session = evolve(session, recorded)
    return session


def evolve(session: Session, recorded: f.Recorded) -> Session:
    """The state after one more fact. O(log n) in the number of prompts, O(1) in everything else that grows."""
    session = replace(session, seq=recorded.seq, updated=recorded.at)
    fact = recorded.fact
    match fact:
        case f.SessionCreated():
            return _created(session, fact)
        case f.SettingsChanged():
            return _settings(session, fact)
        case f.TitleRequested() | f.TitleGiven():
            return _titled(session, fact)
        case f.DeletionStarted():
            return replace(session, deleting=True)
        case f.Forked():
            return _forked(session, fact)
        case f.WorkspaceKept():
            return _kept(session, fact)
        case f.RevertStarted() | f.Reverted() | f.RevertUndone():
            return _reverted(session, fact)
        case f.PromptAccepted() | f.CompactionAccepted() | f.FollowUpAccepted():
            return _accepted(session, fact)
        case f.EntryEdited() | f.EntryMoved() | f.EntryPromoted() | f.EntryDropped():
            return _queue_edited(session, fact)
        case f.QueueParked():
            return _parked(session, fact)
        case f.QueueResumed():
            return replace(session, waiting=tuple(replace(e, parked=False) for e in session.waiting), parked=False)
        case f.RunStarted():
            return _run_started(session, fact)
        case f.RunSettled():
            return _run_settled(session, fact)
        case f.PermissionRequested() | f.QuestionsAsked():
            return _asked(session, fact)
        case f.PermissionAnswered() | f.QuestionsAnswered():
            return _answered(session, fact)
        case f.HooksAnswered() | f.CallStarted():
            return _call_begins(session, fact)
        case f.CallFinished():
            return _call_finished(session, fact)
        case f.Noted():
            return session
        case f.Replied():
            return _replied(session, fact)
        case f.SampleFailed():
            return _sample_failed(session, fact)
        case f.SteerJoined():
            return _joined(session, fact)
        case f.TurnStarted():
            return _with_run(session, turn=fact.turn, attempt=1, phase=Sampling(), denied=_was_denied(_run(session)))
        case f.RunEnding():
            return _with_run(session, ending=Ending(fact.outcome, fact.stop_reason))
        case f.RunRecovered():
            return _with_run(session, recovered=True)
        case f.CompactionStarted():
            return _compaction_started(session, fact)
        case f.Compacted():
            return _compacted(session, fact)
        case _:
            assert_never(fact)


def _created(session: Session, fact: f.SessionCreated) -> Session:
    return replace(
        session,
        id=fact.session,
        workspace=fact.workspace,
        title=fact.title,
        model=fact.model,
        small_model=fact.small_model,
        mode=fact.mode,
        parent=fact.parent,
        role=fact.role,
        extra=fact.extra,
        rules=fact.rules,
        created=session.updated,
    )


def _settings(session: Session, fact: f.SettingsChanged) -> Session:
    return replace(
        session,
        title=session.title if fact.title is None else fact.title,
        titling=session.titling if fact.title is None else None,  # somebody has found one: no model has to
        model=session.model if fact.model is None else fact.model,
        small_model=session.small_model if fact.small_model is None else fact.small_model,
        mode=session.mode if fact.mode is None else fact.mode,
        extra=session.extra if fact.extra is None else fact.extra,
    )


def _titled(session: Session, fact: f.TitleRequested | f.TitleGiven) -> Session:
    match fact:
        case f.TitleRequested():
            return replace(session, titling=Titling(fact.prompt, fact.attempt))
        case f.TitleGiven():
            return replace(
                session,
                title=session.title if fact.title is None else fact.title,
                titling=None,
                usage=session.usage + fact.usage,
                cost=session.cost + (fact.cost or 0),
            )
        case _:
            assert_never(fact)


def _forked(session: Session, fact: f.Forked) -> Session:
    """At rest, with what was said and allowed so far, and nothing that anybody waits for."""
    runs = session.runs
    return replace(
        session,
        created=session.updated,
        titling=None,
        deleting=False,
        run=None,
        waiting=(),
        parked=False,
        prompts=HashTrieMap(),
        runs=runs if fact.run is None else runs.insert(fact.run, Settlement("interrupted", "interrupted")),
        ended=fact.run or session.ended,
        requests=HashTrieMap(),
        checkpoints=HashTrieMap(),
        unkept=None,
        reverting=None,
        reverts=(),
        undoable=0,
        usage=Usage(),
        cost=Decimal(0),
    )


# Checkpoints


def _kept(session: Session, fact: f.WorkspaceKept) -> Session:
    """What a run finds before its first change is what the one before it has left, where nobody has looked since."""
    checkpoints, left = session.checkpoints, fact.run if fact.after else session.unkept
    if left is not None:
        checkpoints = checkpoints.insert(left, replace(checkpoints[left], after=fact.snapshot))
    if not fact.after:
        checkpoints = checkpoints.insert(fact.run, Checkpoint(fact.snapshot, problem=fact.problem))
    return replace(session, checkpoints=checkpoints, unkept=None)


def _reverted(session: Session, fact: f.RevertStarted | f.Reverted | f.RevertUndone) -> Session:
    if isinstance(fact, f.RevertStarted):
        reverting = Reverting(session.seq, fact.to, fact.since, fact.source, fact.target, fact.undo)
        return replace(session, reverting=reverting, unkept=None)
    done, reverts = session.reverting, session.reverts
    assert done is not None, "the end of a revert that was not started"
    match fact:
        case f.Reverted():
            # Undoing it goes the other way.
            revert = Revert(done.to, done.since, session.seq, done.target, done.source, session.crowded)
            reverts, undoable, crowded = (*reverts, revert), session.undoable + 1, False
        case f.RevertUndone():
            reverts, undoable, crowded = reverts[:-1], session.undoable - 1, reverts[-1].crowded
        case _:
            assert_never(fact)
    return replace(session, reverting=None, reverts=reverts, undoable=undoable, crowded=crowded)


# The queue


def _accepted(session: Session, fact: f.PromptAccepted | f.CompactionAccepted | f.FollowUpAccepted) -> Session:
    match fact:
        case f.PromptAccepted():
            entry = Entry(
                id=fact.prompt,
                kind="prompt",
                seq=session.seq,
                accepted=session.updated,
                prompt=fact.prompt,
                text=fact.text,
                attachments=fact.attachments,
                origin=fact.origin,
                run=fact.run,
                limits=fact.limits,
                allow=fact.allow,
                mode=fact.mode,
                on_ask=fact.on_ask,
            )
            record = PromptRecord(session.seq, fact.digest)
            return replace(
                session,
                waiting=(*session.waiting, entry),
                prompts=session.prompts.insert(fact.prompt, record),
            )
        case f.CompactionAccepted():
            entry = Entry(
                id=fact.entry,
                kind="compaction",
                seq=session.seq,
                accepted=session.updated,
                prompt=fact.entry,
                origin=fact.origin,
            )
            return replace(session, waiting=(*session.waiting, entry))
        case f.FollowUpAccepted():
            entry = Entry(
                id=fact.entry,
                kind="follow_up",
                seq=session.prompts[fact.prompt].seq,
                accepted=session.updated,
                prompt=fact.prompt,
                origin="recovery",
                resumed=fact.count,
            )
            return replace(session, waiting=(entry, *session.waiting))
        case _:
            assert_never(fact)


def _queue_edited(session: Session, fact: f.EntryEdited | f.EntryMoved | f.EntryPromoted | f.EntryDropped) -> Session:
    position = next(i for i, entry in enumerate(session.waiting) if entry.id == fact.entry)
    entry = session.waiting[position]
    rest = session.waiting[:position] + session.waiting[position + 1 :]
    match fact:
        case f.EntryEdited():
            if fact.text is not None:
                entry = replace(entry, text=fact.text)
            if fact.delivery is not None:
                entry = replace(entry, run=fact.run)
            return replace(session, waiting=(*rest[:position], entry, *rest[position:]))
        case f.EntryMoved():
            ids = [other.id for other in rest]
            target = len(rest) if fact.before is None else ids.index(fact.before)
            return replace(session, waiting=(*rest[:target], entry, *rest[target:]))
        case f.EntryPromoted():
            return replace(session, waiting=(replace(entry, parked=False, run=None), *rest))
        case f.EntryDropped():
            prompts = session.prompts
            if entry.kind == "prompt":
                prompts = prompts.insert(entry.id, replace(prompts[entry.id], dropped=True))
            return replace(session, waiting=rest, prompts=prompts)
        case _:
            assert_never(fact)


def _parked(session: Session, fact: f.QueueParked) -> Session:
    waiting = tuple(
        replace(entry, parked=True, run=None) if entry.id in fact.entries else entry for entry in session.waiting
    )
    return replace(session, waiting=waiting, parked=True)


# A run


def _run_started(session: Session, fact: f.RunStarted) -> Session:
    entry = next(entry for entry in session.waiting if entry.id == fact.entry)
    phase = Compacting(session.seq) if entry.kind == "compaction" else Sampling()
    prompts = session.prompts
    if entry.kind == "prompt":
        prompts = prompts.insert(entry.id, replace(prompts[entry.id], run=fact.run))
    return replace(
        session,
        run=Run(id=fact.run, entry=entry, started=session.updated, phase=phase),
        undoable=0,
        waiting=tuple(other for other in session.waiting if other is not entry),
        prompts=prompts,
    )


def _run_settled(session: Session, fact: f.RunSettled) -> Session:
    """A steer that did not join is a queued prompt from now on, in its place."""
    settlement = Settlement(fact.outcome, fact.stop_reason, fact.detail, _run(session).spent)
    kept = session.checkpoints.get(fact.run)
    return replace(
        session,
        run=None,
        waiting=tuple(replace(entry, run=None) if entry.run else entry for entry in session.waiting),
        runs=session.runs.insert(fact.run, settlement),
        ended=fact.run,
        unkept=session.unkept if kept is None or not kept.before or kept.after else fact.run,
    )


def _joined(session: Session, fact: f.SteerJoined) -> Session:
    session = _with_run(session, joined=(*_run(session).joined, fact.prompt))
    return replace(
        session,
        waiting=tuple(entry for entry in session.waiting if entry.id != fact.prompt),
        prompts=session.prompts.insert(fact.prompt, replace(session.prompts[fact.prompt], run=fact.run, joined=True)),
    )


def _replied(session: Session, fact: f.Replied) -> Session:
    calls = tuple(Call(call.id, call.name) for call in fact.reply.calls)
    replies = _run(session).replies + 1
    session = _with_run(session, replies=replies, replied=True, overflowed=False, phase=Calling(calls))
    return replace(
        _spend(session, fact.reply.usage, fact.reply.cost),
        crowded=fact.crowded or (session.crowded and fact.reply.stop_reason in ("cancelled", "interrupted")),
    )


def _sample_failed(session: Session, fact: f.SampleFailed) -> Session:
    run = _run(session)
    phase = run.phase
    if fact.retry_at is not None and not isinstance(phase, Calling):
        run = replace(run, attempt=run.attempt + 1)
        phase = replace(phase, not_before=fact.retry_at)
    reply = fact.reply or Reply()
    session = replace(session, run=run)
    session = _with_run(session, phase=phase, replied=run.replied or bool(reply.parts))
    return _spend(session, reply.usage, reply.cost)


def _asked(session: Session, fact: f.PermissionRequested | f.QuestionsAsked) -> Session:
    session = replace(session, requests=session.requests.insert(fact.request, None))
    match fact:
        case f.PermissionRequested():
            changes: dict[str, object] = {
                "always": fact.always,
                "concurrent": fact.concurrent,
                "changes": fact.changes,
            }
        case f.QuestionsAsked():
            changes = {"questions": fact.questions}
        case _:
            assert_never(fact)
    return _with_call(session, fact.call, status="asked", request=fact.request, **changes)


def _answered(session: Session, fact: f.PermissionAnswered | f.QuestionsAnswered) -> Session:
    session = replace(session, requests=session.requests.insert(fact.request, fact))
    if isinstance(fact, f.QuestionsAnswered) or fact.rule is None:
        return session
    rule = Rule("allow" if fact.option == "allow_always" else "deny", fact.rule, "session")
    return session if rule in session.rules else replace(session, rules=(*session.rules, rule))


def _call_finished(session: Session, fact: f.CallFinished) -> Session:
    """To be rejected by a person who is there is no lack of permission."""
    phase = _run(session).phase
    assert isinstance(phase, Calling), "a fact of a call without calls"
    asked = next((call.request for call in phase.calls if call.id == fact.call), None)
    answered = asked is not None and session.requests.get(asked) is not None
    denied = fact.result.status == "denied" and not answered
    session = _spend(session, fact.spent.usage, fact.spent.cost)
    return _with_call(session, fact.call, status="done", denied=denied)


def _call_begins(session: Session, fact: f.HooksAnswered | f.CallStarted) -> Session:
    match fact:
        case f.HooksAnswered(event="PreToolUse"):
            return _with_call(session, fact.call, input=fact.input, context=fact.context)
        case f.HooksAnswered():
            return session
        case f.CallStarted():
            return _with_call(session, fact.call, status="started", concurrent=fact.concurrent, changes=fact.changes)


def _compaction_started(session: Session, fact: f.CompactionStarted) -> Session:
    run = _run(session)
    phase = Compacting(fact.upto)
    return _with_run(session, attempt=run.attempt + 1, phase=phase, overflowed=True, denied=_was_denied(run))


def _compacted(session: Session, fact: f.Compacted) -> Session:
    session = _with_run(session, replied=True, phase=Calling(()))
    return replace(_spend(session, fact.usage, fact.cost), crowded=False)


def _spend(session: Session, usage: Usage, cost: Decimal | None) -> Session:
    """Of the run and of the session."""
    if usage == Usage() and not cost:
        return session
    spent = Spent(usage, cost or Decimal(0))
    session = _with_run(session, spent=_run(session).spent + spent)
    return replace(session, usage=session.usage + usage, cost=session.cost + spent.cost)


def _was_denied(run: Run) -> bool:
    """Whether the turn that has just ended did nothing but be denied (a run that ends now was stopped by permission)."""
    if isinstance(run.phase, Calling) and run.phase.calls:
        return run.phase.denied
    return run.denied


def _run(session: Session) -> Run:
    assert session.run is not None, "a fact of a run without a run"
    return session.run


def _with_run(session: Session, **changes: object) -> Session:
    return replace(session, run=replace(_run(session), **changes))


def _with_call(session: Session, id: str, **changes: object) -> Session:
    phase = _run(session).phase
    assert isinstance(phase, Calling), "a fact of a call without calls"
    calls = tuple(replace(call, **changes) if call.id == id else call for call in phase.calls)
    return _with_run(session, phase=Calling(calls))
