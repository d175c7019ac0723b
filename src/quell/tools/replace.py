"""Where a model's `old_string` is in a file, and what to put there: pure.

First the text exactly as sent. Then, because models get white space wrong more often than words, whole lines that are equal but for white
space; the new lines are indented as the file is. Then the same without the line numbers that `view` shows. If it is nowhere, or in several
places, the model is told where something like it is.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise

from msgspec import Struct

from quell.tools.text import Change, Document

_NUMBERED = re.compile(r"^ *\d+\|", re.MULTILINE)
_CANDIDATES = 3
_FUZZY_LINES = 20_000
_EXCERPT = 12


class NoMatch(Exception):
    """The text is nowhere, or in too many places; the message says where something like it is."""


class Replacement(Struct, frozen=True):
    changes: tuple[Change, ...]
    note: str = ""


def locate(document: Document, old: str, new: str, *, everywhere: bool) -> Replacement:
    """The changes that replace `old` by `new`. Raises `NoMatch`."""
    if document.crlf:
        old, new = old.replace("\r\n", "\n"), new.replace("\r\n", "\n")
    if old == new:
        raise NoMatch("old_string and new_string are the same: there is nothing to change.")
    found = _exact(document.text, old, new, everywhere)
    if found is None:
        found = _by_lines(document.text, old, new, everywhere)
    if found is None and _is_numbered(old):
        plain_new = _NUMBERED.sub("", new) if _is_numbered(new) else new
        found = _without_numbers(document.text, _NUMBERED.sub("", old), plain_new, everywhere)
    if found is None:
        raise NoMatch(_nearest(document.text, old))
    return found


def _without_numbers(text: str, old: str, new: str, everywhere: bool) -> Replacement | None:
    found = _exact(text, old, new, everywhere) or _by_lines(text, old, new, everywhere)
    if found is None:
        return None
    return Replacement(found.changes, "The line numbers of `view` in old_string were left out.")


def _exact(text: str, old: str, new: str, everywhere: bool) -> Replacement | None:
    positions: list[int] = []
    position = text.find(old)
    while position >= 0:
        positions.append(position)
        position = text.find(old, position + len(old))
    if not positions:
        return None
    if len(positions) > 1 and not everywhere:
        raise NoMatch(_ambiguous([text.count("\n", 0, each) + 1 for each in positions]))
    return Replacement(tuple(Change(each, each + len(old), new) for each in positions))


# Whole lines, white space aside


def _by_lines(text: str, old: str, new: str, everywhere: bool) -> Replacement | None:
    wanted = _trimmed(old.split("\n"))
    if not wanted:
        return None
    lines = text.split("\n")
    starts = list(_windows([_key(line) for line in lines], [_key(line) for line in wanted]))
    if not starts:
        return None
    if len(starts) > 1 and not everywhere:
        raise NoMatch(_ambiguous([start + 1 for start in starts]) + " (White space was not compared.)")
    offsets = [0]
    for line in lines:
        offsets.append(offsets[-1] + len(line) + 1)
    changes = []
    for start in starts:
        there = lines[start : start + len(wanted)]
        end = offsets[start + len(wanted)] - 1
        if not new.strip("\n"):
            changes.append(Change(offsets[start], min(end + 1, len(text)), ""))
        else:
            changes.append(Change(offsets[start], end, _indented(_trimmed(new.split("\n")), wanted, there, lines)))
    note = "old_string differs from the file in white space; the lines were matched without it and the new ones indented as the file is."
    return Replacement(tuple(changes), note)


def _key(line: str) -> str:
    return " ".join(line.split())


def _trimmed(lines: list[str]) -> list[str]:
    """Without the empty lines at both ends."""
    start, end = 0, len(lines)
    while start < end and not lines[start].strip():
        start += 1
    while end > start and not lines[end - 1].strip():
        end -= 1
    return lines[start:end]


def _windows(keys: Sequence[str], wanted: Sequence[str]) -> Iterator[int]:
    """Where `wanted` begins in `keys`; matches do not overlap."""
    after = 0
    for start in range(len(keys) - len(wanted) + 1):
        if start >= after and keys[start] == wanted[0] and list(keys[start : start + len(wanted)]) == list(wanted):
            yield start
            after = start + len(wanted)


def _indented(new: Sequence[str], old: Sequence[str], there: Sequence[str], lines: Sequence[str]) -> str:
    """The new lines with the file's indentation for the model's, as the lines that both have show it."""
    known: dict[str, str] = {}
    for mine, real in zip(old, there, strict=True):
        if mine.strip():
            known.setdefault(_indent(mine), _indent(real))
    unit = _unit(old), _unit(lines)
    kept: dict[str, str] = {}
    for mine, real in zip(old, there, strict=True):
        # The same line in two ways: which is meant is not known.
        kept[mine] = real if kept.get(mine, real) == real else ""
    result = []
    for line in new:
        if not line.strip():
            result.append("")
        elif kept.get(line):
            result.append(kept[line])  # not changed by the model: not changed in the file, to the last blank
        else:
            result.append(_mapped(_indent(line), known, unit) + line.lstrip(" \t"))
    return "\n".join(result)


def _mapped(indent: str, known: dict[str, str], unit: tuple[str, str]) -> str:
    if indent in known:
        return known[indent]
    shifts = {there.removesuffix(sent) if there.endswith(sent) else None for sent, there in known.items()}
    if len(known) > 1 and len(shifts) == 1 and (shift := shifts.pop()) is not None:
        return shift + indent  # all that is known was moved by the same; steps can mislead, as in ` * ` of a comment
    mine, real = unit
    shorter = [each for each in known if indent.startswith(each)]
    if shorter:
        nearest = max(shorter, key=len)
        rest = indent[len(nearest) :]
        return known[nearest] + (real * (len(rest) // len(mine)) if mine and len(rest) % len(mine) == 0 else rest)
    longer = [each for each in known if each.startswith(indent)]
    if longer:
        nearest = min(longer, key=len)
        steps = len(nearest[len(indent) :]) // len(mine) if mine else 0
        return known[nearest][: max(0, len(known[nearest]) - steps * len(real))]
    return indent


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip(" \t"))]


def _unit(lines: Sequence[str]) -> str:
    """One step of indentation: a tab, or the commonest difference between indented lines in spaces."""
    indents = [_indent(line) for line in lines if line.strip()]
    if any(indent.startswith("\t") for indent in indents):
        return "\t"
    steps = Counter(abs(len(a) - len(b)) for a, b in pairwise(indents) if len(a) != len(b))
    lengths = [len(indent) for indent in indents if indent]
    if steps:
        return " " * steps.most_common(1)[0][0]
    return " " * min(lengths, default=4)


# What to say when there is no match


def _is_numbered(text: str) -> bool:
    lines = text.strip("\n").split("\n")
    return all(_NUMBERED.match(line) for line in lines)


def _ambiguous(lines: Sequence[int]) -> str:
    shown = ", ".join(str(line) for line in lines[:10]) + (", …" if len(lines) > 10 else "")
    return (
        f"old_string is there {len(lines)} times, at lines {shown}. Add lines before or after it until it is unique,"
        " or set replace_all to true."
    )


def _nearest(text: str, old: str) -> str:
    lines = text.split("\n")
    wanted = _trimmed(old.split("\n"))
    message = "old_string is not in the file."
    if not wanted:
        return f"{message} It is only white space; send the lines around it, too."
    starts = _likely(lines, wanted)
    if not starts:
        return f"{message} No line of it is similar to a line of the file; view the file and copy the text from there."
    excerpts = [_excerpt(lines, wanted, start) for start in starts]
    return (
        f"{message} The nearest places are:\n"
        + "\n".join(excerpts)
        + "\nCopy the text exactly, without the line numbers."
    )


def _likely(lines: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """Where the most lines are right; else where a line is similar."""
    at: dict[str, list[int]] = {}
    for number, line in enumerate(lines):
        at.setdefault(_key(line), []).append(number)
    votes: Counter[int] = Counter()
    for index, line in enumerate(wanted):
        key = _key(line)
        if len(key) > 1:
            for number in at.get(key, ())[:50]:
                votes[max(0, number - index)] += 1
    if votes:
        return [start for start, _ in sorted(votes.items(), key=lambda item: (-item[1], item[0]))[:_CANDIDATES]]
    index, longest = max(enumerate(_key(line) for line in wanted), key=lambda item: len(item[1]))
    near = difflib.get_close_matches(longest, [key for key in at if key][:_FUZZY_LINES], n=_CANDIDATES, cutoff=0.6)
    return sorted(max(0, at[key][0] - index) for key in near)


def _excerpt(lines: Sequence[str], wanted: Sequence[str], start: int) -> str:
    there = lines[start : start + min(len(wanted), _EXCERPT)]
    numbered = [f"{number:6}|{line[:200]}" for number, line in enumerate(there, start + 1)]
    for number, (mine, real) in enumerate(zip(wanted, there, strict=False), start + 1):
        if _key(mine) != _key(real):
            around = _around_difference(mine.strip(), real.strip())
            numbered.append(
                f"       line {number} differs: the file has {real.strip()[around]!r}, you sent {mine.strip()[around]!r}"
            )
            break
    return "\n".join(numbered)


def _around_difference(mine: str, real: str) -> slice:
    same = next(
        (index for index, (a, b) in enumerate(zip(mine, real, strict=False)) if a != b), min(len(mine), len(real))
    )
    return slice(max(0, same - 30), same + 90)
