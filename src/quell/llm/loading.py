"""Brings in what speaks to providers: libraries that take a second or two to import, and their connections.

Rules: a dialect is imported on its first use, in one thread, so that the event loop never waits for it; a connection
pool is made once for each address and key. `import quell.llm` imports none of it.

The thread owns the connections; who wants one asks it. It is a daemon thread, so that a process may end in the middle
of an import.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import queue
import threading
from typing import TYPE_CHECKING, cast

from msgspec import Struct

from quell.llm.options import Dialect
from quell.llm.providers import Access

if TYPE_CHECKING:  # it imports what is heavy
    from quell.llm.rehearsal import Connection, DialectModule

MODULES: dict[Dialect, str] = {
    "openai": "quell.llm.openai_dialect",
    "anthropic": "quell.llm.anthropic_dialect",
}
"""Each is a `rehearsal.DialectModule`."""


class _Job(Struct, frozen=True):
    access: Access
    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[Connection]


class Loader:
    """Hands out connections. Used from one event loop."""

    def __init__(self) -> None:
        self._connections: dict[object, Connection] = {}
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    async def connection(self, access: Access) -> Connection:
        """The connection for an address and key; made, and its dialect imported, when it is the first."""
        known = self._connections.get(identity(access))
        if known is not None:
            return known
        if self._thread is None:
            work = (self._jobs, self._connections)
            self._thread = threading.Thread(target=_work, args=work, name="quell-llm-loader", daemon=True)
            self._thread.start()
        loop = asyncio.get_running_loop()
        job = _Job(access, loop, loop.create_future())
        self._jobs.put(job)
        return await job.answer

    async def close(self) -> None:
        """Close all connections. An import that is under way is not waited for."""
        self._jobs.put(None)
        self._jobs, self._thread = queue.SimpleQueue(), None
        connections, self._connections = self._connections, {}
        for connection in connections.values():
            await connection.close()


def _work(jobs: queue.SimpleQueue[_Job | None], connections: dict[object, Connection]) -> None:
    """The thread: one job after the other, until there is a None."""
    while (job := jobs.get()) is not None:
        key = identity(job.access)
        try:
            if key not in connections:
                connections[key] = _connect(job.access)
            answer = connections[key]
        except Exception as error:  # noqa: BLE001  # the outermost loop of this thread; who asked gets it
            _answer(job, error)
        else:
            _answer(job, answer)


def _answer(job: _Job, outcome: Connection | Exception) -> None:
    def settle() -> None:
        if job.answer.done():  # who asked was cancelled
            return
        if isinstance(outcome, Exception):
            job.answer.set_exception(outcome)
        else:
            job.answer.set_result(outcome)

    with contextlib.suppress(RuntimeError):  # the loop has been closed: nobody waits any more
        job.loop.call_soon_threadsafe(settle)


def _connect(access: Access) -> Connection:
    """Import the dialect, if need be, and rehearse it; connect.

    A hundred thousand objects come into being here that stay for good. The collector would look at all of them again
    and again, stopping the event loop each time: it is off meanwhile, and afterwards they are set apart.
    """
    name = MODULES[access.provider.dialect]
    loaded = name in _LOADED
    collecting = gc.isenabled()
    if not loaded:
        gc.disable()
    try:
        module = cast("DialectModule", importlib.import_module(name))
        connection = module.connect(access)
        if not loaded:
            importlib.import_module("quell.llm.rehearsal").rehearse(module, access)
            gc.freeze()
            _LOADED.add(name)
    finally:
        if collecting:
            gc.enable()
    return connection


_LOADED: set[str] = set()


def identity(access: Access) -> object:
    """What makes two connections the same one."""
    provider = access.provider
    headers = tuple(sorted(provider.headers.items()))
    return (provider.name, provider.dialect, access.base_url, access.api_key, headers, provider.idle_timeout)
