"""The transcript: facts → messages, for people and for models.

`messages` is all that was said, in order. `to_send()` is made from it and is acceptable to every provider for any prefix of any
journal (contract I5): no call without a result and no result without a call, results in call order, nothing empty, no reasoning
that nobody signed, no half-streamed call, no fragment of an attempt that was repeated.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from quell.core import facts as f
from quell.core.messages import (
    AssistantMessage,
    Attachment,
    Message,
    Part,
    Reasoning,
    SummaryMessage,
    Text,
    ToolCall,
    ToolMessage,
    ToolResult,
    UserMessage,
    said,
)
from quell.core.todos import Todo, reminder, todos_of

NO_RESULT = ToolResult(text="No result: the call was not finished.", status="interrupted")
STILL = (
    "From before the summary, in full: what the work in progress is about. Go on where the summary says that it stands."
)
GO_ON = "The work on the last request was interrupted and has been resumed. Look at what is done already, then go on with it."

Summed = tuple[int, int, tuple[Message, ...]]
"""A summary: recorded as which fact, covering what, and what is sent in its place."""


class Hidden(Struct, frozen=True):
    """What a revert took away: messages and where they were, and the summaries and the list of what is to do."""

    messages: list[Message]
    seqs: list[int]
    summaries: list[Summed]
    todos: tuple[Todo, ...]


class TranscriptState(Struct, frozen=True):
    """All that a transcript knows, to be kept and gone on from."""

    messages: list[Message]
    seen: dict[str, str]
    todos: tuple[Todo, ...]
    seqs: list[int]
    waiting: dict[str, tuple[str, tuple[Attachment, ...]]]
    calls: dict[str, str]
    prompts: list[tuple[int, UserMessage]]
    summaries: list[Summed]
    hidden: list[Hidden]
    reverting: int


class Transcript:
    """A fold: `add` every fact once, in order. `seen` maps the files whose content the model knows to its SHA-256, `todos` is its list."""

    def __init__(self, records: Iterable[f.Recorded] = ()) -> None:
        self.messages: list[Message] = []
        self.seen: dict[str, str] = {}
        self.todos: tuple[Todo, ...] = ()
        self._seqs: list[int] = []
        self._sent: list[UserMessage | AssistantMessage | None] = []
        self._waiting: dict[str, tuple[str, tuple[Attachment, ...]]] = {}
        self._calls: dict[str, str] = {}
        self._prompts: list[tuple[int, UserMessage]] = []  # of the last run that had any
        self._summaries: list[Summed] = []
        self._hidden: list[Hidden] = []  # by reverts that may be undone
        self._reverting = 0
        for recorded in records:
            self.add(recorded)

    @property
    def state(self) -> TranscriptState:
        """As it is at this moment: to be looked at before the next fact."""
        return TranscriptState(
            self.messages,
            self.seen,
            self.todos,
            self._seqs,
            self._waiting,
            self._calls,
            self._prompts,
            self._summaries,
            self._hidden,
            self._reverting,
        )

    @classmethod
    def of(cls, state: TranscriptState) -> Transcript:
        """Goes on from there; the state is its own from now on."""
        transcript = cls()
        transcript.messages, transcript.seen, transcript.todos = state.messages, state.seen, state.todos
        transcript._seqs, transcript._waiting = state.seqs, state.waiting
        transcript._sent = [_as_sent(message) for message in state.messages]
        transcript._calls, transcript._prompts, transcript._summaries = state.calls, state.prompts, state.summaries
        transcript._hidden, transcript._reverting = state.hidden, state.reverting
        return transcript

    def add(self, recorded: f.Recorded) -> None:
        for message in self._messages(recorded.seq, recorded.fact):
            self.messages.append(message)
            self._seqs.append(recorded.seq)
            self._sent.append(_as_sent(message))

    def _messages(self, seq: int, fact: f.AnyFact) -> Iterable[Message]:
        if isinstance(fact, f.Forked):
            self._waiting.clear()
            self._hidden.clear()
            return [ToolMessage(call=call, name=self._calls[call], result=NO_RESULT) for call in fact.calls]
        message = self._message(seq, fact)
        return () if message is None else (message,)

    def _message(self, seq: int, fact: f.AnyFact) -> Message | None:
        match fact:
            case f.PromptAccepted():
                self._waiting[fact.prompt] = (fact.text, fact.attachments)
            case f.EntryEdited(text=str(text)):
                self._waiting[fact.entry] = (text, self._waiting[fact.entry][1])
            case f.EntryDropped():
                self._waiting.pop(fact.entry, None)
            case f.RunStarted():
                self._hidden.clear()
                if fact.entry_kind == "follow_up":
                    return UserMessage(id=fact.entry, text=GO_ON)
                self._prompts.clear()
                return self._user(seq, fact.entry) if fact.entry_kind == "prompt" else None
            case f.RevertStarted():
                self._reverting = fact.since
            case f.Reverted():
                self._hide(self._reverting)
            case f.RevertUndone():
                self._show()
            case f.SteerJoined():
                return self._user(seq, fact.prompt)
            case f.Noted():
                return UserMessage(id=f"n{seq}", text=f"[{fact.text}]", noted=True)
            case f.Replied():
                self._calls.update((call.id, call.name) for call in fact.reply.calls)
                reply = fact.reply
                return AssistantMessage(
                    id=fact.message, parts=reply.parts, stop_reason=reply.stop_reason, model=reply.model
                )
            case f.SampleFailed() if fact.retry_at is None or (fact.reply and fact.reply.parts):
                parts = tuple(part for part in fact.reply.parts if not isinstance(part, ToolCall)) if fact.reply else ()
                return AssistantMessage(id=fact.message, parts=parts, stop_reason="error", error=fact.detail)
            case f.CallFinished():
                self.seen.update(_seen(fact.result.metadata))
                self.todos = todos_of(fact.result.metadata, self.todos)
                return ToolMessage(call=fact.call, name=self._calls[fact.call], result=fact.result)
            case f.Compacted():
                summary = SummaryMessage(id=fact.message, text=fact.summary + reminder(self.todos))
                kept = (m for said, m in self._prompts if said <= fact.upto)
                sent: tuple[Message, ...] = (summary, *(replace(m, text=f"{STILL}\n\n{m.text}") for m in kept))
                self._summaries.append((seq, fact.upto, sent))
                self.seen.clear()
                return summary
            case _:
                pass
        return None

    def _user(self, seq: int, prompt: str) -> UserMessage:
        text, attachments = self._waiting.pop(prompt)
        message = UserMessage(id=prompt, text=text, attachments=attachments)
        self._prompts.append((seq, message))
        return message

    def _hide(self, since: int) -> None:
        """Files are not what the model knows of them any more."""
        first = bisect_left(self._seqs, since)
        kept = [summary for summary in self._summaries if summary[0] < since]
        messages, seqs, summaries = self.messages[first:], self._seqs[first:], self._summaries[len(kept) :]
        self._hidden.append(Hidden(messages, seqs, summaries, self.todos))
        del self.messages[first:], self._seqs[first:], self._sent[first:]
        self._summaries = kept
        self._prompts.clear()
        self.seen.clear()
        self.todos = ()
        for message in self.messages:
            if isinstance(message, ToolMessage):
                self.todos = todos_of(message.result.metadata, self.todos)

    def _show(self) -> None:
        """Before what was noted since."""
        hidden = self._hidden.pop()
        at = bisect_left(self._seqs, self._reverting)
        self.messages[at:at] = hidden.messages
        self._seqs[at:at] = hidden.seqs
        self._sent[at:at] = [_as_sent(message) for message in hidden.messages]
        self._summaries += hidden.summaries
        self.todos = hidden.todos
        self.seen.clear()

    def to_send(self, upto: int | None = None) -> tuple[Message, ...]:
        """What the next sample sends: from the last summary on, and only what every provider accepts.

        With the summary goes what was asked of the run that it was made in: work in progress must not depend on how well a model sums
        up its own orders. `upto`: nothing that was recorded later. A message that was sent before is the same object again: models
        know by that what they have translated already.
        """
        start, sent = 0, list[Message]()
        if self._summaries:
            _, covered, summary = self._summaries[-1]
            start = bisect_right(self._seqs, covered)
            sent.extend(summary)
        end = len(self._seqs) if upto is None else bisect_right(self._seqs, upto)
        results = {m.call: m for m in self.messages[start:end] if isinstance(m, ToolMessage)}
        for message in self._sent[start:end]:
            if message is not None:
                sent.append(message)
                if isinstance(message, AssistantMessage):
                    for part in message.parts:
                        if isinstance(part, ToolCall):
                            sent.append(results.get(part.id) or _no_result(part))
        return tuple(sent)

    def last_text(self, run: str) -> str:
        """The last thing that the model said in a run; the ids of its messages begin with the run's."""
        for message in reversed(self.messages):
            if isinstance(message, AssistantMessage) and message.id.startswith(f"{run}-"):
                text = said(message.parts)
                if text:
                    return text
        return ""


def _as_sent(message: Message) -> UserMessage | AssistantMessage | None:
    """Results go with their calls; summaries replace what they cover; failed attempts were repeated."""
    match message:
        case UserMessage():
            return message
        case AssistantMessage(error=None):
            parts = tuple(part for part in message.parts if _sendable(part))
            if any(not isinstance(part, Reasoning) for part in parts):
                return message if parts == message.parts else replace(message, parts=parts)
        case _:
            pass
    return None


def _sendable(part: Part) -> bool:
    match part:
        case Text():
            return bool(part.text.strip())
        case Reasoning():
            return part.signature is not None
        case ToolCall():
            return True


def _no_result(call: ToolCall) -> ToolMessage:
    return ToolMessage(call=call.id, name=call.name, result=NO_RESULT)


def _seen(metadata: dict[str, Any]) -> dict[str, str]:
    """The convention between tools and transcript: `ToolContext.seen` in core.ports."""
    return metadata.get("seen") or {}
