"""Cancelling: how fast it works while text streams, and whether it works at every moment from acceptance on."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter

from benchmarks.bench import DIALECTS, Bench, Session, bench
from benchmarks.figures import Figure, median, milliseconds, percentile
from benchmarks.play import Play
from quell.testing.providers import Dialect

ENDLESS = Play(None, 5)
SHORT = Play(2, 1)
LATEST = 0.030
"""Seconds from acceptance to cancel, at most."""
STUCK_SECONDS = 6.0
"""The contract gives a cancelled run five seconds to settle, whatever hangs."""
SESSION_RUNS = 20
CROWD = 50
BEST_SETTLED = {"openai": ("2.3 ms (qwen-code)", "8.7 ms (Kimi Code)")}
BEST_CLOSED = {"openai": "0.7 ms (Codex, qwen-code)"}
ADAPTED: tuple[Dialect, ...] = ("openai", "anthropic")


async def measure(quick: bool) -> list[Figure]:
    figures: list[Figure] = []
    async with bench(*ADAPTED, load="openai", plays=[ENDLESS, SHORT]) as made:
        for dialect in DIALECTS:
            figures += await _streaming(made, dialect, 20 if quick else 200)
        for dialect in DIALECTS:
            figures += await _early(made, dialect, 20 if quick else 200, 1)
        for dialect in DIALECTS:
            figures += await _early(made, dialect, 100 if quick else 1000, CROWD)
    return figures


async def _streaming(made: Bench, dialect: str, times: int) -> list[Figure]:
    session = await made.session(dialect)
    settled, closed = [], []
    for _ in range(times):
        seen = session.follower.deltas
        run = (await session.submit(ENDLESS)).text("run")
        await session.follower.streamed(seen + 3)
        await asyncio.sleep(random.random() * ENDLESS.interval / 1000)  # anywhere between two chunks
        begun = time.perf_counter()
        await session.cancel()
        settled.append((await session.follower.settled(run)).at - begun)
        if session.model:
            closed.append(await session.model.time_of("closed") - begun)
    session.close()
    name, best = DIALECTS[dialect], BEST_SETTLED.get(dialect, ("", ""))
    figures = [
        Figure(
            name=f"cancel to settled while streaming, {name}, p50",
            value=milliseconds(median(settled)),
            unit="ms",
            target=2,
            elsewhere=best[0],
        ),
        Figure(
            name=f"cancel to settled while streaming, {name}, p99",
            value=milliseconds(percentile(settled, 0.99)),
            unit="ms",
            target=8,
            elsewhere=best[1],
        ),
    ]
    if closed:
        figures.append(
            Figure(
                name=f"cancel to provider connection closed, {name}, p50",
                value=milliseconds(median(closed)),
                unit="ms",
                target=1,
                elsewhere=BEST_CLOSED.get(dialect, ""),
            )
        )
    return figures


async def _early(made: Bench, dialect: str, times: int, at_once: int) -> list[Figure]:
    """Cancel at a random moment soon after acceptance; afterwards the session has to be as good as new."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_cancel_all(made, dialect, times // at_once)) for _ in range(at_once)]
    ends = sum((task.result() for task in tasks), Counter[str]())
    crowd = f" in {at_once} sessions at once" if at_once > 1 else ""
    name = f"cancel 0 to 30 ms after acceptance, of {times:,}{crowd}, {DIALECTS[dialect]}"
    return [
        Figure(name=f"{name}: lost", value=ends["lost"], unit="", target=0, elsewhere="" if crowd else "0"),
        Figure(name=f"{name}: stuck", value=ends["stuck"], unit="", target=0, elsewhere="" if crowd else "0"),
        Figure(name=f"{name}: next prompt spoilt", value=ends["spoilt"], unit="", target=0),
    ]


async def _cancel_all(made: Bench, dialect: str, times: int) -> Counter[str]:
    """So many in a row; what became of them that should not have."""
    ends: Counter[str] = Counter()
    session = await made.session(dialect)
    for number in range(times):
        if number % SESSION_RUNS == SESSION_RUNS - 1:
            session.close()
            session = await made.session(dialect)
        outcome = await _cancel_early(session)
        if outcome is None:
            ends["stuck"] += 1
            session.close()
            session = await made.session(dialect)
            continue
        ends["lost"] += outcome != "cancelled"
        ends["spoilt"] += not await _sound(session)
    session.close()
    return ends


async def _cancel_early(session: Session) -> str | None:
    """How the run ended; None when it did not, or when the cancel did not see it."""
    run = (await session.submit(ENDLESS)).text("run")
    await asyncio.sleep(random.random() * LATEST)
    covered = (await session.cancel()).text("run")
    try:
        settled = await session.follower.settled(run, STUCK_SECONDS)
    except TimeoutError:
        return None
    return settled.outcome if covered == run else "not covered"


async def _sound(session: Session) -> bool:
    """Whether the next prompt is answered, in full and by itself."""
    accepted = await session.submit(SHORT)
    settled = await session.follower.settled(accepted.text("run"), STUCK_SECONDS)
    path = f"/v1/sessions/{session.id}/prompts/{accepted.text('prompt')}"
    text = (await session.line.request("GET", path)).text("text")
    return settled.outcome == "completed" and text == SHORT.text
