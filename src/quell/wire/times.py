"""Times as facts, answers and the states of jobs hold them: RFC 3339, UTC, milliseconds, a `Z` at the end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


def as_text(moment: datetime) -> str:
    """`moment` has to be in UTC."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def now() -> str:
    return as_text(datetime.now(UTC))


def later(at: str, seconds: float) -> str:
    """The time `seconds` after `at`."""
    return as_text(datetime.fromisoformat(at) + timedelta(seconds=seconds))
