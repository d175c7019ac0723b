"""The torture itself: rounds of lives and deaths, an inquest after each death, and one on everything at rest at the end of a round.

Rules: between two lives the journal is read from its file, by this process; at rest it is read as any client reads it. The first thing
that is wrong ends it: what comes after would only be its consequences.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from quell.client.client import Client, RemoteSession, UnixSocket
from quell.core import facts as f
from quell.core.errors import QuellError, SessionNotFound
from quell.core.session import Summary
from quell.store.sqlite import SqliteJournal
from quell.testing.torture.client import Order
from quell.testing.torture.daemon import Member
from quell.testing.torture.inquest import Inquest, compare
from quell.testing.torture.lives import Found, Lives
from quell.testing.torture.place import Place
from quell.testing.torture.plan import Life, Round
from quell.testing.torture.report import Report, story
from quell.testing.torture.script import ANSWERS, executed
from quell.wire import sse

NAMES = ("ann", "bob", "cleo")
RESTS = 120.0
"""Seconds in which everything has to come to rest, on a slow machine."""

COMMANDS_END = 60.0
"""Seconds in which the commands of a dead daemon have to be gone: 2.8 by themselves, on a slow machine more."""

LAGS = 30.0
"""Seconds in which a guest has to show what the owner shows: 1, on a slow machine more."""


class Torture:
    """`kinds`: what clients ask for, and how often. `say` shows how it goes."""

    def __init__(
        self, plan: Iterator[Round], seed: int, place: Place, kinds: dict[str, int], say: Callable[[str], None]
    ) -> None:
        self.report = Report(seed)
        self._plan = plan
        self._place = place
        self._say = say
        self._members = [Member(place, name, seed, kinds) for name in NAMES]
        self._inquest = Inquest()
        self._lives = Lives(place, self.report, self._inquest)
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
            await self._lives.close()

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

    async def _live(self, life: Life) -> None:
        began = time.time()
        async with asyncio.TaskGroup() as group:
            trouble = group.create_task(self._kill_client(life.client))
            await self._lives.live(life)
            trouble.cancel()
        self._inquest.troubled = [*self._inquest.troubled[-50:], (began, time.time() + 5.0)]
        await self._inquire_in_the_file()
        if not life.hurry:
            await self._no_process()

    async def _kill_client(self, when: float | None) -> None:
        if when is not None:
            await asyncio.sleep(when)
            member = self._members[self.report.clients % len(self._members)]
            member.kill()
            member.start()
            self.report.clients += 1

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
        owner = await self._lives.start()
        guest = await self._lives.start_beside() if played.two else self._lives.guest
        if played.full is not None:
            began = time.time()
            await self._lives.fill((0.5, played.full))
            self._inquest.troubled.append((began, time.time() + 5.0))
        async with Client(UnixSocket(owner.socket)) as client, Client(UnixSocket((guest or owner).socket)) as other:
            await self._ordered("rest", client, partial(self._settle, other))
            rows = (await client.sessions(limit=500)).items
            records = {row.id: await _facts(client.session(row.id), row.seq) for row in rows}
            self._hold_to_account(rows, records, resting=True)
            for row in rows:
                await self._hold_children_to_account(client, row, records[row.id])
            await self._hold_jobs_to_account(client, rows, records)
            await self._compare(client, rows, other)
            await (self._retire if played.retire else self._end_jobs)(client, rows)
            await self._no_process()
            self._lives.see_that_they_live()
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

    async def _settle(self, other: Client, client: Client) -> bool:
        """Be the person that is waited for: answer requests, resume what is parked, at the guest if there is one. Whether everything rests."""
        rests = True
        for row in (await client.sessions(limit=500)).items:
            session = other.session(row.id)
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

    async def _no_process(self) -> None:
        """T1: nothing runs, so nothing of ours does but the daemons that live; what dead ones have started included."""
        until = time.monotonic() + COMMANDS_END
        while left := self._place.processes(besides=self._lives.pids):
            if time.monotonic() > until:
                raise Found([f"T1: processes are left although nothing runs: {left}"])
            await asyncio.sleep(0.02)

    async def _hold_jobs_to_account(
        self, client: Client, rows: tuple[Summary, ...], records: Mapping[str, list[f.Recorded]]
    ) -> None:
        for row in rows:
            running = {job.id for job in (await client.session(row.id).jobs()).items if job.running}
            wrong, kept = self._inquest.jobs(records[row.id], running, self._lives.since)
            if wrong:
                raise Found(wrong, row.id)
            self.report.jobs += kept

    async def _end_jobs(self, client: Client, rows: tuple[Summary, ...]) -> None:
        for row in rows:
            session = client.session(row.id)
            for job in (await session.jobs()).items:
                if job.running:
                    await session.end_job(job.id)

    async def _compare(self, client: Client, rows: tuple[Summary, ...], other: Client) -> None:
        """E1: what the followers hold is what the server shows, and the other one shows the same."""
        self._inquest.held.clear()
        ends = {row.id: row.seq for row in rows}

        async def at_once(client: Client) -> bool:
            return True

        await self._ordered("compare", client, at_once, ends=ends)
        views = {row.id: await client.session(row.id).view(tail=10_000) for row in rows}
        for session, snapshot in views.items():
            until = time.monotonic() + LAGS
            while (there := await other.session(session).view(tail=10_000)) != snapshot:
                if time.monotonic() > until:
                    raise Found(
                        [f"E1: the guest shows {there.seq} facts of {session}, the owner {snapshot.seq}"], session
                    )
                await asyncio.sleep(0.05)
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
