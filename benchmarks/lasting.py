"""What adds up: memory at rest, memory over many runs, and the cost of a turn as its transcript grows."""

from __future__ import annotations

from benchmarks.bench import DIALECTS, Bench, bench
from benchmarks.figures import Figure, median, milliseconds
from benchmarks.play import Play
from benchmarks.processes import daemon, home
from quell.testing.providers import Dialect

PLAY = Play(20, 0)
"""Answers of 280 characters."""
AROUND = 20
"""Runs whose median stands for a length of the transcript."""
ADAPTED: tuple[Dialect, ...] = ("openai", "anthropic")
BEST_IDLE = "120 MiB (Codex)"


async def measure(quick: bool) -> list[Figure]:
    figures = await _idle()
    figures += await _many_sessions(40 if quick else 100, 160 if quick else 1000)
    for dialect in ADAPTED[:1] if quick else ADAPTED:
        figures += await _long_session(dialect, 300 if quick else 2000)
    return figures


async def _idle() -> list[Figure]:
    with home({}) as made, daemon(made) as started:
        await started.process.quiet()
        idle = started.process.memory
    async with bench("openai", load="openai") as loaded:
        with_model = loaded.process.memory
    return [
        Figure(name="resident, idle, no model loaded", value=idle, unit="MiB", target=60, elsewhere=BEST_IDLE),
        Figure(name="resident, idle, Chat Completions loaded", value=with_model, unit="MiB", elsewhere=BEST_IDLE),
    ]


async def _many_sessions(before: int, runs: int) -> list[Figure]:
    """Each run in a session of its own, as `quell run` does it."""
    async with bench("openai", load="openai") as made:
        await _run_apart(made, before)
        start = made.process.memory
        await _run_apart(made, runs)
        growth = (made.process.memory / start - 1) * 100
    return [
        Figure(
            name=f"resident memory, growth over {runs:,} runs after the first {before}, each in a session of its own",
            value=growth,
            unit="%",
            target=5,
        )
    ]


async def _run_apart(made: Bench, times: int) -> None:
    for _ in range(times):
        session = await made.session("openai")
        await session.run(PLAY)
        session.close()


async def _long_session(dialect: Dialect, messages: int) -> list[Figure]:
    """One session to the end: how long a turn takes at half of it and at all of it, and how much memory it took."""
    async with bench(dialect, load=dialect) as made:
        session = await made.session(dialect)
        overheads: list[float] = []
        memory: list[float] = []
        while len(overheads) < messages // 2 + AROUND // 2:
            overheads.append((await session.run(PLAY)).overhead)
            memory.append(made.process.memory)
        session.close()
    name = f"turn beyond the model's own time in a transcript of {{:,}} messages, {DIALECTS[dialect]}"
    figures = [
        Figure(
            name=name.format(length),
            value=milliseconds(_around(overheads, length // 2)),
            unit="ms",
            target=20 if length == 2000 else None,
        )
        for length in (messages // 10, messages // 4, messages // 2, messages)
    ]
    figures.append(
        Figure(
            name=f"resident memory, growth in that session after the first 100 messages, {DIALECTS[dialect]}",
            value=(memory[messages // 2 - 1] / memory[49] - 1) * 100,
            unit="%",
        )
    )
    return figures


def _around(overheads: list[float], run: int) -> float:
    return median(overheads[run - AROUND // 2 : run + AROUND // 2])
