"""A thread that works off its inbox in batches, for those who wait in an event loop.

Rules: orders are worked off in the order they came, all that have gathered at once; an order that was given is carried
out whether or not anybody still waits for it (contract C10); the loop is woken once for a batch, not once for an
order; of the orders of one turn of the loop, the first goes to the thread at once, so that nobody who is alone waits, and
the others at the turn's end, so that they are one batch and the two do not fight for the interpreter order by order. What
a batch means is the business of whoever owns the thread.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from quell.store.rules import closed

Job = TypeVar("Job")

BATCH = 256
"""Orders in one batch at most, so that the first does not wait for a crowd."""


class Order(Generic[Job]):
    """A job, and its outcome: answered or refused, once; without either it is answered with None."""

    __slots__ = ("_error", "_future", "_value", "job", "loop")

    def __init__(self, job: Job) -> None:
        self.job = job
        self.loop = asyncio.get_running_loop()
        self._future: asyncio.Future[object] = self.loop.create_future()
        self._value: object = None
        self._error: BaseException | None = None

    def answer(self, value: object) -> None:
        self._value, self._error = value, None

    def refuse(self, error: BaseException) -> None:
        self._error = error

    async def outcome(self) -> object:
        return await self._future

    @staticmethod
    def deliver(orders: Sequence[Order[Job]]) -> None:
        """Let those know who wait. A loop that is gone has nobody left in it."""
        for loop in {order.loop for order in orders}:
            try:
                loop.call_soon_threadsafe(_settle, [order for order in orders if order.loop is loop])
            except RuntimeError:
                continue


def _settle(orders: Sequence[Order[Job]]) -> None:
    for order in orders:
        if order._future.done():
            continue
        if order._error is None:
            order._future.set_result(order._value)
        else:
            order._future.set_exception(order._error)


class Worker(Generic[Job]):
    """`work` is called in the thread with each batch, `finish` at its end, whatever becomes of those who wait."""

    def __init__(self, name: str, work: Callable[[Sequence[Order[Job]]], None], finish: Callable[[], None]) -> None:
        self._work = work
        self._finish = finish
        self._inbox: SimpleQueue[Sequence[Order[Job]] | None] = SimpleQueue()
        self._door = threading.Lock()
        self._turn: asyncio.AbstractEventLoop | None = None
        self._gathered: list[Order[Job]] = []
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    async def ask(self, job: Job) -> object:
        """Have it done. Cancelling the wait does not cancel the job."""
        order = Order(job)
        with self._door:
            if self._closed:
                raise closed()
            if self._turn is order.loop:
                self._gathered.append(order)
            else:
                self._end_turn()
                self._turn = order.loop
                self._turn.call_soon(self._next_turn)
                self._inbox.put((order,))
        return await order.outcome()

    def _next_turn(self) -> None:
        with self._door:
            self._end_turn()

    def _end_turn(self) -> None:
        if self._gathered:
            self._inbox.put(self._gathered)
            self._gathered = []
        self._turn = None

    async def close(self) -> None:
        """Finish what was ordered, then end the thread."""
        with self._door:
            if not self._closed:
                self._closed = True
                self._end_turn()
                self._inbox.put(None)
        while self._thread.is_alive():
            await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        for batch in self._batches():
            try:
                self._work(batch)
            except Exception as error:  # noqa: BLE001 - a bug must end neither the thread nor, unheard, the wait
                for order in batch:
                    order.refuse(error)
            Order.deliver(batch)
        self._finish()

    def _batches(self) -> Iterator[Sequence[Order[Job]]]:
        """What has gathered, whenever there is something, until it is closed."""
        gathered: list[Order[Job]] = []
        more = True
        while more or gathered:
            while more and len(gathered) < BATCH:
                try:
                    orders = self._inbox.get(block=not gathered)
                except Empty:
                    break
                more = orders is not None
                gathered += orders or ()
            batch, gathered = gathered[:BATCH], gathered[BATCH:]
            if batch:
                yield batch
