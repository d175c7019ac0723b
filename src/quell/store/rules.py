"""What every journal asks of an append, what an append does to a draft, and how a closed journal refuses."""

from __future__ import annotations

from collections.abc import Sequence

from quell.core.errors import StorageRefused
from quell.core.facts import AnyFact, Compacted, Recorded, Replied, SampleFailed
from quell.core.session import Summary


def check_append(session: str, expected: int, records: Sequence[Recorded], summary: Summary) -> None:
    """Raises `ValueError` for an append that no journal could keep: that is a mistake of the caller, not a refusal."""
    if not records:
        raise ValueError("An append without facts: the row must not change unless a fact says so.")
    numbers = [recorded.seq for recorded in records]
    if numbers != list(range(expected + 1, expected + 1 + len(numbers))):
        raise ValueError(f"Facts numbered {numbers} cannot follow number {expected}.")
    if (summary.id, summary.seq) != (session, numbers[-1]):
        raise ValueError(f"The row of {summary.id!r} at {summary.seq} does not belong to {session!r} at {numbers[-1]}.")


def recorded_message(fact: AnyFact) -> str | None:
    """The message that this fact records: its draft is of no use any more."""
    match fact:
        case Replied() | SampleFailed() | Compacted():
            return fact.message
        case _:
            return None


def closed() -> StorageRefused:
    return StorageRefused("The journal was closed: nothing can be read or written any more. Start the server again.")
