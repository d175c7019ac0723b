"""What happened in a simulation, told as a conversation: who did what, and what the journal recorded, at which virtual time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import msgspec

from quell.core.facts import Recorded


class Story:
    """Lines in the order in which they happened. `digest` tells two runs of one seed apart, if they are not the same."""

    def __init__(self, time: Callable[[], float]) -> None:
        self.lines: list[str] = []
        self._time = time

    def say(self, who: str, what: str) -> None:
        self.lines.append(f"{self._time():9.3f}  {who:<8} {what}")

    def recorded(self, session: str, recorded: Recorded) -> None:
        self.say("journal", tell(session, recorded))

    def digest(self) -> str:
        return hashlib.sha256("\n".join(self.lines).encode()).hexdigest()[:16]


def tell(session: str, recorded: Recorded) -> str:
    """A fact as a line."""
    fields = msgspec.to_builtins(recorded.fact)
    kind = fields.pop("kind")
    told = ", ".join(f"{name}={_short(value)}" for name, value in fields.items() if name != "digest")
    return f"{session}#{recorded.seq} {kind} {told}"


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 80 else text[:79] + "…"
