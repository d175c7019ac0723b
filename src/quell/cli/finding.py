"""What `quell doctor` says of one thing that it has looked at."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Health = Literal["ok", "note", "bad"]


class Finding(Struct, frozen=True):
    """`mend` says what to do where something is to be done."""

    health: Health
    what: str
    found: str
    mend: str = ""
