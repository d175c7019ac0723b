"""Keys: which variables hold them, so that tools do not see them, and how they are kept out of a log.

Rules: a value is secret because of the variable or the setting that it was found in: one that holds a provider's key, which
tools do not see, or one whose name says so (`…_TOKEN`, `…_PASSWORD`), which they see but cannot show; of an address, the password in it. What merely looks
like a key is hidden in logs, too, but nothing else follows from its looks. The names of the known variables are given
by the caller.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from urllib.parse import unquote

from quell.config.expand import Unset, expand, written
from quell.config.settings import McpSettings, Settings
from quell.core.redaction import HIDDEN

SHORTEST = 8
"""Characters. A shorter value is no key, and hiding it would spoil every text that it happens to occur in."""

_LOOKS_SECRET = re.compile(
    r"""(?P<before>
        \bBearer\ +
      | \b(?:x-)?api[-_]?key["']?\ *[:=]\ *["']?
      | \bauthorization["']?\ *[:=]\ *["']?(?:Basic\ +)?
    )(?!Bearer\b)[^\s"',;]{8,}
    | \b(?:sk|pk|rk|gsk|xai|key)-[A-Za-z0-9_-]{16,}
    | \bAIza[A-Za-z0-9_-]{30,}
    """,
    re.IGNORECASE | re.VERBOSE,
)


_SAYS_SECRET = re.compile(
    r"(?:^|_)(?:(?:API|ACCESS|PRIVATE|SECRET|SIGNING|ENCRYPTION|MASTER|DEPLOY|AUTH)_?KEY|PASS(?:PHRASE)?|(?:PG)?PASSW(?:OR)?D|SSHPASS|SECRET|TOKEN"
    r"|PAT|AUTH)$|.._PWD$",
    re.IGNORECASE,
)
_PASSWORD_IN_ADDRESS = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s/:@]*:([^\s/]+)@", re.IGNORECASE)

_PASSWORD_ASKED_WITH = re.compile(r"://[^\s?]*\?(?:[^\s]*&)?password=([^\s&]+)", re.IGNORECASE)
"""As a database's address may have it."""


class Secrets:
    """Every value that was found to be secret since the process began: what its log must not show."""

    def __init__(self) -> None:
        self.known: set[str] = set()

    def add(self, values: Iterable[str]) -> frozenset[str]:
        found = frozenset(values)
        self.known |= found
        return found


def key_variables(known: Iterable[str], settings: Settings) -> frozenset[str]:
    """The variables that hold keys: the `known` ones, and those that the settings name."""
    named = (settings.search.api_key_env, *(provider.api_key_env for provider in settings.providers.values()))
    return frozenset(known) | {name for name in named if name}


def secret_values(environment: Mapping[str, str], variables: Collection[str], settings: Settings) -> frozenset[str]:
    """The keys themselves, as far as they are long enough to be one."""
    found = {environment.get(name, "") for name in variables}
    for name, value in environment.items():
        if _SAYS_SECRET.search(name) and not value.startswith("/"):  # a path leads to one, and is none
            found.update(piece for piece in value.split() if "-----" not in piece)
        found.update(passwords(value))
    found.add(settings.search.api_key or "")
    found.update(passwords(settings.network.proxy or ""))
    found.update(passwords(settings.server.database or ""))
    for provider in settings.providers.values():
        found.add(provider.api_key or "")
        found.update(provider.headers.values())
    for server in settings.mcp.values():
        found.update(_of_server(server, environment))
    return frozenset(value for value in found if len(value) >= SHORTEST)


def _of_server(server: McpSettings, environment: Mapping[str, str]) -> Iterator[str]:
    """What is sent to it as a header, or given to it in a variable whose name says that it is secret."""
    told = [*server.headers.values(), *(value for name, value in server.env.items() if _SAYS_SECRET.search(name))]
    for text in (*told, server.url):
        try:
            value = expand(text, environment)
        except Unset:
            continue
        yield from value.split() if text is not server.url else passwords(value)


def holds_key(server: McpSettings) -> bool:
    """Whether one is written in its settings; a variable only refers to one."""
    headers = (_SCHEME.sub("", written(value).strip()) for value in server.headers.values())
    return any(headers) or any(
        written(value).strip() if _SAYS_SECRET.search(name) else _looks_secret(written(value))
        for name, value in server.env.items()
    )


def _looks_secret(text: str) -> bool:
    return any(passwords(text)) or redacted(text) != text


_SCHEME = re.compile(r"(bearer|basic|token|apikey)$", re.IGNORECASE)
"""What stands before a key in a header, and is none by itself."""


def passwords(value: str) -> Iterable[str]:
    """Those in the addresses in a value, as they are written there and as they are sent."""
    written = (*_PASSWORD_IN_ADDRESS.findall(value), *_PASSWORD_ASKED_WITH.findall(value)) if "://" in value else ()
    for password in written:
        yield from (password, unquote(password))


def redacted(text: str, secrets: Collection[str] = ()) -> str:
    """`text` for a log: without the secrets, and without what looks like one."""
    for secret in sorted(secrets, key=len, reverse=True):  # one may be a part of another
        text = text.replace(secret, HIDDEN)
    return _LOOKS_SECRET.sub(lambda match: f"{match['before'] or ''}{HIDDEN}", text)
