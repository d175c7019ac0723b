"""Globs as people write them: `*`, `?`, `[a-z]`, `[!a]`, `{py,md}`, and `**` for any number of folders.

A glob without a slash fits a name in any folder; one with a slash fits the whole path from the folder searched. This is not the syntax of
`.gitignore` files; that is `ignore`.
"""

from __future__ import annotations

import re

_STARS = re.compile(r"\*([^*/{},\[\\]+)(?=\*(?!\*))")
"""A star, then what it has to be followed by, then another star, all in one name."""


def compile_glob(pattern: str) -> re.Pattern[str]:
    """An expression for `fullmatch` on relative paths. Raises `ValueError` with the reason."""
    cleaned = pattern.removeprefix("./").lstrip("/")
    if not cleaned:
        raise ValueError("the glob is empty")
    if "/" not in cleaned:
        cleaned = f"**/{cleaned}"
    if cleaned.endswith("/"):
        cleaned += "**"
    try:
        return re.compile(_translate(cleaned), re.DOTALL)
    except re.error as error:
        raise ValueError(f"the glob {pattern!r} cannot be read: {error}") from None


def _translate(pattern: str) -> str:
    out: list[str] = []
    depth = 0
    position = 0
    while position < len(pattern):
        rest = pattern[position:]
        character = rest[0]
        length = 1
        if rest.startswith("**/") and (position == 0 or pattern[position - 1] == "/"):
            out.append("(?:[^/]+/)*")
            length = 3
        elif rest.startswith("**"):
            out.append(".*")
            length = 2
        elif match := _STARS.match(rest):
            # The shortest way to the next star is as good as any: without trying the others again, no glob is slow.
            out.append(f"(?>[^/]*?{_translate(match[1])})")
            length = match.end(1)
        elif character == "*":
            out.append("[^/]*")
        elif character == "?":
            out.append("[^/]")
        elif character == "[" and (end := rest.find("]", 2)) > 0:
            out.append(_character_class(rest[1:end]))
            length = end + 1
        elif character in "{}," and (character == "{" or depth):
            out.append({"{": "(?:", ",": "|", "}": ")"}[character])
            depth += {"{": 1, ",": 0, "}": -1}[character]
        elif character == "\\" and len(rest) > 1:
            out.append(re.escape(rest[1]))
            length = 2
        else:
            out.append(re.escape(character))
        position += length
    if depth:
        raise ValueError(f"the glob {pattern!r} has a '{{' without its '}}'")
    return "".join(out)


def _character_class(inside: str) -> str:
    negated = inside[0] in "!^"
    body = inside[1:] if negated else inside
    escaped = (
        body.replace("\\", "\\\\").replace("[", "\\[").replace("^", "\\^").replace("&&", "&\\&").replace("~~", "~\\~")
    )
    return f"[{'^/' if negated else ''}{escaped}]"
