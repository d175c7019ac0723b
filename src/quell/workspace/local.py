"""A workspace on this machine's own disk: implements the port `Workspace`.

What is small is done at once, because a thread costs more than the work; what may take long is done in a thread, where a cancellation
waits for the end of it: nothing of a call is still going on after the call.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import TypeVar

from quell.core.access import within
from quell.core.ports import DirectoryEntry, Listing, Matches, Place, Process, Sandbox
from quell.workspace import files, repository, sandboxing
from quell.workspace.process import Running
from quell.workspace.search import Query, list_files, ripgrep, search
from quell.workspace.walk import Stop, find, walk

_SMALL = 256 * 1024
_SEARCH_SECONDS = 5.0
_FIND_SECONDS = 30.0
_KERNEL = ("/proc", "/sys", "/dev")
"""Not files of anybody's project, even when the workspace is the whole disk."""

T = TypeVar("T")


class LocalWorkspace:
    """`root` is where relative paths start and commands run; `extra` are further folders that count as inside.

    Nothing is looked up before it is asked for: most are opened only to see that they can be.
    """

    def __init__(
        self, root: str, extra: Sequence[str] = (), kept: str = "", sandbox: Callable[[], Sandbox] = Sandbox
    ) -> None:
        self._folders = (root, *extra)
        self._kept = kept
        self._sandbox = sandbox

    @cached_property
    def root(self) -> str:
        return os.path.realpath(self._folders[0])

    @cached_property
    def extra(self) -> tuple[str, ...]:
        return tuple(map(os.path.realpath, self._folders[1:]))

    @cached_property
    def kept(self) -> str:
        return os.path.realpath(self._kept) if self._kept else ""

    @cached_property
    def sandbox(self) -> Sandbox:
        return self._sandbox()

    def place(self, path: str) -> Place:
        if "\0" in path:
            raise OSError(errno.EINVAL, "a path cannot hold a NUL character", path.replace("\0", "\\0"))
        real = os.path.realpath(os.path.join(self.root, os.path.expanduser(path)))
        shown = os.path.relpath(real, self.root) if within(real, self.root) else real
        inside = any(within(real, folder) for folder in (self.root, *self.extra))
        for kernel in _KERNEL:
            if within(real, kernel) and not any(within(folder, kernel) for folder in (self.root, *self.extra)):
                inside = False
        kept = bool(self.kept) and within(real, self.kept)
        return Place(path=real, shown=shown, inside=inside, kept=kept)

    def git_programs(self, folder: str) -> tuple[str, ...]:
        return repository.git_programs(folder)

    async def entry(self, path: str) -> DirectoryEntry:
        return files.entry(path)

    async def read(self, path: str, start: int = 0, limit: int | None = None) -> bytes:
        file, size = files.open_file(path)
        wanted = size - start if limit is None else min(limit, size - start)
        if 0 < wanted <= _SMALL:
            return files.read_from(file, start, limit)
        return await in_thread(lambda _: files.read_from(file, start, limit))

    async def write(self, path: str, content: bytes, *, replaces: str | None) -> bool:
        return await _to_the_end(partial(files.write, path, content, replaces))

    async def save(self, path: str, pieces: AsyncIterator[bytes], *, replaces: str | None) -> bool:
        with files.Replacement(path, replaces) as new:
            if not new.possible:
                return False
            async for piece in pieces:
                await in_thread(partial(_take, new, piece))
            return await _to_the_end(new.finish)

    async def walk(self, path: str, *, depth: int | None, ignore: Sequence[str], limit: int) -> Listing:
        return await in_thread(partial(walk, path, depth, ignore, limit), _SEARCH_SECONDS)

    async def find(self, path: str, pattern: str, *, limit: int) -> Listing:
        return await in_thread(
            lambda stop: find(path, pattern, list_files(path, stop, ripgrep()), limit, stop), _FIND_SECONDS
        )

    async def search(self, path: str, pattern: str, *, literal: bool, include: str, limit: int) -> Matches:
        query = Query(pattern, literal, include)
        return await in_thread(lambda stop: search(path, query, limit, stop, ripgrep()), _SEARCH_SECONDS)

    def start(
        self,
        command: Sequence[str],
        *,
        directory: str,
        environment: Mapping[str, str],
        output: Callable[[bytes], None],
        sandbox: Sandbox = Sandbox(),
    ) -> Process:
        words = list(command)
        if sandbox.mode != "off":
            folders = (self.root, *self.extra)
            words = sandboxing.confined(words, directory, sandbox, folders, environment.get("HOME", ""), self.kept)
        running = Running(output)
        running.start(words, directory, environment)
        return running


def _take(new: files.Replacement, piece: bytes, stop: Stop) -> None:
    del stop  # it is over soon
    new.take(piece)


async def _to_the_end(work: Callable[[], T]) -> T:
    """What cannot be called back: a cancellation meanwhile is not raised, the answer says what happened."""
    running = asyncio.get_running_loop().run_in_executor(None, work)
    while not running.done():
        try:
            await asyncio.wait((running,))
        except asyncio.CancelledError:
            continue
    return running.result()


async def in_thread(work: Callable[[Stop], T], seconds: float | None = None) -> T:
    """The work's result. Cancelled, or when its time is up, it is told to stop, and has stopped when this is over."""
    loop = asyncio.get_running_loop()
    stop = Stop()
    timer = None if seconds is None else loop.call_later(seconds, stop.set, "time")
    running = loop.run_in_executor(None, work, stop)
    cancelled: asyncio.CancelledError | None = None
    try:
        while not running.done():
            try:
                await asyncio.wait((running,))
            except asyncio.CancelledError as error:
                cancelled = error
                stop.set("cancelled")
    finally:
        if timer is not None:
            timer.cancel()
    if cancelled is not None:
        running.exception()  # looked at, so that asyncio does not complain that nobody did
        raise cancelled
    return running.result()
