"""A turn: what comes on top of the model's own time, for a short answer and for a long one in small chunks."""

from __future__ import annotations

from benchmarks.bench import DIALECTS, Bench, bench
from benchmarks.figures import Figure, median, milliseconds, percentile
from benchmarks.play import Play
from quell.testing.providers import Dialect

SHORT = Play()
LONG = Play(500, 2)
SESSION_RUNS = 10
BEST_TURN = {"openai": "14.4 ms (qwen-code)"}
BEST_LONG = {"openai": "18 ms (qwen-code)"}
BEST_PROCESSOR = {"openai": "0.29 s (Codex)"}
ADAPTED: tuple[Dialect, ...] = ("openai", "anthropic")


async def measure(quick: bool) -> list[Figure]:
    figures: list[Figure] = []
    for adapted in ADAPTED:
        figures += await _first(adapted, 1 if quick else 5)
    async with bench(*ADAPTED, load="openai", plays=[SHORT, LONG]) as made:
        for dialect in DIALECTS:
            figures += await _short(made, dialect, 3 if quick else 20)
        for dialect in DIALECTS:
            figures += await _long(made, dialect, 2 if quick else 6)
    return figures


async def _first(dialect: Dialect, times: int) -> list[Figure]:
    """The first run of a daemon that has loaded the libraries."""
    overheads = []
    for _ in range(times):
        async with bench(dialect, load=dialect) as made:
            session = await made.session(dialect)
            overheads.append((await session.run(SHORT)).overhead)
            session.close()
    return [
        Figure(
            name=f"run beyond the model's own time, the first after loading, {DIALECTS[dialect]}",
            value=milliseconds(median(overheads)),
            unit="ms",
            target=30,
        )
    ]


async def _short(made: Bench, dialect: str, sessions: int) -> list[Figure]:
    """In short conversations: what long ones cost is measured in `lasting`."""
    firsts, later = [], []
    for _ in range(sessions):
        session = await made.session(dialect)
        firsts.append((await session.run(SHORT)).overhead)
        later += [(await session.run(SHORT)).overhead for _ in range(SESSION_RUNS)]
        session.close()
    name = f"run beyond the model's own time, one turn, {DIALECTS[dialect]}"
    return [
        Figure(
            name=f"{name}, p50",
            value=milliseconds(median(later)),
            unit="ms",
            target=5,
            elsewhere=BEST_TURN.get(dialect, ""),
        ),
        Figure(name=f"{name}, p99", value=milliseconds(percentile(later, 0.99)), unit="ms"),
        Figure(name=f"{name}, first of a session (asks git)", value=milliseconds(median(firsts)), unit="ms"),
    ]


async def _long(made: Bench, dialect: str, times: int) -> list[Figure]:
    session = await made.session(dialect)
    await session.run(LONG)
    assert LONG.chunks is not None
    before = made.process.processor
    overheads = [(await session.run(LONG)).overhead for _ in range(times)]
    used = (made.process.processor - before) / (times * LONG.chunks) * 1000
    session.close()
    return [
        Figure(
            name=f"500 chunks 2 ms apart: wall beyond the model's own, {DIALECTS[dialect]}",
            value=milliseconds(median(overheads)),
            unit="ms",
            target=9,
            elsewhere=BEST_LONG.get(dialect, ""),
        ),
        Figure(
            name=f"processor seconds of the daemon per 1,000 chunks, {DIALECTS[dialect]}",
            value=used,
            unit="s",
            target=0.25 if dialect == "openai" else None,
            elsewhere=BEST_PROCESSOR.get(dialect, ""),
        ),
    ]
