"""The network, as the connections to providers have it: asyncio's streams, which a fast event loop makes fast.

What httpcore brings along goes through anyio, which opens cancel scopes and takes turns of the loop for each piece that arrives, and
does TLS in Python. Everything above the bytes (pools, proxies, HTTP) stays httpcore's.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import httpcore2
from aiohappyeyeballs import start_connection
from httpcore2 import AsyncNetworkBackend, AsyncNetworkStream

ANOTHER_ADDRESS = 0.25
"""Seconds after which a second address of a host is tried beside the first (RFC 8305, Connection Attempt Delay)."""


class Network(AsyncNetworkBackend):
    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> AsyncNetworkStream:
        assert local_address is None, "nobody asks for one"
        loop = asyncio.get_running_loop()
        reader = _Reader(loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        try:
            async with asyncio.timeout(timeout):
                found = await loop.getaddrinfo(host.encode(), port, type=socket.SOCK_STREAM)
                connected = await start_connection(found, happy_eyeballs_delay=ANOTHER_ADDRESS)
                for option in ((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), *(socket_options or ())):
                    connected.setsockopt(*option)
                transport, _ = await loop.create_connection(lambda: protocol, sock=connected)
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout(f"no connection to {host} within {timeout} s") from error
        except (OSError, RuntimeError) as error:  # of several addresses it may be either
            raise httpcore2.ConnectError(str(error)) from error
        return Connection(connected, reader, asyncio.StreamWriter(transport, protocol, reader, loop))


class Connection(AsyncNetworkStream):
    """A connection, plain or with TLS. Closing it takes no time: what was not sent yet is not."""

    def __init__(self, connected: socket.socket, reader: _Reader, writer: asyncio.StreamWriter) -> None:
        self._socket = connected
        self._reader = reader
        self._writer = writer
        self._patience = Patience(reader)

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if timeout is not None:
            self._patience.begin(timeout)
        try:
            data = await self._reader.read(max_bytes)
        except OSError as error:
            raise httpcore2.ReadError(str(error)) from error
        finally:
            self._patience.end()
        self._reader.unread -= len(data)
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        try:
            async with asyncio.timeout(timeout):
                self._writer.write(buffer)
                await self._writer.drain()
        except TimeoutError as error:
            raise httpcore2.WriteTimeout(f"nothing was taken for {timeout} s") from error
        except OSError as error:
            raise httpcore2.WriteError(str(error)) from error

    async def aclose(self) -> None:
        """The other side is told at once: the loop closes in a later turn, behind whatever else is ready."""
        with suppress(OSError):  # it was told, or has told us
            self._socket.shutdown(socket.SHUT_RDWR)
        self._writer.transport.abort()
        self._patience.close()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> AsyncNetworkStream:
        try:
            async with asyncio.timeout(timeout):
                await self._writer.start_tls(ssl_context, server_hostname=server_hostname)
        except TimeoutError as error:
            self._writer.transport.abort()
            raise httpcore2.ConnectTimeout(f"no TLS within {timeout} s") from error
        except OSError as error:
            self._writer.transport.abort()
            raise httpcore2.ConnectError(str(error)) from error
        except BaseException:
            self._writer.transport.abort()
            raise
        return self

    def get_extra_info(self, info: str) -> object:
        """`is_readable` is asked of a connection at rest: if there is anything, the server has closed it, or is out of step."""
        if info == "is_readable":
            return self._reader.unread > 0 or self._reader.at_eof() or self._reader.exception() is not None
        name = {"client_addr": "sockname", "server_addr": "peername"}.get(info, info)
        return self._writer.get_extra_info(name)


class _Reader(asyncio.StreamReader):
    """Knows how much has come and was not read."""

    unread = 0

    def feed_data(self, data: bytes) -> None:  # type: ignore[override]  # it is bytes that come
        self.unread += len(data)
        super().feed_data(data)


class Patience:
    """How long a read may wait. An answer is read in thousands of pieces, so there is not a timer for each: one looks, when it is due, at
    the read that waits by then."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._limit = 0.0
        self._until: float | None = None

    def begin(self, limit: float) -> None:
        """A read waits from now on, for `limit` seconds at most: then it raises `ReadTimeout`."""
        self._limit = limit
        self._until = self._loop.time() + limit
        if self._timer is None or self._timer.when() > self._until:
            self._set(self._until)

    def end(self) -> None:
        self._until = None

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _set(self, when: float) -> None:
        self.close()
        self._timer = self._loop.call_at(when, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._until is None:
            return
        if self._loop.time() < self._until:
            self._set(self._until)
        else:
            self._reader.set_exception(httpcore2.ReadTimeout(f"nothing came for {self._limit:g} s"))
