"""The engine: what a server, or a program, talks to. Every change goes through `apply`; everything else only looks.

    async with Engine(ports, options) as engine:    # owns the journal, recovers what was unfinished; at the end, stops what runs
        await engine.apply(session, Submit(prompt=…, text=…))
        async with engine.follow(session, after=0) as events: …

One process at a time owns the journal and performs effects; in another one the engine is a guest: it answers, decides and appends what is
asked for, and takes over when the owner is gone (contract I10).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from types import TracebackType

from msgspec.structs import replace

from quell.core import inputs as i
from quell.core.decide import decide
from quell.core.errors import InvalidRequest, SessionNotFound
from quell.core.events import Deleted, Delta, Reset
from quell.core.evolve import fold
from quell.core.facts import Recorded
from quell.core.mcp import is_of_servers
from quell.core.permissions import parse_rule
from quell.core.ports import Journal, Toolset, position
from quell.core.session import Session, Summary
from quell.core.transcript import Transcript
from quell.core.view import View
from quell.engine import images
from quell.engine.actor import Actor
from quell.engine.actors import Actors
from quell.engine.bus import Bus, Event, Subscription
from quell.engine.opening import open_view
from quell.engine.options import Options, Ports
from quell.engine.owner import Watch
from quell.engine.perform import Performer

PAGE = 500
"""Facts that a replay reads at once."""


class Engine:
    """See the module. `ownership` says whether this process owns the journal; `toolset` knows of the jobs in the background,
    `checkpoints` keep what runs find and leave, if anything does."""

    def __init__(
        self,
        ports: Ports,
        options: Options = Options(),
        performer: Callable[[Ports, Options, Engine], Performer] = Performer,
    ) -> None:
        self.shutting_down = False
        self.toolset = ports.toolset
        self.checkpoints = ports.checkpoints
        self._ports = ports
        self._options = options
        self._bus = Bus()
        self._performer = performer(ports, options, self)
        self.ownership = self._performer.ownership
        self._tasks = asyncio.TaskGroup()
        self._actors = Actors(self._performer, self._bus, self._tasks)
        self._watching: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Engine:
        await self._tasks.__aenter__()
        ports, actors = self._ports, self._actors
        watch = Watch(self.ownership, ports.journal, ports.doorbell, actors.take_over, actors.heard)
        await watch.begin()
        self._watching = [self._tasks.create_task(each) for each in (watch.keep(), watch.listen(), watch.expire())]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.shutdown()
        await self._tasks.__aexit__(kind, error, trace)

    async def shutdown(self) -> None:
        """Refuse new prompts, stop what runs, settle it as a crash would be; return when all of it is on disk (contract K6)."""
        self.shutting_down = True
        for task in self._watching:
            task.cancel()
        await self._actors.shut()

    @property
    def running(self) -> int:
        return sum(actor.ledger.session.run is not None for actor in self._actors) if self.ownership.owns else 0

    @property
    def busy(self) -> int:
        """Sessions that are not idle: while there is one, the owner must not leave by itself (contract K6). A guest has none."""
        if not self.ownership.owns:
            return 0
        return sum(actor.ledger.session.busy or actor.works_behind for actor in self._actors)

    @property
    def followers(self) -> int:
        return self._bus.followers

    @property
    def stalled(self) -> Mapping[str, str]:
        """The sessions in which nothing can be recorded at present, and why (contract K5)."""
        return {actor.ledger.id: str(actor.stalled) for actor in self._actors if actor.stalled is not None}

    # Changing

    async def apply(self, session: str, request: i.Request, environment: Mapping[str, str] | None = None) -> i.Reaction:
        """Decide a request; the answer comes when it is on disk. Raises `QuellError` when it is refused: nothing was written.

        `environment` is the client's, kept in memory for this session's model calls and tools.
        """
        if self.shutting_down and isinstance(request, i.Submit):
            return await _remembered(self._ports, self._actors.find(session), session, request)
        request = await self._prepared(session, request)
        actor = self._actors.get(session)
        if environment is not None:
            self._performer.environments.keep(session, environment)
        return await actor.ask(request)

    async def _prepared(self, session: str, request: i.Request) -> i.Request:
        """What only the process knows is filled in, and what only the world can tell is checked."""
        match request:
            case i.Create():
                self._ports.open_workspace(decide(Session(), replace(request, prompt=None), "").session)
                self._ports.models.check(request.model)
                if request.prompt is not None:
                    prompt = replace(request.prompt, shutting_down=self.shutting_down)
                    return replace(request, prompt=prompt)
            case i.Fork():
                source = await self.state(request.source)
                seq = source.seq
                if request.upto is not None and not 0 < request.upto <= seq:
                    raise InvalidRequest(
                        f"Session {request.source} has facts 1 to {seq}; {request.upto} is none of them."
                    )
                records = await self._ports.journal.read(request.source, 0, request.upto or seq)
                if not records:  # deleted just now
                    raise SessionNotFound(f"There is no session {request.source}.")
                await images.inherit(records, self._ports, source, session)
                return replace(request, records=tuple(records))
            case i.Change(model=str(model)):
                self._ports.models.check(model)
            case i.Submit():
                actor = self._actors.get(session)
                await actor.ready()
                state = actor.ledger.session
                if state.id:
                    self._ports.open_workspace(state)
                _check_rules(request.allow, self._ports.toolset)
                return replace(
                    request,
                    titled=self._options.titles,
                    queue_limit=self._options.queue_limit,
                    shutting_down=self.shutting_down,
                )
            case i.Compact():
                return replace(request, shutting_down=self.shutting_down)
            case _:
                pass
        return request

    # Looking

    async def state(self, session: str) -> Session:
        """The machine's state: queue, requests, prompts and runs are read off it. Raises `SessionNotFound`."""
        return (await self._open(session)).ledger.session

    async def transcript(self, session: str) -> Transcript:
        """All that was said. Raises `SessionNotFound`."""
        return (await self._open(session)).ledger.transcript

    async def view(self, session: str) -> tuple[int, View]:
        """What a screen shows, and the `seq` to follow on from. Raises `SessionNotFound`."""
        seq = (await self._open(session)).ledger.session.seq
        return seq, await open_view(self._ports.journal, session, seq)

    async def summaries(
        self,
        *,
        workspace: str | None = None,
        parent: str | None = None,
        query: str = "",
        limit: int = 50,
        before: str | None = None,
    ) -> Sequence[Summary]:
        """Sessions, last updated first; `parent` as in `Journal.summaries`."""
        rows = await self._ports.journal.summaries(
            workspace=workspace, parent=parent, query=query, limit=limit, before=before
        )
        stalled = self.stalled
        return tuple(replace(row, stalled=stalled[row.id]) if row.id in stalled else row for row in rows)

    async def summary(self, session: str) -> Summary:
        """One session, as `summaries` has it. Raises `SessionNotFound`."""
        return (await self._open(session)).summary()

    def environment(self, session: str) -> Mapping[str, str]:
        """What the session's model calls and tools get."""
        return self._performer.environments.of(session)

    async def wait(self, session: str, prompt: str, timeout: float) -> None:
        """Return when the prompt has ended, is parked, or its run awaits a person; or after `timeout` seconds."""
        await self._open(session)
        # Not by `follow`: the journal may be ahead of the state, and what was replayed is not told again when the state is there.
        subscription = self._bus.subscribe(session)
        try:
            async with asyncio.timeout(timeout):
                while not _rests(await self.state(session), prompt):
                    await subscription.arrival()
                    news = subscription.take() or []
                    if any(isinstance(event, Deleted) for event in news):
                        return
        except TimeoutError:
            return
        finally:
            self._bus.unsubscribe(session, subscription)

    async def closed(self, session: str) -> None:
        """Return when a session that is being deleted is gone, or one that is being closed has settled."""
        actor = self._actors.find(session)
        if actor is not None and (actor.closed is not None or actor.ledger.session.deleting):
            await actor.ended.wait()

    @asynccontextmanager
    async def follow(self, session: str, after: int) -> AsyncIterator[AsyncIterator[list[Event]]]:
        """The session's facts after `after`, then what comes, in batches of what is there. Raises `SessionNotFound`."""
        actor = await self._open(session)
        subscription = self._bus.subscribe(session)
        try:
            end = await _end(self._ports.journal, actor, after)
            if after > end:
                yield _only(Reset(end))
            else:
                yield self._events(session, after, subscription)
        finally:
            self._bus.unsubscribe(session, subscription)

    async def _events(self, session: str, last: int, subscription: Subscription) -> AsyncIterator[list[Event]]:
        """Replay, then live; back to the replay whenever the buffer was lost. Each replay ends with the drafts (E2)."""
        while True:
            while page := _applied(self._actors.find(session), await self._ports.journal.read(session, last, PAGE)):
                last = page[-1].seq
                yield list(page)
            news = subscription.take()
            if news is None:
                continue
            actor = self._actors.find(session)
            if actor is not None and actor.ledger.session.seq < last and not _ends(news):
                actor.look()  # the follower came with a fact that the actor does not have: its drafts are old
                await subscription.arrival()
                continue
            drafts = actor.drafts() if actor is not None else []
            events: list[Event] = [*(event for event in _unseen(last, news) if not isinstance(event, Delta)), *drafts]
            while news is not None:
                if events:
                    yield events
                if _ends(news):
                    return
                last = max([last, *(event.seq for event in events if isinstance(event, Recorded))])
                await subscription.arrival()
                news = subscription.take()
                events = _unseen(last, news or [])

    @asynccontextmanager
    async def follow_all(
        self, workspace: str | None = None, parent: str | None = None
    ) -> AsyncIterator[AsyncIterator[list[Summary | Deleted]]]:
        """The sessions (of one workspace, of one parent) as they are, then each that changes, or goes."""
        subscription = self._bus.subscribe(Bus.ALL)
        try:
            yield _changes(self, workspace, parent, subscription)
        finally:
            self._bus.unsubscribe(Bus.ALL, subscription)

    async def _open(self, session: str) -> Actor:
        actor = self._actors.get(session)
        await actor.ready()
        if not actor.ledger.session.id or actor.ledger.session.deleting:
            raise SessionNotFound(f"There is no session {session}.")
        return actor


def _applied(actor: Actor | None, facts: Sequence[Recorded]) -> list[Recorded]:
    """Those that the session's actor knows of: the journal has a fact a moment before it, and who has seen one may get no answer older than that."""
    return [recorded for recorded in facts if actor is None or recorded.seq <= actor.ledger.session.seq]


async def _remembered(ports: Ports, actor: Actor | None, session: str, request: i.Submit) -> i.Reaction:
    """A3 while the server leaves: what was accepted before is known for as long as somebody asks. Nothing new is written.

    Whatever is on its way to the disk gets there first, so that what its sender is told holds for who asks again.
    """
    if actor is not None:
        await actor.ended.wait()
    state = fold(await ports.journal.read(session))
    return decide(state, replace(request, shutting_down=True), ports.clock.now()).reaction


async def _changes(
    engine: Engine, workspace: str | None, parent: str | None, subscription: Subscription
) -> AsyncIterator[list[Summary | Deleted]]:
    """All sessions, then those that change; from the beginning whenever the buffer was lost."""
    while True:
        before: str | None = None
        while page := await engine.summaries(workspace=workspace, parent=parent, limit=PAGE, before=before):
            before = position(page[-1])
            yield list(page)
        news = subscription.take()
        while news is not None:
            latest: dict[str, Summary | Deleted] = {}
            for event in news:
                if isinstance(event, Deleted):
                    latest[event.session] = event
                elif (
                    isinstance(event, Summary)
                    and workspace in (None, event.workspace)
                    and parent in (None, event.parent or "")
                ):
                    latest[event.id] = event
            if latest:
                yield list(latest.values())
            await subscription.arrival()
            news = subscription.take()


def _check_rules(rules: Sequence[str], toolset: Toolset) -> None:
    """A rule for a tool that does not exist would allow nothing, in silence."""
    tools = [spec.name for spec in toolset.specs()]
    for text in rules:
        parse_rule(text, "run")
        tool = text.partition("(")[0].strip()
        if tool not in tools and not tool.startswith("kind:") and not is_of_servers(tool):
            raise InvalidRequest(f"The rule {text!r} is for no tool that there is; the tools are {', '.join(tools)}.")


def _ends(news: list[Event | Summary]) -> bool:
    return any(isinstance(event, Deleted) for event in news)


def _unseen(last: int, news: list[Event | Summary]) -> list[Event]:
    """Without the facts that a replay has shown already: the journal has a fact a moment before it is published.

    Nor those that do not follow on what was shown: the ones before them went with the session, and its end is all that can be told.
    """
    events: list[Event] = []
    for event in news:
        if isinstance(event, Recorded):
            if event.seq != last + 1:
                continue
            last = event.seq
        if not isinstance(event, Summary):
            events.append(event)
    return events


async def _end(journal: Journal, actor: Actor, after: int) -> int:
    """The last fact, as far as that matters to a follower that has seen `after`: the journal has it a moment before the actor.

    Where there is no row any more, nothing was lost: the session has just been deleted, as the follower is about to be told.
    """
    seq = actor.ledger.session.seq
    if after <= seq:
        return seq
    row = await journal.summary(actor.ledger.id)
    return after if row is None else max(seq, row.seq)


async def _only(event: Event) -> AsyncIterator[list[Event]]:
    yield [event]


def _rests(session: Session, prompt: str) -> bool:
    """Whether there is nothing to wait for, at the moment or for ever (contract I1)."""
    record = session.prompts.get(prompt)
    if record is None or record.dropped:
        return True
    if record.run is not None:
        return record.run in session.runs or bool(session.awaiting)
    entry = session.entry(prompt)
    return entry is not None and entry.parked
