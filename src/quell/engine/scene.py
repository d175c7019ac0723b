"""Where an effect plays: all of its session that it may see, and how it says what it found out; and what it works with."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec
from msgspec import Struct

from quell.core import inputs as i
from quell.core.messages import Memo
from quell.core.redaction import Redactor
from quell.engine.ledger import Ledger
from quell.engine.live import Streams
from quell.engine.options import Ports


class Scene(Struct, frozen=True):
    """`gone` says that the session was erased: there is nothing left to record in."""

    ledger: Ledger
    streams: Streams
    post: Callable[[i.Input], None]
    gone: Callable[[], None]
    memo: Memo = msgspec.field(default_factory=Memo)


class Means(Struct, frozen=True):
    """The environment is that of the session's client when the effect began; `redactor` takes out what is secret in it."""

    ports: Ports
    environment: Mapping[str, str]
    redactor: Redactor
