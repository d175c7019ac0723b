"""The options of a command as a table says them: which there are, and which of them take a value.

Rules: what is not in the table is not understood; abbreviations of long options never are. A separate value never begins with `-`: programs
differ in whether they would take such a word for the value or for the next option.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct


class Flags(Struct, frozen=True):
    """`plain` are one-letter options without a value, `valued` ones with one, attached or as the next word, and `attached` ones
    that take one only attached. `long` ones ending in `=` take one attached, in `:` either way. `words`: how many others there may be.
    """

    plain: str = ""
    valued: str = ""
    attached: str = ""
    long: frozenset[str] = frozenset()
    words: int | None = None


def named(names: str) -> frozenset[str]:
    """What a table lists, with spaces between."""
    return frozenset(names.split())


def option(flags: Flags, texts: Sequence[str], at: int) -> int | None:
    """Where the option at `at`, with its value, ends; None when it is not understood."""
    text = texts[at]
    if text.startswith("--"):
        name, equals, _ = text[2:].partition("=")
        if equals:
            return at + 1 if f"{name}=" in flags.long or f"{name}:" in flags.long else None
        if f"{name}:" in flags.long:
            return _after_value(texts, at + 1)
        return at + 1 if name in flags.long else None
    for index, letter in enumerate(text[1:], 1):
        if letter in flags.attached:
            return at + 1
        if letter in flags.valued:
            return at + 1 if index < len(text) - 1 else _after_value(texts, at + 1)
        if letter not in flags.plain:
            return None
    return at + 1


def _after_value(texts: Sequence[str], at: int) -> int | None:
    return None if at >= len(texts) or texts[at].startswith("-") else at + 1


def is_option(text: str) -> bool:
    return len(text) > 1 and text.startswith("-")


def fits(flags: Flags, texts: Sequence[str]) -> bool:
    """Whether all of the words are understood."""
    others = at = 0
    while at < len(texts):
        if texts[at] == "--":
            others += len(texts) - at - 1
            break
        if is_option(texts[at]):
            end = option(flags, texts, at)
            if end is None:
                return False
            at = end
        else:
            others += 1
            at += 1
    return flags.words is None or others <= flags.words


def first_word(flags: Flags, texts: Sequence[str]) -> int | None:
    """Where the options end and the first other word stands."""
    at = 0
    while at < len(texts) and is_option(texts[at]):
        if texts[at] == "--":
            return at + 1
        end = option(flags, texts, at)
        if end is None:
            return None
        at = end
    return at
