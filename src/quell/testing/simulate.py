"""The command of the simulation: `python -m quell.testing.simulate --seeds 1000`. See `quell.testing.simulation`.

A seed that fails is told as a conversation, with what is wrong at its end; `--seed N` plays it again, `--shrink` leaves out what does
not matter. Exits with 1 when something failed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from quell.testing.simulation import Plan, Report, draw, shrink, simulate


def main() -> int:
    parser = argparse.ArgumentParser(prog="simulate", description="Plays seeded stories against the real engine.")
    parser.add_argument("--seeds", type=int, default=100, metavar="N", help="how many seeds to play (100)")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="the seed to begin with (0)")
    parser.add_argument("--seed", type=int, metavar="N", help="play one seed and tell its story")
    parser.add_argument("--minutes", type=float, metavar="N", help="stop after so many minutes, whatever was asked for")
    parser.add_argument("--memory", action="store_true", help="keep the journal in memory instead of in SQLite")
    parser.add_argument("--shrink", action="store_true", help="tell the smallest story that fails in the same way")
    given = parser.parse_args()
    if given.seed is not None:
        report = _play(draw(given.seed), memory=given.memory)
        if report.wrong and given.shrink:
            with _place(memory=given.memory) as folder:
                report = _play(shrink(report.plan, folder), memory=given.memory)
        _tell(report)
        return 1 if report.wrong else 0
    return _play_many(range(given.first, given.first + given.seeds), given.minutes, memory=given.memory)


def _play_many(seeds: range, minutes: float | None, *, memory: bool) -> int:
    began, processor = time.perf_counter(), time.process_time()
    played = kills = facts = 0
    hours = 0.0
    failed: list[int] = []
    for seed in seeds:
        if minutes is not None and time.perf_counter() - began > minutes * 60:
            break
        report = _play(draw(seed), memory=memory)
        played, kills, facts, hours = (
            played + 1,
            kills + report.kills,
            facts + report.facts,
            hours + report.seconds / 3600,
        )
        if report.wrong:
            failed.append(seed)
            if len(failed) == 1:
                _tell(report)
            _say(f"seed {seed}: {report.wrong[0]}")
    took, used = time.perf_counter() - began, time.process_time() - processor
    where = "memory" if memory else "SQLite"
    _say(
        f"{played} seeds on {where}, {len(failed)} failed; {facts} facts, {kills} kills, {hours:.1f} virtual hours; "
        f"{took:.1f} s, {played / took:.1f} seeds a second, {used / max(played, 1) * 1000:.0f} ms of processor time each"
    )
    if failed:
        _say(f"failed: {failed}\nAgain: python -m quell.testing.simulate --seed {failed[0]} --shrink")
    return 1 if failed else 0


def _play(plan: Plan, *, memory: bool) -> Report:
    with _place(memory=memory) as folder:
        return simulate(plan, folder)


@contextmanager
def _place(*, memory: bool) -> Iterator[Path | None]:
    """An empty folder, or None for a journal in memory."""
    if memory:
        yield None
    else:
        with tempfile.TemporaryDirectory(prefix="quell-") as folder:
            yield Path(folder)


def _tell(report: Report) -> None:
    _say(f"seed {report.plan.seed}: {report.plan}")
    _say("\n".join(report.story))
    _say("\n".join(f"WRONG  {wrong}" for wrong in report.wrong) or "nothing is wrong")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
