"""uvicorn's protocol, but for two things: the head of an answer goes out together with the beginning of its body, and what is no HTTP is
refused as everything else is.

Head and body are two events of ASGI, which uvicorn writes one by one: two calls of the kernel, and a client that is woken twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, cast

import msgspec

from quell.server.errors import PROBLEM_TYPE, HttpRefused, problem
from quell.server.transport import HttpToolsProtocol

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

HEAD = b"HTTP/1.1 "
INTERIM = HEAD + b"1"
"""How the head of an answer begins, and one that only says "go on": nothing follows that."""


class Protocol(HttpToolsProtocol):
    """One connection. `left` is called when it has ended."""

    def __init__(self, config: Config, server_state: ServerState, left: Callable[[], None]) -> None:
        super().__init__(config, server_state, {})
        self._left = left

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._left()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._whole = _Whole(cast("asyncio.Transport", transport))
        super().connection_made(cast("asyncio.Transport", self._whole))

    def send_400_response(self, msg: str) -> None:
        body = msgspec.json.encode(problem(HttpRefused(HTTPStatus.BAD_REQUEST, "invalid_http", msg), "HTTP"))
        self.transport.write(
            b"HTTP/1.1 400 Bad Request\r\ncontent-type: %b\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
            % (PROBLEM_TYPE.encode(), len(body), body)
        )
        self.transport.close()

    def _unsupported_upgrade_warning(self) -> None:
        """Nothing to warn of, and nothing to install: the request is answered as it is."""

    def on_response_complete(self) -> None:
        self._whole.flush()  # the answer to a HEAD has no body
        super().on_response_complete()


class _Whole:
    """A transport that keeps a head until more is written, or until there is no more."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head = b""

    def write(self, data: bytes) -> None:
        if not self._head and data.startswith(HEAD) and not data.startswith(INTERIM):
            self._head = data
        else:
            head, self._head = self._head, b""
            self._transport.write(head + data)

    def flush(self) -> None:
        if self._head:
            self.write(b"")

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def __getattr__(self, name: str) -> object:
        return getattr(self._transport, name)
