"""Event streams: the engine's subscriptions as server-sent events.

Rules: a stream ends when its client goes, when its session does, and at once when the server stops. Nothing is buffered here: while a
client does not take what was sent, nothing more is asked of its subscription, which is bounded and goes back to the journal
(contract E4). A client that takes nothing for a whole minute is dropped.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import assert_never

from quell.core.errors import InvalidRequest
from quell.core.events import Deleted, Delta, DraftPart, Reset
from quell.core.facts import Recorded
from quell.core.session import Summary
from quell.engine import Event
from quell.server.asgi import Receive, Send, disconnected
from quell.server.errors import problem
from quell.server.route import Call, Stream, first_of
from quell.wire import api, sse

log = logging.getLogger(__name__)

STUCK_SECONDS = 60.0
"""How long a client may leave a heartbeat unread."""

HEADERS = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store"), (b"x-accel-buffering", b"no")]


async def follow(call: Call[api.EventsQuery, api.Nothing]) -> Stream:
    """The facts of a session from a `seq` on, then what happens, with deltas of what streams. Resume with `Last-Event-ID`."""
    after = call.query.after
    if call.last_event_id:
        if not (call.last_event_id.isascii() and call.last_event_id.isdecimal() and len(call.last_event_id) < 16):
            raise InvalidRequest("Last-Event-ID is the `seq` of a fact: a number.")
        after = int(call.last_event_id)
    return Stream(_session_stream(call, after))


@asynccontextmanager
async def _session_stream(call: Call[api.EventsQuery, api.Nothing], after: int) -> AsyncIterator[AsyncIterator[bytes]]:
    async with call.engine.follow(call.session, after) as batches:
        yield (b"".join([encoded(event) for event in batch]) async for batch in batches)


async def watch(call: Call[api.WatchQuery, api.Nothing]) -> Stream:
    """Sessions as they are, then each one that changes or goes: those of users, or the sub-agents of one.

    It cannot be resumed: it begins anew each time.
    """
    return Stream(_summary_stream(call))


@asynccontextmanager
async def _summary_stream(call: Call[api.WatchQuery, api.Nothing]) -> AsyncIterator[AsyncIterator[bytes]]:
    async with call.engine.follow_all(call.query.workspace, call.query.parent) as batches:
        yield (b"".join([encoded(event) for event in batch]) async for batch in batches)


def encoded(event: Event | Summary) -> bytes:
    """An event as it is sent."""
    match event:
        case Recorded():
            return sse.fact(event)
        case Delta():
            return sse.event("delta", event)
        case DraftPart():
            return sse.event("draft", event)
        case Reset():
            return sse.event("reset", event)
        case Deleted():
            return sse.event("deleted", event)
        case Summary():
            return sse.event("session", event)
        case _:
            assert_never(event)


async def send_stream(stream: Stream, receive: Receive, send: Send, stopping: asyncio.Event) -> None:
    """Send a stream until it ends, for whatever reason. Refusals are raised only before anything was sent."""
    async with stream.source as pieces:
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        # The head alone would stay with the server until there is an event.
        await send({"type": "http.response.body", "body": sse.HEARTBEAT, "more_body": True})
        try:
            await first_of(_pass_on(pieces, send), _beat(send), disconnected(receive), stopping.wait())
        except Exception as error:  # noqa: BLE001 - the outermost of a stream, as `app` is of other requests
            problem(error, "event stream")  # too late for an answer; the client sees the end and comes back
        # A client that does not read would hold this up: then the connection is cut, which says the same.
        try:
            async with asyncio.timeout(0.2):
                await send({"type": "http.response.body", "body": b""})
        except TimeoutError:
            log.info("a client that did not read was cut off")


async def _pass_on(pieces: AsyncIterator[bytes], send: Send) -> None:
    async for piece in pieces:
        if piece:
            await send({"type": "http.response.body", "body": piece, "more_body": True})


async def _beat(send: Send) -> None:
    """Return when a beat is not taken."""
    while True:
        await asyncio.sleep(sse.HEARTBEAT_SECONDS)
        try:
            async with asyncio.timeout(STUCK_SECONDS):
                await send({"type": "http.response.body", "body": sse.HEARTBEAT, "more_body": True})
        except TimeoutError:
            return
