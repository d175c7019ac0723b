"""Variables in settings: `$NAME`, `${NAME}`, `${NAME:-what it is otherwise}`; `$$` is a dollar.

Nothing is run to find a value. One that is not set and has no other value is an error, and not an empty text: a server that is asked
without its key says something else than what is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_VARIABLE = re.compile(
    r"\$(?:(?P<dollar>\$)|(?P<plain>[A-Za-z_]\w*)|\{(?P<name>[A-Za-z_]\w*)(?::-(?P<other>[^}]*))?\})"
)


class Unset(Exception):
    """A variable that is needed is not set; the text says which."""


def expand(text: str, environment: Mapping[str, str]) -> str:
    """Raises `Unset`."""

    def value(match: re.Match[str]) -> str:
        if match["dollar"]:
            return "$"
        name = match["plain"] or match["name"]
        found = environment.get(name, "")
        if not found and match["other"] is None:
            raise Unset(f"${name} is not set")
        return found or match["other"]

    return _VARIABLE.sub(value, text)


def needed(text: str) -> list[str]:
    """The variables in it that have to be set."""
    return [match["plain"] or match["name"] for match in _VARIABLE.finditer(text) if _has_to_be_set(match)]


def _has_to_be_set(match: re.Match[str]) -> bool:
    return not match["dollar"] and match["other"] is None


def written(text: str) -> str:
    """What of it stands there itself: a variable is nothing, but for what it is otherwise."""
    return _VARIABLE.sub(lambda match: "$" if match["dollar"] else match["other"] or "", text)
