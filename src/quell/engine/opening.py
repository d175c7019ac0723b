"""Opening a session: from its newest snapshot, if that fits its facts, and the facts after it (contract F2).

A snapshot is never trusted over the facts: the fact that it ends with has to be in the journal, at the time that the snapshot says.
"""

from __future__ import annotations

from collections.abc import Sequence

from quell.core.facts import Recorded
from quell.core.ports import Journal, Snapshot
from quell.core.session import Session
from quell.core.transcript import Transcript
from quell.core.view import View
from quell.core.view import apply as apply_to_view
from quell.wire import snapshots


async def open_session(journal: Journal, id: str) -> tuple[Session, Transcript, Sequence[Recorded]]:
    """What a snapshot says, and the facts that are to be applied to it; without a snapshot, nothing and all of them."""
    snapshot = await journal.snapshot(id)
    kept = snapshots.state(snapshot)
    if snapshot is not None and kept is not None:
        after = await _after(journal, id, snapshot)
        if after is not None:
            return *kept, after
    return Session(), Transcript(), await journal.read(id)


async def open_view(journal: Journal, id: str, upto: int) -> View:
    """The view after the fact numbered `upto`, or after the last one before it that there is."""
    snapshot = await journal.snapshot(id)
    view = snapshots.view(snapshot)
    after = None
    if snapshot is not None and view is not None and snapshot.seq <= upto:
        after = await _after(journal, id, snapshot, upto)
    if view is None or after is None:
        view, after = View(), await journal.read(id, 0, upto)
    for recorded in after:
        apply_to_view(view, recorded)
    return view


async def _after(journal: Journal, id: str, snapshot: Snapshot, upto: int | None = None) -> Sequence[Recorded] | None:
    """The facts after a snapshot; None when the one that it ends with is not the journal's."""
    before = snapshot.seq - 1
    facts = await journal.read(id, before, None if upto is None else upto - before)
    fits = bool(facts) and (facts[0].seq, facts[0].at) == (snapshot.seq, snapshot.at)
    return facts[1:] if fits else None
