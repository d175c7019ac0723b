"""A server on loopback that answers with the bytes that a test wants, as slowly and as wrongly as it wants."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

Answer = bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Server:
    """`heads` are the requests as they came, `open` counts connections; `changed` is set whenever one of the two changes."""

    port: int = 0
    answers: dict[str, Answer] = field(default_factory=dict)
    heads: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    open: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def url(self, path: str = "/", host: str = "127.0.0.1", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"

    async def until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            self.changed.clear()
            await self.changed.wait()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.changed.set()
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                length = next(
                    (line[16:] for line in head.lower().splitlines() if line.startswith("content-length: ")), "0"
                )
                self.bodies.append(await reader.readexactly(int(length)))
                self.heads.append(head)
                self.changed.set()
                answer = self.answers.get(
                    head.split()[1].partition("?")[0], response(b"not here", status="404 Not Found")
                )
                await self._answer(answer, reader, writer)
        finally:
            writer.close()
            self.open -= 1
            self.changed.set()

    async def _answer(self, answer: Answer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if isinstance(answer, bytes):
            writer.write(answer)
            await writer.drain()
            return
        async with asyncio.TaskGroup() as group:  # so that the end of the connection is seen, whatever is being sent
            sending = group.create_task(_quietly(answer(writer)))
            await _quietly(reader.read())
            sending.cancel()


async def _quietly(work: Awaitable[object]) -> None:
    with suppress(ConnectionError):
        await work


@asynccontextmanager
async def server(
    answers: Mapping[str, Answer] | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Server]:
    running = Server(answers=dict(answers or {}))
    listening = await asyncio.start_server(running.serve, host, port, ssl=tls)
    running.port = listening.sockets[0].getsockname()[1]
    try:
        yield running
    finally:
        listening.close()
        await running.until(lambda: running.open == 0)


def response(body: bytes = b"", status: str = "200 OK", type: str = "text/plain", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {type}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def redirect(location: str, status: str = "302 Found") -> bytes:
    return response(status=status, Location=location)


def forever(head: bytes, piece: bytes) -> Answer:
    async def send(writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)  # `drain` gives nobody a turn before the socket is full

    return send


async def silence(writer: asyncio.StreamWriter) -> None:
    """Nothing, for ever."""
    await asyncio.Event().wait()


class Names:
    """A resolver whose answers a test decides: each name has a list of answers, the last of which is given again and again."""

    def __init__(self, **answers: Sequence[Sequence[str]]) -> None:
        self.answers = {name.replace("_", "."): list(lists) for name, lists in answers.items()}
        self.asked: list[str] = []

    async def __call__(self, name: str, port: int) -> Sequence[str]:
        self.asked.append(name)
        if name not in self.answers:
            raise OSError(-2, "Name or service not known")
        lists = self.answers[name]
        return lists.pop(0) if len(lists) > 1 else lists[0]
