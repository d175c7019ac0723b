"""Everything that can happen next in a world: what users ask for, what effects report, and how processes end and begin.

A new input is one more `yield` here, a budget for it if it could happen for ever, and its law in `laws`.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from itertools import product
from typing import Any

from msgspec.structs import replace

from quell.core import facts as f
from quell.core import inputs as i
from quell.core.hooks import Hooked, HookReport
from quell.core.messages import Attachment, Reply, Spent, Text, ToolCall, ToolResult, Usage, call_id
from quell.core.questions import Question, QuestionAnswer
from quell.core.session import (
    Calling,
    Check,
    Compact,
    Effect,
    Erase,
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
    message_id,
)
from quell.testing.exploration.worlds import NOW, Budget, Move

PAID = {"usage": Usage(input=2, output=1), "cost": Decimal(1)}
DRAFT = Reply(parts=(Text("half"),), model="m", usage=Usage(input=2))
SPENT = Spent(cost=Decimal(1))
DONE = Reply(parts=(Text("done"),), **PAID)  # type: ignore[arg-type]  # as named
NOTHING = Reply()
HOOKED = Hooked(hooks=(HookReport(name="h", decision="allow", reason="why"),), input="{}", context="more")
HALTED = Hooked(hooks=(HookReport(name="h", halt=True),))
ASKED = (Question(type="yes_no", question="Shall I?"),)
SAID = (QuestionAnswer(yes=True),)
ANSWERS = (("allow_once", None), ("allow_always", None), ("reject_once", None), ("reject_always", "not so"))


def moves(session: Session, size: Budget) -> Iterator[Move]:
    """What users, effects and crashes may do in this state; `size` says which kinds there are at all."""
    for move in (*_requests(session, size), *_effects(session, size), *_restarts(session)):
        if not move.spends or getattr(size, move.spends) >= move.count:
            yield move


def _effects(session: Session, size: Budget) -> Iterator[Move]:
    for effect in due(session):
        yield from _outcomes(effect, session, size)


def _restarts(session: Session) -> Iterator[Move]:
    """With every draft that there can be: none, an empty one, and one with a call that was still streaming."""
    if session.run is None and session.busy and not session.deleting and session.reverting is None:
        yield Move(i.Restarted(), system=True)  # what a shutdown left waiting goes on with the next start
    drafts: tuple[Reply | None, ...] = (None,)
    if session.run is not None and isinstance(session.run.phase, Sampling):
        streaming = ToolCall(call_id(session.run.message, 0), "tool", "{")
        drafts = (None, NOTHING, replace(DRAFT, parts=(*DRAFT.parts, streaming)))
    for reply, resume in product(drafts, (False, True)):
        yield Move(i.Restarted(reply=reply, resume_interrupted=resume, spent=_spent(session)), "restarts")
        yield Move(i.Restarted(reply=reply, resume_interrupted=resume, stopping=True), "restarts")
        yield Move(i.Restarted(reply=reply, resume_interrupted=resume, park=True), "restarts")


def _spent(session: Session) -> dict[str, Spent]:
    """What the sub-agents of calls that are not done have used."""
    phase = session.run.phase if session.run is not None else None
    return {call.id: SPENT for call in phase.calls if call.status == "started"} if isinstance(phase, Calling) else {}


# What users ask for


def submission(prompt: str, delivery: f.Delivery, size: Budget = Budget()) -> i.Submit:
    """A prompt in which nothing is as it would be if it was forgotten."""
    return i.Submit(
        prompt=prompt,
        text=prompt,
        attachments=(Attachment(name="a.png", content="aGk=", mime_type="image/png", encoding="base64"),),
        delivery=delivery,
        origin=size.origin,
        limits=size.limits,
        allow=("bash",),
        mode="plan",
        on_ask="deny",
        titled=size.titled,
    )


def _requests(session: Session, size: Budget) -> Iterator[Move]:
    fresh = session.seq + 1
    for delivery in ("queue", "steer"):
        submit = submission(f"p{fresh}", delivery, size)
        yield Move(replace(submit, queue_limit=len(session.waiting) + 1), "submits")
    yield from _cancels(session)
    yield Move(i.Compact(entry=f"k{fresh}"), "compactions")
    yield Move(i.Delete(), "deletions")
    if size.edits:
        yield from _edits(session)
    yield Move(i.Note(text="a note"), "changes")
    yield Move(i.Change(title="other"), "changes")
    if session.titling is not None:
        yield Move(i.Change(title=session.title), "changes")
    yield Move(i.Change(model="other", small_model="other", mode="plan", extra=("/x",)), "changes")
    if size.reverts:
        yield from _reverts(session)
    if session.parked or any(entry.parked for entry in session.waiting):
        yield Move(i.Resume())
    for call, (option, note) in product(session.awaiting, ANSWERS):
        assert call.request is not None, "an asked call has a request"
        if call.questions:
            yield Move(i.AnswerQuestions(request=call.request, answers=SAID))
            break
        yield Move(i.Answer(request=call.request, option=option, note=note))  # type: ignore[arg-type]  # literals


def _cancels(session: Session) -> Iterator[Move]:
    """Both scopes, up to every `seq` that tells two of the entries apart; and each prompt alone."""
    run = session.run
    seqs = {entry.seq for entry in session.waiting} | ({run.entry.seq} if run else set())
    for scope in ("all", "active"):
        for upto in (None, 0, *sorted(seqs)):
            yield Move(i.Cancel(scope=scope, upto=upto), "cancels")
    if run is not None:
        yield Move(i.Cancel(scope="all", run=run.id, origin="parent"), "cancels")
    own = (run.entry.id, *run.joined) if run else ()
    for entry in (*own, *(entry.id for entry in session.waiting)):
        yield Move(i.Cancel(prompt=entry), "cancels")


def _reverts(session: Session) -> Iterator[Move]:
    """To every prompt and to none, with files and without, as prepared now and earlier, over what others have edited or not."""
    for to in (None, "nothing", *sorted(session.prompts)):
        for target, edited, force in (
            ("", (), False),
            ("there", (), False),
            ("there", ("x",), False),
            ("there", ("x",), True),
        ):
            asked = i.Revert(
                to=to, source=target and "here", target=target, edited=edited, force=force, upto=session.seq
            )
            yield Move(asked, "reverts")
        yield Move(
            i.Revert(to=to, edited=("x",), upto=session.seq - 1), "reverts"
        )  # planned again before anybody is asked


def _edits(session: Session) -> Iterator[Move]:
    for entry in session.waiting:
        asked: list[i.Input] = []
        if entry.kind == "prompt":
            asked += [i.Edit(entry=entry.id, text="other"), i.Edit(entry=entry.id, delivery="steer")]
            asked += [i.Edit(entry=entry.id, delivery="queue"), i.Edit(entry=entry.id, text="other", delivery="steer")]
        asked += [i.Move(entry=entry.id)]
        asked += [i.Move(entry=entry.id, before=other.id) for other in session.waiting if other is not entry]
        asked += [i.Drop(entry=entry.id), i.Promote(entry=entry.id), i.Promote(entry=entry.id, interrupt=True)]
        for input in asked:
            yield Move(input, "edits")
    if len(session.waiting) > 1:
        yield Move(i.Drop(), "edits")


# What effects report


def _outcomes(effect: Effect, session: Session, size: Budget) -> Iterator[Move]:
    """Everything that can come of an effect."""
    match effect:
        case Sample():
            yield Move(i.Looping(run=effect.run), "loops")
            yield from _sampled(effect, size)
        case Compact():
            named = {"run": effect.run, "turn": effect.turn, "attempt": effect.attempt, "upto": effect.upto}
            yield Move(i.CompactionDone(**named, **PAID, summary="summary"), system=True)  # type: ignore[arg-type]  # as named
            yield from _failures(effect)
        case Check(run, call):
            ask: dict[str, Any] = {"tool": "t", "title": "t", "reason": "r", "always": "t"}
            denied = ToolResult(text="no", status="denied")
            for concurrent, changes in ((False, False), (True, False), *([(False, True)] if size.changing else [])):
                found: dict[str, Any] = {"run": run, "call": call, "concurrent": concurrent, "changes": changes}
                yield Move(i.CallAllowed(**found), system=True)
                yield Move(i.CallNeedsAnswer(**found, **ask), system=True)
            yield Move(i.CallReturned(run=run, call=call, result=denied), system=True)
            asks = i.CallAsks(run=run, call=call, title="t", questions=ASKED, reason="r")
            yield Move(asks, system=True)
            if size.hooks:
                yield Move(i.CallAllowed(run=run, call=call, hooked=HOOKED), system=True)
                yield Move(i.CallNeedsAnswer(run=run, call=call, **ask, hooked=HOOKED), system=True)
                yield Move(replace(asks, hooked=HOOKED), system=True)
                yield Move(i.CallReturned(run=run, call=call, result=denied, hooked=HOOKED), system=True)
                yield Move(i.CallReturned(run=run, call=call, result=denied, hooked=HALTED), system=True)
        case Execute(run, call):
            if size.hooks:
                for said in (replace(HOOKED, input=None), HALTED):
                    after = replace(said, event="PostToolUse")
                    yield Move(
                        i.CallReturned(run=run, call=call, result=ToolResult(text="done"), hooked=after), system=True
                    )
            yield Move(i.CallReturned(run=run, call=call, result=ToolResult(text="done"), spent=SPENT), system=True)
        case Title(prompt, attempt):
            named = {"prompt": prompt, "attempt": attempt}
            yield Move(i.TitleFound(**named, **PAID, title="found"), system=True)  # type: ignore[arg-type]  # as named
            yield Move(i.TitleFound(**named), system=True)  # type: ignore[arg-type]  # as named
        case Expire(run):
            yield Move(i.TimeUp(run=run))
        case Unwind(run):
            yield Move(i.Unwound(run=run, spent=_spent(session)), system=True)
            if size.changing:
                yield Move(i.Unwound(run=run, spent=_spent(session), snapshot="left"), system=True)
            if session.run is not None and isinstance(session.run.phase, Sampling):
                yield Move(i.Unwound(run=run, reply=replace(DRAFT, cost=Decimal(1))), system=True)
                yield Move(i.Unwound(run=run, reply=NOTHING), system=True)
            yield from _late(session, size)
        case Keep(run, after):
            yield Move(i.Kept(run=run, after=after, snapshot="kept"), system=True)
            yield Move(i.Kept(run=run, after=after, problem="why"), system=True)
        case Restore(revert):
            yield Move(i.Restored(revert=revert), system=True)
            yield Move(i.Restored(revert=revert, left=("file",), problem="why"), system=True)
        case Erase():
            pass


def _late(session: Session, size: Budget) -> Iterator[Move]:
    """What really finishes while a run unwinds."""
    run = session.run
    assert run is not None, "a run unwinds"
    working = due(replace(session, run=replace(run, ending=None)))
    for effect in working:
        if isinstance(effect, Sample | Compact | Execute):
            for move in _outcomes(effect, session, size):
                if not isinstance(move.input, i.SampleFailed | i.Looping):
                    yield replace(move, system=False)
    for call in run.phase.calls if isinstance(run.phase, Calling) else ():
        if call.status == "started" and Execute(run.id, call.id) not in working:
            yield Move(i.CallReturned(run=run.id, call=call.id, result=ToolResult(text="late")))


def _sampled(effect: Sample, size: Budget) -> Iterator[Move]:
    named: dict[str, Any] = {"run": effect.run, "turn": effect.turn, "attempt": effect.attempt}
    message = message_id(effect.run, effect.turn, effect.attempt)
    for crowded in (False, True) if size.crowded else (False,):
        yield Move(i.SampleReplied(**named, reply=DONE, crowded=crowded), system=True)
        for count in range(1, size.calls + 1):
            calls = tuple(ToolCall(call_id(message, n), "tool", "{}") for n in range(count))
            reply = replace(DONE, parts=calls, stop_reason="tool_use")
            yield Move(i.SampleReplied(**named, reply=reply, crowded=crowded), "calls", count, system=True)
    yield Move(i.SampleReplied(**named, reply=replace(DONE, stop_reason="max_tokens")), system=True)
    if size.changing:
        yield Move(i.SampleReplied(**named, reply=DONE, snapshot="left"), system=True)
    yield from _failures(effect)


def _failures(effect: Sample | Compact) -> Iterator[Move]:
    named: dict[str, Any] = {"run": effect.run, "turn": effect.turn, "attempt": effect.attempt, "detail": "why"}
    replies = (None, DRAFT) if isinstance(effect, Sample) else (None,)
    failures: list[dict[str, Any]] = [{"failure": "invalid_request"}]
    for reply in replies:
        failures.append({"failure": "unreachable", "retry_at": NOW, "reply": reply, "attempts": 3})
        failures.append({"failure": "unreachable", "reply": reply})
    failures.append({"failure": "context_overflow", "reply": replies[-1]})
    failures.append({"failure": "context_overflow", "retry_at": NOW, "attempts": 3})
    for failure in failures:
        yield Move(i.SampleFailed(**named, **failure), "failures")
