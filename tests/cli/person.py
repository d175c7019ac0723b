"""A person at a terminal: the real command with a controlling terminal of its own, what it shows, and what is typed."""

from __future__ import annotations

import os
import pty
import select
import signal
import time

from tests.cli.command import Home

INTERRUPT, END = "\x03", "\x04"


class Person:
    """Types only once it has read what it waits for."""

    def __init__(self, home: Home, *arguments: str, ignoring: tuple[signal.Signals, ...] = ()) -> None:
        line = home.line(*arguments)
        self._child, self._terminal = pty.fork()
        if self._child == 0:
            os.chdir(home.workspace)
            for each in ignoring:
                signal.signal(each, signal.SIG_IGN)
            os.execve(line[0], line, home.environment | {"TERM": "dumb"})
        self._shown = ""
        self._seen = 0

    def reads(self, text: str) -> str:
        """What was shown since the last time, up to this text."""
        while (at := self._shown.find(text, self._seen)) < 0:
            assert self._read(), f"ended without showing {text!r}:\n{self._shown}"
        passage = self._shown[self._seen : at + len(text)]
        self._seen = at + len(text)
        return passage

    def types(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def ends(self) -> int:
        """The exit status."""
        while self._read():
            pass
        return self.leaves()

    def leaves(self) -> int:
        """Close the window of the terminal; the exit status."""
        os.close(self._terminal)
        return os.waitstatus_to_exitcode(os.waitpid(self._child, 0)[1])

    @property
    def rest(self) -> str:
        """What was shown since what was read."""
        return self._shown[self._seen :]

    def _read(self) -> bool:
        deadline = time.monotonic() + 30
        assert select.select([self._terminal], [], [], deadline - time.monotonic())[0], f"hangs after\n{self._shown}"
        try:
            piece = os.read(self._terminal, 4096)
        except OSError:  # so a terminal ends
            return False
        self._shown += piece.decode("utf-8", "replace").replace("\r\n", "\n")
        return bool(piece)
