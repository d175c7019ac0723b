"""When two states are the same: the key of a state leaves out what the machine cannot tell apart, or never looks at again.

Exploring one of two states with the same key loses nothing, because each move from one is, up to names, a move from the other
with the same facts and a state of the same key after it:

- **Names.** Ids of prompts, runs, messages, calls and requests, and `seq` itself, are only compared, never computed with but for the
  next, fresh one. What is kept is which are equal, and the order of acceptance of what waits or runs (`upto` compares it).
- **Turn and attempt** only name effects; a later one is a fresh name. That an old one decides nothing is tried in every state, see `probes`.
- **What has ended** (outcomes of runs, records of ended prompts, requests of calls that are done) is read by repeats only, which are
  tried in every state as well; no decision on anything else reads it.
- **Sums and settings** (usage, cost, title, model, mode) are carried along and never read; a run's cost is, where there is a limit.
- **The ledger** is compared with the state after every move, so it differs only in what the machine forgot too.
- `upto` of a compaction is compared for equality with its own effect only.

`tests/core/test_exploration.py` compares with the search without any of this, in a small world: the same kinds of moves are found.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple

from quell.core.session import Calling, Compacting, Entry, PromptRecord, Run, Sampling, Session


class StateKey(NamedTuple):
    """What tells a state from others."""

    parked: bool
    crowded: bool
    deleting: bool
    rules: int
    titled: Hashable
    waiting: Hashable
    run: Hashable
    past: Hashable


def key(session: Session, *, reverts: bool = False) -> StateKey:
    """The key of a state; where there are `reverts`, with what there is to go back to, and forth."""
    run = session.run
    seqs = sorted({entry.seq for entry in session.waiting} | ({run.entry.seq} if run else set()))
    rank = {seq: number for number, seq in enumerate(seqs)}
    kept = None if run is None else session.checkpoints.get(run.id)
    return StateKey(
        session.parked,
        session.crowded,
        session.deleting,
        len(session.rules),
        (bool(session.title), session.titling and session.titling.attempt),
        tuple(_entry(entry, rank) for entry in session.waiting),
        None if run is None else (*_run(run, rank), kept and bool(kept.before)),
        (session.unkept is not None, _past(session) if reverts else None),
    )


def _past(session: Session) -> Hashable:
    """What prompts are to go back to, in order; what runs have a checkpoint, and what was reverted."""
    ranks = {record.seq: n for n, record in enumerate(sorted(session.prompts.values(), key=lambda record: record.seq))}
    names = {id: ranks[record.seq] for id, record in session.prompts.items()}
    said = sorted(
        (ranks[record.seq], record.run is not None, record.joined, _hidden(session, record))
        for record in session.prompts.values()
    )
    reverting = session.reverting
    return (
        tuple(said),
        reverting and (names[reverting.to], reverting.undo, bool(reverting.target)),
        session.undoable,
        tuple((names[revert.to], bool(revert.target), revert.crowded) for revert in session.reverts),
    )


def _hidden(session: Session, record: PromptRecord) -> bool:
    started = int(record.run[1:]) if record.run is not None else 0
    return any(revert.since <= started <= revert.upto for revert in session.reverts)


def _entry(entry: Entry, rank: dict[int, int]) -> Hashable:
    return (
        entry.kind,
        entry.origin,
        rank[entry.seq],
        entry.run is not None,
        entry.parked,
        entry.resumed,
        entry.text == "other",
    )


def _run(run: Run, rank: dict[int, int]) -> tuple[Hashable, ...]:
    limits = run.entry.limits
    phase: Hashable
    match run.phase:
        case Sampling(not_before):
            phase = not_before is None
        case Compacting(_, not_before):
            phase = ("compacting", not_before is None)
        case Calling(calls):
            phase = tuple(
                (call.status, call.concurrent, call.changes, call.denied, bool(call.questions)) for call in calls
            )
    return (
        phase,
        _entry(run.entry, rank),
        len(run.joined),
        run.replied,
        run.recovered,
        run.overflowed,
        run.denied,
        run.ending and (run.ending.outcome, run.ending.stop_reason),
        0 if limits.turns is None else run.replies,
        0 if limits.cost is None else run.spent.cost,
    )
