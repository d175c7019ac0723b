"""Commands: start one, stream its output, and end all that came of it.

Each command runs under a `supervisor` process that owns the tree and reports when nothing of it is left. This side holds the other ends
of its three descriptors, by callbacks of the event loop: no thread, no task, any loop. The answer has a pipe of its own, because the end of
a socket with unread bytes in it is an error that one of the loops never tells.

If a supervisor is killed or does not answer, the processes that carry the command's tag are killed from here.
"""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Literal

from quell.core.ports import ProcessEnd
from quell.workspace import supervisor
from quell.workspace.outlet import PIPE, Outlet

_BOOT = "import sys; sys.path.append(sys.argv[1]); import supervisor; supervisor.main()"
_SPOKEN = 64 * 1024
"""Bytes of what a program answers that are read at once, because they are taken apart here: 13 MB a second."""

_ANSWER_WITHIN = supervisor.PATIENCE + supervisor.KILL_WITHIN + 0.4
_LOOKS = 64
"""In which that time is counted, in shorter steps than its own: if the whole machine stands still meanwhile, that is one look, and no sign that the
supervisor hangs. Were it killed then, what it has not ended yet would live on."""
_REQUEST_LIMIT = 160_000


Stopped = Literal["timeout", "cancelled"]


class Running:
    """One command: the port `Process`. Its life needs nobody who waits; all of it is callbacks of the event loop.

    Both of its outputs go to `output`, unless the standard one goes to `answers`.
    """

    def __init__(self, output: Callable[[bytes], None], answers: Callable[[bytes], None] | None = None) -> None:
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._stopped: Stopped | None = None
        self._outputs = (output,) if answers is None else (output, answers)
        self._outlets: list[Outlet] = []
        self._tag = secrets.token_hex(8)
        self._said = b""
        self._report: supervisor.Report | None = None
        self._answer = -1
        self._lifeline: socket.socket
        self._process: subprocess.Popen[bytes]
        self._deadline: asyncio.TimerHandle | None = None

    def start(self, command: list[str], directory: str, environment: Mapping[str, str], stdin: int = -1) -> None:
        """`stdin` is a descriptor to be its standard input; -1: it has none."""
        if any("\0" in word for word in (directory, *command)):
            raise OSError(errno.EINVAL, "a command cannot hold a NUL character", command[0])
        if len(supervisor.encode_request(command, directory)) > _REQUEST_LIMIT:
            raise OSError(errno.E2BIG, os.strerror(errno.E2BIG), command[0])
        self._lifeline, theirs = socket.socketpair()
        self._outlets = [Outlet(output, piece) for output, piece in zip(self._outputs, (PIPE, _SPOKEN), strict=False)]
        writers = [outlet.writer for outlet in self._outlets]
        stdout = writers[1] if len(writers) > 1 else -1
        self._answer, answer = os.pipe()
        try:
            for end in (self._lifeline, theirs):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * _REQUEST_LIMIT)
            self._lifeline.setblocking(False)
            self._lifeline.sendall(supervisor.encode_request(command, directory, stdin, stdout))
            os.set_blocking(self._answer, False)
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _BOOT, os.path.dirname(supervisor.__file__)],
                stdin=theirs.fileno(),
                stdout=answer,
                stderr=writers[0],
                pass_fds=[each for each in (stdin, stdout) if each >= 0],
                env={**environment, supervisor.TAG: self._tag},
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            self._lifeline.close()
            for outlet in self._outlets:
                outlet.abandon()
            os.close(self._answer)
            if isinstance(error, ValueError):  # a NUL, or a "=" in a name
                raise OSError(errno.EINVAL, f"the environment cannot be passed on: {error}") from error
            raise
        finally:
            theirs.close()
            for writer in writers:
                os.close(writer)
            os.close(answer)
        for outlet in self._outlets:
            outlet.read()
        asyncio.get_running_loop().add_reader(self._answer, self._read_answer)

    async def wait(self, timeout: float | None = None) -> ProcessEnd | None:
        await asyncio.wait((self._ended,), timeout=timeout)
        return self.end

    def begin_stop(self, why: Stopped) -> None:
        """Asks the supervisor, which answers within about three seconds; one that does not is killed."""
        if self._stopped is None and not self._ended.done():
            self._stopped = why
            self._lifeline.close()
            self._look(_LOOKS)

    async def stop(self, why: Stopped) -> ProcessEnd:
        self.begin_stop(why)
        while (end := self.end) is None:
            try:
                await asyncio.wait((self._ended,))
            except asyncio.CancelledError:
                continue
        return end

    def when_ended(self, callback: Callable[[], None]) -> None:
        self._ended.add_done_callback(lambda _: callback())

    @property
    def end(self) -> ProcessEnd | None:
        if not self._ended.done():
            return None
        report, stopped = self._report, self._stopped
        if report is None:
            return ProcessEnd(status=None, signal=signal.SIGKILL, stopped=stopped)
        if report.error is not None:
            number, what = report.error
            raise OSError(number, os.strerror(number), what)
        code = report.status
        return ProcessEnd(
            status=code if code is not None and code >= 0 else None,
            signal=-code if code is not None and code < 0 else None,
            stopped=stopped,
            leftover=tuple(report.leftover),
            unkillable=tuple(report.unkillable),
        )

    def _read_answer(self) -> None:
        piece = os.read(self._answer, 65536)
        if piece:
            self._said += piece
            return
        asyncio.get_running_loop().remove_reader(self._answer)
        os.close(self._answer)
        self._lifeline.close()
        self._report = supervisor.Report.decode(self._said)
        if self._report is None:
            supervisor.kill_tagged(self._tag)
        for outlet in self._outlets:
            outlet.drain()
        self._reap()

    def _reap(self) -> None:
        """The supervisor's last act was to close its pipe: it is gone in a moment."""
        if self._process.poll() is None:
            asyncio.get_running_loop().call_later(0.001, self._reap)
            return
        if self._deadline is not None:
            self._deadline.cancel()
        if not self._ended.done():
            self._ended.set_result(None)

    def _look(self, left: int) -> None:
        """At a supervisor that was asked to stop; `left` more times."""
        loop = asyncio.get_running_loop()
        if left:
            self._deadline = loop.call_later(_ANSWER_WITHIN / _LOOKS, self._look, left - 1)
            return
        self._process.kill()
        self._deadline = loop.call_later(0.5, self._give_up)

    def _give_up(self) -> None:
        """The supervisor itself cannot be killed. Its file descriptors stay with it."""
        self._report = self._report or supervisor.Report()
        self._report.unkillable.append(self._process.pid)
        if not self._ended.done():
            self._ended.set_result(None)
