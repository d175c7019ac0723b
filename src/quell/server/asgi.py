"""The little of ASGI that we use, spelt out: its types, reading a body within limits, sending a whole answer.

Rules: nothing here knows a route. A body is read only as far as the limit allows and as long as it keeps coming; what remains unread
is thrown away by the server underneath.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from http import HTTPStatus
from typing import Any

import msgspec
from msgspec import Struct

from quell.server.errors import PROBLEM_TYPE, HttpRefused
from quell.wire.api import Problem

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
"""As ASGI 3 has them: untyped mappings, which go no further than this package's edge."""

JSON_TYPE = "application/json"

PART = 128 * 1024
"""Bytes of a long answer that are made, and sent, at a time."""
UNREAD_SECONDS = 60.0
"""How long a client may leave such a part unread."""

encoder = msgspec.json.Encoder()


class BodyLimits(Struct, frozen=True):
    """How large a body may be, in bytes, and how many seconds it may pause."""

    size: int = 64 * 1024 * 1024
    pause: float = 20.0


def header(scope: Scope, name: bytes) -> str | None:
    """The first header of that name (in small letters); None when there is none."""
    for key, value in scope["headers"]:
        if key == name:
            return str(value, "latin-1")
    return None


async def read_body(scope: Scope, receive: Receive, limits: BodyLimits) -> bytes:
    """All of it. Raises `HttpRefused` when it is too large or stalls; `ConnectionError` when the client has gone."""
    declared = header(scope, b"content-length") or ""
    if declared.isdecimal() and int(declared) > limits.size:
        raise _too_large(limits)
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await _receive(receive, limits)
        if message["type"] == "http.disconnect":
            raise ConnectionError("the client has gone")
        piece: bytes = message.get("body", b"")
        size += len(piece)
        if size > limits.size:
            raise _too_large(limits)
        pieces.append(piece)
        if not message.get("more_body", False):
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)


async def _receive(receive: Receive, limits: BodyLimits) -> Message:
    try:
        async with asyncio.timeout(limits.pause):
            return await receive()
    except TimeoutError:
        raise HttpRefused(
            HTTPStatus.REQUEST_TIMEOUT,
            "body_timeout",
            f"The rest of the body did not come within {limits.pause:g} seconds; nothing was done.",
        ) from None


def _too_large(limits: BodyLimits) -> HttpRefused:
    return HttpRefused(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "too_large",
        f"The body is larger than {limits.size:,} bytes, which is the limit; nothing was done.",
    )


async def disconnected(receive: Receive) -> None:
    """Return when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def send_whole(
    send: Send, status: int, content: bytes, content_type: str = JSON_TYPE, headers: Iterable[tuple[str, str]] = ()
) -> None:
    lines = [(b"content-type", content_type.encode()), (b"content-length", b"%d" % len(content))]
    lines.extend((name.encode(), value.encode("latin-1")) for name, value in headers)
    if status == HTTPStatus.NO_CONTENT:
        lines = []
    await send({"type": "http.response.start", "status": status, "headers": lines})
    await send({"type": "http.response.body", "body": content})


async def send_pieces(
    send: Send, status: int, pieces: Iterable[bytes], content_type: str, headers: Iterable[tuple[str, str]] = ()
) -> None:
    """As they are made, many at a time, with the turn of others between. What fails in the middle cuts the connection: nobody takes that for the end."""
    parts = _gathered(pieces)
    first = next(parts)
    lines = [(b"content-type", content_type.encode())]
    lines.extend((name.encode(), value.encode("latin-1")) for name, value in headers)
    await send({"type": "http.response.start", "status": status, "headers": lines})
    await _send_part(send, first)
    for part in parts:
        await asyncio.sleep(0)
        await _send_part(send, part)
    await send({"type": "http.response.body", "body": b""})


async def _send_part(send: Send, part: bytes) -> None:
    try:
        async with asyncio.timeout(UNREAD_SECONDS):
            await send({"type": "http.response.body", "body": part, "more_body": True})
    except TimeoutError:
        raise ConnectionError("the client does not read") from None


def _gathered(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """At least one."""
    made, size = list[bytes](), 0
    for piece in pieces:
        made.append(piece)
        size += len(piece)
        if size >= PART:
            yield b"".join(made)
            made, size = [], 0
    yield b"".join(made)


async def send_problem(send: Send, problem: Problem, headers: Iterable[tuple[str, str]] = ()) -> None:
    await send_whole(send, problem.status, encoder.encode(problem), PROBLEM_TYPE, headers)
