"""The engine's other ports in a simulation: a clock, a model and a tool that behave, and misbehave, as the seed says.

What a sample or a call does is drawn from the seed and its name, so that it is the same in a smaller story. Until the world is
`healed` the provider stalls, fails and dribbles, and tools hang, some of them whatever they are told.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from random import Random

import msgspec

from quell.core.errors import FailureCode, ModelFailed
from quell.core.messages import (
    ModelRequest,
    Part,
    PartDelta,
    Reasoning,
    Reply,
    StopReason,
    Text,
    ToolCall,
    Usage,
    UserMessage,
    call_id,
)
from quell.core.ports import LanguageModel
from quell.testing.simulation.loop import VirtualLoop, running
from quell.testing.simulation.witness import Witness
from quell.wire import times

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
STUBBORN = 20.0
"""Seconds for which something ignores that it was cancelled."""

WINDOW = 400
BURST = 5
"""Words that come one by one; more of them come at once."""


class VirtualClock:
    """The `Clock` port."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def now(self) -> str:
        return times.as_text(EPOCH + timedelta(seconds=self._loop.time()))

    async def sleep_until(self, at: str) -> None:
        await asyncio.sleep(max(0.0, (datetime.fromisoformat(at) - EPOCH).total_seconds() - self._loop.time()))


class World:
    """What there is besides the process. `asked` are the prompts that any model saw, `executed` counts the starts of each call."""

    def __init__(self, seed: int, wild: float, loop: VirtualLoop, check: Callable[[ModelRequest], None]) -> None:
        self.loop = loop
        self.healed = asyncio.Event()
        self.over = False
        self.asked: set[str] = set()
        self.executed: Counter[tuple[str, str]] = Counter()
        self.check = check
        self.witness = Witness(EPOCH)
        self._seed = seed
        self._wild = wild
        self._names: Counter[str] = Counter()

    def random(self, name: str) -> Random:
        self._names[name] += 1
        return Random(f"{self._seed} {name} {self._names[name]}")

    def misbehaves(self, random: Random) -> bool:
        return random.random() < self._wild and not self.healed.is_set()

    async def idle(self, seconds: float) -> None:
        """Let time pass, less of it once the world is healed."""
        await asyncio.sleep(min(seconds, 0.01) if self.healed.is_set() else seconds)

    async def ignore_cancels(self, seconds: float) -> None:
        """Be busy for a while, and deaf."""
        until = self.loop.time() + seconds
        while self.loop.time() < until and not self.over:
            try:
                await asyncio.sleep(until - self.loop.time())
            except asyncio.CancelledError:
                continue


class SimulatedModel:
    """The `Models` and `LanguageModel` ports."""

    name = "simulated/model"
    window: int | None = WINDOW

    def __init__(self, world: World) -> None:
        self._world = world

    def check(self, spec: str) -> None:
        pass

    def sees(self, spec: str) -> bool:
        return False

    async def open(self, spec: str, environment: Mapping[str, str]) -> LanguageModel:
        await self._world.idle(0.001)
        return self

    async def sample(self, request: ModelRequest, emit: Callable[[PartDelta], None]) -> Reply:
        world = self._world
        world.check(request)
        world.asked.update(message.id for message in request.messages if isinstance(message, UserMessage))
        random = world.random(f"sample {request.system} {request.message}")
        reply = _reply(request, random, bare=world.healed.is_set())
        deaf = world.misbehaves(random) and random.random() < 0.5
        world.witness.begins(running().name, request.system, request.message, world.loop.time(), samples=True)

        def emit_seen(delta: PartDelta) -> None:
            if delta.kind == "text":
                world.witness.streams(running().name, request.system, request.message, world.loop.time(), delta.text)
            emit(delta)

        try:
            await self._stream(reply, emit_seen, random)
        except asyncio.CancelledError:
            if not deaf or world.over:
                raise
            world.witness.is_deaf(running().name, request.system, request.message)
            await world.ignore_cancels(random.choice((0.5, 3.0, STUBBORN)))
            if random.random() < 0.5:
                raise
        finally:
            world.witness.ends(running().name, request.system, request.message)
        return reply

    async def _stream(self, reply: Reply, emit: Callable[[PartDelta], None], random: Random) -> None:
        world = self._world
        await world.idle(random.choice((0.0, 0.01, 0.3)))
        if world.misbehaves(random):
            await self._fail(random)
        broken = world.misbehaves(random) and random.random() < 0.5
        for index, part in enumerate(reply.parts):
            match part:
                case Text(text):
                    for number, word in enumerate(text.split(" ")):
                        emit(PartDelta(index, "text", f" {word}" if number else word))
                        if number < BURST:
                            await world.idle(random.choice((0.0, 0.002, 0.4)))
                case Reasoning():
                    emit(PartDelta(index, "reasoning", part.text))
                case ToolCall():
                    emit(PartDelta(index, "tool_input", part.input, part.id, part.name))
                    await world.idle(random.choice((0.0, 0.05)))
            if broken:
                await self._fail(random)

    async def _fail(self, random: Random) -> None:
        if random.random() < 0.4:
            await self._world.healed.wait()  # silent for as long as it takes
        reasons: tuple[FailureCode, ...] = (
            "rate_limit",
            "overloaded",
            "unreachable",
            "garbled",
            "context_overflow",
            "invalid_request",
            "unauthorized",
        )
        raise ModelFailed(random.choice(reasons), "as planned", random.choice((None, 0.2, 2.0)))


def _reply(request: ModelRequest, random: Random, *, bare: bool) -> Reply:
    """What it would say if nothing came between."""
    words = ["so", "it", "is", "done", "now"][: random.randint(1, 5)]
    if random.random() < 0.05:
        words = words * 500  # more than a follower's buffer holds
    parts: list[Part] = []
    if random.random() < 0.2:
        parts.append(Reasoning("hm", random.choice((None, "signed"))))
    if random.random() < 0.9:
        parts.append(Text(" ".join(words)))
    if request.tools and not bare and random.random() < 0.4:
        for number in range(random.randint(1, 3)):
            input = msgspec.json.encode(
                {"kind": random.choice(("read", "edit", "read", "edit", "question")), "outside": random.random() < 0.3}
            )
            name = "touch" if random.random() < 0.95 else "nonsense"
            parts.append(ToolCall(call_id(request.message, number), name, input.decode()))
    if request.tools and not bare and not request.sub_agent and random.random() < 0.3:
        calls = sum(isinstance(part, ToolCall) for part in parts)
        parts.extend(
            ToolCall(call_id(request.message, number), "agent", '{"prompt": "find it"}')
            for number in range(calls, calls + random.randint(1, 2))
        )
    usage = Usage(input=random.randint(10, WINDOW + 50), output=random.randint(1, 20))
    stop_reason: StopReason = "tool_use" if any(isinstance(part, ToolCall) for part in parts) else "end_turn"
    return Reply(parts=tuple(parts), stop_reason=stop_reason, usage=usage, model="simulated/model")
