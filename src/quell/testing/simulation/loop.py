"""An event loop with virtual time and a seeded order, whose tasks can belong to a process that is killed.

Rules: the clock stands still while anything is ready, and jumps to the next timer when nothing is. Of what is ready the seed
chooses: asyncio promises first come, first served to callbacks, but who comes first is up to disks and networks, and nothing that
we write may depend on it. Everything that a task starts belongs to the task's process. A killed process is never run again: no
`finally`, no cancellation, as with SIGKILL; only `close` unwinds what it left, when nobody looks any more. What a paused one would do
waits until it is woken, and time goes on.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from random import Random
from typing import Any, TypeVar, TypeVarTuple, Unpack

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

SPIN = 50_000
"""Callbacks that may run without time passing; more is a loop that waits for nothing."""


class Stuck(AssertionError):
    """Nothing is ready and nothing will be, or something spins."""


class Process:
    """Something that can die, or sleep. `doom` counts down its steps to the moment when it meets its `fate`; it takes none after that."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.paused = False
        self.doom: int | None = None
        self.fate: Callable[[], None] = self.exit
        self.killed: Callable[[], None] = lambda: None

    def exit(self) -> None:
        """Die at once, of one's own will or not."""
        self.alive = False
        self.killed()


_PROCESS: ContextVar[Process | None] = ContextVar("process", default=None)


def running() -> Process:
    """The process whose step this is."""
    process = _PROCESS.get()
    assert process is not None, "asked by what belongs to a process"
    return process


class VirtualLoop(asyncio.AbstractEventLoop):
    """`disorder` is how often the next callback is chosen by the seed rather than by its turn."""

    def __init__(self, random: Random, disorder: float) -> None:
        self.failures: list[str] = []
        self._random = random
        self._disorder = disorder
        self._now = 0.0
        self._ready: list[tuple[Process | None, asyncio.Handle]] = []
        self._timers: list[tuple[float, int, Process | None, asyncio.TimerHandle]] = []
        self._count = 0
        self._dead: list[tuple[Process | None, asyncio.Handle]] = []
        self._held: list[tuple[Process | None, asyncio.Handle]] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closing = False
        self._running = False

    # Time and order

    def time(self) -> float:
        return self._now

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run to the end of `main`. Raises `Stuck` when that never comes."""
        asyncio._set_running_loop(self)
        self._running = True
        try:
            task = self.create_task(main)
            still = 0
            while not task.done():
                if self._step():
                    still = 0
                else:
                    still += 1
                if still > SPIN:
                    raise Stuck(f"{SPIN} callbacks ran and no time passed: something spins")
            result: T = task.result()
            return result
        finally:
            self._running = False
            asyncio._set_running_loop(None)

    def _step(self) -> bool:
        """Run one callback; whether time passed before it."""
        passed = False
        if not self._ready:
            if not self._timers:
                raise Stuck("nothing is ready and no timer is set: everything waits for ever")
            passed = self._timers[0][0] > self._now
            self._now = max(self._now, self._timers[0][0])
        while self._timers and self._timers[0][0] <= self._now:
            _, _, process, timer = heapq.heappop(self._timers)
            if not timer.cancelled():
                self._ready.append((process, timer))
        if self._ready:
            self._run_one()
        return passed

    def _run_one(self) -> None:
        disordered = len(self._ready) > 1 and self._random.random() < self._disorder
        process, chosen = self._ready.pop(self._random.randrange(len(self._ready)) if disordered else 0)
        if chosen.cancelled():
            return
        if process is not None and not process.alive and not self._closing:
            self._dead.append((process, chosen))
            return
        if process is not None and process.paused and not self._closing:
            self._held.append((process, chosen))
            return
        chosen._run()
        if process is not None and process.doom is not None and process.alive:
            process.doom -= 1
            if process.doom <= 0:
                process.doom = None
                process.fate()

    def wake(self, process: Process) -> None:
        """Let a paused process go on."""
        process.paused = False
        held, self._held = self._held, []
        for each in held:
            (self._ready if each[0] is process else self._held).append(each)

    # What asyncio asks of a loop

    def call_soon(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        context = copy_context() if context is None else context
        made = asyncio.Handle(callback, args, self, context)
        self._ready.append((context.get(_PROCESS), made))
        return made

    def call_soon_threadsafe(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)

    def call_later(
        self, delay: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        context = copy_context() if context is None else context
        made = asyncio.TimerHandle(when, callback, args, self, context)
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, context.get(_PROCESS), made))
        return made

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Asked for by `TimerHandle`: a cancelled timer is passed over when its time comes."""

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self, **options)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def run_in(self, process: Process, coro: Coroutine[Any, Any, None]) -> None:
        """Run a task in a process. The loop is its parent: an exception that ends it is one of `failures`."""
        context = copy_context()
        context.run(_PROCESS.set, process)
        task = self.create_task(coro, context=context)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None and not self._closing:
            self.failures.append(f"{error!r} ended {task.get_coro()!r}")

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self._closing:
            self.failures.append(f"{context.get('message')}: {context.get('exception')!r}")

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return self._running

    def is_closed(self) -> bool:
        return self._closing

    def close(self) -> None:
        """Unwind whatever is left, killed processes too, so that nothing is torn down by the garbage collector."""
        self._closing = True
        asyncio._set_running_loop(self)
        try:
            self._ready.extend([*self._dead, *self._held])
            for _ in range(20):
                if not self._tasks:
                    break
                for task in list(self._tasks):
                    task.cancel()
                for _ in range(SPIN):
                    if not (self._ready or self._timers) or not self._tasks:
                        break
                    self._step()
        finally:
            asyncio._set_running_loop(None)
        self._ready.clear()
        self._timers.clear()
