"""A web in memory: the fake of the port `Web`. It keeps to what the port says, and is no more than that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from urllib.parse import urljoin, urlsplit

from msgspec import Struct

from quell.core.errors import WebRefused
from quell.core.web import PIECE, Destination, Hit, Page


class Site(Struct, frozen=True):
    """What an address answers. `location` redirects; one that is `silent` never ends; `private` ones are closed."""

    content: bytes = b""
    media_type: str = "text/plain"
    charset: str = ""
    status: int = 200
    location: str = ""
    silent: bool = False
    private: bool = False


class FakeWeb:
    """`sites` by URL; everything else is not found. `asked` are the URLs that were asked for, `open` how many are being read."""

    def __init__(self, sites: Mapping[str, Site], engine: str = "", hits: Sequence[Hit] = ()) -> None:
        self.sites = dict(sites)
        self.asked: list[str] = []
        self.open = 0
        self._engine = engine
        self._hits = hits

    def place(self, url: str) -> Destination:
        parts = urlsplit(url.strip())
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise WebRefused(f"{url!r} is not asked: only https:// and http:// are.")
        if "@" in parts.netloc:
            raise WebRefused("A URL with a user name in it is not asked.")
        host = parts.netloc.lower()
        rest = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return Destination(f"{parts.scheme}://{host}{rest}", host)

    @asynccontextmanager
    async def visit(self, where: Destination, *, accept: str = "*/*", seconds: float) -> AsyncIterator[Page]:
        self.open += 1
        try:
            async with asyncio.timeout(seconds):
                site, url = self._found(where)
                yield Page(
                    url=url,
                    status=site.status,
                    reason="",
                    media_type=site.media_type,
                    charset=site.charset,
                    size=None if site.silent else len(site.content),
                    pieces=_pieces(site),
                )
        except TimeoutError:
            raise WebRefused(f"{where.host} did not answer completely within {seconds:g} s.") from None
        finally:
            self.open -= 1

    def _found(self, where: Destination) -> tuple[Site, str]:
        site, url = self.sites.get(where.url), where.url
        for _ in range(10):
            if site is None:
                raise WebRefused(f"{url} could not be reached.")
            if site.private:
                raise WebRefused(f"{where.host} is private, and is not asked.")
            self.asked.append(url)
            if not site.location:
                return site, url
            following = self.place(urljoin(url, site.location))
            if following.host != where.host:
                raise WebRefused(f"{url} redirects to another host: {following.url}")
            url, site = following.url, self.sites.get(following.url)
        raise WebRefused(f"{where.url} was redirected too often.")

    def searches(self) -> str:
        if not self._engine:
            raise WebRefused("No search engine is configured.")
        return self._engine

    async def search(self, query: str, limit: int, environment: Mapping[str, str]) -> Sequence[Hit]:
        self.searches()
        return self._hits[:limit]


async def _pieces(site: Site) -> AsyncIterator[bytes]:
    for start in range(0, len(site.content), PIECE):
        yield site.content[start : start + PIECE]
    if site.silent:
        await asyncio.Event().wait()
