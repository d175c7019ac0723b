"""Connections to providers, below HTTP: encrypted ones, through proxies, at rest, to servers that do not read."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import httpcore2
import httpx2
import pytest

from quell.core.errors import ModelFailed
from quell.core.web import HERE
from quell.llm import transport
from quell.llm.network import Patience
from quell.llm.providers import Access, Provider
from quell.llm.transport import pool
from quell.testing.simulation.loop import VirtualLoop

CERTIFICATE = str(Path(__file__).parents[1] / "adversarial" / "good.example.pem")
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """Answers each request with `ANSWER`, and shows what was asked. `after` is what a connection does when its answer has been read."""

    def __init__(self) -> None:
        self.port = 0
        self.heads: list[bytes] = []
        self.connections = 0
        self.after: Serve | None = None
        self.answered = asyncio.Event()
        self.serving: set[asyncio.Task[Any]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self.serving.add(task)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                self.heads.append(head)
                if head.startswith(b"CONNECT "):
                    writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
                    return await self._tunnel(head, reader, writer)
                writer.write(ANSWER)
                if self.after is not None:
                    await self.answered.wait()
                    await self.after(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            self.serving.remove(task)

    async def _tunnel(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port = int(head.split()[1].rpartition(b":")[2])
        theirs, ours = await asyncio.open_connection("127.0.0.1", port)

        async def carry(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                target.write(data)
            target.close()

        async with asyncio.TaskGroup() as group:
            group.create_task(carry(reader, ours))
            group.create_task(carry(theirs, writer))


@asynccontextmanager
async def server(tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> AsyncIterator[Server]:
    running = Server()
    listening = await asyncio.start_server(running.serve, host, 0, ssl=tls)
    running.port = listening.sockets[0].getsockname()[1]
    async with listening:
        yield running
        while running.serving:
            await asyncio.wait(running.serving)


@asynccontextmanager
async def client(idle: float = 30.0) -> AsyncIterator[httpx2.AsyncClient]:
    provider = Provider(name="p", dialect="openai", base_url="http://unused", idle_timeout=idle)
    async with pool(Access(provider=provider, base_url="http://unused", api_key=None)) as made:
        yield made


@pytest.fixture
def serving(monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """What a server for good.example encrypts with; we trust it."""
    monkeypatch.setattr(transport, "_trust", lambda: ssl.create_default_context(cafile=CERTIFICATE))
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(CERTIFICATE)
    return made


def named(port: int) -> httpx2.Request:
    """A request to good.example, which is here."""
    return httpx2.Request("GET", f"https://127.0.0.1:{port}/", extensions={"sni_hostname": "good.example"})


async def test_an_encrypted_connection_is_kept_and_used_again(serving: ssl.SSLContext) -> None:
    async with server(serving) as running, client() as ours:
        for _ in range(3):
            answer = await ours.send(named(running.port))
            assert (await answer.aread(), answer.http_version) == (b"hi", "HTTP/1.1")
        assert (running.connections, len(running.heads)) == (1, 3)


async def test_a_certificate_of_somebody_else_is_refused(serving: ssl.SSLContext) -> None:
    async with server(serving) as running, client() as ours:
        with pytest.raises(httpx2.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            await ours.get(f"https://127.0.0.1:{running.port}/")
        assert running.heads == []


async def test_encryption_goes_through_a_proxy(serving: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> None:
    async with server(serving) as running, server() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        async with client() as ours:
            answer = await ours.get(f"https://good.example:{running.port}/")
            assert answer.content == b"hi"
        assert [head.split()[0] for head in (*proxy.heads, *running.heads)] == [b"CONNECT", b"GET"]


async def _socks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A SOCKS 5 server (RFC 1928) that asks for no password, and finds every name here."""
    methods = (await reader.readexactly(2))[1]
    await reader.readexactly(methods)
    writer.write(b"\x05\x00")
    await reader.readexactly(4)
    name = await reader.readexactly((await reader.readexactly(1))[0])
    port = int.from_bytes(await reader.readexactly(2), "big")
    assert name == b"good.example"
    writer.write(b"\x05\x00\x00\x01" + bytes(6))
    theirs, ours = await asyncio.open_connection("127.0.0.1", port)
    ours.write(await reader.readuntil(b"\r\n\r\n"))
    writer.write(await theirs.readexactly(len(ANSWER)))
    ours.close()
    writer.close()


async def test_a_socks_proxy_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with server() as running, await asyncio.start_server(_socks, "127.0.0.1", 0) as proxy:
        monkeypatch.setenv("ALL_PROXY", f"socks5://127.0.0.1:{proxy.sockets[0].getsockname()[1]}")
        async with client() as ours:
            assert (await ours.get(f"http://good.example:{running.port}/")).content == b"hi"


@pytest.mark.parametrize(
    ("variable", "value"), [("ALL_PROXY", "gopher://me:secret@x"), ("SSL_CERT_FILE", "/nowhere/ca.pem")]
)
async def test_what_the_environment_names_and_cannot_be_used_is_said(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    transport._trust.cache_clear()
    with pytest.raises(ModelFailed, match=variable) as failed:
        async with client():
            pass
    assert failed.value.reason == "invalid_request"
    assert "secret" not in failed.value.detail
    transport._trust.cache_clear()


@pytest.mark.parametrize("host", HERE)
async def test_this_machine_is_asked_without_a_proxy(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model on this machine, and a proxy in the environment that would not find it."""
    address = "::1" if host == "[::1]" else "127.0.0.1"
    try:
        socket.create_server((address, 0), family=socket.AF_INET6 if host == "[::1]" else socket.AF_INET).close()
    except OSError:
        pytest.skip(f"this machine has no {address}")
    async with server() as proxy, server(host=address) as running:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        async with client() as ours:
            assert (await ours.get(f"http://{host}:{running.port}/")).content == b"hi"
        assert (len(proxy.heads), len(running.heads)) == (0, 1)


async def _hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def _complain(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """As servers do when nothing comes for a while."""
    writer.write(b"HTTP/1.1 408 Request Timeout\r\n\r\n")


async def _reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await writer.drain()
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    writer.transport.abort()


@pytest.mark.parametrize("after", [_hang_up, _complain, _reset])
async def test_a_connection_that_the_server_ended_at_rest_is_not_used_again(after: Serve) -> None:
    async with server() as running, client() as ours:
        running.after = after
        await ours.get(f"http://127.0.0.1:{running.port}/")
        running.answered.set()
        [held] = ours._transport._pool.connections  # type: ignore[attr-defined]  # whoever knows
        while not held.has_expired():  # noqa: ASYNC110  # nobody is told
            await asyncio.sleep(0)
        assert (await ours.get(f"http://127.0.0.1:{running.port}/")).content == b"hi"
        assert running.connections == 2


async def test_nobody_listens() -> None:
    with socket.socket() as taken:  # bound, and not listening: so nobody else has it either
        taken.bind(("127.0.0.1", 0))
        async with client() as ours:
            with pytest.raises(httpx2.ConnectError, match=r"refused|failed"):
                await ours.get(f"http://127.0.0.1:{taken.getsockname()[1]}/")


async def test_a_server_that_does_not_read_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        async with client(idle=0.1) as ours:
            with pytest.raises(httpx2.WriteTimeout):
                await ours.post(f"http://127.0.0.1:{deaf.getsockname()[1]}/", content=bytes(30_000_000))


def test_patience_begins_anew_with_each_read_and_is_for_those_that_wait() -> None:
    async def story() -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(loop=loop)
        patience = Patience(reader)
        for number in range(1, 6):
            loop.call_at(number * 0.9, reader.feed_data, b"x")
        for _ in range(5):
            patience.begin(1.0)
            assert await reader.read(10) == b"x"
            patience.end()
        await asyncio.sleep(100)  # nobody reads
        patience.begin(60.0)
        patience.end()
        begun = loop.time()
        patience.begin(1.0)
        with pytest.raises(httpcore2.ReadTimeout, match="nothing came for 1 s"):
            await reader.read(10)
        assert loop.time() - begun == pytest.approx(1.0)

    loop = VirtualLoop(Random(0), 0.0)  # type: ignore[abstract]  # what it lacks raises NotImplementedError
    loop.run(story())
    loop.close()


async def test_an_address_that_does_not_answer_does_not_hold_up_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where IPv6 leads nowhere: the first address takes no connections, because its queue is full."""
    with socket.socket() as full:
        full.bind(("127.0.0.2", 0))
        full.listen(0)
        port = full.getsockname()[1]
        waiting = [socket.socket() for _ in range(3)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(("127.0.0.2", port))
        with socket.create_server(("127.0.0.1", port)) as open_one:
            loop = asyncio.get_running_loop()
            resolve = loop.getaddrinfo
            found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port)) for host in ("127.0.0.2", "127.0.0.1")]

            async def both(host: bytes, *others: Any, **named: Any) -> object:
                return found if host == b"either.example" else await resolve(host, *others, **named)

            monkeypatch.setattr(loop, "getaddrinfo", both)
            async with client(idle=0.1) as ours:
                with pytest.raises(httpx2.ReadTimeout):  # connected, that is
                    await ours.get(f"http://either.example:{port}/")
            open_one.accept()[0].close()
        for each in waiting:
            each.close()
