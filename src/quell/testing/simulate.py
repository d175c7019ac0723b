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

PROGRESS = 60.0
"""Seconds after which it is said how far it is."""


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


class Tally:
    """What has been played so far."""

    def __init__(self, *, memory: bool) -> None:
        self.failed: list[int] = []
        self._began, self._processor = time.perf_counter(), time.process_time()
        self._played = self._kills = self._facts = 0
        self._hours = 0.0
        self._where = "memory" if memory else "SQLite"

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._began

    def add(self, report: Report) -> None:
        self._played += 1
        self._kills += report.kills
        self._facts += report.facts
        self._hours += report.seconds / 3600
        if report.wrong:
            self.failed.append(report.plan.seed)

    def __str__(self) -> str:
        used = time.process_time() - self._processor
        return (
            f"{self._played} seeds on {self._where}, {len(self.failed)} failed; {self._facts} facts, {self._kills} kills,"
            f" {self._hours:.1f} virtual hours; {self.seconds:.1f} s, {self._played / self.seconds:.1f} seeds a second,"
            f" {used / max(self._played, 1) * 1000:.0f} ms of processor time each"
        )


def _play_many(seeds: range, minutes: float | None, *, memory: bool) -> int:
    """Until all are played, the time is up, or somebody has seen enough (Ctrl-C); each minute it is said how far it is."""
    tally, said = Tally(memory=memory), 0.0
    try:
        for seed in seeds:
            if minutes is not None and tally.seconds > minutes * 60:
                break
            report = _play(draw(seed), memory=memory)
            tally.add(report)
            if report.wrong:
                if len(tally.failed) == 1:
                    _tell(report)
                _say(f"seed {seed}: {report.wrong[0]}")
            if tally.seconds - said > PROGRESS:
                said = tally.seconds
                _say(str(tally))
    except KeyboardInterrupt:
        pass
    _say(str(tally))
    if tally.failed:
        _say(f"failed: {tally.failed}\nAgain: python -m quell.testing.simulate --seed {tally.failed[0]} --shrink")
    return 1 if tally.failed else 0


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
