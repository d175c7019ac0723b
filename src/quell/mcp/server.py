"""One server: when it is started, how it stands, and what it offers.

It is started when somebody needs it, once however many do, and again when it is needed and gone; after failures in a row it is left alone
for a while, longer each time. Who waits for it may be cancelled; it goes on starting.

What it offered stays on offer while it is away: a call brings it back.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import logging
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from quell.core.mcp import ServerState
from quell.core.messages import ToolSpec
from quell.core.programs import Programs
from quell.mcp.answers import ServerFailed
from quell.mcp.offers import INSTRUCTIONS, Offer, offers, unknown
from quell.mcp.options import ServerOptions

if TYPE_CHECKING:  # it imports what is heavy
    from quell.mcp.connection import Connection

log = logging.getLogger(__name__)

T = TypeVar("T")

BACK_OFF = 1.0
"""Seconds after the first failure in which it is not started again; twice as long after each further one."""
LONGEST_BACK_OFF = 300.0
LIVED = 5.0
"""Seconds after which a server that ends has not failed to start."""
CLOSING = 1.5
"""Seconds to say good-bye in."""
REFRESH_WITHIN = 30.0

_CONNECTION = "quell.mcp.connection"


class Surroundings:
    """What servers need of the world. `hide` takes keys out of what they have said before they ended."""

    def __init__(self, programs: Programs, hide: Callable[[str], str], hidden: frozenset[str]) -> None:
        self.programs = programs
        self.hide = hide
        self.hidden = hidden

    def environment(self, given: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
        """As commands get it, and what the settings say."""
        return {**{name: value for name, value in given.items() if name not in self.hidden}, **own}


class Server:
    """`options` are what it is known by. `used` is when somebody last wanted it, by the loop's clock."""

    def __init__(self, options: ServerOptions, root: str, environment: Mapping[str, str], around: Surroundings) -> None:
        self.options = options
        self.offers: Mapping[str, Offer] = {}
        self.instructions = ""
        self.has_resources = False
        self.used = 0.0
        self._root = root
        self._environment = around.environment(environment, dict(options.environment))
        self._around = around
        self._life = _Life()
        self._failures = 0
        self._problem = options.problem
        self._not_before = 0.0

    @property
    def state(self) -> ServerState:
        options, life = self.options, self._life
        problem = self._problem or None
        if options.disabled:
            return ServerState(name=options.name, state="disabled")
        if life.connection is not None:
            slip = unknown(options, life.connection.tools) or None
            return ServerState(name=options.name, state="connected", problem=slip, tools=len(self.offers))
        if life.task is not None:
            return ServerState(name=options.name, state="starting", tools=len(self.offers))
        return ServerState(
            name=options.name, state="failed" if problem else "stopped", problem=problem, tools=len(self.offers)
        )

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        return tuple(offer.spec for offer in self.offers.values())

    @property
    def begun(self) -> float:
        """When it was started last."""
        return self._life.begun

    @property
    def in_use(self) -> bool:
        return self._life.calls > 0

    def begin(self, group: asyncio.TaskGroup) -> None:
        """Start it, unless it is there, must not be, or has failed just now."""
        now = asyncio.get_running_loop().time()
        self.used = now
        if self.options.disabled or self.options.problem or self._life.task is not None or now < self._not_before:
            return
        self._life = _Life()
        self._life.begun = now
        self._life.task = group.create_task(self._live(self._life))

    async def ready(self) -> None:
        """Until it has started, or has failed to."""
        if self._life.task is not None:
            await self._life.settled.wait()

    async def ask(self, group: asyncio.TaskGroup, work: Callable[[Connection], Awaitable[T]]) -> T:
        """What its connection answers; it is started if need be. Raises `ServerFailed`."""
        self.begin(group)
        await self.ready()
        life, connection = self._life, self._life.connection
        if connection is None:
            waits = self._not_before - asyncio.get_running_loop().time()
            raise ServerFailed(
                f"{self._problem} It is not tried again for {waits:.0f} s." if waits >= 1 else self._problem
            )
        with life.calling():
            try:
                return await work(connection)
            except ServerFailed:
                if connection.over.is_set():
                    await life.ended.wait()
                    raise ServerFailed(self._problem or "The connection was closed.") from None
                raise
            finally:
                self.used = asyncio.get_running_loop().time()

    async def stop(self) -> None:
        """End it; return when it is gone."""
        life = self._life
        if (task := life.task) is None:
            return
        life.stopping = True
        if life.connection is not None:
            life.connection.over.set()
        else:
            task.cancel()
        await asyncio.wait((task,))

    # Its life

    async def _live(self, life: _Life) -> None:
        """From the start to the end. Raises nothing but cancellation."""
        problem = ""
        try:
            await self._connected(life)
        except ServerFailed as failure:
            problem = self._around.hide(str(failure))
        except Exception:  # the outermost loop of a server
            log.exception("the MCP server %s in %s: a bug", self.options.name, self._root)
            problem = "Quell has a bug; its log has it."
        finally:
            self._end(life, "" if life.stopping else problem or "The connection was closed.")

    async def _connected(self, life: _Life) -> None:
        module = await asyncio.to_thread(load)
        opened = module.opened(self.options, self._around.programs, self._root, self._environment, life.changed.set)
        with suppress(TimeoutError):  # it does not even let us go
            async with asyncio.timeout(None) as closing, opened as connection:
                self._offer(connection)
                life.connection = connection
                self._problem = ""
                life.settled.set()
                async with asyncio.TaskGroup() as group:
                    refreshing = group.create_task(self._refresh(life, connection))
                    await connection.over.wait()
                    refreshing.cancel()
                closing.reschedule(asyncio.get_running_loop().time() + CLOSING)

    def _offer(self, connection: Connection) -> None:
        self.offers = offers(self.options, connection.tools)
        self.instructions = connection.instructions[:INSTRUCTIONS].strip()
        self.has_resources = connection.has_resources

    async def _refresh(self, life: _Life, connection: Connection) -> None:
        """Whenever it says that its tools have changed. One that cannot be asked then keeps those that are known."""
        while True:
            await life.changed.wait()
            life.changed.clear()
            try:
                async with asyncio.timeout(REFRESH_WITHIN):
                    await connection.refresh()
            except (ServerFailed, TimeoutError) as failure:
                log.warning("the MCP server %s does not tell its tools: %s", self.options.name, failure)
            else:
                self._offer(connection)

    def _end(self, life: _Life, problem: str) -> None:
        now = asyncio.get_running_loop().time()
        lived = life.connection is not None and now - life.begun >= LIVED
        self._failures = 0 if life.stopping or lived else self._failures + 1
        if self._failures:
            # One that could be talked to is brought back at once, the first time.
            waits = self._failures - (life.connection is not None)
            self._not_before = now + (min(BACK_OFF * 2 ** (waits - 1), LONGEST_BACK_OFF) if waits else 0.0)
        self._problem = problem
        if problem:
            log.warning("the MCP server %s in %s: %s", self.options.name, self._root, problem)
        life.connection = life.task = None
        life.settled.set()
        life.ended.set()


def load() -> Any:
    """Import what speaks to servers; in a thread. Without the collector, which would stop the event loop to look at all that comes into being
    and stays: 5 ms at a time instead of 30.
    """
    if _CONNECTION in sys.modules:
        return importlib.import_module(_CONNECTION)  # another thread may still be at it
    collecting = gc.isenabled()
    gc.disable()
    try:
        module = importlib.import_module(_CONNECTION)
        gc.freeze()
    finally:
        if collecting:
            gc.enable()
    return module


class _Life:
    """One life of a server: `settled` is set when it is connected or never will be, `ended` when it is over."""

    def __init__(self) -> None:
        self.task: asyncio.Task[None] | None = None
        self.connection: Connection | None = None
        self.begun = 0.0
        self.calls = 0
        self.stopping = False
        self.settled = asyncio.Event()
        self.ended = asyncio.Event()
        self.changed = asyncio.Event()

    @contextmanager
    def calling(self) -> Iterator[None]:
        self.calls += 1
        try:
            yield
        finally:
            self.calls -= 1
