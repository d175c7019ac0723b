"""What streams at this moment: the open parts of a reply, and the output of running calls.

The same text goes three ways: as deltas to followers, as drafts to those who join late, and, when a run is stopped, as the fragment
that its message keeps.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from quell.core.events import OUTPUT_KEPT, Delta, DraftPart
from quell.core.facts import AnyFact, CallFinished, Replied, RunSettled, SampleFailed
from quell.core.messages import DeltaKind, Part, PartDelta, Reasoning, Reply, Text
from quell.engine.bus import Bus

DRAFT_INTERVAL = 1.0
"""Seconds from a piece of streamed text to its draft on disk, at most (contract K3)."""


class OpenPart:
    """The text of one part so far, in pieces."""

    def __init__(self, kind: DeltaKind, call: str | None, name: str | None) -> None:
        self.kind = kind
        self.call = call
        self.name = name
        self.pieces: list[str] = []
        self.length = 0

    @property
    def text(self) -> str:
        if len(self.pieces) > 1:
            self.pieces[:] = ["".join(self.pieces)]
        return self.pieces[0] if self.pieces else ""


class LiveReply:
    """A message while it streams. Created for each attempt, and dropped when the message is recorded."""

    def __init__(self, message: str, model: str, publish: Callable[[Delta], None]) -> None:
        self.message = message
        self.model = model
        self.parts: dict[int, OpenPart] = {}
        self._publish = publish

    def emit(self, delta: PartDelta) -> None:
        part = self.parts.get(delta.part)
        if part is None:
            part = self.parts[delta.part] = OpenPart(delta.kind, delta.call, delta.name)
        offset = part.length
        part.pieces.append(delta.text)
        part.length += len(delta.text)
        self._publish(Delta(self.message, delta.part, delta.kind, offset, delta.text, delta.call, delta.name))

    def fragment(self) -> Reply:
        """What can be kept of it: text and (unsigned) reasoning; a half-streamed call is nothing."""
        parts: list[Part] = []
        for _, part in sorted(self.parts.items()):
            match part.kind:
                case "text" if part.length:
                    parts.append(Text(part.text))
                case "reasoning" if part.length:
                    parts.append(Reasoning(part.text))
                case _:
                    pass
        return Reply(parts=tuple(parts), stop_reason="interrupted", model=self.model)

    def drafts(self) -> list[DraftPart]:
        return [
            DraftPart(self.message, index, part.kind, part.text, part.call, part.name)
            for index, part in sorted(self.parts.items())
        ]


class LiveOutput:
    """What a running call has printed: the tail of it, and the length of all of it."""

    def __init__(self, call: str, publish: Callable[[Delta], None]) -> None:
        self.call = call
        self.text = ""
        self._length = 0
        self._publish = publish

    def emit(self, text: str) -> None:
        self._publish(Delta(self.message, 0, "output", self._length, text, self.call))
        self._length += len(text)
        self.text = (self.text + text)[-OUTPUT_KEPT:]

    @property
    def message(self) -> str:
        return self.call.rpartition("-")[0]

    def draft(self) -> DraftPart:
        start = self._length - len(self.text)
        return DraftPart(self.message, 0, "output", self.text, self.call, start=start)


class Streams:
    """Everything that streams in one session. A while after text arrived that is in no draft yet, `draft_due` is set and `wake` called."""

    def __init__(self, session: str, bus: Bus, wake: Callable[[], None]) -> None:
        self.reply: LiveReply | None = None
        self.draft_due = False
        self._outputs: dict[str, LiveOutput] = {}
        self._session = session
        self._bus = bus
        self._wake = wake
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, message: str, model: str) -> LiveReply:
        """A message begins to stream."""
        self.reply = LiveReply(message, model, self._reply_delta)
        return self.reply

    def print(self, call: str) -> LiveOutput:
        """A call may begin to print."""
        output = self._outputs[call] = LiveOutput(call, self._publish)
        return output

    def settle(self, fact: AnyFact) -> None:
        """What is recorded streams no longer."""
        match fact:
            case Replied(message=message) | SampleFailed(message=message):
                self._end_reply(message)
            case RunSettled(run=run):
                self._end_reply(f"{run}-")
            case CallFinished(call=call):
                self._outputs.pop(call, None)
            case _:
                pass

    def _end_reply(self, beginning: str) -> None:
        """Of that name: what was recorded before it began may be told late."""
        if self.reply is not None and self.reply.message.startswith(beginning):
            self.reply = None

    def settle_all(self, facts: Iterable[AnyFact]) -> None:
        for fact in facts:
            self.settle(fact)

    def drop(self) -> None:
        """All of it is another process's to do, and to tell."""
        self.reply = None
        self._outputs.clear()

    def fragment(self) -> Reply | None:
        """What has arrived of the message that streams."""
        return None if self.reply is None else self.reply.fragment()

    def drafts(self) -> list[DraftPart]:
        """The text of everything that streams, for a follower that has just caught up."""
        reply = [] if self.reply is None else self.reply.drafts()
        return [*reply, *(output.draft() for output in self._outputs.values() if output.text)]

    def _publish(self, delta: Delta) -> None:
        self._bus.publish(self._session, delta)

    def _reply_delta(self, delta: Delta) -> None:
        self._bus.publish(self._session, delta)
        self.draft_again()

    def draft_again(self) -> None:
        """What streams is to be in a draft, soon."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(DRAFT_INTERVAL, self._time_for_a_draft)

    def _time_for_a_draft(self) -> None:
        self._timer = None
        if self.reply is not None:
            self.draft_due = True
            self._wake()
