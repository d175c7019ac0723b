"""A unified diff for screens, and how many lines came and went. Cheap also in a large file: only the part that differs is compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

from msgspec import Struct

_CONTEXT = 3
_TEXT = 50_000
"""Characters of a diff that are kept."""
_LINES = 4_000
"""When more lines than this differ, the diff is one block: comparing them would take longer than the edit."""


class Diff(Struct, frozen=True):
    text: str
    additions: int
    removals: int


def compare(name: str, before: str, after: str) -> Diff:
    old, new = _lines(before), _lines(after)
    first = _shared(old, new)
    last = min(_shared(old[::-1], new[::-1]), min(len(old), len(new)) - first)
    skipped = max(0, first - _CONTEXT)
    kept = max(0, last - _CONTEXT)
    old, new = old[skipped : len(old) - kept], new[skipped : len(new) - kept]
    additions = removals = size = 0
    lines = [f"--- a/{name}", f"+++ b/{name}"]
    for line in _unified(old, new, skipped):
        additions += line[0] == "+"
        removals += line[0] == "-"
        size += len(line) + 1
        if size <= _TEXT:
            lines.append(line)
    if size > _TEXT:
        lines.append("… (the rest of the diff is left out)")
    return Diff("\n".join(lines) + "\n" if size else "", additions, removals)


def _lines(text: str) -> list[str]:
    lines = text.split("\n")
    if lines[-1]:
        lines[-1] += "\n\\ No newline at end of file"  # part of the line: with and without it, two lines differ
        return lines
    return lines[:-1]


def _shared(old: Sequence[str], new: Sequence[str]) -> int:
    """How many lines at the beginning are the same."""
    count = 0
    for mine, theirs in zip(old, new, strict=False):
        if mine != theirs:
            break
        count += 1
    return count


def _unified(old: Sequence[str], new: Sequence[str], skipped: int) -> Iterator[str]:
    if len(old) + len(new) > _LINES:
        yield f"@@ -{skipped + 1},{len(old)} +{skipped + 1},{len(new)} @@"
        yield from (f"-{line}" for line in old)
        yield from (f"+{line}" for line in new)
        return
    for group in SequenceMatcher(None, old, new, autojunk=False).get_grouped_opcodes(_CONTEXT):
        (_, a1, _, b1, _), (_, _, a2, _, b2) = group[0], group[-1]
        yield f"@@ -{a1 + skipped + 1},{a2 - a1} +{b1 + skipped + 1},{b2 - b1} @@"
        for tag, i1, i2, j1, j2 in group:
            if tag == "equal":
                yield from (f" {line}" for line in old[i1:i2])
            else:
                yield from (f"-{line}" for line in old[i1:i2])
                yield from (f"+{line}" for line in new[j1:j2])
