"""The server's processes under torture: the one that works, one life after another, and at times one on standby beside it.

Everything that is done to them is done here; what must hold afterwards is the business of `run`. A guest takes over when the owner is
killed, or leaves, or is stopped and taken for dead: then its lock is taken from it, and it is woken when another has claimed.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Collection

from quell.client.client import Client, UnixSocket
from quell.core.errors import QuellError
from quell.testing.stopping import stop_between_writes
from quell.testing.torture.daemon import Daemon
from quell.testing.torture.inquest import Inquest
from quell.testing.torture.place import Place
from quell.testing.torture.plan import Beside, Life
from quell.testing.torture.report import Report

LEAVES = 60.0
"""Seconds that a daemon may take to leave in good order, on a slow machine."""

TAKES_OVER = 60.0
"""Seconds in which a guest has to own what nobody owns, and a woken owner has to learn that it does not: 0.1 and 1, on a slow machine more."""


class Found(Exception):
    """Something is wrong: what, and with which session if it is one's own. The first line says it, the rest is what else was found."""

    def __init__(self, wrong: list[str], session: str = "") -> None:
        super().__init__(wrong[0])
        self.wrong = wrong
        self.session = session


class Lives:
    """`owner` and `guest` are the processes that live. `since`: the owner has owned at that time, and ever since."""

    def __init__(self, place: Place, report: Report, inquest: Inquest) -> None:
        self.owner: Daemon | None = None
        self.guest: Daemon | None = None
        self.since = 0.0
        self._place = place
        self._report = report
        self._inquest = inquest

    @property
    def pids(self) -> Collection[int]:
        return [daemon.pid for daemon in (self.owner, self.guest) if daemon is not None]

    async def start(self) -> Daemon:
        """The owner, if there is none."""
        if self.owner is None:
            began = time.time()
            self.owner = await self._started(Daemon(self._place, self._place.sockets[0]))
            self.since = time.time()
            self._report.recoveries.append(self.since - began)
        return self.owner

    async def start_beside(self) -> Daemon:
        """The guest, if there is none."""
        owner = await self.start()
        if self.guest is None:
            free = next(socket for socket in self._place.sockets[1:] if socket != owner.socket)
            self.guest = await self._started(Daemon(self._place, free))
            self._report.ends["standby"] += 1
        return self.guest

    async def _started(self, daemon: Daemon) -> Daemon:
        if not await daemon.ready():
            raise Found(["the daemon does not start", *self._place.log_lines()[-20:]])
        return daemon

    async def close(self) -> None:
        """Whatever is still there, and hindered, dies."""
        for daemon in (self.owner, self.guest):
            if daemon is not None:
                self._place.free([daemon.pid])
                await daemon.kill()

    # A life

    async def live(self, life: Life) -> None:
        """To its end, with all that is to happen in it."""
        if life.end == "kill starting" and self.owner is None:
            self.owner = Daemon(self._place, self._place.sockets[0])
            await asyncio.sleep(life.seconds)
        else:
            owner = await self.start()
            async with asyncio.TaskGroup() as group:
                troubles = [group.create_task(self.fill(life.full)), group.create_task(self._pause(owner, life.pause))]
                await asyncio.sleep(life.seconds)
                for trouble in troubles:  # it may die while the disk is full, or while it is stopped
                    trouble.cancel()
            if life.beside is not None:
                owner.signal(signal.SIGCONT)
                self._place.free(self.pids)
                await self._live_beside(life.beside)
        self.see_that_they_live()
        await self._end(life)
        lines = self._place.log_lines()
        if any("Traceback" in line for line in lines):
            raise Found(["C9: the daemon's log tells of a bug", *lines[-40:]])
        self._place.free([])
        self._report.ends[life.end] += 1

    def see_that_they_live(self) -> None:
        for daemon in (self.owner, self.guest):
            if daemon is not None and daemon.gone:
                raise Found([f"the daemon has died by itself ({daemon.status})", *self._place.log_lines()[-20:]])

    async def fill(self, when: tuple[float, float] | None) -> None:
        """The disk is full for a while."""
        if when is not None:
            await asyncio.sleep(when[0])
            self._place.fill(self.pids)
            self._report.ends["disk full"] += 1
            await asyncio.sleep(when[1])
            self._place.free(self.pids)

    async def _pause(self, daemon: Daemon, when: tuple[float, float] | None) -> None:
        if when is not None:
            await asyncio.sleep(when[0])
            await self._sleep(daemon, when[1])

    async def _sleep(self, daemon: Daemon, seconds: float) -> None:
        daemon.signal(signal.SIGSTOP)
        self._report.ends["paused"] += 1
        await asyncio.sleep(seconds)
        daemon.signal(signal.SIGCONT)

    # Two of them

    async def _live_beside(self, beside: Beside) -> None:
        owner, guest = await self.start(), await self.start_beside()
        async with asyncio.TaskGroup() as group:
            trouble = group.create_task(self.fill(beside.full))
            await asyncio.sleep(beside.after)
            self.see_that_they_live()
            match beside.fate:
                case "owner killed":
                    await self._owner_dies(owner, guest)
                case "owner leaves":
                    await self._owner_leaves(owner, guest)
                case "owner paused":
                    await self._owner_is_taken_for_dead(owner, guest, beside.sleeps)
                case "guest killed":
                    await guest.kill()
                    self.guest = None
                    self._report.ends["kill standby"] += 1
                case "guest paused":
                    await self._sleep(guest, beside.sleeps)
                case "both live":
                    pass
            await asyncio.sleep(beside.stays)
            await trouble

    async def _owner_dies(self, owner: Daemon, guest: Daemon) -> None:
        began = time.time()
        await owner.kill()
        self._report.ends["kill"] += 1
        await self._takes_over(guest, began)
        self.owner, self.guest = guest, None

    async def _owner_leaves(self, owner: Daemon, guest: Daemon) -> None:
        began = time.time()
        await self._leave(owner)
        self._report.ends["terminate"] += 1
        await self._takes_over(guest, began)
        self.owner, self.guest = guest, None

    async def _owner_is_taken_for_dead(self, owner: Daemon, guest: Daemon, sleeps: float) -> None:
        """I10: a claim is possible although it lives. It wakes with models that stream, commands that run, and jobs."""
        began = time.time()
        await asyncio.to_thread(stop_between_writes, owner.pid, self._place.database)
        self._place.lock.unlink(missing_ok=True)
        await self._takes_over(guest, began)
        self.owner, self.guest = guest, owner
        await asyncio.sleep(sleeps)
        owner.signal(signal.SIGCONT)
        self._report.ends["woken"] += 1
        await self._becomes(owner, "guest")

    async def _takes_over(self, guest: Daemon, began: float) -> None:
        await self._becomes(guest, "owner")
        self.since = time.time()
        self._inquest.deaths.append((began, self.since))
        self._report.takeovers.append(self.since - began)

    async def _becomes(self, daemon: Daemon, role: str) -> None:
        until = time.monotonic() + TAKES_OVER
        async with Client(UnixSocket(daemon.socket), patience=1.0) as client:
            while True:
                try:
                    if (await client.health()).role == role:
                        return
                except QuellError:
                    pass
                if daemon.gone or time.monotonic() > until:
                    raise Found([f"I10: {daemon.socket} has not become the {role}", *self._place.log_lines()[-20:]])
                await asyncio.sleep(0.01)

    # The end

    async def _end(self, life: Life) -> None:
        """Of both; the guest may be taking over when it dies."""
        assert self.owner is not None, "it lived"
        began = time.time()
        match life.end:
            case "kill" | "kill starting":
                await self.owner.kill()
            case "kill stopped":
                self.owner.signal(signal.SIGSTOP)
                await asyncio.sleep(0.05)
                await self.owner.kill()
            case "terminate":
                await self._leave(self.owner)
        if self.guest is not None:
            await asyncio.sleep(life.outlived)
            if life.end == "terminate":
                await self._leave(self.guest)
            else:
                await self.guest.kill()
                self._report.ends["kill standby"] += 1
        self.owner = self.guest = None
        self._inquest.deaths.append((began, time.time()))

    async def _leave(self, daemon: Daemon) -> None:
        self._place.free(self.pids)
        daemon.signal(signal.SIGTERM)
        daemon.signal(signal.SIGCONT)
        if not await daemon.end(LEAVES):
            raise Found([f"K6: the daemon has not left within {LEAVES:.0f} s", *self._place.log_lines()[-20:]])
        daemon.close()
