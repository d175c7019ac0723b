"""Takes secrets out of text: whole, in pieces, and when they arrive in pieces.

Rules: what counts is the characters, not where they stand. A piece of a secret of `FRAGMENT` characters or more is hidden like all of it, so
that cutting, wrapping or truncating an output lets nothing useful through. Which values are secret is decided elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from msgspec.structs import replace

from quell.core.messages import ToolResult

HIDDEN = "[hidden]"
ANCHOR = 6
FRAGMENT = 12
"""Characters. Shorter pieces of a longer secret are shown: they occur elsewhere, too, as the beginnings that all keys of a kind have."""


class Redactor:
    """Hides the given secrets, each of at least `ANCHOR` characters; without any it changes nothing."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        # Every piece that is long enough holds one of its secret's anchors, which are few and quick to look for.
        self._anchors: dict[str, list[tuple[str, int]]] = {}
        self._starts: set[str] = set()
        for secret in secrets:
            size = min(FRAGMENT, len(secret))
            for at in range(0, len(secret) - ANCHOR + 1, FRAGMENT - ANCHOR if len(secret) > FRAGMENT else len(secret)):
                self._anchors.setdefault(secret[at : at + ANCHOR], []).append((secret, at))
            self._starts |= {
                secret[at : at + length] for at in range(len(secret) - size + 1) for length in range(1, size)
            }
        either = "|".join(map(re.escape, sorted(self._anchors)))
        self._any = re.compile(either) if either else None
        # Looked for without using it up, because anchors may overlap. Slower: used where there is one.
        self._all = re.compile(f"(?=({either}))")

    def text(self, text: str) -> str:
        return _hide(text, self._spans(text))

    def result(self, result: ToolResult) -> ToolResult:
        """What a tool found out, its metadata included."""
        if self._any is None:
            return result
        images = tuple(replace(image, name=self.text(image.name)) for image in result.images)
        return replace(result, text=self.text(result.text), metadata=self._value(result.metadata), images=images)

    def stream(self, emit: Callable[[str], None]) -> Stream:
        return Stream(self, emit)

    def settled(self, text: str) -> int:
        """How much of the text is certain whatever follows it: the rest may be the beginning of a secret."""
        end = len(text)
        for length in range(min(FRAGMENT - 1, len(text)), 0, -1):
            if text[-length:] in self._starts:
                end = len(text) - length
                break
        spans = self._spans(text)
        return min(end, spans[-1][0]) if spans and spans[-1][1] >= end else end

    def _spans(self, text: str) -> list[tuple[int, int]]:
        first = self._any.search(text) if self._any is not None else None
        found = sorted(
            span
            for match in (self._all.finditer(text, first.start()) if first else ())
            for secret, at in self._anchors[match[1]]
            if (span := _grown(text, match.start(), secret, at)) is not None
        )
        spans: list[tuple[int, int]] = []
        for start, end in found:
            if spans and start <= spans[-1][1]:
                spans[-1] = (spans[-1][0], max(end, spans[-1][1]))
            else:
                spans.append((start, end))
        return spans

    def _value(self, value: Any) -> Any:
        match value:
            case str():
                return self.text(value)
            case dict():
                return {name: self._value(entry) for name, entry in value.items()}
            case list() | tuple():
                return [self._value(entry) for entry in value]
            case _:
                return value


class Stream:
    """Text that comes in pieces: what may be the beginning of a secret waits for what follows. `close` at the end."""

    def __init__(self, redactor: Redactor, emit: Callable[[str], None]) -> None:
        self._redactor = redactor
        self._emit = emit
        self._waiting = ""

    def feed(self, text: str) -> None:
        text = self._waiting + text
        end = self._redactor.settled(text)
        self._waiting = text[end:]
        self._send(text[:end])

    def close(self) -> None:
        waiting, self._waiting = self._waiting, ""
        self._send(waiting)

    def _send(self, text: str) -> None:
        if text:
            self._emit(self._redactor.text(text))


def _grown(text: str, place: int, secret: str, at: int) -> tuple[int, int] | None:
    """As much of the secret around its anchor as is there, if that is enough to be hidden."""
    start, end = place, place + ANCHOR
    while place - start < at and start > 0 and text[start - 1] == secret[at - (place - start) - 1]:
        start -= 1
    while at + end - place < len(secret) and end < len(text) and text[end] == secret[at + end - place]:
        end += 1
    return (start, end) if end - start >= min(FRAGMENT, len(secret)) else None


def _hide(text: str, spans: list[tuple[int, int]]) -> str:
    parts: list[str] = []
    at = 0
    for start, end in spans:
        parts += (text[at:start], HIDDEN)
        at = end
    return "".join((*parts, text[at:])) if spans else text
