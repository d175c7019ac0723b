"""The view: facts → what a screen shows. One fold for the server's snapshot, the terminal, editors and `--json`.

A view is plain data: it is sent as a snapshot `{seq, view}`, and whoever holds one goes on with `apply` for every fact after `seq`.
Text that still streams is not in it: deltas and drafts are for the follower to show (contract E2).
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal, assert_never

from msgspec import Struct

from quell.core import facts as f
from quell.core.hooks import HookReport
from quell.core.messages import Part, StopReason, ToolCall, ToolResult, Usage
from quell.core.permissions import Mode
from quell.core.questions import Question
from quell.core.todos import Todo, todos_of
from quell.core.transcript import NO_RESULT

CallStatus = Literal["pending", "in_progress", "completed", "failed"]
"""ACP's words. Whether a failed call was denied or cancelled is in its result."""


class UserItem(Struct, tag="user", tag_field="type", omit_defaults=True):
    id: str
    text: str
    run: str
    at: str
    attachments: list[str] = []
    steered: bool = False


class AssistantItem(Struct, tag="assistant", tag_field="type", omit_defaults=True):
    """Calls in `parts` are shown by the `CallItem`s that follow."""

    id: str
    run: str
    at: str
    parts: list[Part] = []
    stop_reason: StopReason = "end_turn"
    model: str = ""
    error: str | None = None


class CallItem(Struct, tag="call", tag_field="type", omit_defaults=True):
    """`input` is what it runs with: the model's, unless hooks have changed it. `hooks` is what they said."""

    id: str
    run: str
    name: str
    input: str
    status: CallStatus = "pending"
    result: ToolResult | None = None
    hooks: tuple[HookReport, ...] = ()


class NoticeItem(Struct, tag="notice", tag_field="type", omit_defaults=True):
    """Something that happened to the conversation and is not part of it. `kind` is the fact's."""

    kind: str
    text: str
    at: str
    run: str | None = None


Item = UserItem | AssistantItem | CallItem | NoticeItem


class QueueItem(Struct, omit_defaults=True):
    id: str
    kind: Literal["prompt", "compaction", "follow_up"]
    text: str
    delivery: f.Delivery
    accepted: str
    parked: bool = False
    attachments: list[str] = []


class RunView(Struct, omit_defaults=True):
    """The active run. `retry_at` is set while it waits for another attempt, one of at most `attempts`; `failure` says why."""

    id: str
    entry: str
    started: str
    phase: Literal["sampling", "calling", "compacting"] = "sampling"
    turn: int = 1
    attempt: int = 1
    attempts: int | None = None
    ending: StopReason | None = None
    retry_at: str | None = None
    failure: str | None = None


class RequestView(Struct, omit_defaults=True):
    """An open permission request; `always` is the rule that an "always" would add. With `questions`, they wait to be answered."""

    id: str
    call: str
    tool: str
    title: str
    reason: str = ""
    always: str | None = None
    questions: tuple[Question, ...] = ()


class RevertView(Struct, omit_defaults=True):
    """A revert that can be undone, and what comes back then."""

    to: str
    items: list[Item] = []
    todos: tuple[Todo, ...] = ()
    context: int = 0


class View(Struct, omit_defaults=True):
    session: str = ""
    workspace: str = ""
    title: str = ""
    model: str = ""
    mode: Mode = "edits"
    parent: str | None = None
    items: list[Item] = []
    queue: list[QueueItem] = []
    parked: bool = False
    run: RunView | None = None
    requests: list[RequestView] = []
    todos: tuple[Todo, ...] = ()
    usage: Usage = Usage()
    cost: Decimal = Decimal(0)
    context: int = 0
    deleted: bool = False
    reverting: str | None = None
    reverted: list[RevertView] = []

    @property
    def busy(self) -> bool:
        """As the session's (contract I4)."""
        working = self.run is not None or self.reverting is not None
        return working or any(not item.parked for item in self.queue)


def apply(view: View, recorded: f.Recorded) -> None:
    """Bring the view up to date with one more fact."""
    fact = recorded.fact
    match fact:
        case f.SessionCreated() | f.SettingsChanged() | f.DeletionStarted() | f.Forked():
            _apply_session(view, fact, recorded.at)
        case f.TitleRequested() | f.WorkspaceKept():
            pass
        case f.RevertStarted() | f.Reverted() | f.RevertUndone():
            _apply_revert(view, fact, recorded.at)
        case f.TitleGiven():
            view.title = view.title if fact.title is None else fact.title
            _count(view, fact.usage, fact.cost)
        case (
            f.PromptAccepted()
            | f.CompactionAccepted()
            | f.FollowUpAccepted()
            | f.EntryEdited()
            | f.EntryMoved()
            | f.EntryPromoted()
            | f.EntryDropped()
            | f.QueueParked()
            | f.QueueResumed()
        ):
            _apply_queue(view, fact, recorded.at)
        case (
            f.HooksAnswered()
            | f.PermissionRequested()
            | f.PermissionAnswered()
            | f.QuestionsAsked()
            | f.QuestionsAnswered()
            | f.CallStarted()
            | f.CallFinished()
        ):
            _apply_call(view, fact)
        case _:
            _apply_run(view, fact, recorded.at)


def _apply_session(
    view: View, fact: f.SessionCreated | f.SettingsChanged | f.DeletionStarted | f.Forked, at: str
) -> None:
    match fact:
        case f.SessionCreated():
            view.session, view.workspace, view.parent = fact.session, fact.workspace, fact.parent
            view.title, view.model, view.mode = fact.title, fact.model, fact.mode
        case f.SettingsChanged():
            for name, value in (("model", fact.model), ("mode", fact.mode)):
                if value is not None and view.items:
                    view.items.append(NoticeItem("settings_changed", f"{name}: {value}", at))
            view.title = view.title if fact.title is None else fact.title
            view.model = view.model if fact.model is None else fact.model
            view.mode = view.mode if fact.mode is None else fact.mode
        case f.DeletionStarted():
            view.deleted = True
        case f.Forked():
            _forked(view, fact, at)
        case _:
            assert_never(fact)


def _forked(view: View, fact: f.Forked, at: str) -> None:
    for id in fact.calls:
        call = _call(view, id)
        call.result, call.status = NO_RESULT, "failed"
    view.parent, view.run, view.queue, view.requests = None, None, [], []
    view.parked = view.deleted = False
    view.reverting, view.reverted = None, []
    view.usage, view.cost = Usage(), Decimal(0)
    view.items.append(NoticeItem("forked", f"forked from session {fact.source}", at, fact.run))


def _apply_revert(view: View, fact: f.RevertStarted | f.Reverted | f.RevertUndone, at: str) -> None:
    if isinstance(fact, f.RevertStarted):
        view.reverting = fact.to
        return
    view.reverting = None
    match fact:
        case f.Reverted():
            places = (n for n, item in enumerate(view.items) if isinstance(item, UserItem) and item.id == fact.to)
            first = next(places, 0)  # a view may begin later than the conversation
            view.reverted.append(RevertView(fact.to, view.items[first:], view.todos, view.context))
            del view.items[first:]
            view.todos, view.context = (), 0
            for item in view.items:
                if isinstance(item, CallItem) and item.result is not None:
                    view.todos = todos_of(item.result.metadata, view.todos)
            view.items.append(NoticeItem("reverted", _went("The conversation and its files went back", fact), at))
        case f.RevertUndone():
            back = view.reverted.pop()
            notice = max(
                n for n, item in enumerate(view.items) if isinstance(item, NoticeItem) and item.kind == "reverted"
            )
            view.items[notice : notice + 1] = back.items
            view.todos, view.context = back.todos, back.context
            if fact.left or fact.problem:
                view.items.append(NoticeItem("revert_undone", _went("The revert was undone", fact), at))
        case _:
            assert_never(fact)


def _went(what: str, fact: f.Reverted | f.RevertUndone) -> str:
    if fact.problem:
        return f"{what}, but no file did: {fact.problem}"
    return f"{what}, but not {', '.join(fact.left)}." if fact.left else f"{what}."


QueueFact = (
    f.PromptAccepted
    | f.CompactionAccepted
    | f.FollowUpAccepted
    | f.EntryEdited
    | f.EntryMoved
    | f.EntryPromoted
    | f.EntryDropped
    | f.QueueParked
    | f.QueueResumed
)


def _apply_queue(view: View, fact: QueueFact, at: str) -> None:
    match fact:
        case f.PromptAccepted():
            delivery: f.Delivery = "queue" if fact.run is None else "steer"
            names = [attachment.name for attachment in fact.attachments]
            view.queue.append(QueueItem(fact.prompt, "prompt", fact.text, delivery, at, attachments=names))
        case f.CompactionAccepted():
            view.queue.append(QueueItem(fact.entry, "compaction", "", "queue", at))
        case f.FollowUpAccepted():
            view.queue.insert(0, QueueItem(fact.entry, "follow_up", "", "queue", at))
        case f.EntryEdited():
            item = _waiting(view, fact.entry)
            item.text = item.text if fact.text is None else fact.text
            if fact.delivery is not None:
                item.delivery = "queue" if fact.run is None else "steer"
        case f.EntryMoved():
            item = _take(view, fact.entry)
            ids = [other.id for other in view.queue]
            view.queue.insert(len(ids) if fact.before is None else ids.index(fact.before), item)
        case f.EntryPromoted():
            item = _take(view, fact.entry)
            item.parked, item.delivery = False, "queue"
            view.queue.insert(0, item)
        case f.EntryDropped():
            _take(view, fact.entry)
        case f.QueueParked():
            view.parked = True
            for item in view.queue:
                if item.id in fact.entries:
                    item.parked, item.delivery = True, "queue"
        case f.QueueResumed():
            view.parked = False
            for item in view.queue:
                item.parked = False
        case _:
            assert_never(fact)


def _waiting(view: View, id: str) -> QueueItem:
    return next(item for item in view.queue if item.id == id)


def _take(view: View, id: str) -> QueueItem:
    item = _waiting(view, id)
    view.queue.remove(item)
    return item


CallFact = (
    f.HooksAnswered
    | f.PermissionRequested
    | f.PermissionAnswered
    | f.QuestionsAsked
    | f.QuestionsAnswered
    | f.CallStarted
    | f.CallFinished
)


def _apply_call(view: View, fact: CallFact) -> None:
    match fact:
        case f.HooksAnswered():
            item = _call(view, fact.call)
            item.hooks = (*item.hooks, *fact.hooks)
            item.input = item.input if fact.input is None else fact.input
        case f.PermissionRequested():
            view.requests.append(RequestView(fact.request, fact.call, fact.tool, fact.title, fact.reason, fact.always))
        case f.QuestionsAsked():
            name = _call(view, fact.call).name
            view.requests.append(
                RequestView(fact.request, fact.call, name, fact.title, fact.reason, questions=fact.questions)
            )
        case f.PermissionAnswered() | f.QuestionsAnswered():
            view.requests = [request for request in view.requests if request.id != fact.request]
        case f.CallStarted():
            _call(view, fact.call).status = "in_progress"
        case f.CallFinished():
            view.requests = [request for request in view.requests if request.call != fact.call]
            item = _call(view, fact.call)
            item.result = fact.result
            item.status = "completed" if fact.result.status == "completed" else "failed"
            view.todos = todos_of(fact.result.metadata, view.todos)
            _count(view, fact.spent.usage, fact.spent.cost)
        case _:
            assert_never(fact)


def _call(view: View, id: str) -> CallItem:
    """Searched from the end: open calls are the last ones."""
    return next(item for item in reversed(view.items) if isinstance(item, CallItem) and item.id == id)


RunFact = (
    f.Noted
    | f.RunStarted
    | f.RunRecovered
    | f.SteerJoined
    | f.TurnStarted
    | f.RunEnding
    | f.RunSettled
    | f.Replied
    | f.SampleFailed
    | f.CompactionStarted
    | f.Compacted
)


def _apply_run(view: View, fact: RunFact, at: str) -> None:
    match fact:
        case f.Noted():
            view.items.append(NoticeItem("noted", fact.text, at))
        case f.RunStarted():
            view.run, view.reverted = RunView(fact.run, fact.entry, at), []
            item = _take(view, fact.entry)
            if item.kind == "prompt":
                view.items.append(UserItem(item.id, item.text, fact.run, at, item.attachments))
            else:
                view.run.phase = "compacting" if item.kind == "compaction" else "sampling"
        case f.RunRecovered():
            view.items.append(NoticeItem("run_recovered", "The agent was restarted; asking again.", at, fact.run))
        case f.SteerJoined():
            item = _take(view, fact.prompt)
            view.items.append(UserItem(item.id, item.text, fact.run, at, item.attachments, steered=True))
        case f.TurnStarted():
            _set_run(view, "sampling", turn=fact.turn)
        case f.RunEnding():
            view.requests = []
            if view.run is not None:
                view.run.ending, view.run.retry_at = fact.stop_reason, None
        case f.RunSettled():
            _settled(view, fact, at)
        case f.Replied():
            _replied(view, fact, at)
        case f.SampleFailed():
            _sample_failed(view, fact, at)
        case f.CompactionStarted():
            _set_run(view, "compacting", turn=view.run.turn if view.run else 1)
        case f.Compacted():
            view.items.append(NoticeItem("compacted", fact.summary, at, fact.run))
            _count(view, fact.usage, fact.cost)
        case _:
            assert_never(fact)


def _set_run(view: View, phase: Literal["sampling", "compacting"], turn: int) -> None:
    if view.run is not None:
        view.run.phase, view.run.turn, view.run.attempt = phase, turn, 1
        view.run.retry_at = view.run.failure = None


def _replied(view: View, fact: f.Replied, at: str) -> None:
    reply = fact.reply
    item = AssistantItem(fact.message, fact.run, at, [*reply.parts], reply.stop_reason, reply.model)
    view.items.append(item)
    view.items.extend(
        CallItem(part.id, fact.run, part.name, part.input) for part in reply.parts if isinstance(part, ToolCall)
    )
    if view.run is not None:
        view.run.phase, view.run.retry_at, view.run.failure = "calling", None, None
    _count(view, reply.usage, reply.cost)
    view.context = reply.usage.context or view.context


def _sample_failed(view: View, fact: f.SampleFailed, at: str) -> None:
    parts: list[Part] = []
    if fact.reply is not None:
        parts.extend(part for part in fact.reply.parts if not isinstance(part, ToolCall))
    if fact.retry_at is None or parts:
        view.items.append(AssistantItem(fact.message, fact.run, at, parts, "error", error=fact.detail))
    if fact.reply is not None:
        _count(view, fact.reply.usage, fact.reply.cost)
    if fact.retry_at is not None and view.run is not None:
        view.run.attempt, view.run.retry_at, view.run.failure = fact.attempt + 1, fact.retry_at, fact.detail
        view.run.attempts = fact.attempts


def _settled(view: View, fact: f.RunSettled, at: str) -> None:
    view.run, view.requests = None, []
    for item in view.queue:
        item.delivery = "queue"
    if fact.stop_reason != "end_turn":
        detail = f": {fact.detail}" if fact.detail else ""
        view.items.append(NoticeItem("run_settled", f"{fact.outcome} ({fact.stop_reason}){detail}", at, fact.run))


def _count(view: View, usage: Usage, cost: Decimal | None) -> None:
    view.usage = view.usage + usage
    view.cost += cost or 0
