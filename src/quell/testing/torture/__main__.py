"""The command of the torture: `python -m quell.testing.torture --minutes 5`. See `quell.testing.torture`.

It shows how it goes, and ends with a report; exits with 1 when something was wrong, and then says where everything is that it left.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import sys
import time
import traceback

from quell.testing.torture.lives import Found
from quell.testing.torture.place import Place
from quell.testing.torture.plan import rounds
from quell.testing.torture.report import Report
from quell.testing.torture.run import Torture
from quell.testing.torture.script import JOBS, KINDS


def main() -> int:
    parser = argparse.ArgumentParser(prog="torture", description="Kills the real daemon, and looks at what is left.")
    parser.add_argument("--minutes", type=float, metavar="N", help="stop after so many minutes (1)")
    parser.add_argument("--kills", type=int, metavar="N", help="stop after so many kills of the daemon")
    parser.add_argument(
        "--seed", type=int, metavar="N", help="of the plan; it does not reproduce the outcome, for time is real"
    )
    parser.add_argument("--lives", type=int, metavar="N", help="so many lives of the daemon in each round (1 to 6)")
    parser.add_argument("--one-server", action="store_true", help="no second server on standby")
    parser.add_argument("--no-jobs", action="store_true", help="no commands that run on in the background")
    given = parser.parse_args()
    seed = random.randrange(1_000_000) if given.seed is None else given.seed
    minutes = 1.0 if given.minutes is None and given.kills is None else given.minutes
    began = time.monotonic()

    def enough(report: Report) -> bool:
        late = minutes is not None and time.monotonic() - began > minutes * 60
        return late or (given.kills is not None and report.kills >= given.kills)

    place = Place(resume_interrupted=seed % 2 == 1)
    disk = (
        "on a small disk of its own" if place.mounted else "its disk is filled by a limit, for none can be mounted here"
    )
    _say(f"seed {seed}, {disk}")
    kinds = KINDS if given.no_jobs else KINDS | JOBS
    torture = Torture(rounds(seed, given.lives, beside=not given.one_server), seed, place, kinds, _say)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to end"))
    try:
        asyncio.run(torture.run(enough))
    except Exception as error:  # noqa: BLE001  # the outermost loop: a bug of the torture is a finding, too
        found = _found(error) or Found(traceback.format_exception(error))
        folder, story = asyncio.run(torture.keep(found))
        _say("\n".join([*story, *(f"WRONG  {wrong}" for wrong in found.wrong)]))
        _say(f"seed {seed}; everything is left in {folder}")
        return 1
    finally:
        _say("\n".join(torture.report.lines(time.monotonic() - began)))
        place.close()
    return 0


def _found(error: BaseException) -> Found | None:
    """What was found, however many tasks it ended."""
    if isinstance(error, BaseExceptionGroup):
        return next((found for each in error.exceptions if (found := _found(each)) is not None), None)
    return error if isinstance(error, Found) else None


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
