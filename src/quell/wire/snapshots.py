"""Snapshots as bytes: what the facts of a session fold to, to go on from (contract F2).

Rules: a snapshot is a convenience. It is readable by the code that wrote it and by no other: its version is a digest of the
core's modules, so that a change to any of them makes all of them again. What cannot be read is no error, it is no snapshot. Whether it fits
the facts is for the reader of the journal to see.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any, TypeGuard, TypeVar, get_type_hints

import msgspec
from msgspec import Struct
from rpds import HashTrieMap

import quell.core
from quell.core.ports import Snapshot
from quell.core.session import Session
from quell.core.transcript import Transcript, TranscriptState
from quell.core.view import View

T = TypeVar("T")

_encoder = msgspec.msgpack.Encoder()
_states = msgspec.msgpack.Decoder(tuple[msgspec.Raw, msgspec.Raw])


@cache
def _decoder(kind: type[T]) -> msgspec.msgpack.Decoder[T]:
    """Made on first use, as `_kept` is: looking through all that a session is made of takes milliseconds, and no start needs it."""
    return msgspec.msgpack.Decoder(kind)


@cache
def _kept() -> type[Struct]:
    """A session's form: the persistent maps are all in it that has none of its own as bytes, and are kept as plain ones."""
    kinds = get_type_hints(Session, localns={"HashTrieMap": dict})
    return msgspec.defstruct("_Kept", [(name, kinds[name]) for name in Session.__struct_fields__])


def _plain(session: Session) -> Struct:
    values = (getattr(session, name) for name in Session.__struct_fields__)
    return _kept()(*(dict(value.items()) if isinstance(value, HashTrieMap) else value for value in values))


def _session(kept: Struct) -> Session:
    values: dict[str, Any] = {}
    for name in Session.__struct_fields__:
        value = getattr(kept, name)
        values[name] = HashTrieMap(value) if isinstance(value, dict) else value
    return Session(**values)


@cache
def version() -> str:
    """Of the code that runs. Empty when it cannot be told: then no snapshot is readable, and none is worth keeping."""
    digest = hashlib.sha256(msgspec.__version__.encode())
    try:
        digest.update(Path(__file__).read_bytes())
        for module in sorted(Path(quell.core.__file__).parent.glob("*.py")):
            digest.update(module.read_bytes())
    except OSError:
        return ""
    return digest.hexdigest()


def encode(session: Session, transcript: Transcript) -> bytes:
    """Both at the same fact."""
    return _encoder.encode((_plain(session), transcript.state))


def snapshot(session: Session, state: bytes, view: View) -> Snapshot:
    """`state` is of that session, as `encode` made it, and the view of the same fact."""
    return Snapshot(session.seq, session.updated, version(), state, _encoder.encode(view))


def _is_readable(snapshot: Snapshot | None) -> TypeGuard[Snapshot]:
    return snapshot is not None and snapshot.version == version() != ""


def state(snapshot: Snapshot | None) -> tuple[Session, Transcript] | None:
    """None when it cannot be read."""
    if not _is_readable(snapshot):
        return None
    try:
        first, second = _states.decode(snapshot.state)
        session, transcript = (
            _session(_decoder(_kept()).decode(first)),
            Transcript.of(_decoder(TranscriptState).decode(second)),
        )
    except (msgspec.DecodeError, ValueError):
        return None
    return (session, transcript) if session.seq == snapshot.seq else None


def view(snapshot: Snapshot | None) -> View | None:
    """None when it cannot be read."""
    if not _is_readable(snapshot):
        return None
    try:
        read: View = _decoder(View).decode(snapshot.view)
    except (msgspec.DecodeError, ValueError):
        return None
    return read
