"""The server itself: is it there, what can it use, what is configured, and please leave."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress

from quell.core.errors import Busy
from quell.engine import Engine
from quell.server.route import Call
from quell.wire import api


async def health(call: Call[api.Nothing, api.Nothing]) -> api.Health:
    """Who answers here."""
    return _health(call)


def _health(call: Call[api.Nothing, api.Nothing] | Call[api.Nothing, api.Leave]) -> api.Health:
    busy = call.engine.busy
    return api.Health(
        version=call.site.version,
        pid=os.getpid(),
        started=call.site.started,
        sessions=busy,
        busy=busy > 0,
        stalled=dict(call.engine.stalled),
        role="owner" if call.engine.ownership.owns else "guest",
    )


async def models(call: Call[api.ModelsQuery, api.Nothing]) -> api.Models:
    """What is configured, with limits and prices, and what is missing where something is."""
    return api.Models(tuple(await call.site.choices.models(call.query)))


async def providers(call: Call[api.ProvidersQuery, api.Nothing]) -> api.Providers:
    """Where models come from: which providers are known, which have a key, and what is missing where something is. No provider is asked."""
    return api.Providers(tuple(await call.site.choices.providers(call.query)))


async def workspace(call: Call[api.StatusQuery, api.Nothing]) -> api.WorkspaceStatus:
    """What is configured for a folder: files, notices, what is wrong with them, rules."""
    return await call.site.choices.status(call.query.workspace)


async def leave(call: Call[api.Nothing, api.Leave]) -> api.Health:
    """End the server. Refused while runs are active, unless forced; those are then settled as interrupted."""
    if call.body.grace_s:
        with suppress(TimeoutError):
            async with asyncio.timeout(call.body.grace_s):
                await _all_settled(call.engine)
    if call.engine.running and not call.body.force:
        active = "1 run is active" if call.engine.running == 1 else f"{call.engine.running} runs are active"
        raise Busy(f"{active}. Wait, cancel what runs, or ask with `force`.")
    call.site.stopping.set()
    return _health(call)


async def _all_settled(engine: Engine) -> None:
    if not engine.running:
        return
    async with engine.follow_all() as changes:
        async for _ in changes:
            if not engine.running:
                return
