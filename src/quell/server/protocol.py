"""uvicorn's protocol, but for one thing: the head of an answer goes out together with the beginning of its body.

They are two events of ASGI, which uvicorn writes one by one: two calls of the kernel, and a client that is woken twice.
"""

from __future__ import annotations

import asyncio
from typing import cast

from quell.server.transport import HttpToolsProtocol

HEAD = b"HTTP/1.1 "
INTERIM = HEAD + b"1"
"""How the head of an answer begins, and one that only says "go on": nothing follows that."""


class Protocol(HttpToolsProtocol):
    """One connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._whole = _Whole(cast("asyncio.Transport", transport))
        super().connection_made(cast("asyncio.Transport", self._whole))

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
