"""The thread behind a journal: order, batches, and the fate of an order whose giver is gone."""

import asyncio
import threading
from collections.abc import Sequence

import pytest

from quell.core.errors import StorageRefused
from quell.store.thread import BATCH, Order, Worker


class Recorder:
    """Notes the batches; does not begin before it is let."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.begun = threading.Event()
        self.gate = threading.Event()
        self.finished = False

    def work(self, orders: Sequence[Order[int]]) -> None:
        self.begun.set()
        self.gate.wait()
        self.batches.append([order.job for order in orders])
        for order in orders:
            if order.job < 0:
                raise ZeroDivisionError(order.job)
            order.answer(order.job * 2)

    def finish(self) -> None:
        self.finished = True


async def test_what_gathers_is_one_batch_in_order() -> None:
    recorder = Recorder()
    worker = Worker("test", recorder.work, recorder.finish)
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(worker.ask(0))
        await asyncio.to_thread(recorder.begun.wait)
        rest = [tasks.create_task(worker.ask(number)) for number in range(1, BATCH + 3)]
        await _turns(2)  # let them all give their order, and that turn end
        recorder.gate.set()
    await worker.close()
    assert first.result() == 0
    assert [task.result() for task in rest] == [number * 2 for number in range(1, BATCH + 3)]
    assert recorder.batches == [[0], list(range(1, BATCH + 1)), [BATCH + 1, BATCH + 2]]


async def test_of_the_orders_of_one_turn_of_the_loop_the_first_does_not_wait_for_the_turn_to_end() -> None:
    recorder = Recorder()
    worker = Worker("test", recorder.work, recorder.finish)

    async def see() -> None:
        assert recorder.begun.wait(10), "within the turn, in which the loop goes on to nothing else"

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(worker.ask(0))
        tasks.create_task(see())
        for number in range(1, 4):
            tasks.create_task(worker.ask(number))
        await _turns(2)
        recorder.gate.set()
    assert await worker.ask(4) == 8, "the first of a later turn"
    await worker.close()
    assert recorder.batches == [[0], [1, 2, 3], [4]]


async def test_closing_within_the_turn_of_an_order_carries_it_out() -> None:
    recorder = Recorder()
    recorder.gate.set()
    worker = Worker("test", recorder.work, recorder.finish)
    async with asyncio.TaskGroup() as tasks:
        orders = [tasks.create_task(worker.ask(number)) for number in range(3)]
        tasks.create_task(worker.close())
    assert [order.result() for order in orders] == [0, 2, 4]
    assert recorder.finished


async def _turns(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def test_an_order_outlives_its_giver_and_close_waits_for_it() -> None:
    recorder = Recorder()
    worker = Worker("test", recorder.work, recorder.finish)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(worker.ask(7))
        await asyncio.to_thread(recorder.begun.wait)
        task.cancel()
        closing = tasks.create_task(worker.close())
        again = tasks.create_task(worker.close())
        await asyncio.sleep(0)
        assert not closing.done()
        with pytest.raises(StorageRefused, match="closed"):
            await worker.ask(8)
        recorder.gate.set()
    assert again.done()
    assert recorder.batches == [[7]]
    assert recorder.finished


def test_a_loop_that_is_gone_is_nobody_s_problem() -> None:
    recorder = Recorder()
    workers: list[Worker[int]] = []

    async def leave() -> None:
        workers.append(Worker("test", recorder.work, recorder.finish))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await workers[0].ask(1)

    async def return_later() -> object:
        try:
            return await workers[0].ask(2)
        finally:
            await workers[0].close()

    asyncio.run(leave())
    recorder.gate.set()
    assert asyncio.run(return_later()) == 4
    assert [job for batch in recorder.batches for job in batch] == [1, 2]


async def test_a_bug_in_the_work_is_heard_by_those_who_wait_and_does_not_end_the_thread() -> None:
    recorder = Recorder()
    recorder.gate.set()
    worker = Worker("test", recorder.work, recorder.finish)
    with pytest.raises(ZeroDivisionError):
        await worker.ask(-1)
    assert await worker.ask(3) == 6
    await worker.close()
