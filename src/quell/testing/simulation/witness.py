"""What the model and the tools saw, against what the journal says while it is written.

It knows what streams and what executes at each moment, because that happens in its hands: so it sees work that goes on after its run has
settled, text that was streamed and not kept, and an attempt that did not wait for its time.
"""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from quell.core import facts as f
from quell.core.messages import Reply, said

COMPACTION = "Summarise."
"""What a model is told instead of the session when it compacts one."""

GRACE = 2.2
"""Seconds that the engine gives to what does not stop, at the least, before it settles without it: to a sub-agent's work, at shutdown."""

DRAFT = 1.3
"""Seconds after which streamed text survives its process: a draft a second, and the time to write it."""


LEARNS = 4.0
"""Seconds in which a process that was taken for dead has to learn of it when it wakes: 1 by asking, and the time that a slow disk takes."""


class Streamed(Struct):
    """The text of a message, piece by piece. `reign` is that of the process that asked for it."""

    reign: int
    pieces: list[tuple[float, str]]

    def text(self, until: float = float("inf")) -> str:
        return "".join(piece for at, piece in self.pieces if at <= until)


class Reigns:
    """Who owned when. `owner` is the process that has claimed last, for the reign `now`; `ended` says when the earlier ones did."""

    def __init__(self) -> None:
        self.owner = ""
        self.now = 0
        self.last: dict[str, int] = {}
        self.ended: dict[int, float] = {}
        self._paused: dict[str, float] = {}
        self._woken: dict[str, float] = {}

    def begin(self, process: str, at: float) -> None:
        """It has claimed; whoever owned before it is gone, since it was stopped if it still lives."""
        self.end(at)
        self.now += 1
        self.owner = process
        self.last[process] = self.now

    def end(self, at: float) -> None:
        """It ended when its process was stopped, if that has done nothing since."""
        stopped = self._paused.get(self.owner, at)
        idle = at - self._woken.get(self.owner, at) < DRAFT
        self.ended.setdefault(self.now, min(at, stopped) if idle else at)

    def pauses(self, process: str, at: float) -> None:
        self._paused[process] = at
        self._woken.pop(process, None)

    def wakes(self, process: str, at: float) -> None:
        self._woken[process] = at

    def woken(self, process: str) -> float | None:
        """Since when a former owner could know that it is none; None if it never was one, or sleeps."""
        return self._woken.get(process) if process in self.last else None


class Witness:
    """Told of everything, by those who do it, with the name of the process.

    What is done is held against the reign that it belongs to: a former owner goes on until it learns of the other's claim.
    """

    def __init__(self, epoch: datetime) -> None:
        self.wrong: list[str] = []
        self._epoch = epoch
        self.reigns = Reigns()
        self._active: dict[tuple[int, str, str], bool] = {}
        self._streamed: dict[tuple[str, str], Streamed] = {}
        self._not_before: dict[tuple[str, str], float] = {}
        self._started: dict[tuple[str, str], int] = {}
        self._ending: dict[tuple[str, str], float] = {}
        self._troubled = float("-inf")
        self._leaving: float | None = None

    # The process and the disk

    def trouble(self, until: float) -> None:
        self._troubled = max(self._troubled, until)

    def owns(self, process: str, at: float) -> None:
        self._forget_work()
        self.reigns.begin(process, at)
        self._leaving = None

    def process_leaves(self, process: str, at: float) -> None:
        if process == self.reigns.owner:
            self._leaving = at

    def process_gone(self, process: str, at: float) -> None:
        if process == self.reigns.owner:
            self.reigns.end(at)
            self._forget_work()

    def _forget_work(self) -> None:
        """Of the reign that is over."""
        self._active = {work: deaf for work, deaf in self._active.items() if work[0] != self.reigns.now}

    def reports(self, process: str, session: str, at: float) -> None:
        """I10: what an effect has found out is recorded by the owner."""
        if process != self.reigns.owner:
            self.wrong.append(f"I10: {process} records in {session} at {at:.3f}, and {self.reigns.owner} owns")

    # The model and the tools

    def begins(self, process: str, session: str, id: str, at: float, *, samples: bool) -> None:
        """A sample, named by its message, or a call. A compaction streams to nobody, so nothing is promised about it."""
        if process != self.reigns.owner:
            self._begins_without(process, session, id, at)
            return
        if session == COMPACTION:
            return
        self._active[self.reigns.now, session, id] = False
        if not samples:
            return
        if self._not_before.get((session, _run(id)), 0.0) > at + 0.002:
            self.wrong.append(f"retry: {session}: {id} was asked for at {at:.3f}, before its time")
        if (earlier := self._streamed.get((session, id))) is not None:
            kept = earlier.text(self.reigns.ended.get(earlier.reign, at) - DRAFT)
            if kept and self.reigns.ended.get(earlier.reign, at) > self._troubled:
                self.wrong.append(f"K3: {session}: {id} is asked for again, although {kept!r} had been streamed")
        self._streamed[session, id] = Streamed(self.reigns.now, [])

    def _begins_without(self, process: str, session: str, id: str, at: float) -> None:
        """I10: a process that does not own begins nothing, unless it was stopped and does not know yet."""
        woken = self.reigns.woken(process)
        if woken is None or at > max(woken, self._troubled) + LEARNS:
            self.wrong.append(f"I10: {process} begins {id} in {session} at {at:.3f}, and {self.reigns.owner} owns")

    def streams(self, process: str, session: str, id: str, at: float, text: str) -> None:
        streamed = self._streamed.get((session, id))
        if streamed is not None and streamed.reign == self.reigns.last.get(process):
            streamed.pieces.append((at, text))

    def is_deaf(self, process: str, session: str, id: str) -> None:
        if (self.reigns.last.get(process, 0), session, id) in self._active:
            self._active[self.reigns.last[process], session, id] = True

    def ends(self, process: str, session: str, id: str) -> None:
        self._active.pop((self.reigns.last.get(process, 0), session, id), None)

    # The journal

    def landed(self, session: str, recorded: f.Recorded, at: float) -> None:
        fact = recorded.fact
        match fact:
            case f.RunStarted(run=run):
                self._started[session, run] = self.reigns.now
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
                alone = self._started[session, run] == self.reigns.now and self._leaving is None
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
        text = said(reply.parts)
        died = self.reigns.ended.get(streamed.reign)
        if died is None:
            kept = streamed.text()
        else:
            kept = streamed.text(died - DRAFT) if died > self._troubled else ""
        if not text.startswith(kept):
            self.wrong.append(f"C7: {session}: {message} streamed {kept!r}, and {text!r} was recorded at {at:.3f}")

    def _settled(self, session: str, run: str, at: float) -> None:
        since = min(self._ending.get((session, run), at), self._leaving if self._leaving is not None else at)
        for (_, other, id), deaf in self._active.items():
            if other == session and _run(id) == run and not (deaf and at - since >= GRACE):
                self.wrong.append(f"C7: {session}: {run} settles at {at:.3f}, and {id} goes on")
        for (other, message), streamed in list(self._streamed.items()):
            if other == session and _run(message) == run:
                del self._streamed[other, message]
                if streamed.text() and streamed.reign == self.reigns.now and self.reigns.now not in self.reigns.ended:
                    self.wrong.append(f"C7: {session}: {run} settles, and {streamed.text()!r} of {message} is lost")


def _run(id: str) -> str:
    return id.partition("-")[0]
