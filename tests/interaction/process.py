"""A server in a process of its own, for what only the real composition shows: `quell serve` in a home, and a client."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from quell.client.client import Client, NewSession, UnixSocket
from quell.config.paths import paths
from tests.cli.command import Home
from tests.interaction.conversation import Chat


@asynccontextmanager
async def served(home: Home, before: str = "") -> AsyncIterator[tuple[Client, asyncio.subprocess.Process]]:
    """The process as well, for who wants to end it. `before` is a line of Python that it begins with."""
    reading, writing = os.pipe()
    code = f"{before}\nimport sys\nfrom quell.__main__ import main\nsys.exit(main())"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code, "serve", "--ready-fd", str(writing)),
        env=home.environment,
        pass_fds=(writing,),
        stderr=asyncio.subprocess.DEVNULL,
    )
    os.close(writing)
    assert await asyncio.to_thread(os.read, reading, 1) == b"\n"
    os.close(reading)
    try:
        async with Client(UnixSocket(paths(home.environment).socket)) as client:
            yield client, process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@asynccontextmanager
async def serving(home: Home) -> AsyncIterator[Client]:
    async with served(home) as (client, _):
        yield client


class Server:
    """`quell serve` in a home of its own, with a scripted model. `before`: as in `served`."""

    def __init__(self, home: Home, content: str, before: str = "") -> None:
        self.home = home
        self._before = before
        script = home.root / "tools.toml"
        script.write_text(content, encoding="utf-8")
        self._new = NewSession(workspace=str(home.workspace), model=f"scripted:{script}", mode="yolo")

    def life(self) -> AbstractAsyncContextManager[tuple[Client, asyncio.subprocess.Process]]:
        return served(self.home, self._before)

    async def chat(self, client: Client) -> Chat:
        return Chat(client, (await client.create(self._new)).id)

    def sleepers(self) -> list[int]:
        """The processes of the command that are alive."""
        return self.home.processes_with(b"sleep", self.home.workspace)
