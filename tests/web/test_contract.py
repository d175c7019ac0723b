"""What every `Web` does: the fake in memory, and the real one against a server on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import msgspec
import pytest

from quell.core.errors import WebRefused
from quell.core.web import PIECE, Hit, Page, Web
from quell.testing.web import FakeWeb, Site
from quell.web import GuardedWeb, Options
from quell.web.options import SearchOptions
from tests.adversarial.server import Answer, Names, response, server, silence

LONG = bytes(range(256)) * 1024
HITS = (Hit("One", "https://one.example/", "the first"), Hit("Two", "https://two.example/", "the second"))
SITES: Mapping[str, Site] = {
    "/": Site(b"hello", media_type="text/markdown", charset="utf-8"),
    "/long": Site(LONG, media_type="application/octet-stream"),
    "/gone": Site(b"no such page", status=404),
    "/moved": Site(location="/new"),
    "/new": Site(b"here it is"),
    "/elsewhere": Site(location="http://other.example/x"),
    "/loop": Site(location="/loop"),
    "/silent": Site(b"it begins", silent=True),
}
"""What `a.example` answers."""


@dataclass
class Meeting:
    """A web, and the other side of it: which paths were asked for, and waiting until nobody reads any more."""

    web: Web
    port: str
    asked: Callable[[], list[str]]
    let_go: Callable[[], Awaitable[None]]

    def url(self, path: str = "/", host: str = "a.example") -> str:
        return f"http://{host}{self.port}{path}"

    @asynccontextmanager
    async def visit(self, path: str, seconds: float = 30.0) -> AsyncIterator[Page]:
        async with self.web.visit(self.web.place(self.url(path)), seconds=seconds) as page:
            yield page

    async def read(self, path: str) -> bytes:
        async with self.visit(path) as page:
            return b"".join([piece async for piece in page.pieces])

    async def refused(self, path: str, seconds: float = 30.0) -> str:
        with pytest.raises(WebRefused) as caught:
            async with self.visit(path, seconds) as page:
                async for _ in page.pieces:
                    pass
        return str(caught.value)


@asynccontextmanager
async def fake(engine: bool) -> AsyncIterator[Meeting]:
    sites = {f"http://a.example{path}": site for path, site in SITES.items()}
    web = FakeWeb({**sites, "http://private.example/": Site(private=True)}, "brave" if engine else "", HITS)

    async def let_go() -> None:
        assert web.open == 0

    yield Meeting(web, "", lambda: [url.removeprefix("http://a.example") for url in web.asked], let_go)


def answer(site: Site) -> Answer:
    if site.silent:

        async def begin(writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + site.content)
            await silence(writer)

        return begin
    type = f"{site.media_type}; charset={site.charset}" if site.charset else site.media_type
    more = {"Location": site.location} if site.location else {}
    return response(site.content, f"{302 if site.location else site.status} X", type, **more)


@asynccontextmanager
async def real(engine: bool) -> AsyncIterator[Meeting]:
    found = {"web": {"results": [{"title": hit.title, "url": hit.url, "description": hit.text} for hit in HITS]}}
    answers = {path: answer(site) for path, site in SITES.items()}
    answers["/res/v1/web/search"] = response(msgspec.json.encode(found))
    async with server(answers) as running:
        search = SearchOptions(provider="brave", base_url=running.url(), key="key") if engine else SearchOptions()
        options = Options(allow_private=("a.example",), search=search)
        names = Names(a_example=[["127.0.0.1"]], private_example=[["127.0.0.1"]])
        yield Meeting(
            GuardedWeb(lambda: options, {}, resolve=names),
            f":{running.port}",
            lambda: [head.split()[1] for head in running.heads],
            lambda: running.until(lambda: running.open == 0),
        )


WEBS = {"fake": fake, "real": real}


@pytest.fixture(params=WEBS)
async def met(request: pytest.FixtureRequest) -> AsyncIterator[Meeting]:
    async with WEBS[request.param](True) as meeting:
        yield meeting


async def test_a_page_is_what_was_answered(met: Meeting) -> None:
    async with met.visit("/") as page:
        assert (page.url, page.status, page.media_type, page.charset) == (met.url("/"), 200, "text/markdown", "utf-8")
        assert page.size == 5
        assert b"".join([piece async for piece in page.pieces]) == b"hello"
    assert met.asked() == ["/"]
    async with met.visit("/gone") as page:
        assert (page.status, [piece async for piece in page.pieces]) == (404, [b"no such page"])


async def test_content_comes_in_pieces_and_who_stops_asking_lets_go(met: Meeting) -> None:
    assert await met.read("/long") == LONG
    async with met.visit("/long") as page:
        assert 0 < len(await anext(aiter(page.pieces))) <= PIECE
    await met.let_go()


async def test_a_place_is_understood_before_anything_is_asked(met: Meeting) -> None:
    where = met.web.place(f" http://A.example{met.port}/x?y#part ")
    assert (where.url, where.host) == (met.url("/x?y"), f"a.example{met.port}")
    for wrong in ("file:///etc/passwd", "a.example/x", "http://", "ftp://a.example/", "http://me:secret@a.example/"):
        with pytest.raises(WebRefused):
            met.web.place(wrong)
    assert met.asked() == []


async def test_redirects_are_followed_on_the_same_host_only(met: Meeting) -> None:
    async with met.visit("/moved") as page:
        assert page.url == met.url("/new")
        assert [piece async for piece in page.pieces] == [b"here it is"]
    assert "another host: http://other.example/x" in await met.refused("/elsewhere")
    assert "redirected" in await met.refused("/loop")
    assert "other.example" not in "".join(met.asked())
    await met.let_go()


async def test_what_is_private_is_not_asked(met: Meeting) -> None:
    with pytest.raises(WebRefused, match="not asked"):
        async with met.web.visit(met.web.place(met.url("/", "private.example")), seconds=30):
            pass
    assert met.asked() == []


async def test_what_is_not_there_is_said(met: Meeting) -> None:
    with pytest.raises(WebRefused):
        async with met.web.visit(met.web.place("http://nowhere.example/"), seconds=30):
            pass


async def test_time_is_for_all_of_it(met: Meeting) -> None:
    assert "within 0.3 s" in await met.refused("/silent", seconds=0.3)
    await met.let_go()


async def test_c7_a_cancellation_lets_go(met: Meeting) -> None:
    begun = asyncio.Event()

    async def read() -> None:
        async with met.visit("/silent") as page:
            async for _ in page.pieces:
                begun.set()

    async with asyncio.TaskGroup() as group:
        reading = group.create_task(read())
        await begun.wait()
        reading.cancel()
    await met.let_go()


async def test_a_search_has_as_many_hits_as_are_wanted(met: Meeting) -> None:
    assert met.web.searches() == "brave"
    assert list(await met.web.search("x", 9, {})) == list(HITS)
    assert list(await met.web.search("x", 1, {})) == list(HITS[:1])


@pytest.mark.parametrize("name", WEBS)
async def test_without_an_engine_nothing_is_searched(name: str) -> None:
    async with WEBS[name](False) as met:
        with pytest.raises(WebRefused, match="No search engine"):
            met.web.searches()
        with pytest.raises(WebRefused, match="No search engine"):
            await met.web.search("x", 9, {})
        assert met.asked() == []
