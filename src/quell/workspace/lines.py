"""How many lines come and go between two contents; what is no text, or too long to be compared in no time, has none."""

from __future__ import annotations

from difflib import SequenceMatcher

_BYTES = 1024 * 1024
_LINES = 4_000
"""Where more lines than this differ, all of them are counted."""


def count(before: bytes, after: bytes) -> tuple[int | None, int | None]:
    """Additions and removals."""
    if len(before) + len(after) > _BYTES or b"\0" in before or b"\0" in after:
        return None, None
    old, new = before.split(b"\n"), after.split(b"\n")
    first = _shared(old, new)
    del old[:first], new[:first]
    last = _shared(old[::-1], new[::-1])
    old, new = old[: len(old) - last], new[: len(new) - last]
    if len(old) + len(new) > _LINES:
        return len(new), len(old)
    matching = sum(block.size for block in SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks())
    return len(new) - matching, len(old) - matching


def _shared(old: list[bytes], new: list[bytes]) -> int:
    """How many lines at the beginning are the same."""
    return next(
        (n for n, (mine, theirs) in enumerate(zip(old, new, strict=False)) if mine != theirs), min(len(old), len(new))
    )
