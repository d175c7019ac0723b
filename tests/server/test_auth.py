"""Who may ask over TCP."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from quell.client.client import Client, Tcp
from quell.core.errors import StorageRefused, Unauthorized
from quell.server.auth import load_token
from quell.server.daemon import Listener, serve
from quell.server.listen import AddressInUse, tcp_socket
from quell.testing.harness import played
from tests.server.serving import OPTIONS, PlayedChoices

TOKEN = "t" * 43


@asynccontextmanager
async def on_tcp() -> AsyncIterator[str]:
    """The URL of a server."""
    listening = tcp_socket("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    async with played() as play, asyncio.TaskGroup() as group:
        ready = asyncio.Event()
        listener = Listener(listening, TOKEN, ("quell.example",))
        group.create_task(serve(play.engine, PlayedChoices(), [listener], OPTIONS, ready.set))
        await ready.wait()
        yield url
        async with Client(Tcp(url, TOKEN)) as client:
            await client.shutdown(force=True)


async def test_with_the_token_it_answers() -> None:
    async with on_tcp() as url, Client(Tcp(url, TOKEN)) as client:
        assert (await client.health()).version == "1.2.3"


@pytest.mark.parametrize("token", ["", "wrong", TOKEN[:-1], TOKEN + "t", "ü"])
async def test_without_the_token_it_does_not(token: str) -> None:
    async with on_tcp() as url, Client(Tcp(url, token)) as client:
        with pytest.raises(Unauthorized):
            await client.health()


async def test_the_token_is_asked_for_before_the_body_is_read() -> None:
    async with on_tcp() as url:
        host, port = url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"POST /v1/sessions HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1000000\r\n\r\n".encode())
        assert b" 401 " in await reader.readline()
        writer.close()


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:99", 200),
        ("127.0.0.1", 200),
        ("[::1]:1234", 200),
        ("quell.example:80", 200),
        ("evil.example", 403),
        ("localhost.evil.example", 403),
        ("[::1", 403),
        ("", 403),
    ],
)
async def test_a_foreign_host_name_is_refused(host: str, status: int) -> None:
    async with on_tcp() as url, httpx2.AsyncClient(trust_env=False) as http:
        headers = {"host": host, "authorization": f"Bearer {TOKEN}"}
        assert (await http.get(url + "/v1/health", headers=headers)).status_code == status


@pytest.mark.parametrize(
    ("origin", "status"),
    [("http://localhost:8080", 200), ("http://evil.example", 403), ("null", 403), ("http://localhost:8081", 403)],
)
async def test_pages_of_other_sites_are_refused(origin: str, status: int) -> None:
    async with on_tcp() as url, httpx2.AsyncClient(trust_env=False) as http:
        headers = {"host": "localhost:8080", "origin": origin, "authorization": f"Bearer {TOKEN}"}
        answer = await http.get(url + "/v1/health", headers=headers)
        assert answer.status_code == status
        assert "access-control-allow-origin" not in answer.headers


def test_the_token_is_made_once_for_us_alone(tmp_path: Path) -> None:
    path = tmp_path / "token"
    token = load_token(str(path))
    assert len(token) >= 43
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_token(str(path)) == token


@pytest.mark.parametrize("spoil", ["open", "empty", "folder"])
def test_a_token_that_cannot_be_trusted_is_refused(tmp_path: Path, spoil: str) -> None:
    path = tmp_path / "token"
    match spoil:
        case "open":
            load_token(str(path))
            path.chmod(0o644)
        case "empty":
            path.touch(0o600)
        case _:
            path.mkdir()
    with pytest.raises(StorageRefused, match=str(path)):
        load_token(str(path))


def test_a_port_in_use_is_named() -> None:
    with tcp_socket("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        with pytest.raises(AddressInUse, match=str(port)):
            tcp_socket("127.0.0.1", port)


def test_an_address_that_is_not_ours_is_named() -> None:
    with pytest.raises(StorageRefused, match="198"):
        tcp_socket("198.51.100.1", 0)


async def test_only_a_unix_socket_needs_no_token() -> None:
    assert os.name == "posix"
    with socket.socket(socket.AF_INET) as listening:
        async with played() as play:
            with pytest.raises(AssertionError):
                await serve(play.engine, PlayedChoices(), [Listener(listening)], OPTIONS)
