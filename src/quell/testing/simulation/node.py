"""The server process of the simulation: an engine, and the requests and streams that it serves. It can be killed at any callback.

A client reaches it through `request` and `stream` only; both take time, and end with `ConnectionLost` when the process dies. What a client
does with that is its own affair: the request goes on in the process, as on a real server (contract.md A4).
"""

from __future__ import annotations

import asyncio
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


class Node:
    """One process after another on one store. `up` is set while there is one that answers."""

    def __init__(
        self,
        plan: Plan,
        loop: VirtualLoop,
        store: Store,
        world: World,
        story: Story,
        landed: Callable[[str, Sequence[Recorded]], None],
    ) -> None:
        self.up = asyncio.Event()
        self.weather = Weather()
        self._plan = plan
        self._loop = loop
        self._store = store
        self._world = world
        self._story = story
        self._landed = landed
        self.files = SimulatedFiles(world)
        self._lives = 0
        self._life: Life | None = None

    # The process

    def start(self) -> None:
        """Begin a life. The former one is over."""
        self._lives += 1
        process = Process(f"process {self._lives}")
        disk = Disk(
            self._store.open(),
            self._loop,
            process,
            self.weather,
            Random(f"{self._plan.seed} disk {self._lives}"),
            self._landed,
        )
        options = Options(
            resume_interrupted=self._plan.resume_interrupted,
            recover_within=self._plan.recover_within,
            idle_actors=self._plan.idle_actors,
            idle_seconds=3.0,
        )
        ports = self._ports(disk)
        random = Random(f"{self._plan.seed} echo {self._lives}")
        self._life = Life(process, ports, options, partial(Echoing, chance=self._plan.echo, random=random))
        process.killed = self._died
        self._story.say("kernel", f"starts {process.name}")
        self._world.witness.process_starts()
        self._loop.run_in(process, self._life.live(self.up.set))

    async def kill(self, steps: int) -> bool:
        """Let the process die some steps from now, or when it has had nothing to do for a while. False if there is none."""
        life = self._life
        if life is None or not self.up.is_set():
            return False
        life.process.doom = steps
        try:
            async with asyncio.timeout(1.0):
                await life.gone.wait()
        except TimeoutError:
            life.process.exit()
        return True

    async def shut_down(self) -> bool:
        """End the process in order. False if there is none."""
        life = self._life
        if life is None or not self.up.is_set():
            return False
        self._story.say("kernel", f"asks {life.process.name} to leave")
        self._world.witness.process_leaves(self._loop.time())
        life.leave.set()
        await life.gone.wait()
        return True

    def _died(self) -> None:
        life = self._life
        assert life is not None, "only a living process dies"
        self._story.say("kernel", f"{life.process.name} has left" if life.left else f"kills {life.process.name}")
        self._world.witness.process_gone(self._loop.time())
        self._life = None
        self.up.clear()
        self._store.abandon()
        life.lose_connections()
        life.gone.set()

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

    def hang_up(self, stream: Stream) -> None:
        """The follower goes; the process finds out."""
        stream.lose()

    def _connected(self) -> Life:
        if self._life is None or not self.up.is_set():
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

    def _ports(self, disk: Disk) -> Ports:
        model = SimulatedModel(self._world)
        clock = VirtualClock(self._loop)

        async def prompt(session: Session, workspace: Workspace) -> str:
            return session.id

        tools = SimulatedTools(self._world, self.files)
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
            checkpoints=self.files,
            hooks=lambda: SimulatedHooks(self._world),
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
        self, process: Process, ports: Ports, options: Options, performer: Callable[[Engine, Ports, Options], Performer]
    ) -> None:
        self.process = process
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
