"""Submitting: from the request to the answer, which says that the prompt is on disk."""

from __future__ import annotations

import asyncio

from benchmarks.bench import Bench, Session, bench
from benchmarks.figures import Figure, median, milliseconds, percentile
from benchmarks.play import Play

HELLO = Play()
CROWD = 50


async def measure(quick: bool) -> list[Figure]:
    async with bench(plays=[HELLO]) as made:
        return [*(await _alone(made, 60 if quick else 500)), *(await _crowd(made, 4 if quick else 20))]


async def _alone(made: Bench, times: int) -> list[Figure]:
    session = await made.session("scripted")
    took = [await _submit(session) for _ in range(times)]
    session.close()
    return [
        Figure(
            name="submit to 202, one client, p50",
            value=milliseconds(median(took)),
            unit="ms",
            target=1,
            elsewhere="6.7 ms (Codex)",
        ),
        Figure(name="submit to 202, one client, p99", value=milliseconds(percentile(took, 0.99)), unit="ms", target=10),
    ]


async def _submit(session: Session) -> float:
    accepted = await session.submit(HELLO)
    await session.follower.settled(accepted.text("run"))
    return accepted.took


async def _crowd(made: Bench, rounds: int) -> list[Figure]:
    sessions = [await made.session("scripted") for _ in range(CROWD)]
    took: list[float] = []
    for _ in range(rounds + 1):
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_submit(session)) for session in sessions]
        took = [*took, *(task.result() for task in tasks)]
    for session in sessions:
        session.close()
    later = took[CROWD:]  # in the first round each session also asks git for its state
    return [
        Figure(
            name=f"submit to 202, {CROWD} at once, p99",
            value=milliseconds(percentile(later, 0.99)),
            unit="ms",
            target=20,
        ),
        Figure(
            name=f"submit to 202, {CROWD} at once, first prompts of their sessions, p99",
            value=milliseconds(percentile(took[:CROWD], 0.99)),
            unit="ms",
        ),
    ]
