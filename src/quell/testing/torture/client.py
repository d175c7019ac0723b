"""A client under torture, in a process of its own: it does one thing after another, and follows, until it is killed.

    python -m quell.testing.torture.client '{"name": …}'

What it does is drawn from its seed; when, is up to everybody. It asks any server that answers, another one each time. It repeats a submission whose answer was lost with the same id, and so does
the next client of its name when it was killed itself. On standard input it is told to `rest`, to `compare` what its followers hold, and
to `go` on; the end of it is the end.
"""

from __future__ import annotations

import asyncio
import os
import random as global_random
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import TypeVar

import msgspec
from msgspec import Struct

from quell.client.client import (
    Cancellation,
    Client,
    NewLimits,
    NewPrompt,
    NewSession,
    QueueEdit,
    RemoteSession,
    SessionChange,
)
from quell.core.errors import QuellError, StorageRefused, Unavailable
from quell.core.facts import PermissionOption
from quell.core.messages import UserMessage
from quell.core.session import Summary
from quell.testing.torture import ledger as l
from quell.testing.torture.follower import FactFollower, Follower, ViewFollower
from quell.testing.torture.script import ANSWERS, NUMBERS, TIMED
from quell.testing.torture.servers import Servers

T = TypeVar("T")

SESSIONS = 4
QUEUE = 4
"""Prompts that wait in a session before nobody submits more."""

AGAIN = 0.2
"""Seconds until something is tried again."""


class Order(Struct, frozen=True):
    """What it is told. `ends`: the `seq` up to which each session is to be compared."""

    word: int
    kind: str
    ends: dict[str, int] = {}


class Part(Struct, frozen=True):
    """What it is started with. `numbers` is a folder where prompts get their numbers, `kinds` says how often which is asked."""

    name: str
    seed: str
    sockets: tuple[str, ...]
    kinds: dict[str, int]
    workspaces: str
    numbers: str
    model: str
    ledger: str


class Tormentor:
    """One client: some tasks that do things, and some that follow."""

    def __init__(self, part: Part, servers: Servers, notes: l.Ledger) -> None:
        self._part = part
        self._servers = servers
        self._notes = notes
        self._random = Random(part.seed)
        self._going = asyncio.Event()
        self._busy = 0
        self._still = asyncio.Condition()
        self._waits = asyncio.Semaphore(6)

    @property
    def _client(self) -> Client:
        """Another one each time."""
        return self._servers.some()

    async def play(self, orders: asyncio.StreamReader, unanswered: list[tuple[str, l.Submitting]]) -> None:
        followers: list[Follower] = [
            ViewFollower(self._servers, self._notes, self._random),
            FactFollower(self._servers, self._notes, self._random),
        ]
        self._going.set()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._again(group, session, what)) for session, what in unanswered]
            tasks += [group.create_task(self._act(group)) for _ in range(2)]
            tasks += [group.create_task(follower.follow(self._some_session)) for follower in followers]
            while line := await orders.readline():
                await self._obey(msgspec.json.decode(line, type=Order), followers)
            os._exit(0)  # whatever still waits

    async def _obey(self, order: Order, followers: list[Follower]) -> None:
        match order.kind:
            case "rest":
                self._going.clear()
                async with self._still:
                    await self._still.wait_for(lambda: self._busy == 0)
            case "compare":
                async with asyncio.TaskGroup() as group:
                    for follower in followers:
                        group.create_task(follower.compare(order.ends))
            case _:
                for follower in followers:
                    follower.leave()
                self._going.set()
        self._notes.write(l.Reached(time.time(), order.word))

    # Doing

    async def _act(self, group: asyncio.TaskGroup) -> None:
        while True:
            await self._going.wait()
            await self._counted(self._deed(group))
            await asyncio.sleep(self._random.choice((0.0, 0.02, 0.1, 0.25)))

    async def _counted(self, work: Awaitable[None]) -> None:
        """While something is in progress the client does not rest. What is refused was noted where it was asked for."""
        self._busy += 1
        try:
            await work
        except QuellError:
            await asyncio.sleep(AGAIN)
        finally:
            self._busy -= 1
            async with self._still:
                self._still.notify_all()

    async def _again(self, group: asyncio.TaskGroup, session: str, what: l.Submitting) -> None:
        """Submit what an earlier client of this name was killed with."""
        await self._counted(self._submit(session, what))

    async def _asks(self, session: str, what: l.What, ask: Awaitable[T]) -> T:
        number = self._notes.asks(session, what)
        try:
            answer = await ask
        except QuellError as error:
            self._notes.refused(number, error.code)
            raise
        self._notes.told(number, answer)
        return answer

    async def _some_session(self) -> Summary | None:
        items = (await self._client.sessions(limit=20)).items
        return self._random.choice(items) if items else None

    async def _deed(self, group: asyncio.TaskGroup) -> None:
        items = [item for item in (await self._client.sessions(limit=20)).items if not self._is_worn(item.id)]
        if len(items) < SESSIONS:
            await self._create()
            return
        found = self._random.choice(items)
        session = self._client.session(found.id)
        deeds: dict[str, tuple[int, Callable[[], Awaitable[object]]]] = {
            "submit": (45, lambda: self._prompt(session, found)),
            "cancel": (14, lambda: self._cancel(session, found)),
            "edit": (16, lambda: self._edit(session)),
            "answer": (20 if found.awaiting else 2, lambda: self._answer(session)),
            "resume": (12 if found.parked else 1, lambda: self._asks(found.id, l.Doing("resume"), session.resume())),
            "wait": (10, lambda: self._wait(group, session)),
            "compact": (2, lambda: self._asks(found.id, l.Doing("compact"), session.compact())),
            "revert": (4, lambda: self._revert(session)),
            "cancel a sub-agent": (2, lambda: self._cancel_child(found.id)),
            "end a job": (3, lambda: self._end_job(session)),
            "rename": (2, lambda: self._rename(session)),
            "delete": (1, lambda: self._asks(found.id, l.Deleting(), session.delete())),
            "look": (3, session.messages),
        }
        weights = [weight for weight, _ in deeds.values()]
        name = self._random.choices(list(deeds), weights)[0]
        await deeds[name][1]()

    async def _create(self) -> None:
        workspace = Path(self._part.workspaces) / f"{self._random.getrandbits(48):012x}"
        with suppress(OSError):  # the disk is full
            workspace.mkdir()
            await self._client.create(NewSession(workspace=str(workspace), model=self._part.model, mode="yolo"))

    def _is_worn(self, session: str) -> bool:
        return (Path(self._part.numbers) / f"{session}-{NUMBERS - 1}").exists()

    def _number(self, session: str) -> int | None:
        """One that nobody else has."""
        for number in range(NUMBERS):
            try:
                os.close(os.open(Path(self._part.numbers) / f"{session}-{number}", os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                continue
            return number
        return None

    async def _prompt(self, session: RemoteSession, found: Summary) -> None:
        number = self._number(session.id) if found.queued <= QUEUE else None
        if number is not None:
            kind = self._random.choices(list(self._part.kinds), list(self._part.kinds.values()))[0]
            delivery = "steer" if self._random.random() < 0.3 and kind not in TIMED else "queue"
            what = l.Submitting(f"{session.id}-{number}", f"{kind} {number}", delivery)  # type: ignore[arg-type]  # of those above
            await self._submit(session.id, what)

    async def _submit(self, session: str, what: l.Submitting) -> None:
        """Until it is acknowledged or refused; sometimes once more, although it was."""
        kind = what.text.partition(" ")[0]
        prompt = NewPrompt(
            id=what.prompt,
            text=what.text,
            delivery=what.delivery,
            mode="ask" if kind == "ask" else None,
            limits=NewLimits(seconds=0.8) if kind in TIMED else NewLimits(),
        )
        times = self._random.choice((1, 1, 2))
        while times:
            try:
                await self._asks(session, what, self._client.session(session).submit(prompt))
                times -= 1
            except (Unavailable, StorageRefused):
                await asyncio.sleep(AGAIN)

    async def _cancel(self, session: RemoteSession, found: Summary) -> None:
        view = (await session.view(tail=0)).view
        scope = self._random.choice(("all", "active", "active"))
        named = self._random.choice(("", "", "run", "upto", "prompt"))
        entries = [item.id for item in view.queue] + ([view.run.entry] if view.run is not None else [])
        cancellation = Cancellation(
            scope=scope,  # type: ignore[arg-type]  # of those above
            run=view.run.id if named == "run" and view.run is not None else None,
            upto=found.seq if named == "upto" else None,
            prompt=self._random.choice(entries) if named == "prompt" and entries else None,
        )
        for _ in range(self._random.choice((1, 1, 2))):
            await self._asks(session.id, l.Cancelling(cancellation), session.cancel(cancellation))

    async def _edit(self, session: RemoteSession) -> None:
        items = (await session.queue()).items
        if not items:
            return
        item, other = self._random.choice(items), self._random.choice(items)
        kind = self._random.choice(
            ("text", "steer", "queue", "before", "last", "drop", "drop all", "promote", "interrupt")
        )
        if kind == "steer" and item.text.partition(" ")[0] in TIMED:
            return
        what: l.What = l.Interrupting(item.id) if kind == "interrupt" else l.Doing(f"{kind} {item.id}")
        match kind:
            case "text":
                work = session.edit(item.id, QueueEdit(text=f"talk {item.id} edited"))
            case "steer" | "queue":
                work = session.edit(item.id, QueueEdit(delivery=kind))
            case "before":
                work = session.edit(item.id, QueueEdit(before=other.id))
            case "last":
                work = session.edit(item.id, QueueEdit(before=None))
            case "drop":
                work = session.drop(item.id)
            case "drop all":
                work = session.drop_all()
            case _:
                work = session.promote(item.id, interrupt=kind == "interrupt")
        await self._asks(session.id, what, work)

    async def _answer(self, session: RemoteSession) -> None:
        for request in (await session.requests()).items:
            if request.questions:
                await self._asks(session.id, l.Doing(f"answer {request.id}"), session.answer(request.id, ANSWERS))
                continue
            option: PermissionOption = self._random.choice(("allow_once", "allow_once", "reject_once"))
            await self._asks(session.id, l.Doing(f"{option} {request.id}"), session.answer(request.id, option))

    async def _revert(self, session: RemoteSession) -> None:
        if self._random.random() < 0.3:
            await self._asks(session.id, l.Doing("undo"), self._client.unrevert(session.id, force=True))
            return
        messages = [message for message in (await session.messages()).items if isinstance(message, UserMessage)]
        if messages:
            to = self._random.choice(messages[-5:]).id
            await self._asks(session.id, l.Doing(f"revert {to}"), self._client.revert(session.id, to, force=True))

    async def _cancel_child(self, parent: str) -> None:
        children = (await self._client.sessions(parent=parent, limit=20)).items
        if children:
            child = self._random.choice(children[:2]).id
            cancellation = Cancellation(scope="all")
            await self._asks(child, l.Cancelling(cancellation), self._client.session(child).cancel(cancellation))

    async def _end_job(self, session: RemoteSession) -> None:
        running = [job for job in (await session.jobs()).items if job.running]
        if running:
            job = self._random.choice(running).id
            await self._asks(session.id, l.EndingJob(job), session.end_job(job))

    async def _rename(self, session: RemoteSession) -> None:
        title = f"title {self._random.random()}"
        await self._asks(session.id, l.Doing("rename"), session.change(SessionChange(title=title)))

    async def _wait(self, group: asyncio.TaskGroup, session: RemoteSession) -> None:
        """Beside everything else, across lost connections, until it is answered."""
        number = self._random.randrange(NUMBERS)
        if not self._waits.locked() and (Path(self._part.numbers) / f"{session.id}-{number}").exists():
            seconds = self._random.choice((0.0, 5.0, 60.0))
            group.create_task(self._counted(self._answered(session.id, f"{session.id}-{number}", seconds)))

    async def _answered(self, session: str, prompt: str, seconds: float) -> None:
        async with self._waits:
            while True:
                try:
                    asked = self._client.session(session).prompt(prompt, seconds)
                    await self._asks(session, l.Waiting(prompt, seconds), asked)
                except (Unavailable, StorageRefused):
                    await asyncio.sleep(AGAIN)
                else:
                    return


def _unanswered(path: Path) -> list[tuple[str, l.Submitting]]:
    """What earlier clients of this name submitted and were told nothing of."""
    asked: dict[str, tuple[str, l.Submitting]] = {}
    numbers: dict[int, str] = {}
    for line in l.Reader(path).news():
        match line:
            case l.Asked(number=number, session=session, what=l.Submitting() as what):
                asked[what.prompt] = session, what
                numbers[number] = what.prompt
            case l.Told(number=number) if number in numbers:
                asked.pop(numbers[number], None)
            case _:
                pass
    return list(asked.values())


async def main(part: Part) -> None:
    path = Path(part.ledger)
    unanswered = _unanswered(path)
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    async with Servers(part.sockets, Random(f"{part.seed} servers")) as servers:
        await Tormentor(part, servers, l.Ledger(path)).play(orders, unanswered)


if __name__ == "__main__":
    part = msgspec.json.decode(sys.argv[1], type=Part)
    global_random.seed(part.seed)
    asyncio.run(main(part))
