"""The ghost ledger: what clients asked for and were told, which the audit holds a journal against.

Times are seconds of whatever clock the journal's facts are told in.
"""

from __future__ import annotations

from msgspec import Struct

from quell.core import inputs as i


class Submission(Struct):
    """A prompt, and the answers to it: more than one when it was repeated."""

    session: str
    prompt: str
    text: str
    answers: list[i.Accepted]


class Cancelling(Struct):
    """A cancel: asked at a time, and answered, refused or lost at another."""

    session: str
    input: i.Cancel
    asked: float
    ended: float = float("inf")
    covered: i.Covered | None = None


class Ghost:
    """What clients were told. `deleting` are the sessions whose deletion was asked for, `deleted` those of which it was acknowledged."""

    def __init__(self) -> None:
        self.submissions: dict[str, Submission] = {}
        self.cancels: list[Cancelling] = []
        self.interrupts: list[Cancelling] = []
        self.deleted: set[str] = set()
        self.deleting: set[str] = set()
        self.restless: list[str] = []
