"""The facts: everything that can have happened in a session. The journal is made of nothing else.

Rules: a fact is recorded once and never rewritten; it names its subjects; every field that is added later has a default. The tag
(`kind`) is its name in the journal and in the event stream; its version is kept by `wire`. Contract F1.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from msgspec import Struct

from quell.core.errors import FailureCode
from quell.core.hooks import HookEvent, HookReport
from quell.core.messages import Attachment, Reply, Spent, StopReason, ToolResult, Usage
from quell.core.permissions import Mode, Rule
from quell.core.questions import Question, QuestionAnswer

Delivery = Literal["queue", "steer"]
Origin = Literal["user", "system", "recovery", "parent"]
Role = Literal["agent", "web"]
"""What a sub-agent is equipped for: `agent` reads the workspace, `web` reads the web."""
Outcome = Literal["completed", "failed", "cancelled", "interrupted"]
OnAsk = Literal["wait", "deny"]
PermissionOption = Literal["allow_once", "allow_always", "reject_once", "reject_always"]


class Limits(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What a run may use at most: model calls, USD, seconds from its start."""

    turns: int | None = None
    cost: Decimal | None = None
    seconds: float | None = None


class Fact(Struct, frozen=True, kw_only=True, tag_field="kind", omit_defaults=True):
    """The root of all facts; never recorded itself."""


# The session


class SessionCreated(Fact, frozen=True, kw_only=True, tag="session_created"):
    """`rules` are those that it begins with: a sub-agent's are its parent's. `role` says something of a sub-agent only."""

    session: str
    workspace: str
    title: str = ""
    model: str = ""
    small_model: str = ""
    mode: Mode = "edits"
    parent: str | None = None
    role: Role = "agent"
    extra: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()


class SettingsChanged(Fact, frozen=True, kw_only=True, tag="settings_changed"):
    """None: as before."""

    title: str | None = None
    model: str | None = None
    small_model: str | None = None
    mode: Mode | None = None
    extra: tuple[str, ...] | None = None


class TitleRequested(Fact, frozen=True, kw_only=True, tag="title_requested"):
    """A model is to find a title for what this prompt is about; until then the session is called after its first line."""

    prompt: str
    attempt: int = 1


class TitleGiven(Fact, frozen=True, kw_only=True, tag="title_given"):
    """By the model that was asked; None: it found none, and nobody is asked again."""

    title: str | None = None
    usage: Usage = Usage()
    cost: Decimal | None = None


class DeletionStarted(Fact, frozen=True, kw_only=True, tag="deletion_started"):
    session: str


class Forked(Fact, frozen=True, kw_only=True, tag="forked"):
    """The facts before this one are copies of the first ones of `source`; from here on it is a session of its own.

    It settles `run` as interrupted, gives the open `calls` their results, and empties the queue of `entries`; prompt ids, requests, cost
    and parent are not inherited (contract K8).
    """

    source: str
    run: str | None = None
    calls: tuple[str, ...] = ()
    entries: tuple[str, ...] = ()


class WorkspaceKept(Fact, frozen=True, kw_only=True, tag="workspace_kept"):
    """The content of the workspace before the run's first change, or `after` its end. `problem`: why there is no snapshot of it."""

    run: str
    snapshot: str = ""
    after: bool = False
    problem: str = ""


class RevertStarted(Fact, frozen=True, kw_only=True, tag="revert_started"):
    """Files go from what the snapshot `source` has of them to what `target` has; then the conversation from the fact `since` on, where
    the message `to` is, is no part of it any more. `undo`: it becomes part of it again."""

    to: str
    since: int
    source: str = ""
    target: str = ""
    undo: bool = False


class Reverted(Fact, frozen=True, kw_only=True, tag="reverted"):
    """Everything from the message `to` on is no part of the conversation. `left` are files that were not touched, because they had
    changed in the meantime or could not be written; `problem`: why none was."""

    to: str
    left: tuple[str, ...] = ()
    problem: str = ""


class RevertUndone(Fact, frozen=True, kw_only=True, tag="revert_undone"):
    """The last revert, which was to the message `to`, holds no longer; otherwise as `Reverted`."""

    to: str
    left: tuple[str, ...] = ()
    problem: str = ""


# The queue


class PromptAccepted(Fact, frozen=True, kw_only=True, tag="prompt_accepted"):
    """We are responsible for this prompt. `run` is the run that a steer may join; `digest` is of its content as first submitted.

    Limits, rules and mode belong to the run that it starts; no mode: the session's.
    """

    prompt: str
    text: str
    digest: str
    attachments: tuple[Attachment, ...] = ()
    delivery: Delivery = "queue"
    origin: Origin = "user"
    run: str | None = None
    limits: Limits = Limits()
    allow: tuple[str, ...] = ()
    mode: Mode | None = None
    on_ask: OnAsk = "wait"


class CompactionAccepted(Fact, frozen=True, kw_only=True, tag="compaction_accepted"):
    entry: str
    origin: Origin = "user"


class FollowUpAccepted(Fact, frozen=True, kw_only=True, tag="follow_up_accepted"):
    """The `count`-th attempt to go on with a prompt whose run was interrupted. It goes before the queue."""

    entry: str
    run: str
    prompt: str
    count: int


class EntryEdited(Fact, frozen=True, kw_only=True, tag="entry_edited"):
    """None: as before. `run` is set with `delivery="steer"`."""

    entry: str
    text: str | None = None
    delivery: Delivery | None = None
    run: str | None = None


class EntryMoved(Fact, frozen=True, kw_only=True, tag="entry_moved"):
    """To right before another waiting entry, or last."""

    entry: str
    before: str | None = None


class EntryPromoted(Fact, frozen=True, kw_only=True, tag="entry_promoted"):
    """To the front, and no longer parked."""

    entry: str


class EntryDropped(Fact, frozen=True, kw_only=True, tag="entry_dropped"):
    """It will never reach a model. The text is kept here, so that it can be put back into an editor."""

    entry: str
    reason: Literal["cancelled", "removed", "deleted"]
    text: str = ""


class QueueParked(Fact, frozen=True, kw_only=True, tag="queue_parked"):
    """What waits now stays where it is until a user resumes it."""

    entries: tuple[str, ...]
    reason: Literal["cancelled", "failure", "downtime"]


class QueueResumed(Fact, frozen=True, kw_only=True, tag="queue_resumed"):
    """The queue is no longer parked, nor is any entry in it. `ended_by` tells a resume from a cancel of everything."""

    ended_by: Literal["resumed", "cancelled"] = "resumed"


# A run


class RunStarted(Fact, frozen=True, kw_only=True, tag="run_started"):
    """An entry left the queue. Its first sample is due."""

    run: str
    entry: str
    entry_kind: Literal["prompt", "compaction", "follow_up"]


class RunRecovered(Fact, frozen=True, kw_only=True, tag="run_recovered"):
    """The process died before the run had anything to show; its first sample is due again."""

    run: str


class SteerJoined(Fact, frozen=True, kw_only=True, tag="steer_joined"):
    run: str
    prompt: str


class TurnStarted(Fact, frozen=True, kw_only=True, tag="turn_started"):
    run: str
    turn: int


class RunEnding(Fact, frozen=True, kw_only=True, tag="run_ending"):
    """It starts nothing more, and will settle so when all that it started has stopped."""

    run: str
    outcome: Literal["completed", "cancelled"]
    stop_reason: StopReason
    origin: Origin = "user"


class RunSettled(Fact, frozen=True, kw_only=True, tag="run_settled"):
    run: str
    outcome: Outcome
    stop_reason: StopReason
    failure: FailureCode | None = None
    detail: str | None = None


# A sample


class Replied(Fact, frozen=True, kw_only=True, tag="replied"):
    """The model's message. `crowded`: the conversation is to be compacted before the next sample."""

    run: str
    turn: int
    attempt: int
    message: str
    reply: Reply
    crowded: bool = False


class SampleFailed(Fact, frozen=True, kw_only=True, tag="sample_failed"):
    """An attempt that did not work. `reply` is what had arrived; the next attempt is due at `retry_at`, None: there is none.

    `attempts`: how many there will be at most, the first one included, as was configured then.
    """

    run: str
    turn: int
    attempt: int
    message: str
    failure: FailureCode
    detail: str
    reply: Reply | None = None
    retry_at: str | None = None
    attempts: int | None = None


# A tool call


class HooksAnswered(Fact, frozen=True, kw_only=True, tag="hooks_answered"):
    """Hooks of the user's had something to say to a call, before it runs or after. What follows is a fact of its own, in the same decision.

    With an `input` the call runs with that one instead of the model's; `context` goes to the model with the call's result.
    """

    run: str
    call: str
    event: HookEvent
    hooks: tuple[HookReport, ...] = ()
    input: str | None = None
    context: str = ""


class PermissionRequested(Fact, frozen=True, kw_only=True, tag="permission_requested"):
    run: str
    call: str
    request: str
    tool: str
    title: str
    reason: str
    always: str | None = None
    concurrent: bool = False
    changes: bool = False


class PermissionAnswered(Fact, frozen=True, kw_only=True, tag="permission_answered"):
    """`rule` is what an "always" added to the session's rules."""

    run: str
    call: str
    request: str
    option: PermissionOption
    note: str | None = None
    rule: str | None = None


class QuestionsAsked(Fact, frozen=True, kw_only=True, tag="questions_asked"):
    """The call is to ask a person; what is answered will be its result."""

    run: str
    call: str
    request: str
    title: str
    questions: tuple[Question, ...]
    reason: str = ""


class QuestionsAnswered(Fact, frozen=True, kw_only=True, tag="questions_answered"):
    """In the order of the questions."""

    run: str
    call: str
    request: str
    answers: tuple[QuestionAnswer, ...]


class CallStarted(Fact, frozen=True, kw_only=True, tag="call_started"):
    """Recorded before anything is done: after a crash, a started call without a result is one of unknown outcome.

    One that `changes` files, or may, waits until the run's checkpoint was recorded.
    """

    run: str
    call: str
    concurrent: bool = False
    changes: bool = False


class CallFinished(Fact, frozen=True, kw_only=True, tag="call_finished"):
    """`spent` is what the sub-agent that did it has used."""

    run: str
    call: str
    result: ToolResult
    spent: Spent = Spent()


class Noted(Fact, frozen=True, kw_only=True, tag="noted"):
    """Something that happened beside the conversation, such as the end of a background job: the model is told in its next turn."""

    text: str


# Compaction


class CompactionStarted(Fact, frozen=True, kw_only=True, tag="compaction_started"):
    """The conversation up to the fact numbered `upto` is to be replaced by a summary."""

    run: str
    upto: int


class Compacted(Fact, frozen=True, kw_only=True, tag="compacted"):
    run: str
    upto: int
    message: str
    summary: str
    usage: Usage = Usage()
    cost: Decimal | None = None


AnyFact = (
    SessionCreated
    | SettingsChanged
    | TitleRequested
    | TitleGiven
    | DeletionStarted
    | Forked
    | WorkspaceKept
    | RevertStarted
    | Reverted
    | RevertUndone
    | PromptAccepted
    | CompactionAccepted
    | FollowUpAccepted
    | EntryEdited
    | EntryMoved
    | EntryPromoted
    | EntryDropped
    | QueueParked
    | QueueResumed
    | RunStarted
    | RunRecovered
    | SteerJoined
    | TurnStarted
    | RunEnding
    | RunSettled
    | Replied
    | SampleFailed
    | HooksAnswered
    | PermissionRequested
    | PermissionAnswered
    | QuestionsAsked
    | QuestionsAnswered
    | CallStarted
    | CallFinished
    | Noted
    | CompactionStarted
    | Compacted
)


class Recorded(Struct, frozen=True):
    """A fact in its place: `seq` counts from 1 without gaps, `at` is RFC 3339 UTC with milliseconds."""

    seq: int
    at: str
    fact: AnyFact
