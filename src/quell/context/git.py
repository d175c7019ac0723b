"""What git says of a workspace when a session begins: branch and short status, within a time limit.

Rules: git is asked once and never waited for longer than the limit; a repository that is too large, broken or not there
is no error. What a repository's configuration could start is not started, as far as git lets itself be told.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal

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


async def describe(root: str, limit: float = LIMIT) -> str:
    """For the environment block; empty when there is nothing to say."""
    try:
        async with asyncio.timeout(limit):
            output = await _status(root)
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


async def _status(root: str) -> bytes:
    """As much of the output as is wanted. Whatever ends this ends git, too."""
    # A GIT_DIR that the daemon was started with is about some other place.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    process = await asyncio.create_subprocess_exec(
        *_COMMAND,
        cwd=root,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    assert process.stdout is not None
    output = b""
    try:
        while len(output) < BYTES and (more := await process.stdout.read(BYTES - len(output))):
            output += more
    finally:
        # git may have started children that hold the pipe: the whole group goes.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    return output
