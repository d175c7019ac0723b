"""Fifty sessions at once, each with a client that follows it: time, processor and memory."""

from __future__ import annotations

import asyncio
import time

from benchmarks.bench import DIALECTS, Bench, Session, bench, ideal
from benchmarks.figures import Figure, milliseconds
from benchmarks.play import Play
from quell.testing.providers import Dialect

CROWD = 50
PLAY = Play(200, 20)
ADAPTED: tuple[Dialect, ...] = ("openai", "anthropic")
BEST_WALL, BEST_PROCESSOR, BEST_PEAK = "4,445 ms (Kimi Code)", "2.8 s (Kimi Code)", "329 MiB (vibe)"


async def measure(quick: bool) -> list[Figure]:
    figures: list[Figure] = []
    for dialect in ADAPTED[:1] if quick else ADAPTED:
        figures += await _dialect(dialect)
    return figures


async def _dialect(dialect: Dialect) -> list[Figure]:
    async with bench(dialect, load=dialect) as made:
        sessions = [await made.session(dialect) for _ in range(CROWD)]
        first, _ = await _round(made, sessions)
        second, used = await _round(made, sessions)
        for session in sessions:
            session.close()
        name = f"{CROWD} sessions at once, {DIALECTS[dialect]} (ideal {milliseconds(ideal(PLAY)):,.0f} ms)"
        aimed = dialect == "openai"
        return [
            Figure(
                name=f"{name}: first round, wall",
                value=milliseconds(first),
                unit="ms",
                target=4400 if aimed else None,
                elsewhere=BEST_WALL if aimed else "",
            ),
            Figure(
                name=f"{name}: second round, wall",
                value=milliseconds(second),
                unit="ms",
                target=4200 if aimed else None,
                elsewhere=BEST_WALL if aimed else "",
            ),
            Figure(
                name=f"{name}: second round, processor seconds",
                value=used,
                unit="s",
                target=2.4 if aimed else None,
                elsewhere=BEST_PROCESSOR if aimed else "",
            ),
            Figure(
                name=f"{name}: peak resident",
                value=made.process.peak,
                unit="MiB",
                target=200 if aimed else None,
                elsewhere=BEST_PEAK if aimed else "",
            ),
        ]


async def _round(made: Bench, sessions: list[Session]) -> tuple[float, float]:
    """Seconds from the first submission to the last settlement, and of the daemon's processor time."""
    used, begun = made.process.processor, time.perf_counter()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_run(session)) for session in sessions]
    return max(task.result() for task in tasks) - begun, made.process.processor - used


async def _run(session: Session) -> float:
    run = (await session.submit(PLAY)).text("run")
    settled = await session.follower.settled(run)
    assert settled.outcome == "completed", settled
    return settled.at
