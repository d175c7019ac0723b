"""Search engines: one row each. What is asked, how the answer is read, and where the key is; `guarded` does the asking.

The engine is the user's choice, and so is its address. Nothing is searched with an engine that was not chosen: a question can tell
more than an answer.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlencode, urlsplit

import msgspec
from msgspec import Struct

from quell.core.errors import WebRefused
from quell.core.web import Hit
from quell.web import addresses
from quell.web.addresses import Target
from quell.web.options import SearchOptions

if TYPE_CHECKING:
    from quell.web.exchange import Request

SECONDS = 30
_LONGEST = 2 * 1024 * 1024
_CONFIGURE = 'in the settings, for example provider = "brave" with a key in $BRAVE_API_KEY, under [search]'


class Engine(Struct, frozen=True, kw_only=True):
    """`base_url` is None where only the user knows it. `query` makes what is sent: parameters, or a body for `posts`."""

    name: str
    base_url: str | None
    path: str
    variables: tuple[str, ...] = ()
    posts: bool = False
    query: Callable[[str, int], dict[str, object]]
    credentials: Callable[[str], dict[str, str]] = lambda key: {}
    read: Callable[[bytes], Sequence[Hit]]


# How answers are read


class _Found(Struct, frozen=True):
    """A result, whatever its engine calls the text."""

    url: str
    title: str = ""
    description: str | None = None
    content: str | None = None

    def hit(self) -> Hit:
        return Hit(title=_plain(self.title), url=self.url, text=_plain(self.description or self.content or ""))


class _Results(Struct, frozen=True):
    results: tuple[_Found, ...] = ()


class _Brave(Struct, frozen=True):
    web: _Results = _Results()


def _read_brave(content: bytes) -> Sequence[Hit]:
    return [found.hit() for found in msgspec.json.decode(content, type=_Brave).web.results]


def _read_results(content: bytes) -> Sequence[Hit]:
    return [found.hit() for found in msgspec.json.decode(content, type=_Results).results]


_LINK = r'(?s)<a\b([^<>]{0,2000}\bclass="result__a"[^<>]{0,2000})>(.{0,2000}?)</a>'
_SNIPPET = r'(?s)\bclass="result__snippet"[^<>]{0,4000}>(.{0,4000}?)</(?:a|td|div)>'
_HREF = r'\bhref="([^"]{1,4000})"'
_TAG = r"<[^<>]*>"


def _read_duckduckgo(content: bytes) -> Sequence[Hit]:
    """The page that is made for browsers without scripts. When it asks whether one is a machine there are no results in it."""
    page = content.decode("utf-8", "replace")
    if "anomaly-modal" in page or "challenge-form" in page:
        raise WebRefused(
            "DuckDuckGo wants to see a person, because of too many searches. Try again later, or not at all."
        )
    links = list(re.finditer(_LINK, page))
    hits = []
    for link, following in zip(links, [*links[1:], None], strict=True):
        href = re.search(_HREF, link[1])
        snippet = re.search(_SNIPPET, page[link.end() : following.start() if following else None])
        if href and (url := _target(_unescaped(href[1]))):
            hits.append(Hit(title=_plain(link[2]), url=url, text=_plain(snippet[1]) if snippet else ""))
    return hits


def _target(href: str) -> str:
    """Without the redirect that counts clicks; advertisements have none that is plain, and are left out."""
    parts = urlsplit(href if "//" in href else "//" + href)
    if parts.hostname and parts.hostname.endswith("duckduckgo.com"):
        return next(iter(parse_qs(parts.query).get("uddg", ())), "")
    return href if parts.scheme in ("http", "https") else ""


def _plain(markup: str) -> str:
    return " ".join(_unescaped(re.sub(_TAG, "", markup)).split())


def _unescaped(text: str) -> str:
    import html  # with a table of all entities that there are

    return html.unescape(text)


ENGINES: Mapping[str, Engine] = {
    engine.name: engine
    for engine in (
        Engine(
            name="brave",
            base_url="https://api.search.brave.com",
            path="/res/v1/web/search",
            variables=("BRAVE_API_KEY", "BRAVE_SEARCH_API_KEY"),
            query=lambda query, limit: {"q": query, "count": limit},
            credentials=lambda key: {"X-Subscription-Token": key},
            read=_read_brave,
        ),
        Engine(
            name="tavily",
            base_url="https://api.tavily.com",
            path="/search",
            variables=("TAVILY_API_KEY",),
            posts=True,
            query=lambda query, limit: {"query": query, "max_results": limit},
            credentials=lambda key: {"Authorization": f"Bearer {key}"},
            read=_read_results,
        ),
        Engine(
            name="searxng",
            base_url=None,
            path="/search",
            query=lambda query, limit: {"q": query, "format": "json"},
            credentials=lambda key: {"Authorization": f"Bearer {key}"},
            read=_read_results,
        ),
        Engine(
            name="duckduckgo",
            base_url="https://html.duckduckgo.com",
            path="/html/",
            query=lambda query, limit: {"q": query},
            read=_read_duckduckgo,
        ),
    )
}

KEY_VARIABLES = frozenset(name for engine in ENGINES.values() for name in engine.variables)
"""Every variable that may hold a search engine's key."""


def engine(options: SearchOptions) -> Engine:
    """The one that is configured. Raises `WebRefused`."""
    if options.provider is None:
        raise WebRefused(
            "No search engine is configured, so that the web cannot be searched. Use `fetch` with a URL that you know, or ask"
            f" the user to choose an engine {_CONFIGURE}."
        )
    found = ENGINES.get(options.provider)
    if found is None or (found.base_url or options.base_url) is None:
        raise WebRefused(f"The search engine {options.provider!r} needs its `base_url` under [search] in the settings.")
    return found


def key(engine: Engine, options: SearchOptions, environment: Mapping[str, str], own: Mapping[str, str]) -> str | None:
    """In the caller's environment, then the settings, then this process's own. Raises `WebRefused` when one is needed."""
    if missing := missing_key(engine, options, environment, own):
        raise WebRefused(f"There is no key for the search engine {engine.name}: the user has to set ${missing}.")
    names = (*filter(None, (options.key_variable,)), *engine.variables)
    return _first(names, environment) or options.key or _first(names, own)


def missing_key(
    engine: Engine, options: SearchOptions, environment: Mapping[str, str], own: Mapping[str, str]
) -> str | None:
    """The variable to set, where there is no key and one is needed."""
    names = (*filter(None, (options.key_variable,)), *engine.variables)
    there = _first(names, environment) or options.key or _first(names, own)
    return names[0] if there is None and engine.variables else None


def _first(names: Sequence[str], variables: Mapping[str, str]) -> str | None:
    return next((variables[name] for name in names if variables.get(name)), None)


def request(engine: Engine, options: SearchOptions, query: str, limit: int, key: str | None) -> tuple[Target, Request]:
    """Where to ask, and what."""
    from quell.web.exchange import Request

    asked = engine.query(query, limit)
    url = f"{(options.base_url or engine.base_url or '').rstrip('/')}{engine.path}"
    headers = {"Accept": "application/json, text/html;q=0.9", **(engine.credentials(key) if key else {})}
    if engine.posts:
        content = msgspec.json.encode(asked)
        headers["Content-Type"] = "application/json"
        return addresses.parse(url), Request(method="POST", headers=headers, content=content)
    return addresses.parse(f"{url}?{urlencode(asked)}"), Request(headers=headers)


async def content(pieces: AsyncIterator[bytes], host: str) -> bytes:
    found = bytearray()
    async for piece in pieces:
        found += piece
        if len(found) > _LONGEST:
            raise WebRefused(f"{host} sent more than {_LONGEST // 1024 // 1024} MB of results; they were not read.")
    return bytes(found)


def hits(engine: Engine, status: int, content: bytes) -> Sequence[Hit]:
    """Raises `WebRefused`."""
    match status:
        case 200:
            pass
        case 401 | 403:
            raise WebRefused(
                f"The search engine {engine.name} refused: its key is wrong, or it does not give answers to programs."
            )
        case 202 | 429:
            raise WebRefused(f"The search engine {engine.name} is asked too often. Try again later, or not at all.")
        case _:
            raise WebRefused(f"The search engine {engine.name} failed with status {status}.")
    try:
        return engine.read(content)
    except (msgspec.DecodeError, ValueError):
        raise WebRefused(f"The answer of the search engine {engine.name} was not understood.") from None
