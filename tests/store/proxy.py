"""A network between a journal and its database: a TCP port on loopback that forwards, until it does not.

async with Proxy(server.folder) as proxy:
    address(proxy.url("quell"))
    proxy.silence()        nothing gets through any more, and nobody is told
    proxy.cut()            every connection ends, and new ones are refused
    proxy.mend()
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from quell.testing.postgresql import USER


class Proxy:
    def __init__(self, folder: Path) -> None:
        self._upstream = str(folder / ".s.PGSQL.5432")
        self._open = asyncio.Event()
        self._open.set()
        self._deaf = False
        self._writers: list[asyncio.StreamWriter] = []
        self._refusing = False
        self._serving = 0
        self._changed = asyncio.Condition()
        self.answers = asyncio.Event()
        """Set when the database has said something while nobody is told of it."""

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.set()
        self.cut()
        self._server.close()
        async with self._changed:
            await self._changed.wait_for(lambda: not self._serving)

    @property
    def port(self) -> int:
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def url(self, database: str = "postgres", user: str = USER) -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}?sslmode=disable&gssencmode=disable"

    def silence(self) -> None:
        self._open.clear()

    def lose_answers(self) -> None:
        """What is asked gets through; what is answered does not."""
        self.answers.clear()
        self._deaf = True

    def cut(self) -> None:
        self._refusing = True
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    def mend(self) -> None:
        self._refusing = self._deaf = False
        self._open.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            writer.transport.abort()
            return
        self._serving += 1
        try:
            await self._connect(reader, writer)
        finally:
            async with self._changed:
                self._serving -= 1
                self._changed.notify_all()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream = await asyncio.open_unix_connection(self._upstream)
        self._writers += [writer, upstream]
        async with asyncio.TaskGroup() as group:
            group.create_task(self._forward(reader, upstream, answers=False))
            group.create_task(self._forward(upstream_reader, writer, answers=True))

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool) -> None:
        with suppress(OSError):
            while piece := await reader.read(1 << 16):
                await self._open.wait()
                if answers and self._deaf:
                    self.answers.set()
                    continue
                writer.write(piece)
                await writer.drain()
        writer.close()
