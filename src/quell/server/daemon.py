"""The daemon: serves an engine on sockets until it is told to leave, or has had nothing to do for long enough.

    with unix_socket(path) as listening:
        async with Engine(…) as engine:
            await serve(engine, choices, [Listener(listening)], Options(…))

Rules: SIGTERM, SIGINT, `POST /v1/shutdown` and idleness are one event. After it: nobody new is let in, event streams end at once, the
engine settles what runs (contract K6), requests in flight are answered, and `serve` returns. A second signal does not wait for any
of that: what it leaves is what a crash leaves. Which folders, which settings and which log are the business of `app`.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from msgspec import Struct

from quell.engine import Engine
from quell.server.app import Application
from quell.server.asgi import App, BodyLimits
from quell.server.auth import Guard
from quell.server.host import Host
from quell.server.route import Choices, Site
from quell.wire import times

log = logging.getLogger(__name__)


class Options(Struct, frozen=True, kw_only=True):
    """`idle_exit`: leave after so many seconds with nothing to do; None: never. `limits`: of what clients send.

    `engine_grace`, `request_grace`: seconds that the engine may take to settle what runs, and requests in flight to be answered.
    """

    version: str
    idle_exit: float | None = 600.0
    limits: BodyLimits = BodyLimits()
    engine_grace: float = 8.0
    request_grace: float = 1.0


class Listener(Struct, frozen=True):
    """A socket that listens. With a `token` every request needs it (TCP always has one); `names` are host names to answer to."""

    socket: socket.socket
    token: str | None = None
    names: tuple[str, ...] = ()


async def serve(
    engine: Engine,
    choices: Choices,
    listeners: Sequence[Listener],
    options: Options,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Answer requests until the server is to leave; then end in good order. `ready` is called when it answers."""
    stopping, hurry = asyncio.Event(), asyncio.Event()
    application = Application(Site(engine, choices, options.version, times.now(), stopping), options.limits)
    hosts = [Host(_guarded(application, listener), listener.socket) for listener in listeners]
    with _signals(stopping, hurry), _closing(hosts):
        for host in hosts:
            await host.listen()
        async with asyncio.TaskGroup() as group:
            watch = group.create_task(_watch_idleness(engine, hosts, options.idle_exit, stopping))
            ready()
            await stopping.wait()
            watch.cancel()
            for host in hosts:
                host.stop_listening()
            await _settle(engine, hurry, options.engine_grace)
        for host in hosts:
            await host.end(0 if hurry.is_set() else options.request_grace)


async def _settle(engine: Engine, hurry: asyncio.Event, grace: float) -> None:
    """Have the engine settle what runs; requests that wait for it are answered meanwhile."""
    async with asyncio.TaskGroup() as group:
        rush = group.create_task(hurry.wait())
        settle = group.create_task(engine.shutdown())
        await asyncio.wait((rush, settle), timeout=grace, return_when=asyncio.FIRST_COMPLETED)
        if not settle.done():
            log.warning("leaving before everything had settled; the next start will recover it")
        rush.cancel()
        settle.cancel()


def _guarded(application: App, listener: Listener) -> App:
    if listener.token is not None:
        return Guard(application, listener.token, listener.names)
    assert listener.socket.family == socket.AF_UNIX, "only a unix socket needs no token"
    return application


@contextmanager
def _signals(stopping: asyncio.Event, hurry: asyncio.Event) -> Iterator[None]:
    def told() -> None:
        (hurry if stopping.is_set() else stopping).set()

    loop = asyncio.get_running_loop()
    kinds = (signal.SIGTERM, signal.SIGINT)
    for kind in kinds:
        loop.add_signal_handler(kind, told)
    try:
        yield
    finally:
        for kind in kinds:
            loop.remove_signal_handler(kind)


@contextmanager
def _closing(hosts: Sequence[Host]) -> Iterator[None]:
    """However it ends, nothing listens afterwards: uvloop, being closed, waits for its servers for ever."""
    try:
        yield
    finally:
        for host in hosts:
            host.stop_listening()


async def _watch_idleness(
    engine: Engine, hosts: Sequence[Host], idle_exit: float | None, stopping: asyncio.Event
) -> None:
    """Set `stopping` after `idle_exit` seconds without a run, an unparked queue, a follower, a connection or a request."""
    if idle_exit is None:
        return
    loop = asyncio.get_running_loop()
    requests, since = -1, loop.time()
    while loop.time() - since < idle_exit:
        await asyncio.sleep(min(1.0, idle_exit / 10))
        now = sum(host.requests for host in hosts)
        if now != requests or engine.busy or engine.followers or any(host.connections for host in hosts):
            requests, since = now, loop.time()
    log.info("nothing to do for %g seconds: leaving", idle_exit)
    stopping.set()
