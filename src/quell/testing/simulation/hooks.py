"""The hooks of the simulation: now and then one of them has something to say, takes its time, hangs, or does not hear that it is to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from random import Random

from quell.core.hooks import HookAnswer, HookDecision, Hooked, HookEvent, HookPlace, HookReport, RunEnd, together
from quell.core.messages import ResultStatus, ToolCall
from quell.testing.simulation.world import STUBBORN, World


class SimulatedHooks:
    """The port `Hooks`."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def before(self, call: ToolCall, place: HookPlace, environment: Mapping[str, str]) -> Hooked | None:
        random = self._world.random(f"before {place.session} {call.id}")
        decision: HookDecision = random.choice(("none", "none", "allow", "ask", "deny"))
        changes = {"outside": False} if call.name == "touch" and random.random() < 0.3 else None
        return await self._say("PreToolUse", call, random, decision, changes)

    async def after(
        self, call: ToolCall, status: ResultStatus, text: str, place: HookPlace, environment: Mapping[str, str]
    ) -> Hooked | None:
        return await self._say("PostToolUse", call, self._world.random(f"after {place.session} {call.id}"))

    def settled(self, end: RunEnd, place: HookPlace, environment: Mapping[str, str]) -> None:
        pass

    async def _say(
        self,
        event: HookEvent,
        call: ToolCall,
        random: Random,
        decision: HookDecision = "none",
        changes: Mapping[str, object] | None = None,
    ) -> Hooked | None:
        world = self._world
        if random.random() < 0.7:
            return None
        deaf = world.misbehaves(random)
        try:
            await world.idle(random.choice((0.0, 0.01, 1.0)))
            if world.misbehaves(random):
                await world.healed.wait()
        except asyncio.CancelledError:
            if deaf and not world.over:
                await world.ignore_cancels(random.choice((0.2, 2.0, STUBBORN)))
            raise
        report = HookReport(name="h", decision=decision, halt=random.random() < 0.05)
        return together(event, (HookAnswer(report, random.choice(("", "more")), changes),), call.input)
