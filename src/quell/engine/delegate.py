"""Sub-agents: a tool call has a task done by a session of its own, its child (contract T4, K7).

A child is a session like any other: this module asks the engine for what every client can ask for, and follows it as a client does. It is
named after the call, and made together with its task, so that it is started once, and never without something to do. It settles before
its call ends: when the call is stopped its task is cancelled and waited for, and after a crash a parent is recovered after its
children. What a child may do is decided here (docs/decisions/0010, 0022); what it answers is put into words by the tool that asked.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from typing import Protocol
from weakref import WeakValueDictionary

from msgspec.structs import replace

from quell.core import inputs as i
from quell.core.errors import Conflict, NotFound, QuellError, SessionNotFound, ShuttingDown, StorageRefused
from quell.core.events import Deleted
from quell.core.evolve import evolve
from quell.core.facts import Limits, Recorded
from quell.core.messages import Spent
from quell.core.permissions import Rule
from quell.core.ports import Delegation, Journal, Task, Toolset
from quell.core.session import Calling, Session, Settlement, child_id
from quell.core.transcript import Transcript
from quell.engine.bus import Event
from quell.engine.environments import Environments

log = logging.getLogger(__name__)

TASK = "task"
"""The id of a child's first prompt."""

SHARE = 0.9
"""Of the time that a parent has to stop, how much a child has."""

LOOK_AGAIN = 30.0
"""Seconds after which a child is opened again that nothing is heard of: its actor may have failed."""


class Sessions(Protocol):
    """What is needed of the engine."""

    async def apply(
        self, session: str, request: i.Request, environment: Mapping[str, str] | None = None
    ) -> i.Reaction: ...

    def follow(self, session: str, after: int) -> AbstractAsyncContextManager[AsyncIterator[list[Event]]]: ...

    async def closed(self, session: str) -> None: ...


class Delegates:
    """The children of all sessions. `at_once` is how many of one parent's work at the same time."""

    def __init__(
        self, sessions: Sessions, journal: Journal, toolset: Toolset, environments: Environments, at_once: int
    ) -> None:
        self.sessions = sessions
        self.journal = journal
        self.toolset = toolset
        self.environments = environments
        self.working: dict[str, dict[str, Child]] = {}
        self._at_once = at_once
        self._gates: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    def of(self, session: Session, call: str) -> Child | None:
        """The child that a call may start. There are no grandchildren."""
        return None if session.parent is not None else self._child(session, call)

    def _child(self, session: Session, call: str) -> Child:
        gate = self._gates.get(session.id)
        if gate is None:
            gate = self._gates[session.id] = asyncio.Semaphore(self._at_once)
        return Child(self, session, call, gate)

    def spent(self, session: str) -> dict[str, Spent]:
        """What the children that still work have used so far, by call."""
        return {call: child.spent for call, child in self.working.get(session, {}).items()}

    async def recovered(self, session: Session, patience: float) -> dict[str, Spent]:
        """The same for the calls that another process left unfinished; their children have settled then, if that takes no longer."""
        found: dict[str, Spent] = {}
        phase = session.run.phase if session.run is not None else None
        for call in phase.calls if isinstance(phase, Calling) else ():
            if call.status != "started" or await self.journal.summary(child_id(session.id, call.id)) is None:
                continue
            child = self._child(session, call.id)
            with suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await child.stop()
            found[call.id] = child.spent
        return found

    async def erase(self, session: str) -> None:
        """Delete the children of a session; return when they are gone (contract K7)."""
        while rows := await self.journal.summaries(parent=session):
            for row in rows:
                with suppress(SessionNotFound):  # it went meanwhile
                    await self.sessions.apply(row.id, i.Delete())
            for row in rows:
                await self.sessions.closed(row.id)


class Child:
    """Implements the port `Delegate` for one call. It holds what it has seen of the child: the fold of its facts."""

    def __init__(self, all: Delegates, parent: Session, call: str, gate: asyncio.Semaphore) -> None:
        self.id = child_id(parent.id, call)
        self._all = all
        self._parent = parent
        self._call = call
        self._gate = gate
        self._seen = Session()
        self._said = Transcript()
        self._gone = False

    async def run(self, task: Task) -> Delegation:
        """Have it done. Raises `QuellError` when it cannot be begun."""
        async with self._gate:
            siblings = self._all.working.setdefault(self._parent.id, {})
            siblings[self._call] = self
            try:
                await self._work(task)
            except asyncio.CancelledError:
                await self.stop()
                if self._settlement is None or self._settlement.outcome != "completed":
                    raise
            finally:
                del siblings[self._call]
                if not siblings:
                    del self._all.working[self._parent.id]
            return self._delegation()

    async def _work(self, task: Task) -> None:
        try:
            await self._begin(task)
            await self._end()
            await self._end_jobs()
        except QuellError:  # perhaps of the answer only: it may have begun
            await self.stop()
            raise

    async def stop(self) -> None:
        """Cancel the task, and wait until it has settled. Of a server that shuts down, the child settles as its parent does."""
        try:
            with suppress(StorageRefused):  # it is kept and tried again, and the work was stopped (K5)
                await self._all.sessions.apply(self.id, i.Cancel(prompt=TASK, origin="parent"))
            await self._end()
            await self._end_jobs()
        except SessionNotFound:
            self._gone = True
        except ShuttingDown:
            await self._all.sessions.closed(self.id)
            self._take(await self._all.journal.read(self.id, self._seen.seq))
        except QuellError as error:
            log.error("session %s: %s", self.id, error)  # written for people, says it all

    @property
    def spent(self) -> Spent:
        """What its task has used; what users asked of it besides is not its parent's."""
        if self._settlement is not None:
            return self._settlement.spent
        run = self._seen.run
        return run.spent if run is not None and run.entry.id == TASK else Spent()

    async def _begin(self, task: Task) -> None:
        """Make it, read only, with its parent's folders, environment and rules; it asks nobody. One for the web works with the small model."""
        parent = self._parent
        assert parent.run is not None, "a call belongs to a run"
        prompt = i.Submit(
            prompt=TASK,
            text=task.text,
            origin="parent",
            limits=_limits(parent.run.entry.limits, parent.run.spent),
            allow=parent.run.entry.allow,
            on_ask="deny",
        )
        create = i.Create(
            session=self.id,
            workspace=parent.workspace,
            model=(parent.small_model if task.role == "web" else "") or parent.model,
            small_model=parent.small_model,
            mode="plan",
            parent=parent.id,
            role=task.role,
            extra=parent.extra,
            rules=_rules(parent, task),
            prompt=prompt,
        )
        with suppress(Conflict):  # to start it twice is to start it once
            await self._all.sessions.apply(self.id, create, self._all.environments.sent(parent.id))

    async def _end_jobs(self) -> None:
        """Nobody is there any more to look at what its commands have left running."""
        for job in self._all.toolset.jobs(self.id):
            if job.running:
                with suppress(NotFound):  # forgotten meanwhile
                    await self._all.toolset.end_job(self.id, job.id)

    async def _end(self) -> None:
        """Take in what happens in it until its task has settled, or it is gone."""
        while not self._over():
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_AGAIN), self._all.sessions.follow(self.id, self._seen.seq) as batches:
                    async for batch in batches:
                        self._take(batch)
                        if self._over():
                            break

    def _take(self, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, Recorded):
                self._seen = evolve(self._seen, event)
                self._said.add(event)
            elif isinstance(event, Deleted):
                self._gone = True

    def _over(self) -> bool:
        return self._gone or self._settlement is not None

    @property
    def _settlement(self) -> Settlement | None:
        record = self._seen.prompts.get(TASK)
        if record is None:
            return None
        return Settlement("cancelled", "cancelled") if record.dropped else self._seen.runs.get(record.run or "")

    def _delegation(self) -> Delegation:
        end = self._settlement or Settlement("cancelled", "cancelled")
        record = self._seen.prompts.get(TASK)
        return Delegation(
            session=self.id,
            outcome=end.outcome,
            stop_reason=end.stop_reason,
            text=self._said.last_text(record.run) if record is not None and record.run is not None else "",
            detail=end.detail,
            deleted=self._gone or self._seen.deleting,
        )


def _limits(limits: Limits, spent: Spent) -> Limits:
    """What is left of the parent's money, as many turns as it has; its time is over when the parent's is."""
    return replace(
        limits, cost=None if limits.cost is None else max(limits.cost - spent.cost, limits.cost * 0), seconds=None
    )


def _rules(parent: Session, task: Task) -> tuple[Rule, ...]:
    """Never wider than the parent: mode `plan` lets commands pass that only read, about which mode `ask` asks.

    What a child for the web may ask is what its call was allowed to, in the words of the widest rules that allow it: narrower ones
    that ask or deny still do.
    """
    rules = list(parent.rules)
    if parent.mode_now == "ask":
        rules.append(Rule("ask", "kind:execute", "session"))
    if task.role == "web":
        rules.append(Rule("allow", f"fetch({task.host})" if task.host else "fetch", "session"))
    return tuple(rules)
