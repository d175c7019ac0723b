"""The disk of the simulation: a real journal, whose work takes virtual time and can go wrong.

An operation is ordered, is carried out some time later, and is answered some time after that; a process can be killed anywhere in
between. As with the threads of the real journal, writes wait for writes and reads for reads, and what was ordered is carried out whether or
not anybody waits for it (contract C10). The SQL is the real one, on a real file: only the threads are left out.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from random import Random
from typing import Protocol, TypeVar

from quell.core.errors import StorageRefused
from quell.core.facts import Recorded
from quell.core.ports import Claim, Draft, Journal, Snapshot
from quell.core.session import Summary
from quell.store.memory import MemoryJournal
from quell.store.sqlite import SqliteJournal
from quell.store.thread import Job, Order, Worker
from quell.testing.simulation.loop import Process, VirtualLoop
from quell.testing.simulation.plan import Ailment

T = TypeVar("T")


class Store(Protocol):
    """What survives a process: it is opened by the next one, and by one beside it. `abandon` is what the kernel does to a killed process's
    files; after `seem_dead` another one may claim, although it lives."""

    def open(self) -> Journal: ...

    def seem_dead(self, journal: Journal) -> None: ...

    def abandon(self, journal: Journal) -> None: ...


class MemoryStore:
    """In memory, for speed."""

    def __init__(self) -> None:
        self._journal = MemoryJournal()

    def open(self) -> Journal:
        return self._journal.beside()

    def seem_dead(self, journal: Journal) -> None:
        assert isinstance(journal, MemoryJournal), "opened here"
        journal.seem_dead()

    def abandon(self, journal: Journal) -> None:
        self.seem_dead(journal)


class SqliteStore:
    """One SQLite file, opened anew by each process."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def open(self) -> Journal:
        return ThreadlessJournal.open(self._path, guest=True)

    def seem_dead(self, journal: Journal) -> None:
        self._path.with_name(f"{self._path.name}.lock").unlink(missing_ok=True)

    def abandon(self, journal: Journal) -> None:
        assert isinstance(journal, ThreadlessJournal), "opened here"
        journal.let_go()


class Done(Order[Job]):
    """An order that nobody has to wait for: its outcome is there when it was worked off."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.value: object = None
        self.error: BaseException | None = None

    def answer(self, value: object) -> None:
        self.value, self.error = value, None

    def refuse(self, error: BaseException) -> None:
        self.error = error


class InPlace(Worker[Job]):
    """A worker without a thread: an order is worked off where it is given."""

    def __init__(self, name: str, work: Callable[[Sequence[Order[Job]]], None], finish: Callable[[], None]) -> None:
        self._work = work
        self._finish = finish

    async def ask(self, job: Job) -> object:
        order = Done(job)
        self._work([order])
        if order.error is not None:
            raise order.error
        return order.value

    async def close(self) -> None:
        self._finish()


class ThreadlessJournal(SqliteJournal):
    """The real journal, with everything that its threads do done in place."""

    worker = InPlace

    def let_go(self) -> None:
        self._querying._finish()
        self._writing._finish()


Weather = Counter[Ailment]
"""What is wrong with the disk at present, and how often."""


class Lane:
    """Operations that wait for each other: `free` is when the last one will be done."""

    def __init__(self) -> None:
        self.free = 0.0


class Disk:
    """The `Journal` port, for one process. `landed` is told of everything that was written, when it was, and by which claim; `claimed` of a claim."""

    def __init__(
        self,
        journal: Journal,
        loop: VirtualLoop,
        process: Process,
        weather: Weather,
        random: Random,
        landed: Callable[[str, Sequence[Recorded], int | None], None],
        claimed: Callable[[int], None],
    ) -> None:
        self._journal = journal
        self._loop = loop
        self._process = process
        self._weather = weather
        self._random = random
        self._landed = landed
        self._claimed = claimed
        self._asked_before = False
        self._writes = Lane()
        self._reads = Lane()

    async def append(
        self,
        session: str,
        expected: int,
        records: Sequence[Recorded],
        summary: Summary,
        generation: int | None = None,
    ) -> None:
        async def write() -> None:
            await self._journal.append(session, expected, records, summary, generation)
            self._landed(session, records, generation)

        await self._write(write)

    async def save_draft(self, session: str, draft: Draft, generation: int | None = None) -> None:
        await self._write(lambda: self._journal.save_draft(session, draft, generation))

    async def save_snapshot(self, session: str, snapshot: Snapshot) -> None:
        await self._write(lambda: self._journal.save_snapshot(session, snapshot))

    async def delete(self, session: str, generation: int | None = None) -> None:
        await self._write(lambda: self._journal.delete(session, generation))

    async def claim(self) -> Claim | None:
        """In no time. At its start nothing can fail."""
        if self._asked_before and self._weather["full"]:
            raise StorageRefused("The journal cannot be written, because the disk is full.")
        self._asked_before = True
        claim = await self._journal.claim()
        if claim is not None:
            self._claimed(claim.generation)
        return claim

    async def renew(self, generation: int) -> None:
        await self._read(lambda: self._journal.renew(generation))

    async def version(self) -> int:
        return await self._read(self._journal.version)

    async def snapshot(self, session: str) -> Snapshot | None:
        return await self._read(lambda: self._journal.snapshot(session))

    async def read(self, session: str, after: int = 0, limit: int | None = None) -> Sequence[Recorded]:
        return await self._read(lambda: self._journal.read(session, after, limit))

    async def summary(self, session: str) -> Summary | None:
        return await self._read(lambda: self._journal.summary(session))

    async def summaries(
        self,
        *,
        workspace: str | None = None,
        parent: str | None = None,
        query: str = "",
        limit: int = 50,
        before: str | None = None,
    ) -> Sequence[Summary]:
        return await self._read(
            lambda: self._journal.summaries(workspace=workspace, parent=parent, query=query, limit=limit, before=before)
        )

    async def busy(self) -> Sequence[str]:
        return await self._read(self._journal.busy)

    async def draft(self, session: str) -> Draft | None:
        return await self._read(lambda: self._journal.draft(session))

    async def close(self) -> None:
        await self._journal.close()

    async def _write(self, operation: Callable[[], Awaitable[None]]) -> None:
        async def attempt() -> None:
            if self._weather["full"]:
                raise StorageRefused("The journal cannot be written, because the disk is full.")
            await operation()
            if self._weather["lost answers"] and self._random.random() < 0.5:
                raise StorageRefused("The journal was written, and the answer was lost.")

        await self._order(self._writes, attempt)

    async def _read(self, operation: Callable[[], Awaitable[T]]) -> T:
        return await self._order(self._reads, operation)

    async def _order(self, lane: Lane, operation: Callable[[], Awaitable[T]]) -> T:
        takes = self._random.uniform(0.0002, 0.003)
        if self._weather["slow"]:
            takes += self._random.uniform(0.0, 1.0)
        begins = max(self._loop.time(), lane.free)
        lane.free = begins + takes
        answer: asyncio.Future[T] = self._loop.create_future()
        self._loop.run_in(
            self._process, self._carry_out(operation, begins + takes * self._random.random(), lane.free, answer)
        )
        return await answer

    async def _carry_out(
        self, operation: Callable[[], Awaitable[T]], at: float, until: float, answer: asyncio.Future[T]
    ) -> None:
        await asyncio.sleep(at - self._loop.time())
        error: Exception | None = None
        result: T | None = None
        try:
            result = await operation()
        except Exception as refused:  # noqa: BLE001  # whatever it is, it is the answer
            error = refused
        await asyncio.sleep(until - self._loop.time())
        if answer.done():
            return
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(result)  # type: ignore[arg-type]  # without an error there is a result
