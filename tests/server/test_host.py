"""A host ends as it should: what was asked is answered, and who does not let it answer does not hold it up."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from quell.server.asgi import App, Receive, Scope, Send, send_whole
from quell.server.host import Host

LARGE = b"x" * (8 << 20)
"""More than the kernel keeps for a client that does not read."""


@asynccontextmanager
async def hosted(app: App, folder: Path) -> AsyncIterator[tuple[Host, asyncio.StreamReader, asyncio.StreamWriter]]:
    path = str(folder / "socket")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        host = Host(app, listening)
        await host.listen()
        reader, writer = await asyncio.open_unix_connection(path, limit=1 << 16)
        try:
            yield host, reader, writer
        finally:
            writer.close()
            host.stop_listening()


async def ask(writer: asyncio.StreamWriter) -> None:
    writer.write(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
    await writer.drain()


async def test_an_answer_on_its_way_arrives_whole(tmp_path: Path) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send_whole(send, 200, LARGE)

    async with hosted(app, tmp_path) as (host, reader, writer), asyncio.TaskGroup() as group:
        await ask(writer)
        head = await reader.readuntil(b"\r\n\r\n")
        assert host.connections == 1
        ending = group.create_task(host.end(60))
        body = await reader.read(-1)
        await ending
    assert b"content-length: %d" % len(LARGE) in head
    assert body == LARGE
    assert host.connections == 0
    assert host.requests == 1


async def test_a_client_that_does_not_read_holds_it_up_no_longer_than_the_grace(tmp_path: Path) -> None:
    asked, stopped = asyncio.Event(), asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    async with hosted(app, tmp_path) as (host, _, writer):
        await ask(writer)
        await asked.wait()
        await host.end(0.05)
        await stopped.wait()


async def test_a_connection_that_asks_nothing_is_closed_at_once(tmp_path: Path) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send_whole(send, 200, b"!")

    async with hosted(app, tmp_path) as (host, reader, writer):
        await ask(writer)
        await reader.readuntil(b"!")
        await host.end(60)
        assert await reader.read() == b""


def test_uvicorn_can_be_imported_whole_afterwards() -> None:
    program = (
        "import quell.server.transport, uvicorn; assert callable(uvicorn.run); assert uvicorn.Config(None).port == 8000"
    )
    subprocess.run([sys.executable, "-P", "-c", program], check=True)
