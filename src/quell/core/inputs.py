"""The inputs: everything that the world can tell a session, and the answers to those who ask.

Rules: ids and times come with the input. Outcomes name their effect; one that no longer applies decides nothing.
"""

from __future__ import annotations

import hashlib
from decimal import Decimal
from typing import Literal

import msgspec
from msgspec import Struct

from quell.core.errors import FailureCode
from quell.core.facts import Delivery, Limits, OnAsk, Origin, PermissionOption, Recorded, Role
from quell.core.hooks import Hooked
from quell.core.messages import Attachment, Reply, Spent, ToolResult, Usage
from quell.core.permissions import Mode, Rule
from quell.core.questions import Question, QuestionAnswer

# What users and clients ask for


class Create(Struct, frozen=True, kw_only=True):
    """`prompt` is accepted in the same decision: there is no such session without it."""

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
    prompt: Submit | None = None


class Fork(Struct, frozen=True, kw_only=True):
    """A new session that begins with the facts of `source` up to `upto` (None: all). `records` are those facts: the engine reads them."""

    session: str
    source: str
    upto: int | None = None
    records: tuple[Recorded, ...] = ()


class Submit(Struct, frozen=True, kw_only=True):
    """Rejected while `shutting_down`, or with `queue_limit` entries waiting, unless it was accepted before.

    `titled`: if the session has no title, a model is asked for one.
    """

    prompt: str
    text: str
    attachments: tuple[Attachment, ...] = ()
    delivery: Delivery = "queue"
    origin: Origin = "user"
    limits: Limits = Limits()
    allow: tuple[str, ...] = ()
    mode: Mode | None = None
    on_ask: OnAsk = "wait"
    titled: bool = False
    queue_limit: int = 100
    shutting_down: bool = False

    def digest(self) -> str:
        """Of what makes two submissions the same: text, attachments, delivery (contract A3)."""
        content = msgspec.json.encode((self.text, self.attachments, self.delivery))
        return hashlib.sha256(content).hexdigest()


class Compact(Struct, frozen=True, kw_only=True):
    entry: str
    shutting_down: bool = False


class Cancel(Struct, frozen=True, kw_only=True):
    """`run`: only if that one is active. `upto`: only what was accepted at or before that `seq`. `prompt`: that prompt alone."""

    scope: Literal["all", "active"] = "all"
    run: str | None = None
    upto: int | None = None
    prompt: str | None = None
    origin: Origin = "user"


class Edit(Struct, frozen=True, kw_only=True):
    entry: str
    text: str | None = None
    delivery: Delivery | None = None


class Move(Struct, frozen=True, kw_only=True):
    entry: str
    before: str | None = None


class Drop(Struct, frozen=True, kw_only=True):
    """One waiting entry; None: all of them."""

    entry: str | None = None


class Promote(Struct, frozen=True, kw_only=True):
    entry: str
    interrupt: bool = False


class Resume(Struct, frozen=True, kw_only=True):
    origin: Origin = "user"


class Answer(Struct, frozen=True, kw_only=True):
    request: str
    option: PermissionOption
    note: str | None = None


class AnswerQuestions(Struct, frozen=True, kw_only=True):
    request: str
    answers: tuple[QuestionAnswer, ...]


class Change(Struct, frozen=True, kw_only=True):
    title: str | None = None
    model: str | None = None
    small_model: str | None = None
    mode: Mode | None = None
    extra: tuple[str, ...] | None = None


class Delete(Struct, frozen=True, kw_only=True):
    pass


class Revert(Struct, frozen=True, kw_only=True):
    """Back to before the message `to`; without one, the last revert is undone.

    The rest is what a look at the disk found: the snapshots that files go from and to (empty: none has to change), and those that
    somebody has `edited` since, which only `force` overwrites. It holds for the session as it was `upto` that fact.
    """

    to: str | None = None
    force: bool = False
    source: str = ""
    target: str = ""
    edited: tuple[str, ...] = ()
    upto: int = 0


# What effects report


class SampleReplied(Struct, frozen=True, kw_only=True):
    """`snapshot` is of the workspace at this moment, for the case that the run ends with it."""

    run: str
    turn: int
    attempt: int
    reply: Reply
    crowded: bool = False
    snapshot: str = ""


class SampleFailed(Struct, frozen=True, kw_only=True):
    """Of a sample or of a compaction. Without `retry_at` there is no further attempt."""

    run: str
    turn: int
    attempt: int
    failure: FailureCode
    detail: str
    reply: Reply | None = None
    retry_at: str | None = None
    attempts: int | None = None


class CallAllowed(Struct, frozen=True, kw_only=True):
    """`hooked` is what hooks said to it, here and below; nothing when there was nothing to say."""

    run: str
    call: str
    concurrent: bool = False
    changes: bool = False
    hooked: Hooked | None = None


class CallNeedsAnswer(Struct, frozen=True, kw_only=True):
    run: str
    call: str
    tool: str
    title: str
    reason: str
    always: str | None = None
    concurrent: bool = False
    changes: bool = False
    hooked: Hooked | None = None


class CallAsks(Struct, frozen=True, kw_only=True):
    """The call is questions to a person, and there may be one."""

    run: str
    call: str
    title: str
    questions: tuple[Question, ...]
    reason: str = ""
    hooked: Hooked | None = None


class CallReturned(Struct, frozen=True, kw_only=True):
    """The result of a call that ran, or that the check refused. `spent` is what the sub-agent that did it has used."""

    run: str
    call: str
    result: ToolResult
    spent: Spent = Spent()
    hooked: Hooked | None = None


class CompactionDone(Struct, frozen=True, kw_only=True):
    run: str
    turn: int
    attempt: int
    upto: int
    summary: str
    usage: Usage = Usage()
    cost: Decimal | None = None


class Note(Struct, frozen=True, kw_only=True):
    """For the model's next turn, and for people."""

    text: str


class TitleFound(Struct, frozen=True, kw_only=True):
    """None: no model that was asked gave one."""

    prompt: str
    attempt: int
    title: str | None = None
    usage: Usage = Usage()
    cost: Decimal | None = None


class Kept(Struct, frozen=True, kw_only=True):
    """The workspace was kept as it is; `problem`: why it could not be."""

    run: str
    after: bool
    snapshot: str = ""
    problem: str = ""


class Restored(Struct, frozen=True, kw_only=True):
    """Files are as the revert that was started with the fact `revert` wants them, but those in `left`; `problem`: why none is."""

    revert: int
    left: tuple[str, ...] = ()
    problem: str = ""


class TimeUp(Struct, frozen=True, kw_only=True):
    run: str


class Looping(Struct, frozen=True, kw_only=True):
    """The run's turns repeat themselves: it was found out before asking the model again."""

    run: str


class Unwound(Struct, frozen=True, kw_only=True):
    """Everything that the run started has stopped. `reply` is what its unfinished sample had streamed.

    `spent` is, by call, what the sub-agents of unfinished calls have used. `snapshot` is of the workspace, as it was left.
    """

    run: str
    snapshot: str = ""
    reply: Reply | None = None
    spent: dict[str, Spent] = {}


# What the process reports


class Restarted(Struct, frozen=True, kw_only=True):
    """An owner begins, or (`stopping`) ends: no effect runs. `reply` is the draft that was kept, `spent` as in `Unwound`.

    `park`: it was down too long to go on by itself. `resume_interrupted`: follow up an interrupted run.
    """

    reply: Reply | None = None
    spent: dict[str, Spent] = {}
    park: bool = False
    resume_interrupted: bool = False
    stopping: bool = False


Demand = (
    Submit
    | Compact
    | Cancel
    | Edit
    | Move
    | Drop
    | Promote
    | Resume
    | Answer
    | AnswerQuestions
    | Change
    | Delete
    | Revert
)
"""What is asked of a session that there is."""

Request = Create | Fork | Demand
Report = (
    SampleReplied
    | SampleFailed
    | CallAllowed
    | CallNeedsAnswer
    | CallAsks
    | CallReturned
    | CompactionDone
    | Note
    | TitleFound
    | Kept
    | Restored
    | TimeUp
    | Looping
    | Unwound
    | Restarted
)
Input = Request | Report


# Answers


class Accepted(Struct, frozen=True):
    """To a submission: on disk as fact `seq`. `run` is the run that it started, joined, or may join; None while it waits."""

    prompt: str
    seq: int
    run: str | None


class Covered(Struct, frozen=True):
    """To a cancel: what it covers that has not settled yet."""

    seq: int
    run: str | None = None
    prompts: tuple[str, ...] = ()


class Noted(Struct, frozen=True):
    """To everything else. `applied` is false when the input decided nothing."""

    seq: int
    applied: bool


Reaction = Accepted | Covered | Noted
