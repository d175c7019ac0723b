"""What is asked of a journal's writing connection, and what it makes of it, whatever the database is."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from quell.core.errors import StaleOwner, StaleWriter
from quell.core.facts import Recorded
from quell.core.ports import Draft, Snapshot
from quell.core.session import Summary
from quell.store.rules import check_append, recorded_message
from quell.store.thread import Job, Order
from quell.wire.facts import encode


class Line(Struct, frozen=True):
    """A fact as it is written."""

    seq: int
    message: str | None
    body: bytes


class Append(Struct, frozen=True):
    session: str
    expected: int
    lines: tuple[Line, ...]
    summary: Summary
    generation: int | None = None


class SaveDraft(Struct, frozen=True):
    session: str
    message: str
    reply: bytes
    generation: int | None = None


class SaveSnapshot(Struct, frozen=True):
    session: str
    snapshot: Snapshot


class Delete(Struct, frozen=True):
    session: str
    generation: int | None = None


def appended(
    session: str, expected: int, records: Sequence[Recorded], summary: Summary, generation: int | None
) -> Append:
    """Raises `ValueError` for what no journal could keep."""
    check_append(session, expected, records, summary)
    lines = tuple(Line(recorded.seq, recorded_message(recorded.fact), encode(recorded)) for recorded in records)
    return Append(session, expected, lines, summary, generation)


def drafted(session: str, draft: Draft, generation: int | None) -> SaveDraft:
    return SaveDraft(session, draft.message, msgspec.json.encode(draft.reply), generation)


def last_drafts(orders: Sequence[Order[Job]]) -> Sequence[Order[Job]]:
    """Without the drafts that a later one of the same message replaces: those are as good as written."""
    last = {(order.job.session, order.job.message): order for order in orders if isinstance(order.job, SaveDraft)}
    return [
        order
        for order in orders
        if not isinstance(order.job, SaveDraft) or last[order.job.session, order.job.message] is order
    ]


def columns(summary: Summary) -> tuple[int, str, str, str, str, bool, bytes]:
    """A row, but for its id."""
    return (
        summary.seq,
        summary.workspace,
        summary.parent or "",
        summary.title.casefold(),
        summary.updated,
        summary.busy,
        msgspec.json.encode(summary),
    )


def stale_owner(generation: int) -> StaleOwner:
    return StaleOwner(f"Another process has claimed the journal since the claim numbered {generation}.")


def stale_writer(session: str, expected: int) -> StaleWriter:
    return StaleWriter(f"Session {session} is not at fact {expected} any more.")
