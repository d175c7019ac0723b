"""What each input decides: `decide(session, input, at) -> Decision`.

Pure: the caller appends the facts in one transaction and answers when they are on disk. An input that no longer applies decides
nothing. A request that is refused raises one of `core.errors`, and nothing is written. The lettered comments name lines of the run contract.
"""

from __future__ import annotations

from typing import assert_never

from msgspec import Struct
from msgspec.structs import replace

from quell.core import decide_queue as queue
from quell.core import decide_revert as reverting
from quell.core import decide_run as run
from quell.core import facts as f
from quell.core import inputs as i
from quell.core.errors import Conflict, SessionNotFound
from quell.core.session import Calling, Session, Titling
from quell.core.step import Step


class Decision(Struct, frozen=True):
    """The facts to append, the state after them, and the answer once they are on disk."""

    records: tuple[f.Recorded, ...]
    session: Session
    reaction: i.Reaction


def decide(session: Session, input: i.Input, at: str) -> Decision:
    """Decide one input at the time `at` (RFC 3339). Raises `QuellError` for a request that is refused."""
    step = Step(session, at)
    reaction: i.Reaction | None = None
    if isinstance(input, i.Create):
        reaction = _create(step, input)
    elif isinstance(input, i.Fork):
        _fork(step, input)
    elif isinstance(input, i.Demand):
        reaction = _request(step, input)
    else:
        _report(step, input)
    noted = i.Noted(step.session.seq, bool(step.records))
    return Decision(tuple(step.records), step.session, reaction or noted)


def _request(step: Step, input: i.Demand) -> i.Reaction | None:
    if not step.session.id or step.session.deleting:
        if isinstance(input, i.Delete) and step.session.id:
            return None
        raise SessionNotFound("There is no such session.")
    match input:
        case i.Submit():
            return queue.submit(step, input)
        case i.Compact():
            return queue.compact(step, input)
        case i.Cancel():
            return queue.cancel(step, input)
        case i.Edit():
            queue.edit(step, input)
        case i.Move():
            queue.move(step, input)
        case i.Drop():
            queue.drop(step, input)
        case i.Promote():
            queue.promote(step, input)
        case i.Resume():
            queue.resume(step, input)
        case i.Delete():
            queue.delete(step)
        case i.Answer():
            run.answer(step, input)
        case i.AnswerQuestions():
            run.answer_questions(step, input)
        case i.Change():
            _change(step, input)
        case i.Revert():
            reverting.revert(step, input)
        case _:
            assert_never(input)
    return None


def _report(step: Step, input: i.Report) -> None:
    match input:
        case i.SampleReplied():
            run.replied(step, input)
        case i.SampleFailed():
            run.sample_failed(step, input)
        case i.CallAllowed():
            run.call_allowed(step, input)
        case i.CallNeedsAnswer():
            run.call_needs_answer(step, input)
        case i.CallAsks():
            run.call_asks(step, input)
        case i.CallReturned():
            run.call_returned(step, input)
        case i.CompactionDone():
            run.compaction_done(step, input)
        case i.Note():
            if step.session.id and not step.session.deleting:
                step.add(f.Noted(text=input.text))
        case i.TitleFound():
            _title_found(step, input)
        case i.Kept():
            reverting.kept(step, input)
        case i.Restored():
            reverting.restored(step, input)
        case i.TimeUp():
            run.stop(step, input.run, "time_limit")
        case i.Looping():
            run.stop(step, input.run, "loop")
        case i.Unwound():
            run.unwound(step, input)
        case i.Restarted():
            run.restarted(step, input)
        case _:
            assert_never(input)


def _create(step: Step, input: i.Create) -> i.Reaction | None:
    if step.session.id:
        raise Conflict(f"Session {input.session} exists already.")
    step.add(
        f.SessionCreated(
            session=input.session,
            workspace=input.workspace,
            title=input.title,
            model=input.model,
            small_model=input.small_model,
            mode=input.mode,
            parent=input.parent,
            role=input.role,
            extra=input.extra,
            rules=input.rules,
        )
    )
    return None if input.prompt is None else queue.submit(step, input.prompt)


def _fork(step: Step, input: i.Fork) -> None:
    """K8: the copy is what its source was then, at rest: closed by one fact, so that no prefix of it goes on with what its source does."""
    if step.session.id:
        raise Conflict(f"Session {input.session} exists already.")
    for recorded in input.records:
        fact = recorded.fact
        if isinstance(fact, f.SessionCreated):
            fact = replace(fact, session=input.session, parent=None)
        step.add(fact, recorded.at)
    run = step.session.run
    calls = run.phase.calls if run is not None and isinstance(run.phase, Calling) else ()
    step.add(
        f.Forked(
            source=input.source,
            run=None if run is None else run.id,
            calls=tuple(call.id for call in calls if call.status != "done"),
            entries=tuple(entry.id for entry in step.session.waiting),
        )
    )


def _title_found(step: Step, input: i.TitleFound) -> None:
    if step.session.titling == Titling(input.prompt, input.attempt) and not step.session.deleting:
        step.add(f.TitleGiven(title=input.title, usage=input.usage, cost=input.cost))


def _change(step: Step, input: i.Change) -> None:
    """K8: applies from the next sample or check."""
    session = step.session
    fact = f.SettingsChanged(
        # A title that is what it is called for the time being is a title all the same: no model is to change it.
        title=None if input.title == session.title and session.titling is None else input.title,
        model=None if input.model == session.model else input.model,
        small_model=None if input.small_model == session.small_model else input.small_model,
        mode=None if input.mode == session.mode else input.mode,
        extra=None if input.extra == session.extra else input.extra,
    )
    if fact != f.SettingsChanged():
        step.add(fact)
