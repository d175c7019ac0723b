"""The daemon with a heart: `python -m benchmarks.beating FILE --ready-fd FD` serves as `quell serve` does, and leaves in FILE the longest
time, in seconds, that its event loop kept a timer of one millisecond waiting.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

from quell import app

BEAT = 0.001


def main(file: str, told: int) -> None:
    longest = 0.0

    def ready(socket: str) -> None:
        os.set_inheritable(told, False)
        os.write(told, b"\n")
        os.close(told)
        loop = asyncio.get_running_loop()

        def beat(due: float) -> None:
            nonlocal longest
            now = time.perf_counter()  # the loop's own clock counts whole milliseconds
            longest = max(longest, now - due)
            loop.call_later(BEAT, beat, now + BEAT)

        beat(time.perf_counter())

    app.serve(ready=ready)
    Path(file).write_text(f"{longest}\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[3]))
