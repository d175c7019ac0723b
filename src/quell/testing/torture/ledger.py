"""What a client notes, as lines of JSON in a file of its own: before it asks, and when it was told.

Each line is written at once, so that a client that is killed has noted what it asked for. Times are seconds of the wall clock, as the
journal's are.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from quell.core.facts import Delivery
from quell.core.view import View
from quell.wire import api


class Submitting(Struct, frozen=True, tag=True):
    prompt: str
    text: str
    delivery: Delivery


class Cancelling(Struct, frozen=True, tag=True):
    cancellation: api.Cancellation


class Interrupting(Struct, frozen=True, tag=True):
    """Promoting an entry, and cancelling what runs."""

    entry: str


class Waiting(Struct, frozen=True, tag=True):
    prompt: str
    seconds: float


class EndingJob(Struct, frozen=True, tag=True):
    job: str


class Deleting(Struct, frozen=True, tag=True):
    pass


class Doing(Struct, frozen=True, tag=True):
    """Whatever else; its answer is not held against anything."""

    what: str


What = Submitting | Cancelling | Interrupting | Waiting | EndingJob | Deleting | Doing


class Asked(Struct, frozen=True, tag=True):
    """`number` names the request in this file."""

    at: float
    number: int
    session: str
    what: What


class Told(Struct, frozen=True, tag=True):
    """The answer, as it came, or the code of the error."""

    at: float
    number: int
    answer: msgspec.Raw = msgspec.Raw(b"null")
    error: str | None = None


class Held(Struct, frozen=True, tag=True):
    """What a follower holds of a session: its view, from the item `start` on, after the fact `seq`. None: the session has ended for it."""

    at: float
    session: str
    by: Literal["following", "facts"]
    seq: int
    start: int
    view: View | None


class Reached(Struct, frozen=True, tag=True):
    """The client has done what it was told in its `word`th order."""

    at: float
    word: int


class Wrong(Struct, frozen=True, tag=True):
    """Something that a client has seen and that must not be."""

    at: float
    session: str
    text: str


Line = Asked | Told | Held | Reached | Wrong


class Ledger:
    """The file of one client, to write to."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._asked = time.time_ns()

    def write(self, line: Line) -> None:
        os.write(self._file, msgspec.json.encode(line) + b"\n")

    def asks(self, session: str, what: What) -> int:
        """Note a request that is about to be sent; its number."""
        self._asked += 1
        self.write(Asked(time.time(), self._asked, session, what))
        return self._asked

    def told(self, number: int, answer: object) -> None:
        self.write(Told(time.time(), number, msgspec.Raw(msgspec.json.encode(answer))))

    def refused(self, number: int, code: str) -> None:
        self.write(Told(time.time(), number, error=code))

    def wrong(self, session: str, text: str) -> None:
        self.write(Wrong(time.time(), session, text))


class Reader:
    """The file of one client, to read on from where it was read last."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0

    def news(self) -> Iterator[Line]:
        """Every line that was not read before. The last one of a client that was killed may be cut off: it is left."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._read)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.splitlines():
            yield msgspec.json.decode(line, type=Line)
