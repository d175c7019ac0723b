"""A server process of the simulation: an engine, and the requests and streams that it serves. It can be killed, and stopped, at any callback.

A client reaches it through `request` and `stream` only; both take time, and end with `ConnectionLost` when the process dies. What a client
does with that is its own affair: the request goes on in the process, as on a real server (contract A4).
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from random import Random
from typing import TypeVar

from msgspec.structs import replace

from quell.core.errors import QuellError
from quell.core.facts import Recorded
from quell.core.inputs import Input
from quell.core.ports import Journal, Workspace
from quell.core.session import Effect, Session
from quell.engine import Engine, Event, Options, Ports
from quell.engine.perform import Performer
from quell.engine.scene import Scene
from quell.testing.doorbells import Wire, WiredBell
from quell.testing.simulation.disk import Disk, Store, Weather
from quell.testing.simulation.files import SimulatedFiles
from quell.testing.simulation.hooks import SimulatedHooks
from quell.testing.simulation.loop import Process, VirtualLoop
from quell.testing.simulation.plan import Plan
from quell.testing.simulation.story import Story
from quell.testing.simulation.tools import SimulatedTools
from quell.testing.simulation.witness import COMPACTION
from quell.testing.simulation.world import SimulatedModel, VirtualClock, World

T = TypeVar("T")


class ConnectionLost(Exception):
    """The process died, or left, before it had answered."""


class Stream:
    """What a follower reads: batches of events, at most one outstanding; None at the end, after `ended` or a lost connection."""

    def __init__(self) -> None:
        self._batches: asyncio.Queue[list[Event] | None] = asyncio.Queue(1)
        self.lost = False

    async def put(self, batch: list[Event] | None) -> None:
        await self._batches.put(batch)

    async def get(self) -> list[Event] | None:
        return None if self.lost else await self._batches.get()

    def lose(self) -> None:
        self.lost = True
        while not self._batches.empty():
            self._batches.get_nowait()
        self._batches.put_nowait(None)


class Site:
    """What all processes of a simulation share."""

    def __init__(
        self,
        plan: Plan,
        loop: VirtualLoop,
        store: Store,
        world: World,
        story: Story,
        landed: Callable[[str, Sequence[Recorded]], None],
    ) -> None:
        self.plan = plan
        self.loop = loop
        self.store = store
        self.world = world
        self.story = story
        self.landed = landed
        self.weather = Weather()
        self.files = SimulatedFiles(world)
        self.wire = Wire()
        self.lives = itertools.count(1)


class Node:
    """One process after another. `up` while there is one that answers; `changed` is called when that changes."""

    def __init__(self, site: Site, changed: Callable[[], None]) -> None:
        self.up = False
        self._site = site
        self._changed = changed
        self._plan = site.plan
        self._loop = site.loop
        self._life: Life | None = None

    # The process

    def start(self) -> None:
        """Begin a life. The former one is over."""
        site, plan, number = self._site, self._plan, next(self._site.lives)
        process = Process(f"process {number}")
        journal = site.store.open()
        disk = Disk(
            journal,
            self._loop,
            process,
            site.weather,
            Random(f"{plan.seed} disk {number}"),
            partial(self._landed, process),
            lambda generation: site.world.witness.owns(process.name, self._loop.time()),
        )
        options = Options(
            resume_interrupted=plan.resume_interrupted,
            recover_within=plan.recover_within,
            idle_actors=plan.idle_actors,
            idle_seconds=3.0,
        )
        bell = site.wire.bell() if plan.two else None
        random = Random(f"{plan.seed} echo {number}")
        performer = partial(Echoing, chance=plan.echo, random=random)
        self._life = Life(process, self._ports(disk, bell), options, performer, journal)
        process.killed = self._died
        site.story.say("kernel", f"starts {process.name}")
        self._loop.run_in(process, self._life.live(self._rises))

    def _landed(self, process: Process, session: str, records: Sequence[Recorded], generation: int | None) -> None:
        if generation is not None:
            self._site.world.witness.reports(process.name, session, self._loop.time())
        self._site.landed(session, records)

    def _rises(self) -> None:
        self.up = True
        self._changed()

    async def kill(self, steps: int) -> bool:
        """Let the process die some steps from now, or when it has had nothing to do for a while. False if there is none."""
        life = self._life
        if life is None or not self.up:
            return False
        life.process.fate = life.process.exit
        life.process.doom = steps
        try:
            async with asyncio.timeout(1.0):
                await life.gone.wait()
        except TimeoutError:
            if life.process.alive:  # it may have left in the same moment
                life.process.exit()
        return True

    async def pause(self, steps: int, seconds: float, *, dead: bool) -> bool:
        """Let the process take no step for a while, some steps from now; another may claim when it is taken for `dead`. False if there is none."""
        life = self._life
        if life is None or not self.up or life.process.paused or life.process.doom is not None:
            return False
        stopped = asyncio.Event()

        def stop() -> None:
            if not life.process.alive:  # it died before
                stopped.set()
                return
            life.process.paused = True
            self._site.story.say("kernel", f"stops {life.process.name}")
            self._site.world.witness.reigns.pauses(life.process.name, self._loop.time())
            if dead and self.owns:
                self._site.store.seem_dead(life.journal)
            stopped.set()

        life.process.fate, life.process.doom = stop, steps
        try:
            async with asyncio.timeout(1.0):
                await stopped.wait()
        except TimeoutError:
            life.process.doom = None
            stop()
        await asyncio.sleep(seconds)
        if life.process.alive:
            self._site.story.say("kernel", f"wakes {life.process.name}")
        self._site.world.witness.reigns.wakes(life.process.name, self._loop.time())
        self._loop.wake(life.process)
        return True

    async def shut_down(self) -> bool:
        """End the process in order. False if there is none."""
        life = self._life
        if life is None or not self.up:
            return False
        self._site.story.say("kernel", f"asks {life.process.name} to leave")
        self._site.world.witness.process_leaves(life.process.name, self._loop.time())
        life.leave.set()
        await life.gone.wait()
        return True

    def _died(self) -> None:
        life = self._life
        assert life is not None, "only a living process dies"
        self._site.story.say("kernel", f"{life.process.name} has left" if life.left else f"kills {life.process.name}")
        self._site.world.witness.process_gone(life.process.name, self._loop.time())
        self._life = None
        self.up = False
        self._changed()
        self._site.store.abandon(life.journal)
        if isinstance(life.ports.doorbell, WiredBell):
            life.ports.doorbell.close()
        life.lose_connections()
        life.gone.set()

    def abandon(self) -> None:
        if self._life is not None:
            self._site.store.abandon(self._life.journal)

    @property
    def owns(self) -> bool:
        """Whether it is the one that performs effects, by all that anybody knows."""
        return self.up and self._life is not None and self._site.world.witness.reigns.owner == self._life.process.name

    @property
    def journal(self) -> Journal:
        """What the living process sees of the store."""
        return self._connected().ports.journal

    # Its clients

    async def request(self, ask: Callable[[Engine], Awaitable[T]]) -> T:
        """Ask the engine, over a connection. Raises what it is refused with, and `ConnectionLost`."""
        life = self._connected()
        answer: asyncio.Future[T] = self._loop.create_future()
        life.answers.append(answer)  # type: ignore[arg-type]  # of whatever kind
        self._loop.run_in(life.process, self._answer(life, ask, answer))
        return await answer

    async def stream(self, session: str, after: int) -> Stream:
        """Follow a session. What it was refused with looks like an end."""
        life = self._connected()
        stream = Stream()
        life.streams.append(stream)
        self._loop.run_in(life.process, self._feed(life, session, after, stream))
        return stream

    def _connected(self) -> Life:
        if self._life is None or not self.up:
            raise ConnectionLost("nobody listens")
        return self._life

    async def _answer(self, life: Life, ask: Callable[[Engine], Awaitable[T]], answer: asyncio.Future[T]) -> None:
        delay = Random(f"{self._plan.seed} latency {self._loop.time()}")
        await asyncio.sleep(delay.uniform(0, self._plan.latency))
        error: QuellError | None = None
        result: T | None = None
        try:
            result = await ask(life.engine)
        except QuellError as refused:
            error = refused
        await asyncio.sleep(delay.uniform(0, self._plan.latency))
        if answer.done():
            return
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(result)  # type: ignore[arg-type]  # without an error there is a result

    async def _feed(self, life: Life, session: str, after: int, stream: Stream) -> None:
        try:
            async with life.engine.follow(session, after) as events:
                async for batch in events:
                    if stream.lost:
                        return
                    await stream.put(batch)
        except QuellError:
            pass
        if not stream.lost:
            await stream.put(None)

    def _ports(self, disk: Disk, bell: WiredBell | None) -> Ports:
        world, files = self._site.world, self._site.files
        model = SimulatedModel(world)
        clock = VirtualClock(self._loop)

        async def prompt(session: Session, workspace: Workspace) -> str:
            return session.id

        tools = SimulatedTools(world, files)
        return Ports(
            journal=disk,
            models=model,
            toolset=tools,
            tools=lambda session: tools,
            clock=clock,
            rules=lambda root: (),
            open_workspace=lambda session: _NOWHERE,
            system_prompt=prompt,
            compaction_prompt=COMPACTION,
            retry_delay=lambda attempt, failure: failure.retry_after if attempt < 3 else None,
            is_crowded=lambda tokens, window: window is not None and tokens > window,
            environment={},
            doorbell=bell,
            checkpoints=lambda: files,
            hooks=lambda: SimulatedHooks(world),
        )


class Echoing(Performer):
    """Some of what an effect finds out arrives twice, at once or when nobody expects it any more: it decides nothing then."""

    def __init__(self, engine: Engine, ports: Ports, options: Options, chance: float, random: Random) -> None:
        super().__init__(ports, options, engine)
        self._chance = chance
        self._random = random

    async def perform(self, effect: Effect, scene: Scene) -> None:
        await super().perform(effect, replace(scene, post=partial(self._post, scene.post)))

    def _post(self, post: Callable[[Input], None], outcome: Input) -> None:
        post(outcome)
        if self._random.random() < self._chance:
            asyncio.get_running_loop().call_later(self._random.choice((0.0, 0.001, 0.5, 5.0)), post, outcome)


class Life:
    """One process, from its start to its end."""

    def __init__(
        self,
        process: Process,
        ports: Ports,
        options: Options,
        performer: Callable[[Engine, Ports, Options], Performer],
        journal: Journal,
    ) -> None:
        self.process = process
        self.journal = journal
        self.leave = asyncio.Event()
        self.left = False
        self.gone = asyncio.Event()
        self.answers: list[asyncio.Future[object]] = []
        self.streams: list[Stream] = []
        self.engine: Engine
        self.ports = ports
        self._options = options
        self._performer = performer

    async def live(self, up: Callable[[], None]) -> None:
        engine = Engine(
            self.ports, self._options, lambda ports, options, engine: self._performer(engine, ports, options)
        )
        async with engine:
            self.engine = engine
            up()
            await self.leave.wait()
            await engine.shutdown()
            self.left = True
            self.process.exit()
            await asyncio.Event().wait()  # it takes no further step

    def lose_connections(self) -> None:
        for answer in self.answers:
            if not answer.done():
                answer.set_exception(ConnectionLost("the process has gone"))
        for stream in self.streams:
            stream.lose()


_NOWHERE: Workspace = object()  # type: ignore[assignment]  # nothing looks at it
