"""The ghost ledger: what has happened to every prompt, run and call, written down fact by fact outside the machine.

It knows the contract and not the code: it refuses a fact that may not follow those before it ("exactly once", "in order", "nothing
new in a run that ends"), and it is compared with the machine's own state after every move (`agreement`). Raises `AssertionError`, naming the line.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from functools import reduce
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from quell.core import facts as f
from quell.core.messages import Reply, Spent, Usage

FOLLOW_UPS = 2
"""K3: how often a prompt is gone on with by itself, at most."""


class Item(Struct, frozen=True):
    """Something that waits. `steer`: for a place in the run that is active."""

    id: str
    kind: Literal["prompt", "compaction", "follow_up"]
    seq: int
    prompt: str
    text: str = ""
    steer: bool = False
    parked: bool = False
    resumed: int = 0
    limits: f.Limits = f.Limits()
    origin: f.Origin = "user"


class Turn(Struct, frozen=True):
    """The active run and what it is doing. `shown`: a sample left something; `denied`: the last calls were all denied."""

    run: str
    item: Item
    joined: tuple[str, ...] = ()
    doing: Literal["sample", "calls", "compact"] = "sample"
    turn: int = 1
    attempt: int = 1
    upto: int = 0
    backing_off: bool = False
    calls: tuple[tuple[str, str], ...] = ()
    concurrent: frozenset[str] = frozenset()
    changing: frozenset[str] = frozenset()
    kept: bool = False
    restorable: bool = False
    left: bool = False
    ending: tuple[str, str] | None = None
    shown: bool = False
    recovered: bool = False
    overflowed: bool = False
    denied: bool = False
    replies: int = 0
    spent: Spent = Spent()

    @property
    def prompts(self) -> tuple[str, ...]:
        return (*((self.item.id,) if self.item.kind == "prompt" else ()), *self.joined)

    def with_call(self, id: str, status: str, was: tuple[str, ...], line: str) -> Turn:
        found = dict(self.calls).get(id)
        assert found in was, f"{line}: {id} is {found}"
        return replace(self, calls=tuple((c, status if c == id else s) for c, s in self.calls))


class Fate(Struct, frozen=True):
    """Where a prompt is: waiting (no run), running, dropped, or settled with an outcome."""

    seq: int
    run: str | None = None
    end: str | None = None


class Ledger(Struct, frozen=True):
    """Everything that happened; `enter` writes down more."""

    seq: int = 0
    waiting: tuple[Item, ...] = ()
    parked: bool = False
    crowded: bool = False
    deleting: bool = False
    run: Turn | None = None
    last: tuple[str, str, Item] | None = None
    fates: tuple[tuple[str, Fate], ...] = ()
    titling: tuple[str, int] | None = None
    keeping: str | None = None
    reverting: tuple[str, bool] | None = None
    conversation: tuple[str, ...] = ()
    reverted: tuple[tuple[str, tuple[str, ...], bool], ...] = ()
    undoable: int = 0
    usage: Usage = Usage()
    cost: Decimal = Decimal(0)

    def enter(self, recorded: f.Recorded) -> Ledger:
        assert recorded.seq == self.seq + 1, "E1: a gap in the journal"
        return _enter(replace(self, seq=recorded.seq), recorded.fact)

    def after(self, records: Iterable[f.Recorded]) -> Ledger:
        return reduce(Ledger.enter, records, self)

    def item(self, id: str) -> Item:
        found = next((item for item in self.waiting if item.id == id), None)
        assert found is not None, f"I1: {id} does not wait"
        return found

    def busy_turn(self, run: str) -> Turn:
        assert self.run is not None, f"I2: a fact of {run}, which is not active"
        assert self.run.run == run, f"I2: a fact of {run}, and {self.run.run} is active"
        return self.run

    def going(self, run: str, line: str = "C7") -> Turn:
        turn = self.busy_turn(run)
        assert turn.ending is None, f"{line}: a run that ends starts something new"
        return turn

    def fate(self, prompt: str, fate: Fate) -> tuple[tuple[str, Fate], ...]:
        return tuple((id, fate if id == prompt else old) for id, old in self.fates)


def _enter(ledger: Ledger, fact: f.AnyFact) -> Ledger:
    match fact:
        case f.PromptAccepted() | f.CompactionAccepted() | f.FollowUpAccepted():
            return _accepted(ledger, fact)
        case f.EntryEdited() | f.EntryMoved() | f.EntryPromoted() | f.EntryDropped():
            return _edited(ledger, fact)
        case f.QueueParked() | f.QueueResumed():
            return _parked(ledger, fact)
        case f.DeletionStarted():
            assert not ledger.deleting, "K7: deleted twice"
            return replace(ledger, deleting=True)
        case f.RunStarted() | f.SteerJoined() | f.RunEnding() | f.RunRecovered() | f.RunSettled():
            return _run(ledger, fact)
        case f.Replied() | f.SampleFailed() | f.TurnStarted() | f.CompactionStarted() | f.Compacted():
            return _turn(ledger, fact)
        case f.PermissionRequested() | f.PermissionAnswered() | f.CallStarted() | f.CallFinished():
            return _call(ledger, fact)
        case f.QuestionsAsked() | f.QuestionsAnswered() | f.HooksAnswered():
            return _call(ledger, fact)
        case f.WorkspaceKept() | f.RevertStarted() | f.Reverted() | f.RevertUndone():
            return _kept(ledger, fact)
        case f.SettingsChanged(title=str()):
            return replace(ledger, titling=None)
        case f.TitleRequested(prompt=prompt, attempt=attempt):
            assert attempt <= 2, "a model is asked for a title for ever"
            return replace(ledger, titling=(prompt, attempt))
        case f.TitleGiven():
            assert ledger.titling is not None, "a title that nobody asked for"
            cost = ledger.cost + (fact.cost or 0)
            return replace(ledger, titling=None, usage=ledger.usage + fact.usage, cost=cost)
        case _:
            return ledger


# Checkpoints


def _kept(ledger: Ledger, fact: f.WorkspaceKept | f.RevertStarted | f.Reverted | f.RevertUndone) -> Ledger:
    match fact:
        case f.WorkspaceKept(after=True) if ledger.run is not None and ledger.run.run == fact.run:
            return replace(ledger, run=replace(ledger.run, left=True))
        case f.WorkspaceKept(after=True):
            assert ledger.keeping == fact.run, "K8: what a run has left is kept, and nobody waits for it"
            return replace(ledger, keeping=None)
        case f.WorkspaceKept():
            turn = ledger.going(fact.run)
            assert not turn.kept, "K8: the state before a run is kept twice"
            assert any(status == "started" and id in turn.changing for id, status in turn.calls), "K8: kept for nothing"
            return replace(ledger, run=replace(turn, kept=True, restorable=bool(fact.snapshot)), keeping=None)
        case f.RevertStarted():
            assert ledger.reverting is None, "K8: two reverts at once"
            assert ledger.run is None, "K8: a revert in a run"
            assert all(item.parked for item in ledger.waiting), "K8: a revert while busy"
            if fact.undo:
                assert ledger.undoable, "K8: undone, and nothing can be"
                assert fact.to == ledger.reverted[-1][0], "K8: another revert is undone"
            else:
                assert fact.to in ledger.conversation, "K8: to what is no part of the conversation"
            return replace(ledger, reverting=(fact.to, fact.undo), keeping=None)
        case f.Reverted():
            assert ledger.reverting == (fact.to, False), "K8: reverted, and was not to be"
            at = ledger.conversation.index(fact.to)
            gone = (fact.to, ledger.conversation[at:], ledger.crowded)
            return replace(
                ledger,
                reverting=None,
                conversation=ledger.conversation[:at],
                reverted=(*ledger.reverted, gone),
                undoable=ledger.undoable + 1,
                crowded=False,
            )
        case f.RevertUndone():
            assert ledger.reverting == (fact.to, True), "K8: undone, and was not to be"
            _, back, crowded = ledger.reverted[-1]
            return replace(
                ledger,
                reverting=None,
                conversation=(*ledger.conversation, *back),
                reverted=ledger.reverted[:-1],
                undoable=ledger.undoable - 1,
                crowded=crowded,
            )


# The queue


def _accepted(ledger: Ledger, fact: f.PromptAccepted | f.CompactionAccepted | f.FollowUpAccepted) -> Ledger:
    assert not ledger.deleting, "K7: accepted in a session that is being deleted"
    match fact:
        case f.PromptAccepted(prompt=prompt):
            assert prompt not in dict(ledger.fates), f"A3: {prompt} is accepted twice"
            joins = ledger.run.run if fact.delivery == "steer" and ledger.run and ledger.run.ending is None else None
            assert fact.run == joins, f"I7: {prompt} is to join {fact.run}, not {joins}"
            item = Item(
                prompt,
                "prompt",
                ledger.seq,
                prompt,
                fact.text,
                joins is not None,
                limits=fact.limits,
                origin=fact.origin,
            )
            fates = (*ledger.fates, (prompt, Fate(ledger.seq)))
            return replace(ledger, waiting=(*ledger.waiting, item), fates=fates)
        case f.CompactionAccepted(entry=entry):
            assert all(item.kind != "compaction" for item in ledger.waiting), "I8: a second waiting compaction"
            return replace(ledger, waiting=(*ledger.waiting, Item(entry, "compaction", ledger.seq, entry)))
        case f.FollowUpAccepted():
            assert ledger.last is not None, "K3: a follow-up of nothing"
            run, outcome, last = ledger.last
            assert (fact.run, outcome) == (run, "interrupted"), "K3: a follow-up of a run that was not interrupted"
            assert ledger.run is None, "K3: a follow-up does not go before the queue"
            assert last.kind != "compaction", "K3: a compaction is followed up"
            assert (fact.prompt, fact.count) == (last.prompt, last.resumed + 1), "K3: of another prompt, or miscounted"
            assert fact.count <= FOLLOW_UPS, "K3: followed up for ever"
            seq = dict(ledger.fates)[fact.prompt].seq  # C2: who cancels what was accepted until then means this, too
            item = Item(fact.entry, "follow_up", seq, fact.prompt, resumed=fact.count, origin="recovery")
            return replace(ledger, waiting=(item, *ledger.waiting))


def _edited(ledger: Ledger, fact: f.EntryEdited | f.EntryMoved | f.EntryPromoted | f.EntryDropped) -> Ledger:
    item = ledger.item(fact.entry)
    rest = tuple(other for other in ledger.waiting if other is not item)
    match fact:
        case f.EntryEdited():
            text = item.text if fact.text is None else fact.text
            steer = item.steer if fact.delivery is None else fact.run is not None
            if fact.run is not None:
                assert fact.delivery == "steer", "Q1: a run to join, and no steer"
                ledger.going(fact.run, "I7")
            edited = replace(item, text=text, steer=steer)
            return replace(ledger, waiting=tuple(edited if other is item else other for other in ledger.waiting))
        case f.EntryMoved(before=None):
            return replace(ledger, waiting=(*rest, item))
        case f.EntryMoved(before=before):
            at = rest.index(ledger.item(str(before)))
            return replace(ledger, waiting=(*rest[:at], item, *rest[at:]))
        case f.EntryPromoted():
            return replace(ledger, waiting=(replace(item, parked=False, steer=False), *rest))
        case f.EntryDropped():
            assert fact.text == item.text, "C6: the fact does not keep the text"
            fates = ledger.fate(item.id, Fate(item.seq, end="dropped")) if item.kind == "prompt" else ledger.fates
            return replace(ledger, waiting=rest, fates=fates)


def _parked(ledger: Ledger, fact: f.QueueParked | f.QueueResumed) -> Ledger:
    if isinstance(fact, f.QueueResumed):
        return replace(ledger, parked=False, waiting=tuple(replace(item, parked=False) for item in ledger.waiting))
    for entry in fact.entries:
        assert not ledger.item(entry).parked, f"Q2: {entry} is parked twice"
    waiting = tuple(
        replace(item, parked=True, steer=False) if item.id in fact.entries else item for item in ledger.waiting
    )
    return replace(ledger, waiting=waiting, parked=True)


# A run


def _run(ledger: Ledger, fact: f.RunStarted | f.SteerJoined | f.RunEnding | f.RunRecovered | f.RunSettled) -> Ledger:
    match fact:
        case f.RunStarted():
            return _started(ledger, fact)
        case f.SteerJoined(run=run, prompt=prompt):
            turn, item = ledger.going(run), ledger.item(prompt)
            first = next(other for other in ledger.waiting if other.steer)
            assert item is first, f"I3, I7: {prompt} joins, and {first.id} is next"
            assert turn.doing == "calls", "I7: a steer joins in the middle of a sample"
            return replace(
                ledger,
                waiting=tuple(other for other in ledger.waiting if other is not item),
                run=replace(turn, joined=(*turn.joined, prompt)),
                fates=ledger.fate(prompt, Fate(item.seq, run)),
            )
        case f.RunEnding(run=run):
            turn = ledger.busy_turn(run)
            if turn.ending is not None:
                assert turn.ending[0] == "completed", "I9: a cancelled run is ended again"
                assert fact.outcome == "cancelled", "I9: a run that ends is ended again"
            return replace(ledger, run=replace(turn, ending=(fact.outcome, fact.stop_reason)))
        case f.RunRecovered(run=run):
            turn = ledger.going(run, "K3")
            assert not turn.recovered, "K3: due again, twice"
            assert not turn.shown, "K3: it had left something, and is asked again"
            return replace(ledger, run=replace(turn, recovered=True))
        case f.RunSettled():
            return _settled(ledger, fact)


def _started(ledger: Ledger, fact: f.RunStarted) -> Ledger:
    assert ledger.run is None, "I2: a second run"
    assert not ledger.deleting, "K7: a run starts in a session that is being deleted"
    item = ledger.item(fact.entry)
    first = next((other for other in ledger.waiting if not other.parked), None)
    assert item is first, f"I3, Q2: {item.id} starts, and {first.id if first else 'nothing'} is next"
    assert fact.entry_kind == item.kind, "F1: the fact names another kind of entry"
    assert all(fate.run != fact.run for _, fate in ledger.fates), "I2: the name of a run is used again"
    turn = Turn(fact.run, item)
    if item.kind == "compaction":
        turn = replace(turn, doing="compact", upto=ledger.seq)
    fates = ledger.fate(item.id, Fate(item.seq, fact.run)) if item.kind == "prompt" else ledger.fates
    waiting = tuple(other for other in ledger.waiting if other is not item)
    assert ledger.reverting is None, "K8: a run starts before a revert is done"
    said = (item.id,) if item.kind == "prompt" else ()
    conversation = (*ledger.conversation, *said)
    return replace(ledger, waiting=waiting, run=turn, fates=fates, conversation=conversation, undoable=0)


def _settled(ledger: Ledger, fact: f.RunSettled) -> Ledger:
    turn = ledger.busy_turn(fact.run)
    assert all(status == "done" for _, status in turn.calls), "I5: a call without a result"
    assert turn.restorable or not turn.left, "K8: kept for nothing"
    if turn.ending is not None:
        assert (fact.outcome, fact.stop_reason) == turn.ending, "I9: it settles otherwise than it was to end"
    fates = tuple(
        (prompt, replace(fate, end=fact.outcome) if prompt in turn.prompts else fate) for prompt, fate in ledger.fates
    )
    return replace(
        ledger,
        run=None,
        last=(fact.run, fact.outcome, turn.item),
        waiting=tuple(replace(item, steer=False) for item in ledger.waiting),
        fates=fates,
        keeping=fact.run if turn.restorable and not turn.left else ledger.keeping,
    )


# A turn


def _turn(
    ledger: Ledger, fact: f.Replied | f.SampleFailed | f.TurnStarted | f.CompactionStarted | f.Compacted
) -> Ledger:
    turn = ledger.busy_turn(fact.run)
    match fact:
        case f.Replied():
            assert (turn.doing, turn.turn, turn.attempt) == ("sample", fact.turn, fact.attempt), "I5: a second reply"
            assert fact.message == f"{turn.run}-{turn.turn}-{turn.attempt}", "I5: the message has another name"
            stopped = fact.reply.stop_reason in ("cancelled", "interrupted")
            ledger = replace(ledger, crowded=fact.crowded or (ledger.crowded and stopped))
            calls = tuple((call.id, "new") for call in fact.reply.calls)
            turn = replace(turn, doing="calls", calls=calls, shown=True, overflowed=False, replies=turn.replies + 1)
            return _paid(replace(ledger, run=turn), fact.reply)
        case f.SampleFailed():
            ledger.going(fact.run, "C9")
            assert turn.doing != "calls", "I5: a failure without a sample"
            assert (turn.turn, turn.attempt) == (fact.turn, fact.attempt), "I5: a failure of another attempt"
            again = fact.retry_at is not None
            shown = turn.shown or (fact.reply is not None and bool(fact.reply.parts))
            turn = replace(turn, attempt=turn.attempt + again, backing_off=again or turn.backing_off, shown=shown)
            return _paid(replace(ledger, run=turn), fact.reply or Reply())
        case f.TurnStarted():
            ledger.going(fact.run)
            assert (turn.doing, turn.turn + 1) == ("calls", fact.turn), "I5: a turn that does not follow"
            assert all(status == "done" for _, status in turn.calls), "I5: a call without a result"
            assert not any(item.steer for item in ledger.waiting), "I7: a steer is left out of the next sample"
            turn = replace(turn, turn=fact.turn, attempt=1, doing="sample", backing_off=False, calls=())
            return replace(ledger, run=turn)
        case f.CompactionStarted():
            ledger.going(fact.run)
            assert fact.upto < ledger.seq, "I8: it covers what is not there yet"
            assert all(status == "done" for _, status in turn.calls), "I8: it compacts open calls"
            turn = replace(turn, doing="compact", attempt=turn.attempt + 1, upto=fact.upto, backing_off=False)
            return replace(ledger, run=replace(turn, overflowed=True, calls=()))
        case f.Compacted():
            assert (turn.doing, turn.upto) == ("compact", fact.upto), "I8: a summary of something else"
            assert fact.message == f"{turn.run}-{turn.turn}-{turn.attempt}", "I8: the summary has another name"
            paid = Reply(usage=fact.usage, cost=fact.cost)
            turn = replace(turn, doing="calls", calls=(), shown=True)
            return _paid(replace(ledger, run=turn, crowded=False), paid)


def _paid(ledger: Ledger, reply: Reply) -> Ledger:
    assert ledger.run is not None
    spent = Spent(reply.usage, reply.cost or Decimal(0))
    run = replace(ledger.run, spent=ledger.run.spent + spent)
    return replace(ledger, run=run, usage=ledger.usage + spent.usage, cost=ledger.cost + spent.cost)


CallFact = (
    f.HooksAnswered
    | f.PermissionRequested
    | f.PermissionAnswered
    | f.QuestionsAsked
    | f.QuestionsAnswered
    | f.CallStarted
    | f.CallFinished
)


def _call(ledger: Ledger, fact: CallFact) -> Ledger:
    turn = ledger.busy_turn(fact.run)
    match fact:
        case f.HooksAnswered():
            ledger.going(fact.run)
            was = "new" if fact.event == "PreToolUse" else "started"
            turn = turn.with_call(fact.call, was, (was,), "C7: hooks are asked at another time")
        case f.PermissionRequested() | f.QuestionsAsked():
            ledger.going(fact.run)
            turn = turn.with_call(fact.call, "asked", ("new",), "T6")
        case f.PermissionAnswered() | f.QuestionsAnswered():
            ledger.going(fact.run, "T6")
            turn = turn.with_call(fact.call, "answered", ("asked",), "T6")
        case f.CallStarted():
            ledger.going(fact.run)
            for id, status in turn.calls:  # in order; only what changes nothing runs side by side
                if id == fact.call:
                    break
                assert status == "done" or id in turn.concurrent, f"a call passes {id}, which is {status}"
            turn = turn.with_call(fact.call, "started", ("new", "answered"), "K3: started twice")
            if fact.concurrent:
                turn = replace(turn, concurrent=turn.concurrent | {fact.call})
            if fact.changes:
                turn = replace(turn, changing=turn.changing | {fact.call})
        case f.CallFinished():
            denied = (
                fact.result.status == "denied" and (fact.call, "answered") not in turn.calls
            )  # else a person said no
            turn = turn.with_call(fact.call, "done", ("new", "asked", "answered", "started"), "I5: a second result")
            first = sum(status == "done" for _, status in turn.calls) == 1
            turn = replace(turn, denied=denied and (first or turn.denied))
            return _paid(replace(ledger, run=turn), Reply(usage=fact.spent.usage, cost=fact.spent.cost))
    return replace(ledger, run=turn)
