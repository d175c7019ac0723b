"""The open actors of a process: one for each session that something happens in; those that have been idle the longest are closed.

It also knows what a change of owner means for them (contract I10, K2–K4): a new owner recovers what was unfinished when it claimed,
and starts what other processes' requests make due from then on; a former one stops.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

from quell.core.errors import QuellError, ShuttingDown
from quell.core.ports import Claim
from quell.engine.actor import Actor
from quell.engine.bus import Bus
from quell.engine.perform import Performer

log = logging.getLogger(__name__)


class Actors:
    """`get` opens; `group` is where they live. After `shut` there are no new ones."""

    def __init__(self, performer: Performer, bus: Bus, group: asyncio.TaskGroup) -> None:
        self._performer = performer
        self._bus = bus
        self._group = group
        self._open: dict[str, Actor] = {}
        self._failed_once: set[str] = set()
        self._unrecovered: set[str] = set()
        self._shut = False
        performer.ownership.on_loss = self._step_down

    def __iter__(self) -> Iterator[Actor]:
        return iter(list(self._open.values()))

    def find(self, session: str) -> Actor | None:
        return self._open.get(session)

    def get(self, session: str) -> Actor:
        """The session's actor, opened if need be; it becomes the one used last."""
        actor = self._open.pop(session, None)
        if actor is None:
            if self._shut:
                raise ShuttingDown("The server is shutting down.")
            actor = Actor(session, self._performer, self._bus)
            if session in self._unrecovered:
                self._unrecovered.discard(session)
                actor.recover()
            self._group.create_task(self._guarded(actor))
        actor.used = asyncio.get_running_loop().time()
        self._open[session] = actor
        if len(self._open) > self._performer.options.idle_actors:
            self._close_idle()
        return actor

    async def shut(self) -> None:
        """Close all of them; return when what they had to record is on disk.

        What a guest records from now on is not looked for: after any last look there would be a moment more, and whoever owns next is given
        what is unfinished with its claim.
        """
        self._shut = True
        for actor in self:
            actor.close(ShuttingDown("The server is shutting down."))
        for actor in self:
            await actor.ended.wait()

    # The other processes

    def take_over(self, claim: Claim) -> None:
        """Own from now on, and recover what was unfinished; nothing of it starts before that was decided."""
        self._performer.ownership.gain(claim.generation)
        self._unrecovered = set(claim.unfinished)
        for actor in self:
            if actor.ledger.id in self._unrecovered:
                self._unrecovered.discard(actor.ledger.id)
                actor.recover()
            else:
                actor.look()
        for session in claim.unfinished:
            if not self._shut:
                self.get(session)

    def _step_down(self) -> None:
        """Stop all that runs here, what runs on behind its call included: nobody could be told of it."""
        self._unrecovered.clear()
        for actor in self:
            actor.step_down()
            if actor.works_behind and not self._shut:
                self._group.create_task(self._end_jobs(actor.ledger.id))

    async def _end_jobs(self, session: str) -> None:
        toolset = self._performer.ports.toolset
        for job in toolset.jobs(session):
            if job.running:
                await toolset.end_job(session, job.id)

    def heard(self, session: str | None) -> None:
        """Another process may have appended there (None: anywhere)."""
        if self._shut:
            return
        if session is None:
            for each in self:
                each.look()
            self._group.create_task(self._find_work())
        elif (actor := self._open.get(session)) is not None:
            actor.look()
        else:
            self._group.create_task(self._look_at(session))

    async def _find_work(self) -> None:
        """What other processes have begun in sessions that are not open here."""
        if not self._performer.ownership.owns:
            return
        try:
            for session in await self._performer.ports.journal.busy():
                if session not in self._open and not self._shut:
                    self.get(session)
        except QuellError as error:
            log.warning("what others have begun is not known yet: %s", error)

    async def _look_at(self, session: str) -> None:
        """Open a session in which something has become due, or that somebody follows."""
        try:
            row = await self._performer.ports.journal.summary(session)
        except QuellError as error:
            log.warning("session %s: what others appended is not known yet: %s", session, error)
            return
        due = row is not None and row.busy and self._performer.ownership.owns
        if (due or self._bus.followed(session)) and not self._shut:
            self.get(session).look()
        elif row is not None:
            self._bus.publish(Bus.ALL, row)

    # The end of an actor

    def _close_idle(self) -> None:
        """Close those not used for a while, the least recently used first; whoever was just given one can go on with it."""
        options = self._performer.options
        now = asyncio.get_running_loop().time()
        for session, actor in list(self._open.items()):
            if len(self._open) <= options.idle_actors or now - actor.used < options.idle_seconds:
                break
            if actor.idle:
                actor.close(ShuttingDown("The session was closed because it was idle."))
                del self._open[session]

    async def _guarded(self, actor: Actor) -> None:
        """An actor that fails has a bug. Its siblings go on, and what it left is recovered from the journal, once by itself."""
        session = actor.ledger.id
        try:
            await actor.run()
        except* Exception:
            log.exception("session %s: its actor failed", session)
        if self._open.get(session) is not actor:
            return
        del self._open[session]
        self._unrecovered.add(session)
        if actor.ledger.session.busy and not self._shut and session not in self._failed_once:
            self._failed_once.add(session)
            self.get(session)
