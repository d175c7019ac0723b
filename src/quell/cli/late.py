"""What is waited for, said when that takes longer than a person expects.

It is said in a timer's signal, wherever the command happens to be blocked, and past the buffers of standard error: another line may be in the
middle of being written.
"""

from __future__ import annotations

import os
import signal

from quell.cli import terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

SOON = 0.4
"""Seconds that nobody has to be told of."""

_STDERR = 2


class Late:
    """From `begin` to `end`, or within a `with`, each thing that is `waiting_for` is said once; empty: nothing is."""

    def __init__(self, waiting_for: str = "") -> None:
        self.waiting_for = waiting_for
        self._said = ""

    def __enter__(self) -> Late:
        self.begin()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def begin(self) -> None:
        signal.signal(signal.SIGALRM, self._look)
        signal.setitimer(signal.ITIMER_REAL, SOON, SOON)

    def end(self) -> None:
        self.waiting_for = ""
        signal.setitimer(signal.ITIMER_REAL, 0)

    def _look(self, number: int, frame: FrameType | None) -> None:
        text = self.waiting_for
        if text in ("", self._said):
            return
        self._said = text
        begin = "\n" if os.isatty(_STDERR) else ""  # after what is in its line: at least the ^C
        try:
            os.write(_STDERR, f"{begin}quell: {terminal.visible(text)}\n".encode(errors="replace"))
        except OSError:
            pass  # nobody reads it
