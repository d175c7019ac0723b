"""`python -m benchmarks [name…] [--quick] [--write] [--clock MS]`: measure, show, and renew the table in the docs."""

from __future__ import annotations

import argparse
import asyncio
import math
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence

import uvloop

from benchmarks import (
    cancel,
    checkpoints,
    confined,
    crowd,
    files,
    lasting,
    permission,
    recovery,
    report,
    start,
    submit,
    turn,
)
from benchmarks.figures import Figure, median, milliseconds

GROUPS: dict[str, Callable[[bool], Awaitable[list[Figure]]]] = {
    "start": start.measure,
    "submit": submit.measure,
    "turn": turn.measure,
    "cancel": cancel.measure,
    "crowd": crowd.measure,
    "lasting": lasting.measure,
    "permission": permission.measure,
    "recovery": recovery.measure,
    "files": files.measure,
    "sandbox": confined.measure,
    "checkpoints": checkpoints.measure,
}
GROUP_SECONDS = 300.0
BARE = 20
PATIENCE = 900.0
"""Seconds that a group waits for the clock that was asked for, measuring again included."""
LOOK_AGAIN = 5.0
BUSY = 1.0
"""Load of the machine above which what is measured says little."""


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"what to measure: {', '.join(GROUPS)} (all)")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions: to see that it works, not for numbers")
    parser.add_argument(
        "--write", action="store_true", help=f"renew the table in docs/reference/{report.DOCUMENT.name}"
    )
    parser.add_argument(
        "--clock",
        type=float,
        default=math.inf,
        metavar="MS",
        help="on a machine that is shared: wait for moments in which `python -c pass` takes no longer than this",
    )
    options = parser.parse_args(arguments)
    names = options.names or list(GROUPS)
    if unknown := [name for name in names if name not in GROUPS]:
        parser.error(f"there is no {unknown[0]}; there are {', '.join(GROUPS)}")
    if options.write and (options.quick or options.names):
        parser.error("--write takes all figures and their full number of repetitions: leave out the names and --quick")
    if os.getloadavg()[0] > BUSY:
        print(f"The machine is busy (load {os.getloadavg()[0]:.1f}): what comes out is too much.", file=sys.stderr)
    measured = uvloop.run(_measure(names, options.clock, quick=options.quick))
    if options.write:
        report.write(measured)
    missed = [figure for figures in measured.values() for figure in figures if figure.met is False]
    print(f"{len(missed)} missed" if missed else "all targets met")
    return 0


async def _measure(names: Sequence[str], clock: float, *, quick: bool) -> dict[str, list[Figure]]:
    print(report.machine())
    measured: dict[str, list[Figure]] = {}
    for name in names:
        print(name, flush=True)
        measured[name] = await _measure_group(name, clock, quick=quick)
        for figure in measured[name]:
            print(report.line(figure), flush=True)
    return measured


async def _measure_group(name: str, wanted: float, *, quick: bool) -> list[Figure]:
    """With the clock before and after it, whichever is slower: one that is not slower than `wanted`, for as long as we have patience."""
    deadline = time.monotonic() + PATIENCE
    while True:
        before = _clock()
        patient = time.monotonic() < deadline
        if before.value > wanted and patient:
            await asyncio.sleep(LOOK_AGAIN)
            continue
        async with asyncio.timeout(GROUP_SECONDS):
            figures = await GROUPS[name](quick)
        clock = max(before, _clock(), key=lambda figure: figure.value)
        if clock.value <= wanted or not patient:
            return [clock, *figures]
        print(f"once more: `python -c pass` took {clock.shown} at the end of it", flush=True)


def _clock() -> Figure:
    """What everything of a group is to be compared with: the clock of a machine that is shared may be another one a minute later."""
    took = []
    for _ in range(BARE):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        took.append(time.perf_counter() - began)
    return Figure(name="for comparison: `python -c pass`", value=milliseconds(median(took)), unit="ms")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
