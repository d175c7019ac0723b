"""What an event stream carries beside facts: text that still streams, and the ends of streams.

None of it is recorded, numbered or replayed (contract E2). Offsets and lengths count code points.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

PartKind = Literal["text", "reasoning", "tool_input", "output"]
"""`output` is what a running call prints; the rest are parts of a message."""

OUTPUT_KEPT = 30_000
"""Code points of a running call's output that are held: the last ones. Late followers, and the result of a stopped call, get to see them."""


class Delta(Struct, frozen=True, omit_defaults=True):
    """More of an open part: `text` goes after the first `offset` code points. `output` is of the call named."""

    message: str
    part: int
    kind: PartKind
    offset: int
    text: str
    call: str | None = None
    name: str | None = None


class DraftPart(Struct, frozen=True, omit_defaults=True):
    """An open part so far: where deltas go on from. Of a long output only the end is kept: `start` is the offset of its first character."""

    message: str
    part: int
    kind: PartKind
    text: str
    call: str | None = None
    name: str | None = None
    start: int = 0


class Reset(Struct, frozen=True):
    """The follower is ahead of the journal, whose end is `seq`: what it holds is of something else."""

    seq: int


class Deleted(Struct, frozen=True):
    """The session is gone; nothing of it comes after this."""

    session: str
