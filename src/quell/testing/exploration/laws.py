"""What must hold of every move, line by line of the run contract: what an input may decide, must decide, and has to answer.

The ledger knows which fact may follow which; here is what each input is for. Raises `AssertionError`, naming the line.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from quell.core import facts as f
from quell.core import inputs as i
from quell.core.errors import BLOCKING
from quell.core.messages import Reply, Spent, ToolCall
from quell.core.session import (
    Calling,
    Check,
    Compact,
    Effect,
    Execute,
    Expire,
    Keep,
    Restore,
    Sample,
    Sampling,
    Session,
    Title,
    Unwind,
    due,
)
from quell.testing.exploration.agreement import agree
from quell.testing.exploration.laws_hooks import of_hooks
from quell.testing.exploration.laws_kept import of_checkpoint, of_left
from quell.testing.exploration.laws_queue import of_request
from quell.testing.exploration.ledger import Turn
from quell.testing.exploration.worlds import NOW, Taken, World, take


def check(taken: Taken) -> None:
    """Everything that must hold after a move."""
    input = taken.input
    if isinstance(taken.reaction, i.Noted):
        noted = i.Noted(taken.after.session.seq, bool(taken.records))
        assert taken.reaction == noted, "the answer says whether something was decided, and when"
    _of_facts(taken)
    _of_rest(taken)
    of_left(taken)
    if isinstance(input, i.Restarted):
        _of_restart(taken, input)
    elif isinstance(input, i.Note):
        told = [] if taken.before.ledger.deleting else [f.Noted(text=input.text)]
        assert [recorded.fact for recorded in taken.records] == told, "a note is recorded"
        return
    elif isinstance(input, i.TitleFound):
        given = f.TitleGiven(title=input.title, usage=input.usage, cost=input.cost)
        assert [recorded.fact for recorded in taken.records] == [given], "a title is recorded"
        assert taken.after.session.title == (input.title or taken.before.session.title), "a session has its title"
    elif isinstance(input, i.Kept | i.Restored):
        assert taken.records, f"a report of what is due decides nothing: {input}"
        of_checkpoint(taken, input)
    elif isinstance(input, i.Report):
        assert taken.refused is None, "a report is not refused"
        assert isinstance(taken.reaction, i.Noted), "a report is noted"
        _of_report(taken, input)
    else:
        of_request(taken, input)
    _of_repeat(taken)


def check_state(world: World) -> None:
    """Everything that must hold of a state, however it was come to: it says what the ledger says, and what it says is due."""
    agree(world.ledger, world.session)
    _of_effects(world.session)


_ALWAYS = (f.SteerJoined, f.TurnStarted, f.CompactionStarted, f.RunStarted)
_MAY: dict[type, tuple[type, ...]] = {
    i.Submit: (f.PromptAccepted, f.RunStarted, f.CompactionStarted, f.SettingsChanged, f.TitleRequested),
    i.Compact: (f.CompactionAccepted, f.RunStarted),
    i.Cancel: (f.RunEnding, f.EntryDropped, f.QueueParked, f.QueueResumed),
    i.Edit: (f.EntryEdited,),
    i.Move: (f.EntryMoved,),
    i.Drop: (f.EntryDropped,),
    i.Promote: (f.EntryPromoted, f.RunEnding, f.RunStarted, f.CompactionStarted),
    i.Resume: (f.QueueResumed, f.RunStarted, f.CompactionStarted),
    i.Revert: (f.RevertStarted, f.Reverted, f.RevertUndone),
    i.Kept: (f.WorkspaceKept,),
    i.Restored: (f.Reverted, f.RevertUndone, f.RunStarted, f.CompactionStarted),
    i.Delete: (f.DeletionStarted, f.RunEnding, f.EntryDropped),
    i.Change: (f.SettingsChanged,),
    i.Answer: (f.PermissionAnswered, f.CallStarted, f.CallFinished, f.RunEnding, f.RunSettled, *_ALWAYS),
    i.SampleReplied: (f.Replied, f.WorkspaceKept, f.RunSettled, *_ALWAYS),
    i.SampleFailed: (f.SampleFailed, f.RunSettled, f.QueueParked, f.CompactionStarted, f.RunStarted),
    i.CallAllowed: (f.HooksAnswered, f.CallStarted),
    i.CallNeedsAnswer: (f.HooksAnswered, f.PermissionRequested),
    i.CallAsks: (f.HooksAnswered, f.QuestionsAsked),
    i.Note: (f.Noted,),
    i.TitleFound: (f.TitleGiven,),
    i.AnswerQuestions: (f.QuestionsAnswered, f.CallFinished, f.RunSettled, *_ALWAYS),
    i.CallReturned: (f.HooksAnswered, f.CallFinished, f.RunEnding, f.RunSettled, *_ALWAYS),
    i.CompactionDone: (f.Compacted, f.RunSettled, *_ALWAYS),
    i.TimeUp: (f.RunEnding,),
    i.Looping: (f.RunEnding,),
    i.Unwound: (f.Replied, f.CallFinished, f.WorkspaceKept, f.RunSettled, f.RunStarted, f.CompactionStarted),
    i.Restarted: (
        f.Replied,
        f.CallFinished,
        f.RunSettled,
        f.RunRecovered,
        f.FollowUpAccepted,
        f.EntryDropped,
        f.TitleRequested,
        f.TitleGiven,
        f.QueueParked,
        f.RunStarted,
        f.CompactionStarted,
    ),
}
"""Which facts an input may lead to: nothing is cancelled, parked or started by what is not about that."""


def _of_facts(taken: Taken) -> None:
    kinds = [type(recorded.fact) for recorded in taken.records]
    allowed = _MAY[type(taken.input)]
    assert all(kind in allowed for kind in kinds), f"an input of another kind decides {kinds}"
    assert all(recorded.at == NOW for recorded in taken.records), "the time comes with the input"
    for recorded, ledger in zip(taken.records, taken.along, strict=True):  # limits: before each further turn, not after
        fact = recorded.fact
        if isinstance(fact, f.TurnStarted | f.RunSettled):
            _of_limits(ledger.run, fact)
        if isinstance(fact, f.RunStarted) and fact.entry_kind != "compaction" and ledger.crowded:
            following = [type(other.fact) for other in taken.records if other.seq == recorded.seq + 1]
            assert following == [f.CompactionStarted], "I8: a crowded conversation is sampled"
        if isinstance(fact, f.CompactionStarted) and ledger.run is not None:
            _of_compaction(taken, ledger.run, fact, recorded.seq)


def _of_compaction(taken: Taken, turn: Turn, fact: f.CompactionStarted, seq: int) -> None:
    """I8: it covers all that was said, but neither an attempt that failed nor the prompt that the run has just started with."""
    begins = int(turn.run[1:]) == seq - 1
    failed = isinstance(taken.input, i.SampleFailed)
    assert fact.upto == (seq - 2 if begins or failed else seq - 1), f"I8: {seq} covers what was said up to {fact.upto}"


def _of_limits(turn: Turn | None, fact: f.TurnStarted | f.RunSettled) -> None:
    """I9: limits stop the run visibly, when they are reached and not before."""
    assert turn is not None
    limits = turn.item.limits
    turns = limits.turns is not None and turn.replies >= limits.turns
    cost = limits.cost is not None and turn.spent.cost >= limits.cost
    if isinstance(fact, f.TurnStarted):
        assert not turns, "I9: a turn beyond the limit"
        assert not cost, "I9: a turn beyond the budget"
    elif fact.stop_reason == "max_turn_requests":
        assert turns, "I9: stopped before the limit"
        assert fact.outcome == "completed", "I9: a stop at a limit is a completion"
    elif fact.stop_reason == "budget":
        assert cost, "I9: stopped before the budget"
        assert fact.outcome == "completed", "I9: a stop at a limit is a completion"


def _of_rest(taken: Taken) -> None:
    """I4: what waits and is not parked has a run before it, but where a process has ended and none has begun."""
    before, session = taken.before.session, taken.after.session
    stopping = isinstance(taken.input, i.Restarted) and taken.input.stopping
    stopped = stopping or (before.busy and before.run is None and before.reverting is None)
    if session.run is None and not stopped and not session.deleting and session.reverting is None:
        assert all(entry.parked for entry in session.waiting), "I4: an entry waits that nothing will start"
    if session.parked:
        assert session.busy == (session.run is not None or any(not entry.parked for entry in session.waiting)) or (
            session.deleting or session.reverting is not None
        ), "I4: busy"
    else:
        assert all(not entry.parked for entry in session.waiting), (
            "Q2: entries are parked, and the queue does not say so"
        )
    if session.deleting:
        assert not session.waiting, "K7: something waits in a session that is being deleted"
        assert session.run is None or session.run.ending is not None, "K7: a run goes on"
        assert session.busy, "K7: it is to be erased"
    if session.run is not None:
        assert session.busy, "I4: a run, and not busy"
        if isinstance(session.run.phase, Sampling) and session.run.ending is None:
            assert not session.crowded, "I8: a crowded conversation is sampled"


def _of_effects(session: Session) -> None:
    """What is due is what the state says, in the order that the model asked for."""
    run, effects = session.run, tuple(effect for effect in due(session) if not _is_beside(effect))
    asked = session.titling is not None and not session.deleting
    unkept = session.unkept is not None and not session.deleting
    beside = [type(effect) for effect in due(session) if _is_beside(effect)]
    assert beside == [Title] * asked + [Keep] * unkept, (
        "a title is looked for when it was asked for, a workspace kept after a run"
    )
    if session.reverting is not None:
        reverting = session.reverting
        assert effects == (Restore(reverting.seq, reverting.source, reverting.target),), "K8: files are restored first"
        assert run is None, "K8: a run while files are restored"
        return
    if run is None:
        assert len(effects) == int(session.deleting), "K7: what is due without a run"
        return
    if run.ending is not None:
        assert effects == (Unwind(run.id),), "C7: a run that ends has something else due"
        assert not session.awaiting, "T6: a request of a run that ends is open"
        return
    assert effects or session.awaiting, "liveness: nothing due and nobody to wait for"
    assert len(set(effects)) == len(effects), "an effect is due twice"
    rest = [effect for effect in effects if not isinstance(effect, Expire)]
    assert len(effects) - len(rest) == (run.entry.limits.seconds is not None), "I9: a time limit is watched"
    if isinstance(run.phase, Calling):
        _of_calls(run.id, run.phase, rest, session)
    else:
        assert len(rest) == 1, "one attempt at a time"
        (effect,) = rest
        assert isinstance(effect, Sample | Compact), "a sample or a compaction"
        assert isinstance(effect, Sample) == isinstance(run.phase, Sampling), "another phase"
        named = (effect.run, effect.turn, effect.attempt, effect.not_before)
        assert named == (run.id, run.turn, run.attempt, run.phase.not_before), "an effect of another attempt"
        if isinstance(effect, Compact):
            assert effect.upto == getattr(run.phase, "upto", None), "I8: another compaction"


def _is_beside(effect: Effect) -> bool:
    return isinstance(effect, Title) or (isinstance(effect, Keep) and effect.after)


def _of_calls(run: str, phase: Calling, effects: Sequence[Effect], session: Session) -> None:
    """In order; one that may change something waits for all before it, and everything waits for it."""
    assert all(isinstance(effect, Check | Execute | Keep) and effect.run == run for effect in effects)
    expected: list[Effect] = []
    for call in phase.calls:
        if call.status == "started" and call.changes and run not in session.checkpoints:
            expected.append(Keep(run))
        elif call.status == "started":
            expected.append(Execute(run, call.id))
        if call.status == "new":
            expected.append(Check(run, call.id))
        if call.status in ("new", "asked") or (call.status == "started" and not call.concurrent):
            break
    assert list(effects) == expected, f"due {effects}, and should be {expected}"
    asked = [call.id for call in phase.calls if call.status == "asked"]
    assert [call.id for call in session.awaiting] == asked, "T6: who waits for a person"
    for call in session.awaiting:
        assert call.request is not None, "T6: a request has an id"
        assert session.requests.get(call.request, "none") is None, "T6: an open request"


# Reports


def _of_report(taken: Taken, input: i.Report) -> None:
    """What is due, or finishes while a run unwinds, is recorded as it was."""
    before, after, records = taken.before.ledger.run, taken.after.session, taken.records
    assert before is not None, "a report of a run"
    ending = before.ending is not None
    assert records, f"a report of what is due decides nothing: {input}"
    if isinstance(input, i.CallAllowed | i.CallNeedsAnswer | i.CallAsks | i.CallReturned) and not ending:
        records = of_hooks(taken, input)
    first = records[0].fact
    settled = next((r.fact for r in records if isinstance(r.fact, f.RunSettled)), None)
    if ending and not isinstance(input, i.Unwound):
        assert len(records) == 1, "C7: a run that ends goes on"
    match input:
        case i.SampleReplied():
            assert isinstance(first, f.Replied), "C7: a reply is recorded"
            assert (first.reply, first.crowded) == (input.reply, input.crowded), "C7: as it was"
            if not ending:
                _of_last_reply(taken, input.reply, settled)
        case i.SampleFailed():
            _of_failure(taken, input, settled)
        case i.CallAllowed() | i.CallNeedsAnswer():
            if isinstance(first, f.PermissionRequested):
                assert first.request in after.requests, "T6: a request that nobody can answer"
            phase = after.run.phase if after.run is not None else None
            assert isinstance(phase, Calling)
            call = next(call for call in phase.calls if call.id == input.call)
            found = (call.concurrent, call.changes)
            assert found == (input.concurrent, input.changes), "side by side, as was found out"
        case i.CallAsks():
            assert isinstance(first, f.QuestionsAsked), "T6: the questions are asked"
            said = (first.call, first.title, first.questions, first.reason)
            assert said == (input.call, input.title, input.questions, input.reason), "T6: as they were asked"
            assert [call.questions for call in after.awaiting][-1:] == [input.questions], "T6: and are to be answered"
        case i.CallReturned():
            assert isinstance(first, f.CallFinished), "I5: a result is recorded"
            assert (first.result, first.spent) == (input.result, input.spent), "C7: as it was"
            halts = input.hooked is not None and input.hooked.halts and not ending
            ends = [r.fact for r in records if isinstance(r.fact, f.RunEnding)]
            ended = f.RunEnding(run=before.run, outcome="completed", stop_reason="hook", origin="system")
            assert ends == [ended] * halts, "I9: a hook ends the run when it says so, and not otherwise"
            assert settled is None or settled.stop_reason in ("max_turn_requests", "budget"), (
                "I9: it stops for no reason"
            )
        case i.CompactionDone():
            _of_summary(taken, input, settled)
        case i.TimeUp() | i.Looping():
            reason = "time_limit" if isinstance(input, i.TimeUp) else "loop"
            ended = f.RunEnding(run=before.run, outcome="completed", stop_reason=reason, origin="system")  # type: ignore[arg-type]  # literals
            assert first == ended, "I9: a stop by us is a completion, and says why"
        case i.Unwound():
            _of_unwinding(taken, input)
        case _:
            raise AssertionError(f"no law for {input}")


def _of_last_reply(taken: Taken, reply: Reply, settled: f.RunSettled | None) -> None:
    """The run goes on while there are calls to do or steers to take in; otherwise it is complete, and says why."""
    before = taken.before.ledger
    assert before.run is not None
    steers = any(item.steer for item in before.waiting)
    if reply.calls:
        assert len(taken.records) == 1, "calls are checked first"
    elif not steers:
        assert settled is not None, "I1: nothing more to do, and the run goes on"
        denied = before.run.denied and reply.stop_reason == "end_turn"
        assert settled.stop_reason == ("permission" if denied else reply.stop_reason), "I9: stopped for another reason"
        assert (settled.outcome, settled.failure) == ("completed", None), "I9: completed"
    else:
        limited = settled is not None and settled.stop_reason in ("max_turn_requests", "budget")
        assert limited or settled is None, "I7: it joins also after the last reply"


def _of_failure(taken: Taken, input: i.SampleFailed, settled: f.RunSettled | None) -> None:
    """I6: another attempt, a compaction for a full window once, or the end; what would meet the next prompt too parks the queue."""
    before = taken.before.ledger
    assert before.run is not None
    first = taken.records[0].fact
    assert isinstance(first, f.SampleFailed), "a failure is recorded"
    assert (first.failure, first.detail, first.reply) == (input.failure, input.detail, input.reply), "as it was"
    parked = [r.fact for r in taken.records if isinstance(r.fact, f.QueueParked)]
    compacted = any(isinstance(r.fact, f.CompactionStarted) and r.fact.run == before.run.run for r in taken.records)
    assert first.retry_at == (None if compacted else input.retry_at), "I6: when the next attempt is due"
    assert first.attempts == (input.attempts if first.retry_at else None), "I6: how many there will be"
    full = input.failure == "context_overflow" and before.run.doing == "sample"
    assert compacted == (full and not before.run.overflowed), "I8: an overflow is compacted for, once"
    if compacted or input.retry_at is not None:
        assert settled is None, "I6: there is another attempt"
        assert not parked, "I6: parked for what may pass"
        return
    assert settled is not None, "I6: a run without a further attempt goes on"
    said = (settled.outcome, settled.stop_reason, settled.failure, settled.detail)
    assert said == ("failed", "error", input.failure, input.detail), "I9: failed, and says why"
    waiting = tuple(item.id for item in before.waiting if not item.parked)
    blocking = input.failure in BLOCKING and bool(waiting)
    assert [fact.entries for fact in parked] == ([waiting] if blocking else []), "I6: parked, or burnt"
    assert all(fact.reason == "failure" for fact in parked), "I6: says why"


def _of_summary(taken: Taken, input: i.CompactionDone, settled: f.RunSettled | None) -> None:
    """I8: it names what it covers; a compaction that was asked for is complete then, an automatic one leads on to the sample."""
    before = taken.before.ledger
    first = taken.records[0].fact
    assert before.run is not None
    assert isinstance(first, f.Compacted), "C7: a summary is recorded"
    said = (first.upto, first.summary, first.usage, first.cost)
    assert said == (input.upto, input.summary, input.usage, input.cost), "I8: as it was"
    if before.run.ending is not None:
        return
    own = before.run.item.kind == "compaction" and not any(item.steer for item in before.waiting)
    if own:
        assert settled is not None, "I8: a compaction that is done is complete"
        assert (settled.outcome, settled.stop_reason) == ("completed", "end_turn"), "I9: completed"
    elif settled is not None:
        assert settled.stop_reason in ("max_turn_requests", "budget"), "I8: it goes on after the compaction"


def _of_unwinding(taken: Taken, input: i.Unwound) -> None:
    """C5, C7: what was streamed is kept, every call has a result, and it settles now."""
    before = taken.before.ledger.run
    assert before is not None
    assert before.ending is not None
    closing = _closing(taken, before, input.reply, before.ending[1])
    settled = closing[-1]
    assert isinstance(settled, f.RunSettled), "C7: it has not settled"
    for fact in closing[:-1]:
        if isinstance(fact, f.CallFinished):
            assert fact.result.status == "cancelled", "I5: the result says what happened"


def _closing(taken: Taken, turn: Turn, draft: Reply | None, stop_reason: str) -> list[f.AnyFact]:
    """The facts that close a run: a message for what was streamed, or for nothing at all (C5), and results."""
    closing: list[f.AnyFact] = []
    for recorded in taken.records:
        closing.append(recorded.fact)
        if isinstance(recorded.fact, f.RunSettled):
            break
    replies = [fact for fact in closing if isinstance(fact, f.Replied)]
    kept = tuple(part for part in draft.parts if not isinstance(part, ToolCall)) if draft else ()
    wanted = turn.doing == "sample" and (bool(kept) or not turn.shown)
    assert len(replies) == int(wanted), "C5, K3: what was streamed is kept, and a run leaves a message"
    if replies:
        expected = replace(draft or Reply(), parts=kept, stop_reason=stop_reason)
        assert replies[0].reply == expected, "C5, C7: the message says how it ended, and what it cost"
    for fact in closing:
        if isinstance(fact, f.CallFinished):
            spent = taken.input.spent if isinstance(taken.input, i.Unwound | i.Restarted) else {}
            assert fact.spent == spent.get(fact.call, Spent()), "what its sub-agent has used is counted"
            was = "Not started" not in fact.result.text
            assert was == _has_begun(turn, fact.call), "I5: the result says whether the call was started"
    return closing


def _has_begun(turn: Turn, call: str) -> bool:
    """K8: what may change files has not, before they were kept."""
    return dict(turn.calls)[call] == "started" and (turn.kept or call not in turn.changing)


# Processes


def _of_restart(taken: Taken, input: i.Restarted) -> None:
    """K2, K3, K6."""
    before, after, turn = taken.before.ledger, taken.after.ledger, taken.before.ledger.run
    facts = [recorded.fact for recorded in taken.records]
    started = [fact for fact in facts if isinstance(fact, f.RunStarted)]
    followed = [fact for fact in facts if isinstance(fact, f.FollowUpAccepted)]
    dropped = [fact.entry for fact in facts if isinstance(fact, f.EntryDropped)]
    orphans = [item.id for item in before.waiting if item.origin == "parent"]
    assert dropped == orphans, "T4: what a parent asked for is not gone on with"
    waiting = [item.id for item in before.waiting if not item.parked and item.id not in orphans]
    if before.titling is not None:
        prompt, attempt = before.titling
        again = before.titling if input.stopping or before.deleting else (prompt, 2) if attempt == 1 else None
        assert after.titling == again, (
            "a model is asked for a title once more after a restart, by no shutdown, and not in vain"
        )
    if input.stopping:
        assert not started, "K6: a shutdown starts a run"
        assert after.parked == before.parked, "K6: a shutdown parks"
    left = turn is not None and (turn.shown or (input.reply is not None and bool(input.reply.parts)))
    if turn is None:
        assert not followed, "K3: a follow-up of nothing"
    elif turn.ending is None and not left and not turn.recovered and turn.item.origin != "parent":
        recovered = [f.RunRecovered(run=turn.run)]
        assert [
            fact
            for fact in facts
            if not isinstance(fact, f.QueueParked | f.EntryDropped | f.TitleRequested | f.TitleGiven)
        ] == ([] if input.stopping else recovered), "K3: a run that has left nothing is due again"
    else:
        _of_interruption(taken, input, turn, followed)
    if input.park and (waiting or followed):
        parked = [fact for fact in facts if isinstance(fact, f.QueueParked)]
        assert [fact.reason for fact in parked] == ["downtime"], "K2: parked after a long time"
        assert not started, "K2: started after a long time"
        assert all(item.parked for item in after.waiting), "K2: parked after a long time"
    else:
        assert not any(isinstance(fact, f.QueueParked) for fact in facts), "K2: parked for no reason"


def _of_interruption(taken: Taken, input: i.Restarted, turn: Turn, followed: list[f.FollowUpAccepted]) -> None:
    facts = [recorded.fact for recorded in taken.records]
    reason = turn.ending[1] if turn.ending else "interrupted"
    closing = _closing(taken, turn, input.reply, reason)
    settled = closing[-1]
    assert isinstance(settled, f.RunSettled), "K3: it is not settled"
    assert (settled.outcome, settled.stop_reason) == (turn.ending or ("interrupted", "interrupted")), "K3, I9"
    for fact in closing:
        if isinstance(fact, f.CallFinished):
            wanted = "cancelled"
            if turn.ending is None:
                wanted = "unknown" if _has_begun(turn, fact.call) else "interrupted"
            assert fact.result.status == wanted, "K3: the result says what is known"
    again = (
        turn.item.resumed < 2
        and turn.item.kind != "compaction"
        and turn.ending is None
        and turn.item.origin != "parent"
    )
    assert len(followed) == int(input.resume_interrupted and again), (
        "K3: followed up, twice at most, never after a stop"
    )
    if followed and not input.stopping and not input.park:
        started = next((fact for fact in facts if isinstance(fact, f.RunStarted)), None)
        assert started is not None, "K3: the follow-up goes before the queue"
        assert started.entry == followed[0].entry, "K3: the follow-up goes before the queue"


def _of_repeat(taken: Taken) -> None:
    """An input that was decided decides nothing when it comes again: late, twice, or because its answer was lost."""
    input, session = taken.input, taken.after.session
    if isinstance(input, i.Restarted) or taken.after is taken.before:
        return
    if isinstance(input, i.Compact) and session.entry(input.entry) is None:
        return  # it runs: another one may wait behind it
    again = take(taken.after, input)
    assert not again.records, f"{type(input).__name__} again decides {[r.fact for r in again.records]}"
    gone = isinstance(input, i.Edit | i.Move | i.Drop | i.Promote | i.Revert) or session.deleting
    assert again.refused is None or gone, f"{type(input).__name__} again is refused: {again.refused}"
