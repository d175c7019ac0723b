"""The servers, as a client under torture finds them: at any of their sockets, whichever answers; the next time it may be another one."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import AsyncExitStack
from random import Random
from types import TracebackType

from quell.client.client import Client, UnixSocket

PATIENCE = 1.0
"""Seconds for which a lost connection is made again, before the client looks for another server."""


class Servers:
    """A client for each of the sockets."""

    def __init__(self, sockets: Sequence[str], random: Random) -> None:
        self._clients = {path: Client(UnixSocket(path), patience=PATIENCE) for path in sockets}
        self._usual = sockets[0]
        self._random = random
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Servers:
        for client in self._clients.values():
            await self._stack.enter_async_context(client)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def some(self) -> Client:
        """One of those where somebody listens; the usual one if nobody does."""
        there = [path for path in self._clients if _listens(path)]
        return self._clients[self._random.choice(there) if there else self._usual]


def _listens(path: str) -> bool:
    """A server that is stopped listens, too."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except BlockingIOError:  # many wait already
            return True
        except OSError:
            return False
        return True
