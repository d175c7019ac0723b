"""The session machine: its state, and what is due in it.

    decide(session, input, at) -> facts, answer     core.decide
    evolve(session, recorded) -> session            core.evolve
    due(session) -> effects                         here

The state is the fold of the facts, and of nothing else. Effects are read off it: the owner starts what is due and not running,
and stops what runs and is no longer due (docs/decisions/0001). What grows with a session's age (prompts, runs, requests)
is kept in persistent maps, whose updates share structure.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Literal, assert_never

from msgspec import Struct
from rpds import HashTrieMap

from quell.core import facts as f
from quell.core.messages import Attachment, Spent, StopReason, Usage
from quell.core.permissions import Mode, Rule
from quell.core.questions import Question


class Entry(Struct, frozen=True, kw_only=True):
    """Something that waits for a run of its own, or, with `run`, to join that one.

    A follow-up's `prompt` is the one it goes on with, and its `seq` that prompt's: who cancels what was accepted until then means it.
    """

    id: str
    kind: Literal["prompt", "compaction", "follow_up"]
    seq: int
    accepted: str
    prompt: str
    text: str = ""
    attachments: tuple[Attachment, ...] = ()
    origin: f.Origin = "user"
    run: str | None = None
    parked: bool = False
    limits: f.Limits = f.Limits()
    allow: tuple[str, ...] = ()
    mode: Mode | None = None
    on_ask: f.OnAsk = "wait"
    resumed: int = 0

    @property
    def delivery(self) -> f.Delivery:
        return "queue" if self.run is None else "steer"


class Call(Struct, frozen=True):
    """One tool call of the present turn. One with `questions` ends with their answers; it is never started.

    Hooks have put `input` in place of the model's, unless it is None; `context` is what they have for the model.
    """

    id: str
    name: str
    status: Literal["new", "asked", "started", "done"] = "new"
    concurrent: bool = False
    changes: bool = False
    request: str | None = None
    always: str | None = None
    denied: bool = False  # by nobody who is there
    questions: tuple[Question, ...] = ()
    input: str | None = None
    context: str = ""


class Sampling(Struct, frozen=True, tag=True):
    """The model is asked, or will be at `not_before`."""

    not_before: str | None = None


class Calling(Struct, frozen=True, tag=True):
    """The calls of the turn's reply are checked and executed."""

    calls: tuple[Call, ...]

    @property
    def denied(self) -> bool:
        """Something was denied, and nothing was done."""
        return all(call.denied for call in self.calls)


class Compacting(Struct, frozen=True, tag=True):
    """The conversation up to `upto` is being summarised."""

    upto: int
    not_before: str | None = None


class Ending(Struct, frozen=True):
    """How the run will settle when everything that it started has stopped."""

    outcome: Literal["completed", "cancelled"]
    stop_reason: StopReason


class Run(Struct, frozen=True, kw_only=True):
    """The active run. `entry` is what it was started for; `joined` are the steers that it took in.

    `attempt` counts what the model was asked in this turn, compactions included, so that an outcome names one attempt for ever.
    `replied`: there is something to show, if only a fragment; `overflowed`: this turn was compacted for; `denied`: the last calls
    were all denied.
    """

    id: str
    entry: Entry
    started: str
    phase: Sampling | Calling | Compacting
    turn: int = 1
    attempt: int = 1
    joined: tuple[str, ...] = ()
    replies: int = 0
    replied: bool = False
    recovered: bool = False
    overflowed: bool = False
    denied: bool = False
    spent: Spent = Spent()
    ending: Ending | None = None

    @property
    def prompts(self) -> tuple[str, ...]:
        own = () if self.entry.kind != "prompt" else (self.entry.id,)
        return own + self.joined

    @property
    def message(self) -> str:
        """The id of the assistant message that the present attempt writes, also the name of the attempt."""
        return message_id(self.id, self.turn, self.attempt)


class Titling(Struct, frozen=True):
    """A model is asked for a title, for the `attempt`-th time: the process may have died in the middle of an earlier one."""

    prompt: str
    attempt: int


class PromptRecord(Struct, frozen=True):
    """What is remembered of every prompt as long as the session exists. `joined`: as a steer, a run that was in progress."""

    seq: int
    digest: str
    run: str | None = None
    dropped: bool = False
    joined: bool = False


class Settlement(Struct, frozen=True):
    """How a run ended."""

    outcome: f.Outcome
    stop_reason: StopReason
    detail: str | None = None
    spent: Spent = Spent()


class Checkpoint(Struct, frozen=True):
    """The snapshots of the workspace before a run's first change and after its end; empty where there is none, `problem` says why."""

    before: str
    after: str = ""
    problem: str = ""


class Reverting(Struct, frozen=True):
    """Files are being restored, for the revert (or its `undo`) that the fact `seq` has started."""

    seq: int
    to: str
    since: int
    source: str
    target: str
    undo: bool


class Revert(Struct, frozen=True):
    """The facts from `since` to `upto` are no part of the conversation. Undoing it takes files from `source` to `target`."""

    to: str
    since: int
    upto: int
    source: str
    target: str
    crowded: bool = False


class Session(Struct, frozen=True, kw_only=True):
    """The whole state. A session that was never created is `Session()`."""

    id: str = ""
    seq: int = 0
    workspace: str = ""
    extra: tuple[str, ...] = ()
    parent: str | None = None
    role: f.Role = "agent"
    title: str = ""
    model: str = ""
    small_model: str = ""
    mode: Mode = "edits"
    created: str = ""
    updated: str = ""
    titling: Titling | None = None
    deleting: bool = False
    run: Run | None = None
    waiting: tuple[Entry, ...] = ()
    parked: bool = False
    crowded: bool = False
    rules: tuple[Rule, ...] = ()
    prompts: HashTrieMap[str, PromptRecord] = HashTrieMap()
    runs: HashTrieMap[str, Settlement] = HashTrieMap()
    ended: str | None = None
    requests: HashTrieMap[str, f.PermissionAnswered | f.QuestionsAnswered | None] = HashTrieMap()
    checkpoints: HashTrieMap[str, Checkpoint] = HashTrieMap()
    unkept: str | None = None
    reverting: Reverting | None = None
    reverts: tuple[Revert, ...] = ()
    undoable: int = 0
    usage: Usage = Usage()
    cost: Decimal = Decimal(0)

    @property
    def busy(self) -> bool:
        """A run, or something that waits for one and is not parked (contract I4), or a deletion or a revert that is not done yet."""
        working = self.run is not None or self.deleting or self.reverting is not None
        return working or any(not entry.parked for entry in self.waiting)

    @property
    def mode_now(self) -> Mode:
        """What is allowed without asking: the run's own mode, or the session's."""
        return (self.run.entry.mode if self.run is not None else None) or self.mode

    @property
    def awaiting(self) -> tuple[Call, ...]:
        """The calls that wait for a person."""
        if self.run is None or self.run.ending is not None or not isinstance(self.run.phase, Calling):
            return ()
        return tuple(call for call in self.run.phase.calls if call.status == "asked")

    def entry(self, id: str) -> Entry | None:
        return next((entry for entry in self.waiting if entry.id == id), None)


class Summary(Struct, frozen=True, kw_only=True):
    """A session as a list shows it; a row beside the journal, written with every append. Field meanings: the HTTP API's Session.

    `ended`: how the last run did, that has. `stalled`: why nothing can be recorded in it at present (contract K5). Its owner knows and says so; no row holds it.
    """

    id: str
    workspace: str
    parent: str | None
    title: str
    model: str
    mode: Mode
    created: str
    updated: str
    busy: bool
    parked: bool
    queued: int
    awaiting: int
    usage: Usage
    cost: Decimal
    seq: int
    extra: tuple[str, ...] = ()
    ended: Settlement | None = None
    stalled: str | None = None


def summary(session: Session) -> Summary:
    return Summary(
        id=session.id,
        workspace=session.workspace,
        parent=session.parent,
        title=session.title,
        model=session.model,
        mode=session.mode,
        created=session.created,
        updated=session.updated,
        busy=session.busy,
        parked=session.parked,
        queued=len(session.waiting),
        awaiting=len(session.awaiting),
        usage=session.usage,
        cost=session.cost,
        seq=session.seq,
        extra=session.extra,
        ended=None if session.ended is None else session.runs[session.ended],
    )


# Ids are derived, so that a decision needs no randomness and a delta can name its message before it is recorded. They are made of
# letters, digits and "-" because call ids are sent to providers.


def run_id(seq: int) -> str:
    """The run that the fact numbered `seq` starts."""
    return f"r{seq}"


def run_seq(run: str) -> int:
    """The fact that has started the run."""
    return int(run[1:])


def child_id(session: str, call: str) -> str:
    """The session of the sub-agent that a call starts: to start it twice is to start it once (contract T4)."""
    return f"{session}-{call}"


def message_id(run: str, turn: int, attempt: int) -> str:
    return f"{run}-{turn}-{attempt}"


def request_id(call: str) -> str:
    return f"{call}-ask"


# Effects


class Sample(Struct, frozen=True):
    """Ask the model, not before a time; the outcome is `SampleReplied` or `SampleFailed`, named by (run, turn, attempt)."""

    run: str
    turn: int
    attempt: int
    not_before: str | None = None


class Compact(Struct, frozen=True):
    """Summarise the conversation up to `upto`."""

    run: str
    turn: int
    attempt: int
    upto: int
    not_before: str | None = None


class Check(Struct, frozen=True):
    """Find out whether a call may run."""

    run: str
    call: str


class Execute(Struct, frozen=True):
    """Do what a call asks for. It was recorded as started: it is never started twice."""

    run: str
    call: str


class Title(Struct, frozen=True):
    """Ask a model for a title. It is no part of any run: nothing waits for it, and it waits for nothing."""

    prompt: str
    attempt: int


class Expire(Struct, frozen=True):
    """Report when the run's time is up."""

    run: str
    started: str
    seconds: float


class Unwind(Struct, frozen=True):
    """Report when everything that the run started has stopped, at the latest after the grace."""

    run: str


class Erase(Struct, frozen=True):
    """Forget the session."""

    session: str


class Keep(Struct, frozen=True):
    """Keep the workspace as it is before the run's first change, or as it was left `after` the run. The latter is waited for by nothing."""

    run: str
    after: bool = False


class Restore(Struct, frozen=True):
    """Have files as `target` has them, where they are as `source` has them."""

    revert: int
    source: str
    target: str


Effect = Sample | Compact | Check | Execute | Title | Expire | Unwind | Erase | Keep | Restore


def due(session: Session) -> tuple[Effect, ...]:
    """What has to be running in this state; everything else has to be stopped."""
    if session.deleting:
        return _due_run(session)
    title = () if session.titling is None else (Title(session.titling.prompt, session.titling.attempt),)
    keep = () if session.unkept is None else (Keep(session.unkept, after=True),)
    return (*_due_run(session), *title, *keep)


def _due_run(session: Session) -> tuple[Effect, ...]:
    run = session.run
    if session.reverting is not None:  # also before the session is erased: files are not left halfway
        return (Restore(session.reverting.seq, session.reverting.source, session.reverting.target),)
    if run is None:
        return (Erase(session.id),) if session.deleting else ()
    if run.ending is not None:
        return (Unwind(run.id),)
    effects: list[Effect] = []
    if run.entry.limits.seconds is not None:
        effects.append(Expire(run.id, run.started, run.entry.limits.seconds))
    match run.phase:
        case Sampling(not_before):
            effects.append(Sample(run.id, run.turn, run.attempt, not_before))
        case Compacting(upto, not_before):
            effects.append(Compact(run.id, run.turn, run.attempt, upto, not_before))
        case Calling(calls):
            effects.extend(_due_calls(run.id, calls, kept=run.id in session.checkpoints))
        case _:
            assert_never(run.phase)
    return tuple(effects)


def _due_calls(run: str, calls: tuple[Call, ...], *, kept: bool) -> Iterable[Effect]:
    """In the order that the model asked for; only calls that change nothing run side by side, and nothing passes one that may.

    Nothing is changed before the workspace was kept.
    """
    for call in calls:
        match call.status:
            case "done":
                continue
            case "new":
                yield Check(run, call.id)
                return
            case "asked":
                return
            case "started" if call.changes and not kept:
                yield Keep(run)
                return
            case "started":
                yield Execute(run, call.id)
                if not call.concurrent:
                    return
            case _:
                assert_never(call.status)
