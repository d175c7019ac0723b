"""A socket that listens, and the connections to it: uvicorn's protocol, led by our events.

uvicorn's own server, which would wait for event streams that never end and look every 100 ms whether it may leave, is not used.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import TYPE_CHECKING, cast

from msgspec import Struct, field

from quell.server.asgi import App
from quell.server.protocol import Protocol

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState


log = logging.getLogger(__name__)


class Settings(Struct, frozen=True, kw_only=True):
    """What the protocol reads of uvicorn's settings, by its names. `timeout_keep_alive`: seconds that a connection may be idle."""

    loaded_app: App
    loaded: bool = True
    ws_protocol_class: None = None
    root_path: str = ""
    asgi_version: str = "3.0"
    limit_concurrency: None = None
    reset_contextvars: bool = False
    timeout_keep_alive: float = 75


class Connections(Struct):
    """What the protocols of one host share, by uvicorn's names: who is connected, what is being answered, how much has been."""

    total_requests: int = 0
    connections: set[Protocol] = field(default_factory=set)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    default_headers: list[tuple[bytes, bytes]] = field(default_factory=list)


class Host:
    """Answers with `app` what is asked at one socket."""

    def __init__(self, app: App, listening: socket.socket) -> None:
        self._settings = Settings(loaded_app=app)
        self._shared = Connections()
        self._socket = listening
        self._server: asyncio.Server | None = None
        self._left = asyncio.Event()

    @property
    def connections(self) -> int:
        """How many are connected."""
        return len(self._shared.connections)

    @property
    def requests(self) -> int:
        """How many have been answered."""
        return self._shared.total_requests

    async def listen(self) -> None:
        self._server = await asyncio.get_running_loop().create_server(self._connect, sock=self._socket)

    def stop_listening(self) -> None:
        """Whoever is connected stays so."""
        if self._server is not None:
            self._server.close()

    async def end(self, grace: float) -> None:
        """Close the connections, each when its request is answered; after `grace` seconds whatever is being done."""
        for connection in list(self._shared.connections):
            connection.shutdown()
        try:
            async with asyncio.timeout(grace):
                while self._shared.connections:
                    self._left.clear()
                    await self._left.wait()
        except TimeoutError:
            log.warning("%d connections were closed before they had been answered", self.connections)
        for task in self._shared.tasks:
            task.cancel()

    def _connect(self) -> Protocol:
        return Protocol(cast("Config", self._settings), cast("ServerState", self._shared), self._left.set)
