"""What must hold of a session, in a simulation and under torture: the journal against the run contract, and against what clients were told.

The journal is read by walking its facts, not by asking the machine that wrote them; only the comparison of fold, row and view uses that.
Each finding is a line that names the requirement.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Struct
from msgspec.structs import replace

from quell.core import facts as f
from quell.core.evolve import fold
from quell.core.messages import AssistantMessage, Message, Reasoning, ToolCall, ToolMessage
from quell.core.session import Summary, summary
from quell.core.transcript import Transcript
from quell.core.view import View, apply
from quell.testing.ghost import Cancelling, Ghost

CANCEL_SETTLES = 5.0
"""Seconds from the fact that a run is ending to its settlement, at most (C7)."""


class Settled(Struct):
    """The journal of one session, its row, and when each fact was written. `troubled` are the times when disk or process failed.

    `resting`: nothing goes on any more; `final`: nothing is parked either. `settles` is `CANCEL_SETTLES`, and what the clock adds.
    """

    session: str
    records: Sequence[f.Recorded]
    row: Summary | None
    landed: Sequence[float]
    troubled: Sequence[tuple[float, float]]
    final: bool
    resting: bool = True
    settles: float = CANCEL_SETTLES


class Place(Struct):
    """A prompt, as the facts tell it."""

    accepted: int
    run: str | None = None
    ends: int = 0
    dropped: str | None = None
    parked: bool = False
    started: int | None = None


def unsendable(messages: Sequence[Message]) -> str | None:
    """I5: why a provider would refuse these; None if none would."""
    open_calls: list[str] = []
    for message in messages:
        if isinstance(message, ToolMessage):
            if not open_calls or open_calls.pop(0) != message.call:
                return f"the result of {message.call} is not where its call was made"
            continue
        if open_calls:
            return f"{open_calls[0]} has no result"
        if isinstance(message, AssistantMessage):
            if all(isinstance(part, Reasoning) for part in message.parts):
                return f"{message.id} is empty"
            open_calls = [part.id for part in message.parts if isinstance(part, ToolCall)]
    return f"{open_calls[0]} has no result" if open_calls else None


def differs(theirs: View, start: int, ours: View) -> str | None:
    """E1, E2: what a follower, who holds a view from the item `start` on, shows otherwise than the server does."""
    shown = replace(ours, items=ours.items[start:])
    for name in View.__struct_fields__:
        if getattr(theirs, name) != getattr(shown, name):
            return f"{name} is {getattr(theirs, name)!r:.300}, and should be {getattr(shown, name)!r:.300}"
    return None


def audit(settled: Settled, ghost: Ghost, asked: set[str]) -> Iterator[str]:
    """Everything that is wrong."""
    records = settled.records
    numbers = [recorded.seq for recorded in records]
    if numbers != list(range(1, len(records) + 1)):
        yield f"E1: the journal is numbered {numbers}"
    session = fold(records)
    if settled.row != summary(session):
        yield f"The machine: the row {settled.row} is not the fold's {summary(session)}"
    walk = Walk()
    for recorded in records:
        yield from walk.step(recorded)
    yield from _prefixes(records)
    yield from _prompts(settled, walk, ghost, asked)
    yield from _order(records, walk)
    yield from _cancels(settled, walk, ghost)
    yield from _endings(settled)
    if settled.resting and session.busy and not session.awaiting:
        yield "liveness: the session is busy for ever"
    if settled.resting and session.reverting is not None:
        yield "liveness: files are restored for ever"


class Walk:
    """I2, I5, I7, K3 along the facts; and what became of each prompt and run."""

    def __init__(self) -> None:
        self.prompts: dict[str, Place] = {}
        self.outcomes: dict[str, f.Outcome] = {}
        self.reordered = False
        self._active: str | None = None
        self._ending = False
        self._calls: dict[str, str] = {}
        self._reverting = False

    def step(self, recorded: f.Recorded) -> Iterator[str]:
        fact = recorded.fact
        match fact:
            case f.PromptAccepted():
                if fact.prompt in self.prompts:
                    yield f"A3: {fact.prompt} was accepted twice"
                self.prompts[fact.prompt] = Place(recorded.seq)
                if fact.run is not None and (fact.run != self._active or self._ending):
                    yield f"I7: {fact.prompt} is to join {fact.run}, which is not active any more"
            case f.EntryDropped() if fact.entry in self.prompts:
                place = self.prompts[fact.entry]
                place.ends, place.dropped = place.ends + 1, fact.reason
            case f.QueueParked():
                self.reordered = True
                self._park(fact.entries, True)
            case f.QueueResumed():
                self._park(tuple(self.prompts), False)
            case f.EntryPromoted():
                self.reordered = True
                self._park((fact.entry,), False)
            case f.EntryMoved() | f.EntryEdited():
                self.reordered = True
            case f.RunStarted():
                if self._active is not None:
                    yield f"I2: {fact.run} starts while {self._active} is active"
                if self._reverting:
                    yield f"K8: {fact.run} starts while files are restored"
                self._active = fact.run
                yield from self._begin(fact.entry, fact.run, recorded.seq)
            case f.SteerJoined():
                if fact.run != self._active:
                    yield f"I7: {fact.prompt} joins {fact.run} while {self._active} is active"
                yield from self._begin(fact.prompt, fact.run, None)
            case f.RevertStarted():
                if self._active is not None or self._reverting:
                    yield f"K8: a revert to {fact.to} begins, and the session is at work"
                self._reverting = True
            case f.Reverted() | f.RevertUndone():
                self._reverting = False
            case f.RunEnding():
                self._ending = True
            case f.RunSettled():
                yield from self._settle(fact)
            case f.Replied():
                self._calls = dict.fromkeys((call.id for call in fact.reply.calls), "new")
            case f.CallStarted():
                if self._calls.get(fact.call) != "new":
                    yield f"K3: {fact.call} is started, and was {self._calls.get(fact.call)}"
                self._calls[fact.call] = "started"
            case f.CallFinished():
                if self._calls.get(fact.call, "done") == "done":
                    yield f"I5: a second result of {fact.call}"
                self._calls[fact.call] = "done"
            case _:
                pass

    def _park(self, prompts: Sequence[str], parked: bool) -> None:
        for prompt in prompts:
            if prompt in self.prompts:
                self.prompts[prompt].parked = parked

    def _begin(self, prompt: str, run: str, started: int | None) -> Iterator[str]:
        place = self.prompts.get(prompt)
        if place is None:
            return  # a compaction, or a follow-up
        if place.run is not None:
            yield f"I1: {prompt} runs in {run} and in {place.run}"
        if place.parked and started is not None:  # one that a user made a steer of may join
            yield f"Q2: {prompt} is parked, and starts {run}"
        if place.ends:
            yield f"I1: {prompt} has ended, and runs in {run}"
        place.run, place.started = run, started

    def _settle(self, fact: f.RunSettled) -> Iterator[str]:
        if fact.run in self.outcomes:
            yield f"I1: {fact.run} is settled twice"
        if self._active != fact.run:
            yield f"I2: {fact.run} settles while {self._active} is active"
        if unfinished := [call for call, status in self._calls.items() if status != "done"]:
            yield f"I5: {fact.run} settles, and {unfinished} have no result"
        self.outcomes[fact.run] = fact.outcome
        self._active, self._ending, self._calls = None, False, {}
        for place in self.prompts.values():
            if place.run == fact.run:
                place.ends += 1


def _prefixes(records: Sequence[f.Recorded]) -> Iterator[str]:
    """I4 and I5 at every fact, and that the view agrees with the machine."""
    view, transcript, waiting = View(), Transcript(), set[str]()
    session = fold(())
    for recorded in records:
        apply(view, recorded)
        transcript.add(recorded)
        session = fold((recorded,), session)
        if reason := unsendable(transcript.to_send()):
            yield f"I5: after fact {recorded.seq} the transcript cannot be sent: {reason}"
        match recorded.fact:
            case f.PromptAccepted(prompt=prompt):
                waiting.add(prompt)
            case f.EntryDropped(entry=entry):
                waiting.discard(entry)
            case f.RunStarted(entry=entry):
                waiting.discard(entry)
            case f.SteerJoined(prompt=prompt):
                waiting.discard(prompt)
            case _:
                pass
        parked = {item.id for item in view.queue if item.parked}
        if (waiting - parked or session.run is not None) and not view.busy:
            yield f"I4: after fact {recorded.seq} a follower sees idle, and {sorted(waiting - parked)} wait"
        if waiting != {item.id for item in view.queue if item.kind == "prompt"}:
            yield f"Q1: after fact {recorded.seq} the queue shows {view.queue}, and {sorted(waiting)} wait"
        if (view.parked, view.usage, view.cost) != (session.parked, session.usage, session.cost):
            yield f"view: after fact {recorded.seq} it differs from the machine"


def _prompts(settled: Settled, walk: Walk, ghost: Ghost, asked: set[str]) -> Iterator[str]:
    """I1, A2, A3, C6."""
    for prompt, place in walk.prompts.items():
        running = place.run is not None and place.run not in walk.outcomes
        resting = place.parked or running  # awaits a person: nothing else is left running
        if place.ends != 1 and (settled.final or place.ends or (settled.resting and not resting)):
            yield f"I1: {prompt} has ended {place.ends} times"
        if place.dropped is not None and prompt in asked:
            yield f"C6: {prompt} was dropped, and a model has seen it"
    for told in ghost.submissions.values():
        if told.session != settled.session:
            continue
        if len({answer.seq for answer in told.answers}) > 1:
            yield f"A3: {told.prompt} was acknowledged as {told.answers}"
        for answer in told.answers[:1]:
            found = settled.records[answer.seq - 1].fact if answer.seq <= len(settled.records) else None
            if not isinstance(found, f.PromptAccepted) or (found.prompt, found.text) != (told.prompt, told.text):
                yield f"A2: {told.prompt} was acknowledged as fact {answer.seq}, which is {found}"


def _order(records: Sequence[f.Recorded], walk: Walk) -> Iterator[str]:
    """I3, where nobody has changed the order."""
    if walk.reordered:
        return
    started = sorted((place.started, place.accepted, prompt) for prompt, place in walk.prompts.items() if place.started)
    accepted = [place for _, place, _ in started]
    if accepted != sorted(accepted):
        yield f"I3: started in the order {[prompt for _, _, prompt in started]}"


def _cancels(settled: Settled, walk: Walk, ghost: Ghost) -> Iterator[str]:
    """C1, C2: what was cancelled was meant; and what a cancel covered was cancelled."""
    cancels = [cancel for cancel in ghost.cancels if cancel.session == settled.session]
    interrupts = [cancel for cancel in ghost.interrupts if cancel.session == settled.session]
    deleting = settled.session in ghost.deleting
    entries: dict[str, int] = {}
    runs: dict[str, int] = {}
    for recorded, at in zip(settled.records, settled.landed, strict=True):
        fact = recorded.fact
        match fact:
            case f.PromptAccepted(prompt=entry) | f.CompactionAccepted(entry=entry):
                entries[entry] = recorded.seq
            case f.FollowUpAccepted():  # it goes on with what was accepted long ago
                entries[fact.entry] = entries[fact.prompt]
            case f.RunStarted():
                runs[fact.run] = entries[fact.entry]
            case f.RunEnding(outcome="cancelled") if not deleting:
                meant = [*interrupts, *cancels]
                if not any(_may_cover(cancel, recorded, at, runs[fact.run], settled) for cancel in meant):
                    yield f"C1: fact {recorded.seq} cancels {fact.run}, which nobody meant"
            case f.EntryDropped(reason="cancelled"):
                if not any(_may_cover(cancel, recorded, at, entries[fact.entry], settled) for cancel in cancels):
                    yield f"C2: fact {recorded.seq} drops {fact.entry}, which nobody meant"
            case _:
                pass
    for cancel in cancels:
        yield from _covered(cancel, walk)


def _covered(cancel: Cancelling, walk: Walk) -> Iterator[str]:
    """I9: the answer to a cancel is true."""
    if cancel.covered is None:
        return
    if walk.outcomes.get(cancel.covered.run or "", "cancelled") != "cancelled":
        yield f"I9: {cancel.covered.run} was covered by a cancel, and is {walk.outcomes[cancel.covered.run or '']}"
    for prompt in cancel.covered.prompts if cancel.input.scope == "all" else ():
        if prompt == cancel.input.prompt and prompt not in walk.prompts:
            continue  # a compaction, that was cancelled by its name
        place = walk.prompts[prompt]
        if place.dropped is None and (place.run is None or walk.outcomes.get(place.run, "cancelled") != "cancelled"):
            yield f"C2: {prompt} was covered by a cancel, and went on"


def _may_cover(cancel: Cancelling, recorded: f.Recorded, at: float, accepted: int, settled: Settled) -> bool:
    """Whether this cancel can have been the reason: asked before, for something accepted before it was answered."""
    if cancel.asked > at or (cancel.covered is not None and recorded.seq > cancel.covered.seq):
        return False
    wanted = cancel.input
    if wanted.upto is not None and accepted > wanted.upto:
        return False
    return settled.landed[accepted - 1] <= cancel.ended


def _endings(settled: Settled) -> Iterator[str]:
    """C7: a run that is ending settles soon, unless disk or process failed meanwhile."""
    begun: tuple[float, str] | None = None
    for recorded, at in zip(settled.records, settled.landed, strict=True):
        match recorded.fact:
            case f.RunEnding(run=run) if begun is None:
                begun = at, run
            case f.RunSettled() if begun is not None:
                since, run = begun
                excused = sum(
                    max(0.0, min(at, end) - max(since, start)) + 1.0
                    for start, end in settled.troubled
                    if start < at and end > since
                )
                if at - since > settled.settles + excused:
                    yield f"C7: {run} settled {at - since:.3f} s after it was to end"
                begun = None
            case _:
                pass
