"""Looking around in folders: `walk` for a tree, `find` for the files that fit a glob.

Synchronous, for a thread. A `Stop` ends the work early, from outside: because time is up, or because nobody waits any more.
Links are shown, not followed.
"""

from __future__ import annotations

import heapq
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from quell.core.ports import DirectoryEntry, Listing
from quell.workspace.files import entry_of
from quell.workspace.globs import compile_glob
from quell.workspace.ignore import Ignored


class Stop:
    """Tells work in a thread to end. `also` is called then: to end a process that the thread reads from."""

    def __init__(self) -> None:
        self.reason: Literal["time", "cancelled"] | None = None
        self.also: Callable[[], None] | None = None

    def set(self, reason: Literal["time", "cancelled"]) -> None:
        self.reason = self.reason or reason
        if self.also is not None:
            self.also()

    @property
    def cut(self) -> Literal["time"] | None:
        return "time" if self.reason == "time" else None


def walk(top: str, depth: int | None, patterns: Sequence[str], limit: int, stop: Stop) -> Listing:
    """As `Workspace.walk` in the port: level by level, so that a limit costs what is deepest."""
    found: list[DirectoryEntry] = []
    for entry in _below(top, depth, Ignored(top, patterns), stop):
        if len(found) == limit:
            return Listing(tuple(found), cut="limit")
        found.append(entry)
    return Listing(tuple(found), cut=stop.cut)


def files_below(top: str, stop: Stop) -> Iterator[str]:
    """Paths of files that are not ignored, relative to `top`."""
    for entry in _below(top, None, Ignored(top), stop):
        if entry.kind == "file":
            yield entry.path[len(top) :].lstrip("/")


def find(top: str, pattern: str, names: Iterator[str], limit: int, stop: Stop) -> Listing:
    """Those of the `names` (relative to `top`) that fit the glob, last modified first."""
    fits = compile_glob(pattern).fullmatch
    found: list[DirectoryEntry] = []
    for name in names:
        if fits(name):
            path = os.path.join(top, name)
            try:
                found.append(entry_of(path, os.lstat(path)))
            except OSError:
                continue  # it has gone since it was listed
    newest = heapq.nsmallest(limit, found, key=lambda entry: (-entry.modified, entry.path))
    return Listing(tuple(newest), cut="limit" if len(found) > limit else stop.cut)


def _below(top: str, depth: int | None, ignored: Ignored, stop: Stop) -> Iterator[DirectoryEntry]:
    waiting = deque([(top, 1)])
    while waiting:
        folder, level = waiting.popleft()
        for entry in _children(folder, must_exist=folder == top):
            if stop.reason is not None:
                return
            is_folder = entry.kind == "directory"
            if ignored.covers(entry.path, folder=is_folder):
                continue
            yield entry
            if is_folder and (depth is None or level < depth):
                waiting.append((entry.path, level + 1))


def _children(folder: str, *, must_exist: bool) -> list[DirectoryEntry]:
    found: list[DirectoryEntry] = []
    try:
        with os.scandir(folder) as entries:
            for each in entries:
                try:
                    found.append(entry_of(each.path, each.stat(follow_symlinks=False)))
                except OSError:
                    continue  # it has gone since it was listed
    except OSError:
        if must_exist:
            raise
    return sorted(found, key=lambda entry: entry.path)
