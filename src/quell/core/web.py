"""The port `Web`: what is beyond this machine, as the tools see it. It is implemented in `quell.web`, its fake is in `quell.testing`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from msgspec import Struct

HERE = ("localhost", "127.0.0.1", "[::1]")
"""Hosts that are never asked by way of a proxy: there, they are somebody else. Go's `net/http` excepts all of loopback;
Python's libraries nothing."""


class Destination(Struct, frozen=True):
    """An address that a model wrote, understood: `url` as it will be asked for, `host` as rules name it."""

    url: str
    host: str


class Page(Struct, frozen=True):
    """An answer whose content is arriving. `size` is what was announced, if it was; `media_type` and `charset` are lower case.

    `pieces`, each at most `PIECE` bytes, are decompressed only as they are asked for: who stops asking stops the sender.
    """

    url: str
    status: int
    reason: str
    media_type: str
    charset: str
    size: int | None
    pieces: AsyncIterator[bytes]


PIECE = 64 * 1024


class Hit(Struct, frozen=True):
    """One result of a web search."""

    title: str
    url: str
    text: str


class Web(Protocol):
    """What is beyond this machine. Every method raises `WebRefused`, whose text tells the model what to do instead.

    Addresses of this machine and of private networks are not asked unless the settings allow them, however they are written,
    whatever a name resolves to, and wherever a redirect leads.
    """

    def place(self, url: str) -> Destination:
        """Only http and https, without a user name, and no address that is closed. Nothing is looked up yet."""

    def visit(self, where: Destination, *, accept: str = "*/*", seconds: float) -> AbstractAsyncContextManager[Page]:
        """Ask for it. Redirects are followed on the same host only: another one has to be allowed first.

        `seconds` are for all of it, up to the last piece. Leaving the context, also by cancellation, closes the connection.
        """

    def searches(self) -> str:
        """The name of the search engine that is configured."""

    async def search(self, query: str, limit: int, environment: Mapping[str, str]) -> Sequence[Hit]:
        """`environment` may hold the engine's key."""
