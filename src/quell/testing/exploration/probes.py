"""What may come at any time and must decide nothing: outcomes of what is no longer due, repeats, and what has to be refused.

A probe is an input and the code that it is refused with (None: it is answered, and nothing is decided). They stand for "duplicates of
any outcome, however late": an outcome of every effect that the run ever had, or could have had, and of runs before it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any

from msgspec.structs import replace

from quell.core import facts as f
from quell.core import inputs as i
from quell.core.decide import Decision, decide
from quell.core.errors import QuellError
from quell.core.messages import Attachment, Reply, Text, ToolResult, call_id
from quell.core.permissions import Rule
from quell.core.session import Calling, Compacting, Sampling, Session, message_id
from quell.testing.exploration.moves import ASKED, SAID, submission
from quell.testing.exploration.reduce import StateKey
from quell.testing.exploration.worlds import CREATE, NOW, start

Probe = tuple[i.Input, str | None]
LATE = ToolResult(text="late")


class Probes:
    """The probes of one search. A probe's guard looks at a part of the state only, so it is tried once for each such part."""

    def __init__(self) -> None:
        self._tried: set[Hashable] = set()

    def check(self, session: Session, key: StateKey) -> None:
        """Every probe of this state that was not tried in one like it. Raises `AssertionError`."""
        parts = (
            (late(session), (key.deleting, key.run, key.titled, key.past)),
            (requests(session), (key.deleting, key.parked, key.waiting, key.run is None, _known(session))),
        )
        for found, part in parts:
            if part not in self._tried:
                self._tried.add(part)
                for input, code in found:
                    _check(session, input, code)


def check_before_creation() -> None:
    """There is no session yet: whatever comes is refused or decides nothing, and then it is created as it was asked for."""
    nothing, created = Session(), start().session
    for input, _ in (*requests(created), *late(created)):
        if not isinstance(input, i.Create | i.Fork):
            _check(nothing, input, None if isinstance(input, i.Report) else "session_not_found")
    _check(nothing, i.Delete(), "session_not_found")
    _check(nothing, i.Note(text="too early"), None)
    asked = i.Create(
        session="s",
        workspace="/w",
        title="t",
        model="m",
        small_model="n",
        mode="plan",
        parent="q",
        role="web",
        extra=("/x",),
        rules=(Rule("deny", "x", "session"),),
    )
    made = decide(nothing, asked, NOW)
    for name in ("workspace", "title", "model", "small_model", "mode", "parent", "role", "extra", "rules"):
        assert getattr(made.session, name) == getattr(asked, name), f"created with another {name}"
    task = decide(nothing, replace(asked, prompt=submission("p", "queue")), NOW)
    assert task.session.run is not None, "T4: a session that is created with its task begins with it"
    assert task.reaction == i.Accepted("p", 2, task.session.run.id), "T4: and says so"
    forked = decide(nothing, i.Fork(session="copy", source="s", records=made.records), NOW)
    assert forked.session.id == "copy", "K8: a fork is a session of its own"
    attached = i.Submit(prompt="p", text=" ", attachments=(Attachment(name="a.txt", content="text"),))
    assert decide(created, attached, NOW).session.title == "a.txt", "a session is called after its first prompt"
    assert (made.session.id, made.session.created, made.session.updated) == ("s", NOW, NOW), "created"


def _known(session: Session) -> Hashable:
    """Which prompts and requests can be repeated: by what has become of them."""
    prompts = frozenset((record.dropped, record.run is None) for record in session.prompts.values())
    asked = frozenset(call.request for call in session.awaiting)
    given = frozenset((id in asked, _said(given)) for id, given in session.requests.items())
    return prompts, given, tuple(bool(call.questions) for call in session.awaiting)


def _check(session: Session, input: i.Input, code: str | None) -> None:
    try:
        decision: Decision | None = decide(session, input, NOW)
        refused = None
    except QuellError as refusal:
        decision, refused = None, refusal.code
    assert refused == code, f"{input} is refused with {refused}, and should be with {code}"
    if decision is None:
        return
    assert not decision.records, f"{input} decides {[recorded.fact for recorded in decision.records]}"
    assert decision.session is session, "nothing is decided, and the state changes"
    answer = decision.reaction
    if isinstance(input, i.Submit):
        record = session.prompts[input.prompt]
        assert answer == i.Accepted(input.prompt, record.seq, record.run), f"A3: answered {answer}"
    elif isinstance(input, i.Cancel):
        assert answer == i.Covered(session.seq), "C2: it covers what it does not mean"
    else:
        assert answer == i.Noted(session.seq, False), "the answer says that nothing was decided"


def requests(session: Session) -> Iterator[Probe]:
    """What is asked in vain."""
    gone = "session_not_found" if session.deleting else None
    for request, code in _requests(session):
        yield request, gone or code
    yield CREATE, "conflict"
    yield i.Fork(session="s", source="another"), "conflict"
    if session.deleting:
        yield i.Delete(), None
        yield i.Note(text="too late"), None


def _requests(session: Session) -> Iterator[Probe]:
    """A1, A3, C1, C2, Q1, Q3, T6: requests that are refused, or that were made before."""
    for prompt in session.prompts:
        again = _submission(session, prompt)
        if again is not None:
            yield again, None
            yield i.Submit(prompt=prompt, text="something else"), "conflict"
    limit = len(session.waiting)
    yield i.Submit(prompt="new", text=" \n"), "empty_prompt"
    picture = Attachment(name="a.png", content="aGk=", mime_type="image/png", encoding="base64")
    yield i.Submit(prompt="new", text="", attachments=(picture,)), "empty_prompt"
    yield i.Submit(prompt="new", text="text", shutting_down=True), "shutting_down"
    yield i.Submit(prompt="new", text="text", queue_limit=limit), "queue_full"
    yield i.Submit(prompt="new", text="", shutting_down=True), "shutting_down"
    yield i.Submit(prompt="new", text="", queue_limit=limit), "empty_prompt"
    yield i.Compact(entry="new", shutting_down=True), "shutting_down"
    yield i.Cancel(run="another"), None
    yield i.Cancel(scope="active", run="another"), None
    for entry in session.waiting[:1]:
        yield i.Cancel(run="another", prompt=entry.id), None
    ended = [prompt for prompt, record in session.prompts.items() if record.dropped or record.run in session.runs]
    for prompt in ("another", *ended):
        yield i.Cancel(prompt=prompt), None
    if session.run is None and not session.waiting and not session.parked:
        yield i.Cancel(), None
    if session.run is None:
        yield i.Cancel(scope="active"), None
    yield i.Change(), None
    title = session.title if session.titling is None else None
    yield i.Change(title=title, model=session.model, mode=session.mode), None
    for origin in ("system", "recovery", "parent"):
        yield i.Resume(origin=origin), None
    if not session.parked and not any(entry.parked for entry in session.waiting):
        yield i.Resume(), None
    yield from _queue(session)
    yield i.Answer(request="another", option="allow_once"), "not_found"
    for call in (
        () if session.deleting else session.awaiting
    ):  # a permission is no question, and a question no permission
        if call.questions:
            yield i.AnswerQuestions(request=str(call.request), answers=()), "invalid_request"
            yield i.Answer(request=str(call.request), option="allow_once"), "invalid_request"
        else:
            for answers in (SAID, ()):
                yield i.AnswerQuestions(request=str(call.request), answers=answers), "invalid_request"
    yield i.AnswerQuestions(request="another", answers=SAID), "not_found"
    open_now = {call.request for call in session.awaiting}
    for request, given in session.requests.items():
        if request not in open_now:
            same = _said(given) == ("allow_once", None)
            yield i.Answer(request=request, option="allow_once"), None if same else "stale"
            yield i.Answer(request=request, option="reject_once", note="late"), "stale"
            answered = isinstance(given, f.QuestionsAnswered)
            yield i.AnswerQuestions(request=request, answers=SAID), None if answered else "stale"
            yield i.AnswerQuestions(request=request, answers=()), "stale"


def _said(given: f.PermissionAnswered | f.QuestionsAnswered | None) -> Hashable:
    return (given.option, given.note) if isinstance(given, f.PermissionAnswered) else type(given).__name__


def _submission(session: Session, prompt: str) -> i.Submit | None:
    """The submission as it was made first: whichever of the two it was."""
    for delivery in ("queue", "steer"):
        first = submission(prompt, delivery)
        again = replace(first, queue_limit=0, shutting_down=True)
        if again.digest() == session.prompts[prompt].digest:
            return again
    return None


def _queue(session: Session) -> Iterator[Probe]:
    absent = [prompt for prompt in session.prompts if session.entry(prompt) is None]
    for entry in ("another", *absent[:1]):
        yield i.Edit(entry=entry, text="other"), "not_waiting"
        yield i.Drop(entry=entry), "not_waiting"
        yield i.Promote(entry=entry, interrupt=True), "not_waiting"
        yield i.Move(entry=entry), "not_waiting"
    for waiting in session.waiting:
        yield i.Move(entry=waiting.id, before=waiting.id), "invalid_request"
        yield i.Move(entry=waiting.id, before="another"), "not_waiting"
        if waiting.kind == "prompt":
            yield i.Edit(entry=waiting.id, text=""), "empty_prompt"
            yield i.Edit(entry=waiting.id, text=waiting.text), None
        else:
            yield i.Edit(entry=waiting.id, text="other"), "invalid_request"
            yield i.Edit(entry=waiting.id, text=""), "invalid_request"
    if not session.waiting:
        yield i.Drop(), None


# What effects report too late, or twice


def late(session: Session) -> Iterator[Probe]:
    """Outcomes of what is not due, or not any more."""
    run = session.run
    yield from _attempt({"run": "r0", "turn": 1, "attempt": 1})
    yield from _call("r0", call_id(message_id("r0", 1, 1), 0))
    yield i.Unwound(run="r0"), None
    yield i.TimeUp(run="r0"), None
    yield i.Kept(run="r0", after=False, snapshot="late"), None
    yield i.Kept(run="r0", after=True, snapshot="late"), None
    yield i.Restored(revert=0), None
    if session.deleting and session.unkept is not None:
        yield i.Kept(run=session.unkept, after=True, snapshot="late"), None
    if run is not None and (run.ending is not None or run.id in session.checkpoints):
        yield i.Kept(run=run.id, after=False, snapshot="late"), None
    if session.deleting and session.titling is not None:
        yield i.TitleFound(prompt=session.titling.prompt, attempt=session.titling.attempt, title="late"), None
    attempt = 0 if session.titling is None else session.titling.attempt - 1
    yield i.TitleFound(prompt="p2", attempt=attempt, title="late"), None
    yield i.Looping(run="r0"), None
    if run is None:
        return
    if run.ending is None:
        yield i.Unwound(run=run.id, reply=Reply(parts=(Text("late"),))), None
    else:
        yield i.TimeUp(run=run.id), None
        yield i.Looping(run=run.id), None
        yield _failed({"run": run.id, "turn": run.turn, "attempt": run.attempt}), None
    for turn in range(1, run.turn + 1):
        for attempt in range(1, (run.attempt if turn == run.turn else 2) + 1):
            named = {"run": run.id, "turn": turn, "attempt": attempt}
            if (turn, attempt) != (run.turn, run.attempt) or isinstance(run.phase, Calling):
                yield from _attempt(named)
                yield from _call(run.id, call_id(message_id(run.id, turn, attempt), 7))
    if isinstance(run.phase, Sampling):
        yield i.CompactionDone(run=run.id, turn=run.turn, attempt=run.attempt, upto=1, summary="late"), None
    elif isinstance(run.phase, Compacting):
        named = {"run": run.id, "turn": run.turn, "attempt": run.attempt}
        yield i.SampleReplied(**named, reply=Reply()), None  # type: ignore[arg-type]  # as named
        yield i.CompactionDone(**named, upto=run.phase.upto + 1, summary="of something else"), None  # type: ignore[arg-type]  # as named
    else:
        yield from _late_calls(run.id, run.phase, ending=run.ending is not None)


def _attempt(named: dict[str, Any]) -> Iterator[Probe]:
    yield i.SampleReplied(**named, reply=Reply(parts=(Text("late"),)), crowded=True), None
    yield _failed(named), None
    yield i.CompactionDone(**named, upto=1, summary="late"), None


def _failed(named: dict[str, Any]) -> i.SampleFailed:
    return i.SampleFailed(**named, failure="unreachable", detail="late", retry_at=NOW)


def _call(run: str, call: str) -> Iterator[Probe]:
    yield i.CallAllowed(run=run, call=call), None
    yield i.CallNeedsAnswer(run=run, call=call, tool="t", title="t", reason="r"), None
    yield i.CallReturned(run=run, call=call, result=LATE), None
    yield i.CallAsks(run=run, call=call, title="t", questions=ASKED), None


def _late_calls(run: str, phase: Calling, *, ending: bool) -> Iterator[Probe]:
    """A check that comes twice, a result that comes twice or for what waits for a person; and all of them for another run."""
    for call in phase.calls:
        yield from _call("r0", call.id)
        allowed, asked, returned, questions = _call(run, call.id)
        if call.status != "new" or ending:
            yield allowed
            yield asked
            yield questions
        if call.status in ("asked", "done"):
            yield returned
