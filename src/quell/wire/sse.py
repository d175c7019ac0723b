"""The event stream, as bytes and back: `text/event-stream` of the facts of a session, and of what is not recorded.

    fact(recorded), event(value) -> bytes      what the server writes
    Decoder().feed(bytes) -> frames            what a client reads, cut anywhere
    parse(frame) -> value                      a frame as the value that it carries

Rules: only facts carry an `id`, which is their `seq` (contract E1); everything else is ephemeral and not replayed (E2). An event whose
blank line never came is not delivered. Reconnecting, and what a follower does with deltas, is the business of `client.follow`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Literal

import msgspec
from msgspec import Struct

from quell.core.events import Deleted, Delta, DraftPart, Reset
from quell.core.facts import Recorded
from quell.core.session import Summary
from quell.wire import facts

HEARTBEAT = b": still here\n\n"
HEARTBEAT_SECONDS = 15.0
"""How often a stream with nothing to say shows that it is alive. Whoever hears nothing for three of them may give it up."""

Ephemeral = Delta | DraftPart | Reset | Deleted | Summary
Kind = Literal["delta", "draft", "reset", "deleted", "session"]
EPHEMERAL: Mapping[str, type[Ephemeral]] = {
    "delta": Delta,
    "draft": DraftPart,
    "reset": Reset,
    "deleted": Deleted,
    "session": Summary,
}

_encoder = msgspec.json.Encoder()


def fact(recorded: Recorded) -> bytes:
    return b"id: %d\nevent: fact\ndata: %b\n\n" % (recorded.seq, facts.encode(recorded))


def event(kind: Kind, value: Struct) -> bytes:
    """JSON has no line ends in it, so one `data` line is enough."""
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), _encoder.encode(value))


class Frame(Struct, frozen=True):
    """One event as it came: its name, its `id` if it has one, its `data` lines joined."""

    kind: str
    id: str | None
    content: bytes


class Decoder:
    """Bytes in, whole frames out. Line ends may be LF, CR or CRLF, and a cut may be anywhere."""

    def __init__(self) -> None:
        self._cut: list[bytes] = []
        self._after_cr = False
        self._at_start = True
        self._kind = "message"
        self._id: str | None = None
        self._lines: list[bytes] = []

    def feed(self, chunk: bytes) -> list[Frame]:
        if self._after_cr and chunk:  # the rest of a CRLF that was cut in the middle
            self._after_cr = False
            chunk = chunk.removeprefix(b"\n")
        if b"\n" not in chunk and b"\r" not in chunk:
            self._cut.append(chunk)
            return []
        lines = b"".join((*self._cut, chunk)).splitlines(keepends=True)
        self._cut = [] if lines[-1].endswith((b"\n", b"\r")) else [lines.pop()]
        self._after_cr = chunk.endswith(b"\r")
        frames = (self._line(line.rstrip(b"\r\n")) for line in lines)
        return [frame for frame in frames if frame is not None]

    def _line(self, line: bytes) -> Frame | None:
        if self._at_start:
            self._at_start = False
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line:
            return self._end()
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        match name:
            case b"data":
                self._lines.append(value)
            case b"event":
                self._kind = value.decode("utf-8", "replace")
            case b"id" if b"\0" not in value:
                self._id = value.decode("utf-8", "replace")
            case _:
                pass  # a comment, which is a heartbeat, or a field that is not for us
        return None

    def _end(self) -> Frame | None:
        frame = Frame(self._kind, self._id, b"\n".join(self._lines)) if self._lines else None
        self._kind, self._id, self._lines = "message", None, []
        return frame


def parse(frame: Frame) -> Recorded | Ephemeral | None:
    """The value that a frame carries; None for a kind that only a newer server knows (contract F1)."""
    if frame.kind == "fact":
        return facts.decode(frame.content)
    kind = EPHEMERAL.get(frame.kind)
    return None if kind is None else _decoder(kind).decode(frame.content)


@cache
def _decoder(kind: type[Ephemeral]) -> msgspec.json.Decoder[Ephemeral]:
    """Made on first use: the server, which imports this as well, has none."""
    return msgspec.json.Decoder(kind)
