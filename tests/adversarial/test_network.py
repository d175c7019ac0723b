"""What a hostile server, name or URL may try against the tools of the web. The servers are real, on loopback."""

from __future__ import annotations

import asyncio
import ssl
import zlib
from collections.abc import Sequence
from pathlib import Path

import pytest

from quell.core.errors import WebRefused
from quell.core.web import PIECE
from quell.web import GuardedWeb, Options, exchange
from quell.web.guarded import source_of
from tests.adversarial.server import Names, Server, forever, redirect, response, server, silence

LOOPBACK = ("127.0.0.0/8",)


def web(*allow: str, names: Names | None = None, trust: ssl.SSLContext | None = None) -> GuardedWeb:
    return GuardedWeb(lambda: Options(allow_private=allow), {}, resolve=names or Names(), trust=trust)


async def read(guarded: GuardedWeb, url: str, *, limit: int = 1 << 20, seconds: float = 30) -> bytes:
    """What a tool would read, up to a limit."""
    found = bytearray()
    async with guarded.visit(guarded.place(url), seconds=seconds) as page:
        async for piece in page.pieces:
            assert len(piece) <= PIECE
            found += piece
            if len(found) >= limit:
                break
    return bytes(found)


async def refusal(guarded: GuardedWeb, url: str, **limits: float) -> str:
    with pytest.raises(WebRefused) as caught:
        await read(guarded, url, **limits)  # type: ignore[arg-type]  # the test's
    return str(caught.value)


# Names and connections


async def test_nothing_of_this_machine_is_asked_unless_it_is_allowed() -> None:
    names = Names(localhost=[["127.0.0.1"]], evil_org=[["127.0.0.1"]], six_org=[["::1"]])
    async with server({"/": response(b"secret")}) as running:
        for host in (
            "127.0.0.1",
            "localhost",
            "localhost.",
            "evil.org",
            "six.org",
            "0.0.0.0",
            "[::1]",
            "[::ffff:127.0.0.1]",
        ):
            said = await refusal(web(names=names), running.url(host=host))
            assert "not asked" in said
            assert "allow_private" in said
        assert running.heads == []
        assert await read(web("localhost", names=names), running.url(host="localhost.")) == b"secret"
        assert await read(web("127.0.0.1", names=names), running.url(host="evil.org")) == b"secret"
        assert len(running.heads) == 2


def test_an_address_that_is_closed_is_refused_before_anybody_is_asked_about_it() -> None:
    for url in (
        "http://127.0.0.1/",
        "http://[::1]:8080/",
        "http://169.254.169.254/latest/meta-data/",
        "http://10.0.0.1/",
    ):
        with pytest.raises(WebRefused, match="not asked"):
            web("::ffff:0:0/96").place(url)
        if "169" not in url:
            assert web("0.0.0.0/0", "::/0").place(url).url == url


async def test_a_name_with_one_bad_address_is_refused_whole() -> None:
    names = Names(evil_org=[["93.184.215.14", "127.0.0.1"]])
    async with server() as running:
        assert "evil.org (127.0.0.1) is this machine" in await refusal(web(names=names), running.url(host="evil.org"))
        assert running.heads == []


async def test_the_connection_goes_to_the_address_that_was_judged() -> None:
    """Rebinding: the name leads elsewhere the next time that somebody asks. Nobody does."""
    async with server({"/": response(b"good")}, host="127.0.0.2") as good, server(port=good.port) as bad:
        names = Names(evil_org=[["127.0.0.2"], ["127.0.0.1"]])
        assert await read(web("127.0.0.2", names=names), good.url(host="evil.org")) == b"good"
        assert names.asked == ["evil.org"]
        assert bad.heads == []
        assert f"Host: evil.org:{good.port}" in good.heads[0]


async def test_a_public_address_of_this_machine_is_this_machine() -> None:
    """A name that leads back to where the request comes from: a service that listens everywhere trusts whoever is inside."""
    names = Names(evil_org=[["2a00:1:2:3::9"]], near_org=[["2a00:1:2:3::1"]])
    guarded = GuardedWeb(lambda: Options(), {}, resolve=names, source=lambda address: "2a00:1:2:3::9")
    assert "evil.org (2a00:1:2:3::9) is this machine" in await refusal(guarded, "http://evil.org:9200/")
    assert "this machine's own network" in await refusal(guarded, "http://near.org/")
    assert source_of("127.0.0.1") == "127.0.0.1"


async def test_every_hop_is_looked_up_and_judged_again() -> None:
    async with server({"/": redirect("/next")}, host="127.0.0.2") as good, server(port=good.port) as bad:
        names = Names(evil_org=[["127.0.0.2"], ["127.0.0.1"]])
        said = await refusal(web("127.0.0.2", names=names), good.url(host="evil.org"))
        assert "evil.org (127.0.0.1) is this machine" in said
        assert bad.heads == []


async def test_another_address_is_tried_when_one_does_not_answer() -> None:
    async with server({"/": response(b"here")}, host="127.0.0.2") as running:
        names = Names(two_org=[["127.0.0.1", "127.0.0.2"]])
        assert await read(web(*LOOPBACK, names=names), running.url(host="two.org")) == b"here"


async def test_what_cannot_be_reached_says_so_and_names_the_proxy_that_is_not_followed() -> None:
    async with server() as running:
        gone = running.url()
    assert "could not be reached" in await refusal(web(*LOOPBACK), gone)
    assert "not found" in await refusal(web(), "http://nowhere.example/")
    behind = GuardedWeb(lambda: Options(), {"https_proxy": "http://proxy:1"}, resolve=Names())
    assert "`proxy` under [network]" in await refusal(behind, "http://nowhere.example/")


# Redirects


@pytest.mark.parametrize(
    ("location", "says"),
    [
        ("http://127.0.0.2:{port}/", "another host: http://127.0.0.2:"),
        ("//other.org/x", "another host: http://other.org/x"),
        ("http://169.254.169.254/latest/meta-data/", "another host"),
        ("http://localhost:{port}/", "another host"),
        ("file:///etc/passwd", "only https:// and http://"),
        ("gopher://127.0.0.1/", "only https:// and http://"),
        ("http://2130706433/", "four decimal numbers"),
        ("http://a@127.0.0.1:{port}/", "user name"),
        ("http://[::1", "not asked for"),
        ("http://127.0.0.1:1/", "another port: http://127.0.0.1:1/"),
        ("/loop", "more than 10 times"),
    ],
)
async def test_redirects_that_are_not_followed(location: str, says: str) -> None:
    async with server({"/loop": redirect("/loop")}) as running:
        running.answers["/"] = redirect(location.format(port=running.port))
        assert says in await refusal(web(*LOOPBACK), running.url())
        assert len(running.heads) <= 12


async def test_redirects_on_the_same_host_are_followed() -> None:
    async with server({"/": redirect("a/b?c", "308 Permanent Redirect"), "/a/b": response(b"there")}) as running:
        guarded = web(*LOOPBACK)
        async with guarded.visit(guarded.place(running.url()), seconds=30) as page:
            assert page.url == running.url("/a/b?c")
            assert [piece async for piece in page.pieces] == [b"there"]
        await running.until(lambda: running.open == 0)


# Bombs, streams, slowness


def gzipped(content: bytes, wbits: int = 31) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, wbits)
    return packer.compress(content) + packer.flush()


def packed(body: bytes, coding: str) -> bytes:
    return response(body, Content_Encoding=coding)


@pytest.mark.parametrize(("coding", "wbits"), [("gzip", 31), ("x-gzip", 31), ("deflate", 15), ("deflate", -15)])
async def test_content_is_unpacked_and_a_bomb_only_as_far_as_it_is_read(coding: str, wbits: int) -> None:
    bomb = gzipped(bytes(50_000_000), wbits)
    async with server(
        {"/": packed(gzipped(b"hello " * 50_000, wbits), coding), "/bomb": packed(bomb, coding)}
    ) as running:
        assert await read(web(*LOOPBACK), running.url()) == b"hello " * 50_000
        assert await read(web(*LOOPBACK), running.url("/bomb"), limit=1_000_000) == bytes(16 * PIECE)
        assert "Accept-Encoding: gzip, deflate\r\n" in running.heads[0]


@pytest.mark.parametrize("coding", ["br", "zstd", "compress", "gzip, gzip", "gzip, br", "gzip;q=1", "\xff"])
async def test_what_cannot_be_unpacked_in_bounds_is_not_read(coding: str) -> None:
    async with server(
        {"/": forever(b"HTTP/1.1 200 OK\r\nContent-Encoding: " + coding.encode("latin-1") + b"\r\n\r\n", bytes(9))}
    ) as running:
        assert "which it was not asked to; it was not read" in await refusal(web(*LOOPBACK), running.url())


@pytest.mark.parametrize(
    ("body", "coding", "says"),
    [
        (b"plain text", "gzip", "says it is gzip, and is not"),
        (b"\xff\xff\xff\xff", "deflate", "says it is deflate, and is not"),
        (gzipped(b"hello" * 100)[:-9], "gzip", "cut short"),
        (b"\x1f", "gzip", "cut short"),
        (b"x", "deflate", "cut short"),
    ],
)
async def test_broken_packing(body: bytes, coding: str, says: str) -> None:
    async with server({"/": packed(body, coding)}) as running:
        assert says in await refusal(web(*LOOPBACK), running.url())


async def test_members_in_a_row_and_padding_and_nothing() -> None:
    answers = {
        "/": packed(gzipped(b"one") + gzipped(b"two") + bytes(100), "gzip"),
        "/none": packed(b"", "gzip"),
        "/many": packed(gzipped(b"") * 20_000, "gzip"),
    }
    async with server(answers) as running:
        assert await read(web(*LOOPBACK), running.url()) == b"onetwo"
        assert await read(web(*LOOPBACK), running.url("/none")) == b""
        assert await read(web(*LOOPBACK), running.url("/many")) == b""


async def test_a_bomb_lets_others_have_their_turn() -> None:
    """A cancellation gets through while what has arrived already is still being unpacked."""
    sizes: list[int] = []

    async def drain(guarded: GuardedWeb, url: str) -> None:
        async with guarded.visit(guarded.place(url), seconds=3600) as page:
            async for piece in page.pieces:
                if not sizes:
                    task = asyncio.current_task()
                    assert task is not None
                    asyncio.get_running_loop().call_soon(task.cancel)
                sizes.append(len(piece))

    async with server({"/": packed(gzipped(bytes(50_000_000)), "gzip")}) as running:
        with pytest.raises(asyncio.CancelledError):
            await drain(web(*LOOPBACK), running.url())
        assert sum(sizes) <= 2 * 1024 * 1024


async def test_a_stream_without_end_ends_with_the_reading() -> None:
    async with server({"/": forever(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 10_000)}) as running:
        assert len(await read(web(*LOOPBACK), running.url(), limit=1_000_000)) >= 1_000_000
        await running.until(lambda: running.open == 0)


async def drip(writer: asyncio.StreamWriter) -> None:
    """Alive at every moment, and never finished."""
    writer.write(b"HTTP/1.1 200 OK\r\n")
    number = 0
    while True:
        number += 1
        writer.write(b"X-%d: y\r\n" % number)
        await writer.drain()
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "answer", [silence, drip, forever(b"", b"HTTP/1.1 100 Continue\r\n\r\n")], ids=["silent", "drip", "100"]
)
async def test_time_is_limited_as_a_whole(answer: object) -> None:
    async with server({"/": answer}) as running:  # type: ignore[dict-item]  # an answer
        assert "did not answer completely within 0.3 s" in await refusal(web(*LOOPBACK), running.url(), seconds=0.3)
        await running.until(lambda: running.open == 0)


async def test_a_lookup_that_hangs_is_given_up() -> None:
    async def hang(name: str, port: int) -> Sequence[str]:
        await asyncio.Event().wait()
        return ()

    guarded = GuardedWeb(lambda: Options(), {}, resolve=hang)
    assert "within 0.1 s" in await refusal(guarded, "http://a.org/", seconds=0.1)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000 + b"\r\n\r\n", "does not answer as a web server does"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 50_000 + b"\r\n", "does not answer as a web server does"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", "cut short"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", "does not answer as"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello", "does not answer as"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", "cut short"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello", "does not answer as"),
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "does not answer as"),
        (b"", "cut short"),
    ],
)
async def test_servers_that_break_the_protocol(answer: bytes, says: str) -> None:
    async with server({"/": answer}) as running:
        assert says in await refusal(web(*LOOPBACK), running.url())


async def test_more_than_was_announced_is_not_read() -> None:
    async with server({"/": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello, and more"}) as running:
        assert await read(web(*LOOPBACK), running.url()) == b"hello"


# Encryption

CERTIFICATE = str(Path(__file__).with_name("good.example.pem"))
"""For good.example, valid for a hundred years, with its key: it protects nothing."""


def own_trust() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(CERTIFICATE)
    return serving, ssl.create_default_context(cafile=CERTIFICATE)


async def test_certificates_are_held_against_the_name_though_the_address_is_dialled() -> None:
    serving, trust = own_trust()
    seen: list[str | None] = []
    serving.sni_callback = lambda _, name, __: seen.append(name)
    names = Names(good_example=[["127.0.0.1"]], evil_example=[["127.0.0.1"]])
    async with server({"/": response(b"good")}, tls=serving) as running:
        guarded = web(*LOOPBACK, names=names, trust=trust)
        assert await read(guarded, running.url(host="good.example", scheme="https")) == b"good"
        said = await refusal(guarded, running.url(host="evil.example", scheme="https"))
        assert "could not be trusted" in said
        assert "could not be trusted" in await refusal(guarded, running.url(scheme="https"))
        assert seen == ["good.example", "evil.example", None]
        untrusting = web(*LOOPBACK, names=names)
        assert "could not be trusted" in await refusal(untrusting, running.url(host="good.example", scheme="https"))


async def test_certificates_that_cannot_be_read_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/ca.pem")
    exchange._trust.cache_clear()
    async with server({"/": response(b"plain")}) as running:
        assert "SSL_CERT_FILE" in await refusal(web(*LOOPBACK), running.url())
    exchange._trust.cache_clear()


async def test_encryption_is_not_given_up_by_a_redirect() -> None:
    serving, trust = own_trust()
    names = Names(good_example=[["127.0.0.1"]])
    async with server({"/": response(b"plain")}) as plain, server(tls=serving) as running:
        running.answers["/"] = redirect(plain.url(host="good.example"))
        said = await refusal(web(*LOOPBACK, names=names, trust=trust), running.url(host="good.example", scheme="https"))
        assert "not encrypted" in said
        assert plain.heads == []


# Proxies


def through(proxy: Server, *allow: str) -> GuardedWeb:
    options = Options(allow_private=allow, proxy=proxy.url())
    return GuardedWeb(lambda: options, {}, resolve=Names())


async def test_a_proxy_gets_the_name_and_what_is_plainly_private_does_not_reach_it() -> None:
    async with server({"http://a.org:80/x": response(b"through")}) as proxy:
        assert await read(through(proxy), "http://a.org/x") == b"through"
        assert proxy.heads[0].startswith("GET http://a.org:80/x HTTP/1.1")
        for url in ("http://localhost/", "http://printer/", "http://x.internal/", "http://10.0.0.1/", "http://[::1]/"):
            assert "not asked" in await refusal(through(proxy), url)
        assert len(proxy.heads) == 1
        proxy.answers["http://wiki:80/"] = response(b"wiki")
        assert await read(through(proxy, "wiki"), "http://wiki/") == b"wiki"


async def test_proxies_of_the_environment_are_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    async with server({"/": response(b"direct")}) as running, server() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url())
        assert await read(web(*LOOPBACK), running.url()) == b"direct"
        assert proxy.heads == []


# Cancelling


@pytest.mark.parametrize("answer", [silence, forever(b"HTTP/1.1 200 OK\r\n\r\n", b"x")], ids=["silent", "endless"])
async def test_cancelling_closes_the_connection_at_once(answer: object) -> None:
    async with server({"/": answer}) as running:  # type: ignore[dict-item]  # an answer
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(read(web(*LOOPBACK), running.url(), limit=1 << 40, seconds=3600))
            await running.until(lambda: bool(running.heads))
            reading.cancel()
        await running.until(lambda: running.open == 0)
