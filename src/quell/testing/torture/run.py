"""The torture itself: rounds of lives and deaths, an inquest after each death, and one on everything at rest at the end of a round.

Rules: between two lives the journal is read from its file, by this process; at rest it is read as any client reads it. The first thing
that is wrong ends it: what comes after would only be its consequences.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from quell.client.client import Client, RemoteSession, UnixSocket
from quell.core import facts as f
from quell.core.errors import QuellError, SessionNotFound
from quell.core.session import Summary
from quell.store.sqlite import SqliteJournal
from quell.testing.torture.client import Order
from quell.testing.torture.daemon import Daemon, Member
from quell.testing.torture.inquest import Inquest, compare
from quell.testing.torture.place import Place
from quell.testing.torture.plan import Life, Round, rounds
from quell.testing.torture.report import Report, story
from quell.testing.torture.script import ANSWERS, executed
from quell.wire import sse

NAMES = ("ann", "bob", "cleo")
RESTS = 120.0
"""Seconds in which everything has to come to rest, on a slow machine."""

COMMANDS_END = 60.0
"""Seconds in which the commands of a dead daemon have to be gone: 2.8 by themselves, on a slow machine more."""

LEAVES = 60.0
"""Seconds that a daemon may take to leave in good order, on a slow machine."""


class Found(Exception):
    """Something is wrong: what, and with which session if it is one's own. The first line says it, the rest is what else was found."""

    def __init__(self, wrong: list[str], session: str = "") -> None:
        super().__init__(wrong[0])
        self.wrong = wrong
        self.session = session


class Torture:
    """`say` shows how it goes."""

    def __init__(self, seed: int, place: Place, say: Callable[[str], None], lives: int | None = None) -> None:
        self.report = Report(seed)
        self._plan = rounds(seed, lives)
        self._place = place
        self._say = say
        self._daemon: Daemon | None = None
        self._members = [Member(place, name, seed) for name in NAMES]
        self._inquest = Inquest()
        self._words = 0
        self._deleted: set[str] = set()

    async def run(self, enough: Callable[[Report], bool]) -> None:
        """Until it is enough, or something is wrong (`Found`)."""
        try:
            for member in self._members:
                member.start()
            for played in self._plan:
                for life in played.lives:
                    await self._live(life)
                await self._come_to_rest(played)
                self.report.rounds += 1
                self._say("; ".join(self.report.lines(0)[:2]))
                if enough(self.report):
                    break
        finally:
            for member in self._members:
                member.kill()
            if self._daemon is not None:
                self._place.free(self._daemon.pid)
                await self._daemon.kill()

    async def keep(self, found: Found) -> tuple[Path, list[str]]:
        """Leave what is needed to find out; where, and the story of the session that is wrong. The daemon is dead."""
        records: Sequence[f.Recorded] = ()
        with suppress(QuellError):
            journal = SqliteJournal.open(self._place.database)
            records = await journal.read(found.session)
            await journal.close()
        told = story(found.session, records, self._inquest.told.get(found.session, []))
        folder = self._place.keep()
        lines = [f"seed {self.report.seed}", *told, *found.wrong]
        (folder / "story.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return folder, told

    # A life

    async def _start(self) -> Daemon:
        began = time.time()
        self._daemon = daemon = Daemon(self._place)
        if not await daemon.ready():
            raise Found(["the daemon does not start", *self._place.log_lines()[-20:]])
        self.report.recoveries.append(time.time() - began)
        return daemon

    async def _live(self, life: Life) -> None:
        began = time.time()
        if life.end == "kill starting" and self._daemon is None:
            self._daemon = daemon = Daemon(self._place)
            await asyncio.sleep(life.seconds)
        else:
            daemon = self._daemon or await self._start()
            async with asyncio.TaskGroup() as group:
                troubles = [
                    group.create_task(self._fill(daemon, life.full)),
                    group.create_task(self._pause(daemon, life.pause)),
                    group.create_task(self._kill_client(life.client)),
                ]
                await asyncio.sleep(life.seconds)
                for trouble in troubles:  # it may die while the disk is full, or while it is stopped
                    trouble.cancel()
        if daemon.gone:
            raise Found(["the daemon has died by itself", *self._place.log_lines()[-20:]])
        await self._end(daemon, life)
        lines = self._place.log_lines()
        if any("Traceback" in line for line in lines):
            raise Found(["C9: the daemon's log tells of a bug", *lines[-40:]])
        self._place.free(None)
        self._inquest.deaths.append(time.time())
        self._inquest.troubled = [*self._inquest.troubled[-50:], (began, time.time() + 5.0)]
        self.report.ends[life.end] += 1
        self._daemon = None
        await self._inquire_in_the_file()
        if not life.hurry:
            await self._commands_end()

    async def _end(self, daemon: Daemon, life: Life) -> None:
        match life.end:
            case "kill" | "kill starting":
                await daemon.kill()
            case "kill stopped":
                daemon.signal(signal.SIGSTOP)
                await asyncio.sleep(0.05)
                await daemon.kill()
            case "terminate":
                self._place.free(daemon.pid)
                daemon.signal(signal.SIGTERM)
                daemon.signal(signal.SIGCONT)
                if not await daemon.end(LEAVES):
                    raise Found([f"K6: the daemon has not left within {LEAVES:.0f} s", *self._place.log_lines()[-20:]])
                daemon.close()

    async def _fill(self, daemon: Daemon, when: tuple[float, float] | None) -> None:
        if when is not None:
            await asyncio.sleep(when[0])
            self._place.fill(daemon.pid)
            self.report.ends["disk full"] += 1
            await asyncio.sleep(when[1])
            self._place.free(daemon.pid)

    async def _pause(self, daemon: Daemon, when: tuple[float, float] | None) -> None:
        if when is not None:
            await asyncio.sleep(when[0])
            daemon.signal(signal.SIGSTOP)
            self.report.ends["paused"] += 1
            await asyncio.sleep(when[1])
            daemon.signal(signal.SIGCONT)

    async def _kill_client(self, when: float | None) -> None:
        if when is not None:
            await asyncio.sleep(when)
            member = self._members[self.report.clients % len(self._members)]
            member.kill()
            member.start()
            self.report.clients += 1

    async def _commands_end(self) -> None:
        """T1: nothing of what died goes on."""
        until = time.monotonic() + COMMANDS_END
        while left := self._place.processes():
            if time.monotonic() > until:
                raise Found([f"T1: processes are left of a dead daemon: {left}"])
            await asyncio.sleep(0.02)

    # Inquests

    def _learn(self) -> None:
        for member in self._members:
            if member.gone:
                raise Found([f"the client {member.name} has died by itself; see clients.log"])
            self._inquest.learn(member.name, member.reader.news())
        self.report.answers = self._inquest.answered
        if self._inquest.wrong:
            wrong = self._inquest.wrong
            raise Found(wrong, wrong[0].partition(":")[0])

    async def _inquire_in_the_file(self) -> None:
        if not self._place.database.exists():
            return
        journal = SqliteJournal.open(self._place.database)
        try:
            rows = [row for row in await journal.summaries(limit=5000) if row.parent is None]
            records = {row.id: list(await journal.read(row.id)) for row in rows}
            left = [session for session in self._deleted if await journal.read(session) or await journal.draft(session)]
        finally:
            await journal.close()
        if left:
            raise Found([f"K7: {session} was deleted, and something of it is left" for session in left])
        self._hold_to_account(rows, records, resting=False)

    def _hold_to_account(
        self, rows: Sequence[Summary], records: Mapping[str, list[f.Recorded]], *, resting: bool
    ) -> None:
        self._learn()
        for row in rows:
            final = resting and not row.parked and not row.queued
            wrong, found = self._inquest.session(row, records[row.id], resting=resting, final=final)
            if wrong:
                raise Found(wrong, row.id)
            if resting:
                self.report.saw(row.id, found)
        if wrong := list(self._inquest.missing(rows)):
            raise Found(wrong)

    async def _hold_children_to_account(self, client: Client, row: Summary, of_parent: list[f.Recorded]) -> None:
        for child in (await client.sessions(parent=row.id, limit=500)).items:
            if child.id not in self.report.children:
                records = await _facts(client.session(child.id), child.seq)
                if wrong := self._inquest.child(child.id, records, of_parent):
                    raise Found(wrong, child.id)
                self.report.children.add(child.id)

    # Rest

    async def _come_to_rest(self, played: Round) -> None:
        daemon = self._daemon or await self._start()
        if played.full is not None:
            began = time.time()
            await self._fill(daemon, (0.5, played.full))
            self._inquest.troubled.append((began, time.time() + 5.0))
        async with Client(UnixSocket(self._place.socket)) as client:
            await self._ordered("rest", client, self._settle)
            rows = (await client.sessions(limit=500)).items
            records = {row.id: await _facts(client.session(row.id), row.seq) for row in rows}
            self._hold_to_account(rows, records, resting=True)
            for row in rows:
                await self._hold_children_to_account(client, row, records[row.id])
            await self._no_process(daemon)
            await self._compare(client, rows)
            if played.retire:
                await self._retire(client, rows)
            self._words += 1
            for member in self._members:
                member.order(Order(self._words, "go"))

    async def _ordered(
        self, kind: str, client: Client, until: Callable[[Client], Awaitable[bool]], **more: object
    ) -> None:
        """Give an order, and wait until it is carried out, and what else it takes."""
        self._words += 1
        for member in self._members:
            member.order(Order(self._words, kind, **more))  # type: ignore[arg-type]  # its fields
        deadline = time.monotonic() + RESTS
        while True:
            done = await until(client)
            self._learn()
            late = [name for name in NAMES if self._inquest.reached.get(name) != self._words]
            if done and not late:
                return
            if time.monotonic() > deadline:
                await self._say_who_is_late(client, late)
            await asyncio.sleep(0.05)

    async def _say_who_is_late(self, client: Client, late: list[str]) -> None:
        busy = [row for row in (await client.sessions(limit=500)).items if row.busy]
        wrong = [f"liveness: {row.id} is busy for ever" for row in busy]
        wrong += [f"I1: {name} waits for an answer for ever, or has not done what it was told" for name in late]
        raise Found(wrong, busy[0].id if busy else "")

    async def _settle(self, client: Client) -> bool:
        """Be the person that is waited for: answer requests, resume what is parked. Whether everything rests."""
        rests = True
        for row in (await client.sessions(limit=500)).items:
            session = client.session(row.id)
            rests = rests and not row.busy and not row.parked
            with suppress(QuellError):  # it has changed meanwhile
                if row.awaiting:
                    for request in (await session.requests()).items:
                        if request.questions:
                            await session.answer(request.id, ANSWERS)
                        else:
                            await session.answer(request.id, "allow_once")
                if row.parked:
                    await session.resume()
        return rests

    async def _no_process(self, daemon: Daemon) -> None:
        """T1: nothing runs, so nothing of ours does; the commands of earlier lives included."""
        until = time.monotonic() + COMMANDS_END
        while left := self._place.processes(besides=daemon.pid):
            if time.monotonic() > until:
                raise Found([f"T1: processes are left although everything rests: {left}"])
            await asyncio.sleep(0.02)

    async def _compare(self, client: Client, rows: tuple[Summary, ...]) -> None:
        """E1: what the followers hold is what the server shows."""
        self._inquest.held.clear()
        ends = {row.id: row.seq for row in rows}

        async def at_once(client: Client) -> bool:
            return True

        await self._ordered("compare", client, at_once, ends=ends)
        views = {row.id: await client.session(row.id).view(tail=10_000) for row in rows}
        for held in self._inquest.held:
            if held.view is None:
                if held.session in ends:
                    raise Found([f"E1: a follower ({held.by}) was told that {held.session} is gone"])
                continue
            self.report.views += 1
            snapshot = views[held.session]
            if held.seq != snapshot.seq:
                wrong: str | None = f"E1: a follower holds {held.seq} facts, the server {snapshot.seq}"
            else:
                wrong = compare(held, snapshot.view)
            if wrong:
                raise Found([f"{held.session}: {wrong}"], held.session)

    async def _retire(self, client: Client, rows: tuple[Summary, ...]) -> None:
        """Delete every session; that nothing is left of them is seen after the next death."""
        for row in rows:
            self._inquest.ghost.deleting.add(row.id)
            self._deleted |= {child.id for child in (await client.sessions(parent=row.id, limit=500)).items}
            with suppress(SessionNotFound):
                await client.session(row.id).delete()
        until = time.monotonic() + RESTS
        while (await client.sessions(limit=500)).items:
            if time.monotonic() > until:
                raise Found(["K7: sessions were deleted, and do not go"])
            await asyncio.sleep(0.02)
        for row in rows:
            self._inquest.forget(row.id)
            self._deleted.add(row.id)
            shutil.rmtree(row.workspace, ignore_errors=True)
            executed(row.workspace).unlink(missing_ok=True)


async def _facts(session: RemoteSession, end: int) -> list[f.Recorded]:
    """All of them up to `end`, as any client can read them."""
    found: list[f.Recorded] = []
    decoder = sse.Decoder()
    async with session.events(0) as pieces:
        async for piece in pieces:
            found += [value for frame in decoder.feed(piece) if isinstance(value := sse.parse(frame), f.Recorded)]
            if len(found) >= end:
                break
    return found
