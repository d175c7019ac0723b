"""A server in a process of its own, for what only the real composition shows: `quell serve` in a home, and a client."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from quell.client.client import Client, UnixSocket
from quell.config.paths import paths
from tests.cli.command import Home


@asynccontextmanager
async def serving(home: Home) -> AsyncIterator[Client]:
    reading, writing = os.pipe()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "quell", "serve", "--ready-fd", str(writing)),
        env=home.environment,
        pass_fds=(writing,),
        stderr=asyncio.subprocess.DEVNULL,
    )
    os.close(writing)
    assert await asyncio.to_thread(os.read, reading, 1) == b"\n"
    os.close(reading)
    try:
        async with Client(UnixSocket(paths(home.environment).socket)) as client:
            yield client
    finally:
        process.kill()
        await process.wait()
