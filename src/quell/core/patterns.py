"""The text of a permission rule, and what it covers.

    rule     subject | subject(pattern)
    subject  the name of a tool: bash, edit, view … or a kind of tool: kind:read, kind:edit …
             Of tools of servers, `*` stands for any characters after `mcp_`: mcp_github_*, mcp_*_search. They take no pattern.
    pattern  of bash and kind:execute: commands, separated by `;`. A word `*` stands for any number of words, also none;
             a `*` inside a word for any characters. Quotes, as in a shell, make everything between them literal.
             of what asks a server: its host, `docs.python.org`, `*.python.org` for all below it, `localhost:8080`.
             of everything else: a path, relative to the workspace, absolute, or from `~`. `**` stands for any number of
             folders, also none; `*` and `?` for characters within one name; a `/` at the end for `/**`.

Rules: patterns and what they are held against are the same thing, a tuple of steps (the words of a command, the names
on a path), so that one algorithm answers both "does it match?" and "is it narrower than that one?". The second answer
is yes only when it is sure: two patterns that merely overlap are not ordered. What follows from a match is the business
of `permissions`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import get_args

from msgspec import Struct

from quell.core.errors import InvalidRequest
from quell.core.mcp import is_of_servers
from quell.core.messages import ToolKind

Steps = tuple[str, ...]

# Wildcards, as they stand in steps. No rule holds these characters, and no path or word of a command the first of them.
ANY = "\x00"
ONE = "\x01"
MANY = "\x00\x00"

KINDS: tuple[str, ...] = get_args(ToolKind)
COMMAND_SUBJECTS = frozenset({"bash", "kind:execute"})
HOST_SUBJECTS = frozenset({"fetch", "agentic_fetch", "download", "web_fetch", "kind:fetch"})

_SUBJECT = re.compile(r"mcp_[A-Za-z0-9_.*-]+|(?:kind:)?[A-Za-z_][A-Za-z0-9_.-]*")
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[\w*-]+(\.[\w*-]+)*\.?|[0-9a-fA-F:.]+:[0-9a-fA-F:.]*)(:(\d+|\*))?")
_BARE_WORD = re.compile(r"[^\s*;'\"\\()]+")
_EXAMPLES = "Write a tool, or a tool with a pattern: edit, edit(docs/**), bash(npm run *), kind:read"


class Pattern(Struct, frozen=True):
    """A rule, parsed. `commands` are the alternatives of a command pattern. Neither they nor `path`: everything."""

    subject: str
    commands: tuple[Steps, ...] | None = None
    path: str | None = None

    @property
    def plain(self) -> bool:
        return self.commands is None and self.path is None


@lru_cache(maxsize=4096)
def parse(text: str) -> Pattern:
    """Raises `InvalidRequest`, which says what is wrong and what is right."""
    text = text.strip()
    if ANY in text or ONE in text:
        raise _wrong(text, "it holds a control character")
    subject, opened, rest = text.partition("(")
    if not _SUBJECT.fullmatch(subject):
        raise _wrong(
            text, f"{subject!r} is not the name of a tool" if subject else "it does not begin with the name of a tool"
        )
    if subject.startswith("kind:") and subject[5:] not in KINDS:
        raise _wrong(text, f"there is no kind {subject[5:]!r}; the kinds are {', '.join(KINDS)}")
    if not opened:
        return Pattern(subject)
    if not rest.endswith(")"):
        raise _wrong(text, "the parenthesis is not closed at its end")
    pattern = rest[:-1].strip()
    if is_of_servers(subject):
        raise _wrong(
            text, f"what a tool of a server touches is not known, so that it takes no pattern; write {subject}"
        )
    if not pattern:
        raise _wrong(text, f"nothing is between the parentheses; for everything, write {subject}")
    if subject in COMMAND_SUBJECTS:
        return Pattern(subject, commands=_commands(text, pattern))
    if subject in HOST_SUBJECTS and not _HOST.fullmatch(pattern):
        raise _wrong(text, "a pattern of it is a host, such as docs.python.org, *.python.org, localhost:8080 or [::1]")
    if ".." in pattern.split("/"):
        raise _wrong(text, "paths are compared after `..` is resolved, so that a pattern with it never matches")
    return Pattern(subject, path=pattern)


def _wrong(text: str, why: str) -> InvalidRequest:
    return InvalidRequest(f"{text!r} is not a permission rule: {why}. {_EXAMPLES}")


def _commands(text: str, pattern: str) -> tuple[Steps, ...]:
    """The alternatives. A word is a run of bare characters and quoted pieces, as in a shell."""
    commands: list[Steps] = []
    words: list[str] = []
    word: str | None = None
    at = 0
    while at < len(pattern):
        character = pattern[at]
        at += 1
        if character in "'\"":
            end = pattern.find(character, at)
            if end < 0:
                raise _wrong(text, f"the quote {character} is not closed")
            word = (word or "") + pattern[at:end]
            at = end + 1
        elif character.isspace() or character == ";":
            if word is not None:
                words.append(_many(word))
                word = None
            if character == ";":
                commands.append(tuple(words))
                words = []
        else:
            word = (word or "") + (ANY if character == "*" else character)
    if word is not None:
        words.append(_many(word))
    commands.append(tuple(words))
    if not all(commands):
        raise _wrong(text, "a command is missing beside a `;`; quote the `;` if it belongs to a command")
    return tuple(commands)


def _many(word: str) -> str:
    return MANY if word and not word.strip(ANY) else word


@lru_cache(maxsize=4096)
def path_steps(pattern: str, root: str, home: str, whole_folders: bool) -> Steps | None:
    """The steps of a path pattern; None when it is relative to something that is not known.

    With `whole_folders`, for rules that take away, what is in a matched folder is matched, too, and an unknown
    beginning may be anything.
    """
    anchor: Steps | None
    if pattern == "~" or pattern.startswith("~/"):
        anchor, pattern = (path_names(home) if home else None), pattern[1:]
    elif pattern.startswith("/"):
        anchor = ()
    else:
        anchor = path_names(root) if root else None
    if anchor is None:
        if not whole_folders:
            return None
        anchor = (MANY,)
    steps = tuple(MANY if name == "**" else _wild(name) for name in path_names(pattern))
    steps = anchor + steps
    return with_contents(steps) if whole_folders or pattern.endswith("/") else steps


@lru_cache(maxsize=4096)
def host_pattern(pattern: str, whole_domains: bool) -> Steps:
    """The steps of a pattern for hosts. With `whole_domains`, for rules that take away, it stands for all below it, too."""
    port, *labels = host_steps(pattern)
    wild = [MANY if label == "*" and len(labels) == 1 else _wild(label) for label in labels]
    if len(labels) > 1 and labels[-1] == "*":
        wild = [*wild[:-1], ANY, MANY]  # at least one label, and any more
    steps = (ANY if port == ":" else _wild(port), *wild)
    return with_contents(steps) if whole_domains else steps


def host_steps(host: str) -> Steps:
    """The port, then the labels from the last one: what is below a domain is what continues its steps. An address is one label."""
    name, port = host.lower().rstrip("."), ""
    if match := re.fullmatch(r"(\[.*\]|[^:]*):(\d+|\*)", name):
        name, port = match[1].rstrip("."), match[2]
    name = name.strip("[]")
    labels = [name] if ":" in name or re.fullmatch(r"[\d.*]*\d[\d.*]*", name) else name.split(".")[::-1]
    return (f":{port}", *labels)


def subject_covers(broad: str, narrow: str) -> bool:
    """Whether a rule's subject is another one's, too."""
    return broad == narrow or ("*" in broad and covers((_wild(broad),), (_wild(narrow),)))


def with_contents(steps: Steps) -> Steps:
    """The path and, if it is a folder, all that is in it."""
    return steps if steps[-1:] == (MANY,) else (*steps, MANY)


def is_wild(step: str) -> bool:
    return ANY in step or ONE in step


def path_names(path: str) -> Steps:
    """The steps of a path."""
    return tuple(name for name in path.split("/") if name not in ("", "."))


def _wild(name: str) -> str:
    return re.sub(r"\*+", ANY, name).replace("?", ONE)


def covers(broad: Steps, narrow: Steps) -> bool:
    """All that `narrow` matches, `broad` matches, too. Real words and names, without wildcards, match themselves."""
    return _covers(broad, narrow, MANY, _step_covers)


def _step_covers(broad: str, narrow: str) -> bool:
    if broad == narrow:
        return True
    if narrow == MANY or not is_wild(broad):
        return False
    return _covers(broad, narrow, ANY, _character_covers)


def _character_covers(broad: str, narrow: str) -> bool:
    return broad == narrow or (broad == ONE and narrow != ANY)


def _covers(broad: Sequence[str], narrow: Sequence[str], wild: str, one: Callable[[str, str], bool]) -> bool:
    """Wildcard matching, going back to the last wildcard only: time grows with the product of the lengths at worst.

    A wildcard in `narrow` is just one more symbol, which nothing but a wildcard covers.
    """
    b = n = 0
    mark: tuple[int, int] | None = None
    while n < len(narrow):
        if b < len(broad) and broad[b] == wild:
            mark = (b, n)
            b += 1
        elif b < len(broad) and one(broad[b], narrow[n]):
            b += 1
            n += 1
        elif mark is not None:
            mark = (mark[0], mark[1] + 1)
            b, n = mark[0] + 1, mark[1]
        else:
            return False
    return all(step == wild for step in broad[b:])


def command_text(words: Sequence[str], *, more: bool = False) -> str:
    """The pattern that matches exactly these words; with `more`, whatever follows them, too."""
    shown = " ".join(_quoted(word) for word in words)
    return f"{shown} *" if more else shown


def _quoted(word: str) -> str:
    if _BARE_WORD.fullmatch(word):
        return word
    if "'" not in word:
        return f"'{word}'"
    if '"' not in word:
        return f'"{word}"'
    return "".join(f'"{piece}"' if piece.startswith("'") else f"'{piece}'" for piece in re.findall(r"'+|[^']+", word))
