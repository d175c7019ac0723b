"""Facts as JSON: what the journal keeps and what the event stream sends, byte for byte the same.

    {"seq":17,"at":"2026-11-02T09:30:00.000Z","kind":"run_started","v":1,"run":"r17",…}

Rules: one fact is one flat object without line breaks, `seq`, `at`, `kind` and `v` first, fields at their defaults left
out. A change to the fields of a kind, an added one included, raises its version, so that an older quell refuses what it
would misread. What was written is never rewritten: an older version is brought up to date when it is read.
Contract F1.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, get_args

import msgspec
from msgspec import Struct

from quell.core.errors import StorageRefused
from quell.core.facts import AnyFact, Recorded

KINDS: dict[str, type[AnyFact]] = {str(kind.__struct_config__.tag): kind for kind in get_args(AnyFact)}

CHANGED: dict[str, int] = {}
"""The kinds whose fields have changed since their first release, and their present version."""

VERSIONS: dict[str, int] = dict.fromkeys(KINDS, 1) | CHANGED

Raw = dict[str, Any]
"""A fact as it was parsed, with `kind` and `v`; known to nobody but the upcasts."""

Upcast = Callable[[Raw], Raw]

UPCASTS: dict[tuple[str, int], Upcast] = {}
"""From a kind and version to something newer: a new object with a higher `v`, or with another `kind`."""


class UnknownFact(StorageRefused):
    """Written by a newer quell. Whoever only looks may skip it; whoever decides must not."""

    def __init__(self, seq: int, kind: str, version: int) -> None:
        super().__init__(
            f"Fact {seq} ({kind}, version {version}) was written by a newer quell, and this one cannot read it. "
            "Nothing was changed. Update quell, then try again."
        )
        self.seq = seq
        self.kind = kind
        self.version = version


class _Head(Struct, frozen=True):
    seq: int
    at: str
    kind: str
    v: int = 1


_encoder = msgspec.json.Encoder()
_heads = msgspec.json.Decoder(_Head)


@cache
def _facts() -> msgspec.json.Decoder[AnyFact]:
    """Made on first use: looking through all the facts takes milliseconds, and a start with nothing to recover reads none."""
    return msgspec.json.Decoder(AnyFact)


def _openings() -> dict[type[AnyFact], tuple[int, bytes]]:
    """For every kind: how long the opening of its own JSON is, and what stands there in ours."""
    openings: dict[type[AnyFact], tuple[int, bytes]] = {}
    for kind, fact in KINDS.items():
        own = _encoder.encode({"kind": kind})[:-1]
        openings[fact] = len(own), b',%b,"v":%d' % (own[1:], VERSIONS[kind])
    return openings


_opening = _openings()


def encode(recorded: Recorded) -> bytes:
    """One line of the journal, without a line break."""
    fact = recorded.fact
    length, opening = _opening[type(fact)]
    return b'{"seq":%d,"at":%b%b%b' % (
        recorded.seq,
        _encoder.encode(recorded.at),
        opening,
        _encoder.encode(fact)[length:],
    )


def decode(line: bytes) -> Recorded:
    """Raises `UnknownFact` for what a newer quell wrote, `StorageRefused` for what is no fact."""
    try:
        head = _heads.decode(line)
        if VERSIONS.get(head.kind) != head.v:
            return Recorded(head.seq, head.at, _upcast(head, msgspec.json.decode(line)))
        return Recorded(head.seq, head.at, _facts().decode(line))
    except msgspec.DecodeError as error:
        raise StorageRefused(
            f"This is no readable fact ({error}): {_excerpt(line)}. The journal was damaged, or written by something "
            "else; restore it from a copy."
        ) from error


def make_decoder() -> None:
    """In the thread of the event loop, before another one calls `decode` (see `store.rows`)."""
    _facts()


def _upcast(head: _Head, raw: Raw) -> AnyFact:
    """Step by step to the present version."""
    kind, version = head.kind, head.v
    while VERSIONS.get(kind) != version:
        upcast = UPCASTS.get((kind, version))
        if upcast is None:
            raise UnknownFact(head.seq, head.kind, head.v)
        raw = upcast(raw)
        kind, version = raw["kind"], raw["v"]
    return msgspec.convert(raw, KINDS[kind])


def _excerpt(line: bytes) -> str:
    text = line[:80].decode("utf-8", "replace")
    return repr(text) + ("…" if len(line) > 80 else "")
