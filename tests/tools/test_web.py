"""The tools of the web, with the real way out, against servers on loopback: what the model is told, and what is left behind."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from quell.core.messages import ToolCall, ToolResult
from quell.core.ports import PreparedCall, ToolContext
from quell.tools import Options, Tools, download
from quell.web import GuardedWeb
from quell.web import Options as WebOptions
from quell.web.options import SearchOptions
from quell.workspace import LocalWorkspace
from tests.adversarial.server import forever, redirect, response, server, silence


class Surfer:
    """A model with the tools of the web."""

    def __init__(self, root: Path, allow: tuple[str, ...] = ("127.0.0.0/8",), **search: str | None) -> None:
        self.root = root
        self.workspace = LocalWorkspace(str(root), kept=str(root.parent / "kept"))
        options = WebOptions(allow_private=allow, search=SearchOptions(**search))
        self.tools = Tools(options=Options(web=GuardedWeb(lambda: options, {"TAVILY_API_KEY": "own"})))
        self.seen: dict[str, str] = {}
        self.live: list[str] = []
        self.told = asyncio.Event()
        self.environment: Mapping[str, str] = {}

    def prepare(self, tool: str, **input: object) -> PreparedCall | ToolResult:
        return self.tools.prepare(ToolCall(id="call", name=tool, input=json.dumps(input)), self.workspace)

    async def use(self, tool: str, **input: object) -> ToolResult:
        prepared = self.prepare(tool, **input)
        if isinstance(prepared, ToolResult):
            return prepared
        result = await prepared.run(
            ToolContext("s", "c", self.workspace, self.environment, dict(self.seen), self._tell)
        )
        self.seen.update(result.metadata.get("seen", {}))
        return result

    def _tell(self, text: str) -> None:
        self.live.append(text)
        self.told.set()

    async def fails(self, tool: str, **input: object) -> str:
        result = await self.use(tool, **input)
        assert result.status == "failed", result
        return result.text


@pytest.fixture
def surfer(tmp_path: Path) -> Surfer:
    (tmp_path / "project").mkdir()
    return Surfer((tmp_path / "project").resolve())


PAGE = b"<html><head><title>T</title></head><body><nav>menu</nav><h1>Hello</h1><p>a <a href='/x'>link</a></body></html>"


async def test_fetch_in_three_formats(surfer: Surfer) -> None:
    async with server({"/": response(PAGE, type="text/html; charset=utf-8")}) as running:
        url = running.url()
        assert (await surfer.use("fetch", url=url)).text == f"# Hello\n\na [link]({running.url('/x')})"
        assert (await surfer.use("fetch", url=url, format="text")).text == "Hello\n\na link"
        result = await surfer.use("fetch", url=url, format="html")
        assert result.text == PAGE.decode()
        assert result.metadata == {
            "url": url,
            "status": 200,
            "media_type": "text/html",
            "bytes": len(PAGE),
            "cut": False,
        }
        assert "'pdf'" in await surfer.fails("fetch", url=url, format="pdf")


async def test_fetch_says_what_is_cut_where_it_went_and_that_there_is_nothing(surfer: Surfer) -> None:
    answers = {
        "/long": response("ü".encode() * 60_000),
        "/endless": forever(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n", b"x" * 50_000),
        "/there": redirect("/none"),
        "/none": response(),
    }
    async with server(answers) as running:
        text = (await surfer.use("fetch", url=running.url("/long"))).text
        assert text.startswith("ü" * 51_200 + "\n\n(Only the first 51,200 characters of 60,000 are shown.")
        assert (
            "(Only the first 102,400 characters are shown."
            in (await surfer.use("fetch", url=running.url("/endless"))).text
        )
        result = await surfer.use("fetch", url=running.url("/there"))
        assert (
            result.text
            == f"({running.url('/there')} redirects to {running.url('/none')})\n\n{running.url('/none')} has no text."
        )


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (response(b"%PDF", type="application/pdf"), "is not text (application/pdf, 4 bytes). `download`"),
        (response(b"\x00\x01", type="text/plain"), "is not text (binary"),
        (response(b"\x00\x01", type=""), "is not text (binary"),
        (
            response(b'{"error": "no such page"}', "404 Not Found", "application/json"),
            "status 404 Not Found. It says:\n{",
        ),
        (response(b"\x00", "500 Oops", "image/png"), "status 500 Oops."),
        (response(b"<p>gone", "410 Gone", "text/html"), "It says:\ngone"),
        (redirect("http://other.example/x"), "redirects to another host: http://other.example/x"),
    ],
)
async def test_fetch_refuses_with_advice(surfer: Surfer, answer: bytes, says: str) -> None:
    async with server({"/": answer}) as running:
        assert says in await surfer.fails("fetch", url=running.url())


@pytest.mark.parametrize(
    ("content", "type", "text"),
    [
        ("grün".encode("latin-1"), "text/plain; charset=ISO-8859-1", "grün"),
        ("grün".encode("latin-1"), "text/plain", "grün"),
        ("“x”".encode("cp1252"), "text/plain; charset=latin1", "“x”"),
        ("grün".encode(), "text/plain; charset=no-such", "grün"),
        (b"a+b", "text/plain; charset=utf-7", "a+b"),
        (b"\\x41", "text/plain; charset=unicode_escape", "\\x41"),
        (b"YQ==", "text/plain; charset=base64", "YQ=="),
        ("日本".encode("shift_jis"), "text/plain; charset=Shift_JIS", "日本"),
        (b"\xff\xfe" + "日本".encode("utf-16-le"), "text/plain", "日本"),
        (b"\xef\xbb\xbfx", "text/plain; charset=latin-1", "x"),
        ('<meta charset="euc-kr">한국'.encode("euc-kr"), "text/html", "한국"),
        ("grün".encode()[:3], "text/plain", "gr\ufffd"),
    ],
)
async def test_characters(surfer: Surfer, content: bytes, type: str, text: str) -> None:
    async with server({"/": response(content, type=type)}) as running:
        assert (await surfer.use("fetch", url=running.url())).text == text


async def test_nothing_private_is_fetched_by_default_and_no_file(tmp_path: Path) -> None:
    closed = Surfer(tmp_path, allow=())
    async with server({"/": response(b"secret")}) as running:
        for tool in ("fetch", "web_fetch"):
            assert "127.0.0.1 is this machine" in await closed.fails(tool, url=running.url())
            assert "`view`" in await closed.fails(tool, url="file:///etc/passwd")
        assert "this machine" in await closed.fails("download", url=running.url(), file_path="x")
        assert running.heads == []
        assert os.listdir(tmp_path) == []


async def test_a_long_page_goes_to_a_file_that_can_be_searched(surfer: Surfer) -> None:
    body = b"<title>Long</title>" + b"".join(b"<h2>Part %d</h2><p>%s</p>" % (n, b"word " * 100) for n in range(200))
    answers = {"/": response(body, type="text/html"), "/short": response(PAGE, type="text/html")}
    async with server(answers) as running:
        result = await surfer.use("web_fetch", url=running.url())
        assert result.text.startswith(f"# Long\n{running.url()}\n")
        assert "     4|## Part 0" in result.text
        assert "… and 161 more" in result.text
        path = result.metadata["path"]
        assert path in result.text
        assert len(result.text) < 8000
        view = surfer.prepare("view", file_path=path)
        assert not isinstance(view, ToolResult)
        assert view.access.outside == ()
        assert "Part 150" in (await surfer.use("grep", pattern="Part 150", path=path)).text
        assert (await surfer.use("view", file_path=path, offset=3, limit=1)).text.startswith("<file>\n     4|## Part 0")
        assert (await surfer.use("web_fetch", url=running.url("/short"))).text.startswith(
            f"# T\n{running.url('/short')}\n\n# Hello"
        )
        surfer.workspace = LocalWorkspace(str(surfer.root))
        assert "(The first 50,000 characters of" in (await surfer.use("web_fetch", url=running.url())).text


# download


async def test_a_download_is_the_bytes_with_their_folders_and_tells_how_far_it_is(surfer: Surfer) -> None:
    content = os.urandom(3_000_000)
    async with server({"/a.bin": response(content, type="application/zip")}) as running:
        result = await surfer.use("download", url=running.url("/a.bin"), file_path="new/a.bin")
        assert result.text == f"Downloaded {running.url('/a.bin')} to new/a.bin (3,000,000 bytes, application/zip)."
        assert (surfer.root / "new/a.bin").read_bytes() == content
        assert surfer.live[0] == "1 MB of 2 MB\n"
        running.answers["/a.bin"] = response(b"other")
        assert (await surfer.use("download", url=running.url("/a.bin"), file_path="new/a.bin")).status == "completed"
        assert surfer.seen[str(surfer.root / "new/a.bin")] == hashlib.sha256(b"other").hexdigest()
        (surfer.root / "mine").write_text("mine")
        assert "exists already" in await surfer.fails("download", url=running.url("/a.bin"), file_path="mine")
        assert "is a folder" in await surfer.fails("download", url=running.url("/a.bin"), file_path="new")
        assert (surfer.root / "mine").read_text() == "mine"


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 50_000, "cut short"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 600000000\r\n\r\nx", "is too large (600,000,000 bytes"),
        (forever(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 50_000), "is too large (more than"),
        (response(b"no", "403 Forbidden"), "status 403 Forbidden; nothing was downloaded"),
        (response(b"x" * 1000, Content_Encoding="gzip"), "says it is gzip, and is not"),
    ],
    ids=range(5),
)
async def test_a_download_that_fails_leaves_nothing(
    surfer: Surfer, answer: bytes, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "more than" in says:
        monkeypatch.setattr(download, "CAP", 1_000_000)
    async with server({"/": answer}) as running:
        assert says in await surfer.fails("download", url=running.url(), file_path="a.bin")
        assert os.listdir(surfer.root) == []


async def test_t3_c7_a_cancelled_download_leaves_nothing_and_closes_the_connection(surfer: Surfer) -> None:
    async def stall(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n" + b"x" * 2_000_000)
        await silence(writer)

    async with server({"/": stall}) as running:
        async with asyncio.TaskGroup() as group:
            using = group.create_task(surfer.use("download", url=running.url(), file_path="a.bin"))
            await surfer.told.wait()
            assert [name for name in os.listdir(surfer.root) if not name.startswith(".")] == []
            using.cancel()
        await running.until(lambda: running.open == 0)
        assert os.listdir(surfer.root) == []


def test_what_calls_would_touch(surfer: Surfer) -> None:
    call = surfer.prepare("download", url="https://Files.Example.org:8443/a", file_path="../a")
    assert not isinstance(call, ToolResult)
    assert (call.kind, call.concurrent) == ("fetch", False)
    assert call.access.hosts == ("files.example.org:8443",)
    assert call.access.paths == call.access.outside == (str(surfer.root.parent / "a"),)
    assert call.access.title == f"Download https://files.example.org:8443/a to {surfer.root.parent / 'a'}"
    for tool in ("fetch", "web_fetch"):
        call = surfer.prepare(tool, url="https://аpple.com/")
        assert not isinstance(call, ToolResult)
        assert call.access.hosts == ("xn--pple-43d.com",)
        assert "xn--pple-43d.com" in call.access.title


# web_search

RESULTS: dict[str, tuple[str, bytes]] = {
    "brave": (
        "/res/v1/web/search",
        b'{"web": {"results": [{"title": "A &amp; B", "url": "https://a.org", "description": "the <strong>best</strong>"}]}}',
    ),
    "tavily": (
        "/search",
        b'{"results": [{"title": "A & B", "url": "https://a.org", "content": "the best", "score": 1}]}',
    ),
    "searxng": ("/search", b'{"results": [{"title": "A & B", "url": "https://a.org", "content": "the best"}]}'),
    "duckduckgo": (
        "/html/",
        b"""<div class="result results_links result--ad"><a rel="nofollow" class="result__a" href="https://duckduckgo.com/y.js?ad=1">Ad</a>
        </div><h2 class="result__title"><a rel="nofollow" class="result__a"
        href="//duckduckgo.com/l/?uddg=https%3A%2F%2Fa.org&amp;rut=1">A &amp; B</a></h2>
        <a class="result__snippet" href="x">the <b>best</b></a>""",
    ),
}


@pytest.mark.parametrize("engine", RESULTS)
async def test_search(tmp_path: Path, engine: str) -> None:
    path, answer = RESULTS[engine]
    async with server({path: response(answer)}) as running:
        surfer = Surfer(tmp_path, allow=(), provider=engine, base_url=running.url("/"), key="from-settings")
        surfer.environment = {"BRAVE_API_KEY": "theirs"}
        result = await surfer.use("web_search", query="best a&b", max_results=50)
        assert result.text == "1. A & B\n   https://a.org\n   the best"
        head = running.heads[0]
        match engine:
            case "brave":
                assert "q=best+a%26b&count=20" in head
                assert "X-Subscription-Token: theirs" in head
            case "tavily":
                assert running.bodies == [b'{"query":"best a&b","max_results":20}']
                assert "Authorization: Bearer from-settings" in head
            case _:
                assert "q=best+a%26b" in head


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (response(b"", "401 Unauthorized"), "its key is wrong"),
        (response(b"", "429 Too Many Requests"), "asked too often"),
        (response(b"", "500 Oops"), "failed with status 500"),
        (response(b"<html>"), "was not understood"),
        (response(b'{"web": {"results": [{}]}}'), "was not understood"),
        (response(b" " * 3_000_000), "more than 2 MB"),
    ],
    ids=range(6),
)
async def test_search_that_fails(tmp_path: Path, answer: bytes, says: str) -> None:
    async with server({"/res/v1/web/search": answer}) as running:
        surfer = Surfer(tmp_path, provider="brave", base_url=running.url(), key="key")
        assert says in await surfer.fails("web_search", query="x")


async def test_search_without_an_engine_a_key_or_a_question(tmp_path: Path) -> None:
    assert "No search engine is configured" in await Surfer(tmp_path).fails("web_search", query="x")
    assert "provider" in await Surfer(tmp_path).fails("web_search", query="x")
    assert "set $BRAVE_API_KEY" in await Surfer(tmp_path, provider="brave").fails("web_search", query="x")
    assert "set $MINE" in await Surfer(tmp_path, provider="brave", key_variable="MINE").fails("web_search", query="x")
    assert "query is empty" in await Surfer(tmp_path, provider="brave").fails("web_search", query=" ")
    assert "`base_url`" in await Surfer(tmp_path, provider="searxng").fails("web_search", query="x")
    async with server({"/html/": response(b'<div class="anomaly-modal">')}) as running:
        surfer = Surfer(tmp_path, provider="duckduckgo", base_url=running.url())
        assert "wants to see a person" in await surfer.fails("web_search", query="x")


async def test_without_a_way_out(tmp_path: Path) -> None:
    tools = Tools()
    for name, input in (("fetch", {"url": "https://a.org"}), ("web_search", {"query": "x"})):
        result = tools.prepare(ToolCall(id="c", name=name, input=json.dumps(input)), LocalWorkspace(str(tmp_path)))
        assert isinstance(result, ToolResult)
        assert "no way to the web" in result.text
