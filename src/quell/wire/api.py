"""The bodies of the HTTP API, as values: what a request may hold, and what an answer does.

Rules: a request refuses unknown fields (a typo must not be ignored) and is checked here as far as its form goes; what it means is
decided by the core. Where an answer is a value of the core already (`Summary`, `Accepted`, `Covered`, `Noted`, messages, the view),
that value is the body and is not repeated here. Paths, statuses and which body goes where are the route table's (`quell.server.app`).
"""

from __future__ import annotations

import os
from decimal import Decimal
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from quell.core.checkpoints import FileChange
from quell.core.facts import Delivery, OnAsk, Outcome, PermissionOption
from quell.core.mcp import ServerState
from quell.core.messages import Attachment, Message, StopReason
from quell.core.permissions import Mode, Rule
from quell.core.ports import JobState, SandboxMode
from quell.core.questions import QuestionAnswer
from quell.core.session import Summary
from quell.core.view import QueueItem, RequestView, View

Id = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$(?!\n)", max_length=128)]
"""An id that a client chooses: it has to fit into a path."""


def new_id() -> Id:
    """Where nobody has chosen one."""
    return os.urandom(8).hex()


Seq = Annotated[int, Meta(ge=0, le=2**53)]
Name = Annotated[str, Meta(max_length=1_000)]
Path = Annotated[str, Meta(min_length=1, max_length=4_096)]
Absolute = Annotated[str, Meta(pattern="^/", max_length=4_096)]
Money = Annotated[str, Meta(pattern=r"^[0-9]{1,9}(\.[0-9]{1,12})?$(?!\n)")]
Environment = dict[str, str]


class Body(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The root of what clients send: bodies, and the queries of paths."""


class Nothing(Body, frozen=True):
    """No field at all."""


# Sessions


class NewSession(Body, frozen=True, kw_only=True):
    """What is left out is as configured. `extra` are folders beside the workspace that may be worked in. `unattended`: nobody will be there
    to be asked, so that the mode, if it is not configured either, is `auto` where there is a sandbox.
    """

    workspace: Path
    title: Name = ""
    model: Name | None = None
    small_model: Name | None = None
    mode: Mode | None = None
    extra: tuple[Path, ...] = ()
    environment: Environment = {}
    unattended: bool = False


class SessionChange(Body, frozen=True, kw_only=True):
    """What is left out stays as it is. It applies from the next model call or permission check."""

    title: Name | UnsetType = UNSET
    model: Name | UnsetType = UNSET
    small_model: Name | UnsetType = UNSET
    mode: Mode | UnsetType = UNSET
    extra: tuple[Path, ...] | UnsetType = UNSET


class Fork(Body, frozen=True, kw_only=True):
    """The copy has the facts up to this `seq`; otherwise all that there are."""

    at: Annotated[int, Meta(ge=1, le=2**53)] | None = None


class SessionsQuery(Body, frozen=True, kw_only=True):
    """`q` is searched in titles; `cursor` is the `next` of the page before. `parent`: the sub-agents of that session, and nothing else."""

    workspace: str | None = None
    parent: str = ""
    q: str = ""
    limit: Annotated[int, Meta(ge=1, le=500)] = 50
    cursor: Annotated[str, Meta(pattern=r"^\S+ \S+$")] | None = None


class SessionPage(Struct, frozen=True):
    """Last updated first. Without `next` there are no more."""

    items: tuple[Summary, ...]
    next: str | None


# Prompts


class NewAttachment(Body, frozen=True, kw_only=True):
    """A file that comes with a prompt. `content` is text, or base64 where `encoding` says so."""

    name: Name
    content: str
    mime_type: Name = "text/plain"
    encoding: Literal["text", "base64"] = "text"


class NewLimits(Body, frozen=True, kw_only=True):
    """What the prompt's run may use at most: model calls, USD, seconds from its start."""

    turns: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    cost: Money | None = None
    seconds: Annotated[float, Meta(gt=0, le=31_536_000)] | None = None


class NewPrompt(Body, frozen=True, kw_only=True):
    """A client that chooses `id` may repeat the request: it is accepted once. The header `Idempotency-Key` is the same."""

    text: str
    id: Id | None = None
    attachments: tuple[NewAttachment, ...] = ()
    delivery: Delivery = "queue"
    limits: NewLimits = NewLimits()
    allow: tuple[Name, ...] = ()
    mode: Mode | None = None
    environment: Environment = {}
    on_ask: OnAsk = "wait"


class WaitQuery(Body, frozen=True, kw_only=True):
    """How many seconds to wait for the end of the prompt."""

    wait: Annotated[float, Meta(ge=0, le=60)] = 0


PromptState = Literal["queued", "running", "joined", "dropped", "settled"]


class Prompt(Struct, frozen=True, kw_only=True):
    """What has become of a prompt. `text` is the last thing that the model said in its run, `error` why the run failed."""

    prompt: str
    state: PromptState
    run: str | None = None
    outcome: Outcome | None = None
    stop_reason: StopReason | None = None
    text: str = ""
    error: str | None = None


# The queue


class Queue(Struct, frozen=True):
    """What waits, in order. A parked queue stays so until it is resumed."""

    parked: bool
    items: tuple[QueueItem, ...]


class QueueEdit(Body, frozen=True, kw_only=True):
    """What is left out stays as it is. `before` is the entry to go in front of; null: to the end."""

    text: str | UnsetType = UNSET
    delivery: Delivery | UnsetType = UNSET
    before: Name | UnsetType | None = UNSET


class Promotion(Body, frozen=True, kw_only=True):
    """`interrupt` cancels the active run in the same decision."""

    interrupt: bool = False


class Cancellation(Body, frozen=True, kw_only=True):
    """`all`: the run and what waits. `active`: the run; what waits is parked. `prompt`: that one alone.

    `run`: only if that one is active. `upto`: only what was accepted at or before that `seq`.
    """

    scope: Literal["all", "active"] = "all"
    prompt: Name | None = None
    run: Name | None = None
    upto: Seq | None = None


class Revert(Body, frozen=True, kw_only=True):
    """Back to before the message `to`, a prompt's id. With `force` also files that somebody has changed since the agent did.

    `dry_run`: only say what would be done.
    """

    to: Name
    force: bool = False
    dry_run: bool = False


class Unrevert(Body, frozen=True, kw_only=True):
    """Undo the last revert; the rest as in `Revert`."""

    force: bool = False
    dry_run: bool = False


class Reverted(Struct, frozen=True, kw_only=True):
    """What has become of the `files` (in a dry run: what would), and the message `to`, to be put back into an editor.

    `left` are files that stayed as they are, because they changed in between or could not be written; `problem`: why all of them did.
    `notes` say what was not kept. `done`: the conversation is back as well.
    """

    to: str
    seq: int
    done: bool
    text: str = ""
    attachments: tuple[Attachment, ...] = ()
    files: tuple[FileChange, ...] = ()
    left: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    problem: str | None = None


# Reading


class ViewQuery(Body, frozen=True, kw_only=True):
    """The last `tail` items, or the last before the cursor `before` (the `more` of an earlier answer)."""

    tail: Annotated[int, Meta(ge=0, le=10_000)] = 200
    before: Seq | None = None


class Snapshot(Struct, frozen=True):
    """What a screen shows after the fact `seq`. `more` is a cursor to older items, null when there are none.

    Where it is not null, ask again after `reverted` and `revert_undone`: they reach to what came before.
    """

    seq: int
    view: View
    more: int | None


class MessagesQuery(Body, frozen=True, kw_only=True):
    """`after` is the `next` of the page before."""

    after: Seq = 0
    limit: Annotated[int, Meta(ge=1, le=5_000)] = 1_000


class MessagePage(Struct, frozen=True):
    """The transcript in order. `next` is where it goes on; null when this was the end."""

    items: tuple[Message, ...]
    next: int | None


class EventsQuery(Body, frozen=True, kw_only=True):
    """Only what was recorded after this `seq`. The header `Last-Event-ID` is the same, and is preferred."""

    after: Seq = 0


class WatchQuery(Body, frozen=True, kw_only=True):
    """Only the sessions of this workspace. `parent`: the sub-agents of that session, and nothing else."""

    workspace: str | None = None
    parent: str = ""


class ModelsQuery(Body, frozen=True, kw_only=True):
    """`have`: names of variables, separated by commas, that the caller's environment has set. Their values are not needed.

    `model`: the one that the caller's environment chooses, if it does; `workspace`: the folder whose configuration chooses otherwise.
    """

    have: str = ""
    model: Name | None = None
    workspace: Absolute | None = None


class ProvidersQuery(Body, frozen=True, kw_only=True):
    """`have`: as for models."""

    have: str = ""


class StatusQuery(Body, frozen=True, kw_only=True):
    workspace: Absolute


class HookStatus(Struct, frozen=True, kw_only=True):
    """A hook. `program` is what its command begins with, if that can be told; `denies`: what it is for is denied when it fails."""

    event: str
    name: str
    matcher: str = ""
    program: str = ""
    denies: bool = False


class LanguageServerStatus(Struct, frozen=True, kw_only=True):
    """How a language server stands. One that nobody has needed yet is `stopped`; `folder` is where it works, `problem` why it has ended."""

    name: str
    state: Literal["disabled", "stopped", "starting", "ready", "ended"] = "stopped"
    program: str = ""
    filetypes: tuple[str, ...] = ()
    folder: str = ""
    problem: str | None = None


class WorkspaceStatus(Struct, frozen=True, kw_only=True):
    """What is configured for a folder, before anything that a caller's environment says.

    `files` are those that were read, `notices` what a person should know of them. `problem`: why they cannot be used as they are now; new
    sessions are refused with it, and the rest is what holds for older ones (null and empty when the files were never right; `mode` is null, too,
    where none is set). `search` is the search engine, `search_key` the variable that its key has to be in and is not. `sandbox` is the one
    that commands run in, `sandbox_problem` why none can be made on this machine. `journal` is the database that sessions are kept in (null: a
    file in the data directory), `journal_problem` why it cannot be read now. `mcp` are the tool servers, in order; one
    that nobody has needed yet is `stopped`. `hooks` and `lsp` are the user's hooks and language servers.
    """

    workspace: str
    files: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    problem: str | None = None
    model: str | None = None
    mode: Mode | None = None
    rules: tuple[Rule, ...] = ()
    search: str | None = None
    search_key: str | None = None
    sandbox: SandboxMode = "off"
    sandbox_problem: str | None = None
    journal: str | None = None
    journal_problem: str | None = None
    hooks: tuple[HookStatus, ...] = ()
    lsp: tuple[LanguageServerStatus, ...] = ()
    mcp: tuple[ServerState, ...] = ()


class ExportQuery(Body, frozen=True, kw_only=True):
    format: Literal["json", "markdown", "html"] = "json"


class Export(Struct, frozen=True, kw_only=True):
    """A session to keep or pass on. `version` counts the forms that this body has had."""

    session: Summary
    messages: tuple[Message, ...]
    version: int = 1


# Permission requests and questions


class Requests(Struct, frozen=True):
    """Those that wait for a person, oldest first."""

    items: tuple[RequestView, ...]


class RequestAnswer(Body, frozen=True, kw_only=True):
    """An `option` to a permission request, `answers` to questions, in their order. `note` tells the model why, or what to do instead."""

    option: PermissionOption | UnsetType = UNSET
    answers: Annotated[tuple[QuestionAnswer, ...], Meta(max_length=20)] | UnsetType = UNSET
    note: Annotated[str, Meta(max_length=100_000)] | None = None


# Background jobs


class Jobs(Struct, frozen=True):
    """Oldest first."""

    items: tuple[JobState, ...]


# The server


class Health(Struct, frozen=True, kw_only=True):
    """`sessions` are those with a run, `busy` whether there is any or somebody follows one.

    `stalled`: the sessions in which nothing can be recorded at present, and why. Of the servers on one data directory one is the owner, which
    does the work; a guest answers, and takes over when that is gone.
    """

    version: str
    pid: int
    started: str
    sessions: int
    busy: bool
    stalled: dict[str, str] = {}
    role: Literal["owner", "guest"] = "owner"


class Leave(Body, frozen=True, kw_only=True):
    """Wait up to `grace_s` seconds for active runs to end. With `force`, those that go on are stopped; otherwise nothing happens."""

    grace_s: Annotated[float, Meta(ge=0, le=60)] = 0
    force: bool = False


class Model(Struct, frozen=True, kw_only=True):
    """A model that a session can name by `spec`. `problem` says what is missing before it can be used; prices are USD per million tokens."""

    spec: str
    provider: str
    configured: bool
    problem: str | None = None
    window: int | None = None
    max_output: int | None = None
    vision: bool = False
    input_price: Decimal | None = None
    output_price: Decimal | None = None
    default: bool = False


class Models(Struct, frozen=True):
    items: tuple[Model, ...]


class Provider(Struct, frozen=True, kw_only=True):
    """Where models are, and what is there to use them. Nothing in it is secret, and nobody was asked for it.

    `origin`: whether it is built in, built in and changed by the user, or the user's own. `base_url` is without user, password and query; null
    where a variable of the caller's holds it, whose value is not known here: `address` names the variable that holds it.
    `key`: where one was found - `caller`, `server`: in the environment's variable `key_variable`; `settings`: in the file. `variables` are those
    that may hold it, best first. A provider that is not `needs_key` is used without one. `problem` says what is missing, and what to do.
    `models` counts those that are known; one that is not can be named all the same.
    """

    name: str
    dialect: Literal["openai", "anthropic"]
    origin: Literal["builtin", "changed", "own"]
    base_url: str | None
    configured: bool
    needs_key: bool
    key: Literal["caller", "server", "settings"] | None = None
    key_variable: str | None = None
    variables: tuple[str, ...] = ()
    address: str | None = None
    problem: str | None = None
    models: int = 0


class Providers(Struct, frozen=True):
    """Those that can be used first, of these those with a key."""

    items: tuple[Provider, ...]


class Problem(Struct, frozen=True, kw_only=True):
    """RFC 9457. `code` is for programs, `detail` for people; `instance` names the entry in the server's log, if there is one."""

    title: str
    status: int
    detail: str
    code: str
    type: str = "about:blank"
    instance: str | UnsetType = UNSET
