"""What must hold between a session and its sub-agents when a simulation has come to rest (contract T4, K7)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from quell.core import facts as f
from quell.core.evolve import fold
from quell.core.ports import Journal
from quell.core.session import child_id
from quell.testing.audit import CANCEL_SETTLES


async def audit_families(
    journal: Journal,
    sessions: Collection[str],
    landed: Mapping[str, Sequence[float]],
    troubled: Sequence[tuple[float, float]],
) -> list[str]:
    """Everything that is wrong. `sessions` are those that clients made, `landed` is when each fact was written; see `Settled` for `troubled`."""
    rows = {row.id: row.parent for row in await journal.summaries(limit=10_000) if row.id not in sessions}
    wrong: list[str] = []
    for child, parent in rows.items():
        records = await journal.read(child)
        of_parent = await journal.read(parent) if parent is not None else ()
        if parent is None or not of_parent:
            wrong.append(f"K7: {child} has outlived {parent}")
        else:
            times = landed[child], landed[parent]
            wrong.extend(f"{child}: {finding}" for finding in audit_child(child, records, of_parent, times, troubled))
    return wrong


def audit_child(
    child: str,
    records: Sequence[f.Recorded],
    of_parent: Sequence[f.Recorded],
    landed: tuple[Sequence[float], Sequence[float]],
    troubled: Sequence[tuple[float, float]],
) -> Iterator[str]:
    """What is wrong with a sub-agent at rest. `landed`: when its facts were written, and its parent's."""
    state, parent = fold(records), fold(of_parent)
    if state.busy:
        yield "liveness: a sub-agent is busy for ever"
    if any(isinstance(recorded.fact, f.RunRecovered | f.FollowUpAccepted) for recorded in records):
        yield "T4: it went on by itself"
    settled = [at for recorded, at in zip(records, landed[0], strict=True) if isinstance(recorded.fact, f.RunSettled)]
    ends = [
        (at, recorded.fact)
        for recorded, at in zip(of_parent, landed[1], strict=True)
        if isinstance(recorded.fact, f.CallFinished) and child_id(parent.id, recorded.fact.call) == child
    ]
    if len(settled) != 1 or len(ends) != 1:
        yield f"T4: its task ended {len(settled)} times, its call {len(ends)} times"
        return
    [(at, end)] = ends
    # Its parent does not wait for ever for what the disk refuses to take, or takes long for (C7), and cannot count it.
    if any(begun < at and over > at - CANCEL_SETTLES for begun, over in troubled):
        return
    if at < settled[0]:
        yield f"T4: its call ended at {at}, it at {settled[0]}"
    elif (end.spent.usage, end.spent.cost) != (state.usage, state.cost):
        yield f"T4: it spent {state.usage}, and its parent counts {end.spent.usage}"
