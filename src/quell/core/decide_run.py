"""Decisions on the active run: what its effects report, what a person answers, and what a restart finds.

Every report names its effect; one that the state does not expect any more decides nothing.
"""

from __future__ import annotations

from quell.core import facts as f
from quell.core import inputs as i
from quell.core.errors import InvalidRequest, NotFound, Stale
from quell.core.messages import Reply, ResultStatus, Spent, StopReason, ToolResult
from quell.core.questions import check, told
from quell.core.session import Call, Calling, Compacting, Run, Sampling, request_id
from quell.core.step import Step

RESUMES_PER_PROMPT = 2
"""How often an interrupted prompt is gone on with by itself (contract K3)."""

ATTEMPTS_AT_A_TITLE = 2


def _sampling(step: Step, run: str, turn: int, attempt: int) -> Run | None:
    """The run, if this attempt is the one that is awaited; it may be ending (what really finishes is recorded as it was, C7)."""
    active = step.session.run
    if active is None or (active.id, active.turn, active.attempt) != (run, turn, attempt):
        return None
    return active if isinstance(active.phase, Sampling | Compacting) else None


def _call(step: Step, run: str, call: str) -> Call | None:
    active = step.session.run
    if active is None or active.id != run or not isinstance(active.phase, Calling):
        return None
    return next((other for other in active.phase.calls if other.id == call), None)


# The model


def replied(step: Step, input: i.SampleReplied) -> None:
    run = _sampling(step, input.run, input.turn, input.attempt)
    if run is None or not isinstance(run.phase, Sampling):
        return
    step.left = input.snapshot
    step.add(
        f.Replied(
            run=run.id,
            turn=run.turn,
            attempt=input.attempt,
            message=run.message,
            reply=input.reply,
            crowded=input.crowded,
        )
    )
    _go_on(step, input.reply.stop_reason)


def sample_failed(step: Step, input: i.SampleFailed) -> None:
    """Another attempt, a compaction if the window was full, or the end of the run (I6). A run that ends anyway has not failed (C9)."""
    run = _sampling(step, input.run, input.turn, input.attempt)
    if run is None or run.ending is not None:
        return
    overflow = input.failure == "context_overflow" and isinstance(run.phase, Sampling) and not run.overflowed
    retry_at = None if overflow else input.retry_at
    step.add(
        f.SampleFailed(
            run=run.id,
            turn=run.turn,
            attempt=input.attempt,
            message=run.message,
            failure=input.failure,
            detail=input.detail,
            reply=input.reply,
            retry_at=retry_at,
            attempts=None if retry_at is None else input.attempts,
        )
    )
    if overflow:
        step.add(f.CompactionStarted(run=run.id, upto=step.session.seq - 1))
    elif retry_at is None:
        step.settle("failed", "error", input.failure, input.detail)


def compaction_done(step: Step, input: i.CompactionDone) -> None:
    """I8: it names the `seq` it covers; steers join after it."""
    run = _sampling(step, input.run, input.turn, input.attempt)
    if run is None or not isinstance(run.phase, Compacting) or run.phase.upto != input.upto:
        return
    step.add(
        f.Compacted(
            run=run.id,
            upto=input.upto,
            message=run.message,
            summary=input.summary,
            usage=input.usage,
            cost=input.cost,
        )
    )
    if run.ending is not None:
        return
    if run.entry.kind == "compaction" and not _steers(step, run):
        step.settle("completed", "end_turn")
    else:
        _next_turn(step)


# Calls


def call_allowed(step: Step, input: i.CallAllowed) -> None:
    call = _being_checked(step, input)
    if call is not None:
        step.add(f.CallStarted(run=input.run, call=call.id, concurrent=input.concurrent, changes=input.changes))


def call_needs_answer(step: Step, input: i.CallNeedsAnswer) -> None:
    call = _being_checked(step, input)
    if call is not None:
        step.add(
            f.PermissionRequested(
                run=input.run,
                call=call.id,
                request=request_id(call.id),
                tool=input.tool,
                title=input.title,
                reason=input.reason,
                always=input.always,
                concurrent=input.concurrent,
                changes=input.changes,
            )
        )


def call_asks(step: Step, input: i.CallAsks) -> None:
    call = _being_checked(step, input)
    if call is not None:
        step.add(
            f.QuestionsAsked(
                run=input.run,
                call=call.id,
                request=request_id(call.id),
                title=input.title,
                questions=input.questions,
                reason=input.reason,
            )
        )


def call_returned(step: Step, input: i.CallReturned) -> None:
    """A result of a call that ran, or of one that its check refused; a second result decides nothing (I5).

    A hook may end the run with it, for a reason that the user sees (I9).
    """
    call = _call(step, input.run, input.call)
    if call is None or call.status not in ("new", "started"):
        return
    if step.active(input.run):
        _hooked(step, input)
    step.add(f.CallFinished(run=input.run, call=call.id, result=input.result, spent=input.spent))
    if input.hooked is not None and input.hooked.halts:
        stop(step, input.run, "hook")
    else:
        _go_on(step, "tool_use")


def _being_checked(step: Step, input: i.CallAllowed | i.CallNeedsAnswer | i.CallAsks) -> Call | None:
    """The call, if nothing has decided about it yet; what hooks have said to it stands before what follows."""
    call = _call(step, input.run, input.call)
    if call is None or call.status != "new" or not step.active(input.run):
        return None
    _hooked(step, input)
    return call


def _hooked(step: Step, input: i.CallAllowed | i.CallNeedsAnswer | i.CallAsks | i.CallReturned) -> None:
    said = input.hooked
    if said is not None:
        step.add(
            f.HooksAnswered(
                run=input.run,
                call=input.call,
                event=said.event,
                hooks=said.hooks,
                input=said.input,
                context=said.context,
            )
        )


def answer(step: Step, input: i.Answer) -> None:
    """T6: by its id only; the same answer again gets the same reply; late or different ones are stale."""
    given = _given(step, input.request)
    if isinstance(given, f.PermissionAnswered):
        if (given.option, given.note) == (input.option, input.note):
            return
        raise Stale(f"Request {input.request} was answered before: {given.option}.")
    run, call = _awaiting(step, input.request)
    if call.questions:
        raise InvalidRequest(f"Request {input.request} has questions to answer, nothing to permit: send `answers`.")
    always = input.option in ("allow_always", "reject_always")
    step.add(
        f.PermissionAnswered(
            run=run.id,
            call=call.id,
            request=input.request,
            option=input.option,
            note=input.note,
            rule=call.always if always else None,
        )
    )
    if input.option in ("allow_once", "allow_always"):
        step.add(f.CallStarted(run=run.id, call=call.id, concurrent=call.concurrent, changes=call.changes))
        return
    said = f"The user rejected this call: {input.note}" if input.note else "The user rejected this call."
    step.add(f.CallFinished(run=run.id, call=call.id, result=ToolResult(text=said, status="denied")))
    if input.note:
        _go_on(step, "tool_use")
    else:  # nothing for the model to go on with: the person has the word
        step.add(f.RunEnding(run=run.id, outcome="completed", stop_reason="rejected"))


def answer_questions(step: Step, input: i.AnswerQuestions) -> None:
    """T6, as for permissions: the answers are the call's result."""
    given = _given(step, input.request)
    if isinstance(given, f.QuestionsAnswered):
        if given.answers == input.answers:
            return
        raise Stale(f"Request {input.request} was answered before.")
    run, call = _awaiting(step, input.request)
    if not call.questions:
        raise InvalidRequest(f"Request {input.request} asks for a permission, not for answers: send an `option`.")
    check(call.questions, input.answers)
    step.add(f.QuestionsAnswered(run=run.id, call=call.id, request=input.request, answers=input.answers))
    step.add(f.CallFinished(run=run.id, call=call.id, result=ToolResult(text=told(call.questions, input.answers))))
    _go_on(step, "tool_use")


def _given(step: Step, request: str) -> f.PermissionAnswered | f.QuestionsAnswered | None:
    requests = step.session.requests
    if request not in requests:
        raise NotFound(f"There is no request {request} in this session.")
    return requests[request]


def _awaiting(step: Step, request: str) -> tuple[Run, Call]:
    run = step.session.run
    call = next((call for call in step.session.awaiting if call.request == request), None)
    if run is None or call is None:
        raise Stale(f"Request {request} was withdrawn or answered: its call has ended.")
    return run, call


# Going on, and ending


def _steers(step: Step, run: Run) -> tuple[str, ...]:
    return tuple(entry.id for entry in step.session.waiting if entry.run == run.id)


def _go_on(step: Step, stop_reason: StopReason) -> None:
    """After a reply or a result: wait for more results, start the next turn, or settle."""
    run = step.session.run
    assert run is not None, "a reply or a result is of a run"
    assert isinstance(run.phase, Calling), "a reply or a result is followed by its calls"
    if run.ending is not None or any(call.status != "done" for call in run.phase.calls):
        return
    if run.phase.calls or _steers(step, run):
        _next_turn(step)
    else:
        given_up = run.denied and stop_reason == "end_turn"
        step.settle("completed", "permission" if given_up else stop_reason)


def _next_turn(step: Step) -> None:
    """I9: limits stop the run visibly. I7: steers join here. I8: a compaction goes before the sample, without an idle gap."""
    run = step.session.run
    assert run is not None, "only a run has turns"
    limits = run.entry.limits
    if limits.turns is not None and run.replies >= limits.turns:
        step.settle("completed", "max_turn_requests")
    elif limits.cost is not None and run.spent.cost >= limits.cost:
        step.settle("completed", "budget")
    elif step.session.crowded:
        step.add(f.CompactionStarted(run=run.id, upto=step.session.seq))
    else:
        for prompt in _steers(step, run):
            step.add(f.SteerJoined(run=run.id, prompt=prompt))
        step.add(f.TurnStarted(run=run.id, turn=run.turn + 1))


def stop(step: Step, run: str, stop_reason: StopReason) -> None:
    """I9: a stop by us is a completion, for a reason that the user sees."""
    if step.active(run) is not None:
        step.add(f.RunEnding(run=run, outcome="completed", stop_reason=stop_reason, origin="system"))


def unwound(step: Step, input: i.Unwound) -> None:
    """Close what is open, and settle as it was to end (C5, C7, I5)."""
    run = step.session.run
    if run is None or run.id != input.run or run.ending is None:
        return
    step.left = input.snapshot
    _close(step, run, input, run.ending.stop_reason, "cancelled")
    step.settle(run.ending.outcome, run.ending.stop_reason)


def _close(step: Step, run: Run, found: i.Unwound | i.Restarted, stop_reason: StopReason, status: ResultStatus) -> None:
    """Every assistant message gets a stop reason and every call a result, from nothing but the state and what was found."""
    match run.phase:
        case Sampling():
            fragment = found.reply or Reply()
            kept = tuple(part for part in fragment.parts if part not in fragment.calls)
            if kept or not run.replied:
                step.add(
                    f.Replied(
                        run=run.id,
                        turn=run.turn,
                        attempt=run.attempt,
                        message=run.message,
                        reply=Reply(
                            parts=kept,
                            stop_reason=stop_reason,
                            usage=fragment.usage,
                            cost=fragment.cost,
                            model=fragment.model,
                        ),
                    )
                )
        case Calling(calls):
            for call in calls:
                if call.status != "done":
                    begun = call.status == "started" and (not call.changes or run.id in step.session.checkpoints)
                    result = _synthetic(status, begun=begun)
                    spent = found.spent.get(call.id, Spent())
                    step.add(f.CallFinished(run=run.id, call=call.id, result=result, spent=spent))
        case Compacting():
            pass


def _synthetic(status: ResultStatus, *, begun: bool) -> ToolResult:
    if not begun:
        return ToolResult(text=f"Not started: the run was {status}.", status=status)
    if status == "cancelled":
        return ToolResult(text="Stopped: the run was cancelled. It may have done part of its work.", status=status)
    text = "Outcome unknown: the agent stopped while this was running. Look at what it did before doing it again."
    return ToolResult(text=text, status="unknown")


def restarted(step: Step, input: i.Restarted) -> None:
    """K2, K3, K6: from the state and what was found alone; shutdown decides the same, and starts nothing.

    T4: what a parent asked for never goes on by itself: the call that waited for it is gone.
    """
    run = step.session.run
    if run is not None:
        if run.ending is not None:
            _close(step, run, input, run.ending.stop_reason, "cancelled")
            _settle_quietly(step, run, run.ending.outcome, run.ending.stop_reason)
        elif _has_begun(run, input.reply) or run.entry.origin == "parent":
            _close(step, run, input, "interrupted", "interrupted")
            _settle_quietly(step, run, "interrupted", "interrupted")
            if input.resume_interrupted and run.entry.kind != "compaction" and run.entry.origin != "parent":
                _follow_up(step, run)
        elif not input.stopping:
            step.add(f.RunRecovered(run=run.id))
    for entry in step.session.waiting:
        if entry.origin == "parent":
            step.add(f.EntryDropped(entry=entry.id, reason="cancelled", text=entry.text))
    if input.stopping:
        return
    _ask_again_for_a_title(step)
    waiting = tuple(entry.id for entry in step.session.waiting if not entry.parked)
    if input.park and waiting:
        step.add(f.QueueParked(entries=waiting, reason="downtime"))
    step.start_next()


def _has_begun(run: Run, draft: Reply | None) -> bool:
    """There is something to show, or it has begun again once already."""
    return run.replied or run.recovered or (draft is not None and bool(draft.parts))


def _ask_again_for_a_title(step: Step) -> None:
    """Once: a model that is asked for a title each time that the process dies in the middle of it would cost for ever."""
    titling = step.session.titling
    if titling is None or step.session.deleting:
        return
    if titling.attempt < ATTEMPTS_AT_A_TITLE:
        step.add(f.TitleRequested(prompt=titling.prompt, attempt=titling.attempt + 1))
    else:
        step.add(f.TitleGiven())


def _settle_quietly(step: Step, run: Run, outcome: f.Outcome, stop_reason: StopReason) -> None:
    """Settle without starting what waits: a restart has more to decide before that, a shutdown starts nothing."""
    step.add(f.RunSettled(run=run.id, outcome=outcome, stop_reason=stop_reason))


def _follow_up(step: Step, run: Run) -> None:
    count = run.entry.resumed + 1
    if count <= RESUMES_PER_PROMPT:
        step.add(f.FollowUpAccepted(entry=f"{run.id}-again", run=run.id, prompt=run.entry.prompt, count=count))
