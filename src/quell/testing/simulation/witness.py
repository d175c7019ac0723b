"""What the model and the tools saw, against what the journal says while it is written.

It knows what streams and what executes at each moment, because that happens in its hands: so it sees work that goes on after its run has
settled, text that was streamed and not kept, and an attempt that did not wait for its time.
"""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from quell.core import facts as f
from quell.core.messages import Reply, Text

COMPACTION = "Summarise."
"""What a model is told instead of the session when it compacts one."""

GRACE = 2.2
"""Seconds that the engine gives to what does not stop, at the least, before it settles without it: to a sub-agent's work, at shutdown."""

DRAFT = 1.3
"""Seconds after which streamed text survives its process: a draft a second, and the time to write it."""


class Streamed(Struct):
    """The text of a message, piece by piece. `life` is the process that asked for it."""

    life: int
    pieces: list[tuple[float, str]]

    def text(self, until: float = float("inf")) -> str:
        return "".join(piece for at, piece in self.pieces if at <= until)


class Witness:
    """Told of everything, by those who do it. `calm` says whether disk and process have been well since a time."""

    def __init__(self, epoch: datetime) -> None:
        self.wrong: list[str] = []
        self._epoch = epoch
        self._active: dict[tuple[str, str], bool] = {}
        self._streamed: dict[tuple[str, str], Streamed] = {}
        self._not_before: dict[tuple[str, str], float] = {}
        self._started: dict[tuple[str, str], int] = {}
        self._ending: dict[tuple[str, str], float] = {}
        self._life = 0
        self._troubled = float("-inf")
        self._died: dict[int, float] = {}
        self._leaving: float | None = None

    # The process and the disk

    def trouble(self, until: float) -> None:
        self._troubled = max(self._troubled, until)

    def process_starts(self) -> None:
        self._life += 1
        self._leaving = None

    def process_leaves(self, at: float) -> None:
        self._leaving = at

    def process_gone(self, at: float) -> None:
        self._died[self._life] = at
        self._active.clear()

    # The model and the tools

    def begins(self, session: str, id: str, at: float, *, samples: bool) -> None:
        """A sample, named by its message, or a call. A compaction streams to nobody, so nothing is promised about it."""
        if session == COMPACTION:
            return
        self._active[session, id] = False
        if not samples:
            return
        if self._not_before.get((session, _run(id)), 0.0) > at + 0.002:
            self.wrong.append(f"retry: {session}: {id} was asked for at {at:.3f}, before its time")
        if (earlier := self._streamed.get((session, id))) is not None:
            kept = earlier.text(self._died.get(earlier.life, at) - DRAFT)
            if kept and self._died.get(earlier.life, at) > self._troubled:
                self.wrong.append(f"K3: {session}: {id} is asked for again, although {kept!r} had been streamed")
        self._streamed[session, id] = Streamed(self._life, [])

    def streams(self, session: str, id: str, at: float, text: str) -> None:
        if (streamed := self._streamed.get((session, id))) is not None:
            streamed.pieces.append((at, text))

    def is_deaf(self, session: str, id: str) -> None:
        if session != COMPACTION:
            self._active[session, id] = True

    def ends(self, session: str, id: str) -> None:
        self._active.pop((session, id), None)

    # The journal

    def landed(self, session: str, recorded: f.Recorded, at: float) -> None:
        fact = recorded.fact
        match fact:
            case f.RunStarted(run=run):
                self._started[session, run] = self._life
            case f.RunEnding(run=run):
                self._ending.setdefault((session, run), at)
            case f.Replied(message=message, reply=reply):
                self._compare(session, message, reply, at)
            case f.SampleFailed(message=message, reply=reply):
                self._compare(session, message, reply or Reply(), at)
                if fact.retry_at is not None:
                    self._not_before[session, fact.run] = (
                        datetime.fromisoformat(fact.retry_at) - self._epoch
                    ).total_seconds()
            case f.TurnStarted(run=run):
                self._not_before.pop((session, run), None)
            case f.RunSettled(run=run):
                alone = self._started[session, run] == self._life and self._leaving is None
                if fact.outcome == "interrupted" and alone:
                    self.wrong.append(
                        f"I9: {session}: {run} is interrupted at {at:.3f}, and nothing has interrupted it"
                    )
                self._settled(session, run, at)
            case _:
                pass

    def _compare(self, session: str, message: str, reply: Reply, at: float) -> None:
        """C7, K3: what was streamed is kept, but for the last moment before a process was killed."""
        streamed = self._streamed.pop((session, message), None)
        if streamed is None:
            return
        text = "".join(part.text for part in reply.parts if isinstance(part, Text))
        died = self._died.get(streamed.life)
        if died is None:
            kept = streamed.text()
        else:
            kept = streamed.text(died - DRAFT) if died > self._troubled else ""
        if not text.startswith(kept):
            self.wrong.append(f"C7: {session}: {message} streamed {kept!r}, and {text!r} was recorded at {at:.3f}")

    def _settled(self, session: str, run: str, at: float) -> None:
        since = min(self._ending.get((session, run), at), self._leaving if self._leaving is not None else at)
        for (other, id), deaf in self._active.items():
            if other == session and _run(id) == run and not (deaf and at - since >= GRACE):
                self.wrong.append(f"C7: {session}: {run} settles at {at:.3f}, and {id} goes on")
        for (other, message), streamed in list(self._streamed.items()):
            if other == session and _run(message) == run:
                del self._streamed[other, message]
                if streamed.text() and streamed.life == self._life and self._died.get(self._life) is None:
                    self.wrong.append(f"C7: {session}: {run} settles, and {streamed.text()!r} of {message} is lost")


def _run(id: str) -> str:
    return id.partition("-")[0]
