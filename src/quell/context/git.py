"""What git says of a workspace when a session begins: branch and short status, within a time limit.

Rules: git is asked once and never waited for longer than the limit; a repository that is too large, broken or not there
is no error. What a repository's configuration could start is not started, as far as git lets itself be told.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import subprocess
import time
from weakref import WeakValueDictionary

LIMIT = 0.3
"""Seconds."""
LINES = 20
BYTES = 64_000

_COMMAND = (
    "git",
    "--no-optional-locks",
    "--no-pager",
    "-c",
    "core.fsmonitor=false",
    "-c",
    "core.hooksPath=/dev/null",
    "status",
    "--porcelain",
    "--branch",
    "--ignore-submodules=all",
)


class _Asking:
    """What those share who wait for one folder. `begun`: when git was started for the last answer."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.begun = float("-inf")
        self.answer = ""


class Git:
    """Of many who ask for one folder at once, most get the answer to one question: one that was put after they had asked."""

    def __init__(self, limit: float = LIMIT) -> None:
        self._limit = limit
        self._asking: WeakValueDictionary[str, _Asking] = WeakValueDictionary()

    async def describe(self, root: str) -> str:
        """For the environment block; empty when there is nothing to say."""
        asked = time.monotonic()
        asking = self._asking.setdefault(root, _Asking())
        async with asking.lock:
            if asking.begun < asked:
                begun = time.monotonic()
                asking.answer = await describe(root, self._limit)
                asking.begun = begun
            return asking.answer


async def describe(root: str, limit: float = LIMIT) -> str:
    """The same, asked alone."""
    try:
        output = await asyncio.to_thread(_status, root, limit)
    except TimeoutError:
        return "a repository; its status takes too long to be shown here"
    except OSError:
        return ""
    lines = output.decode(errors="replace").splitlines()
    if not lines or not lines[0].startswith("## "):
        return ""
    branch = lines[0].removeprefix("## ").removeprefix("No commits yet on ")
    if branch == "HEAD (no branch)":
        branch = "none (detached HEAD)"
    changes = lines[1:]
    shown = "\n".join(["branch: " + branch, *changes[:LINES]])
    if len(changes) > LINES:
        more = "at least " if len(output) >= BYTES else ""
        shown += f"\n… and {more}{len(changes) - LINES} more"
    return shown if changes else shown + "\nclean"


def _status(root: str, limit: float) -> bytes:
    """As much of the output as is wanted. Whatever ends this ends git, too. Raises `TimeoutError`, `OSError`.

    In a thread, because starting a process through uvloop holds the event loop up for several milliseconds.
    """
    deadline = time.monotonic() + limit
    # A GIT_DIR that the daemon was started with is about some other place.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    with subprocess.Popen(
        _COMMAND,
        cwd=root,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        try:
            return _read(process.stdout.fileno(), deadline)
        finally:
            # git may have started children that hold the pipe: the whole group goes.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)


def _read(pipe: int, deadline: float) -> bytes:
    output = b""
    waiting = select.poll()
    waiting.register(pipe, select.POLLIN)
    while len(output) < BYTES:
        if not waiting.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise TimeoutError
        more = os.read(pipe, BYTES - len(output))
        if not more:
            break
        output += more
    return output
