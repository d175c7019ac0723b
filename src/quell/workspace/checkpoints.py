"""Checkpoints on this machine's disk: implements the port of `core.checkpoints`, with `snapshot`, `blobs` and `restore`.

A plan is read off the snapshots of a session's runs. A run has changed what differs between its two; what it found there the first time that
it did is what the file goes back to. What differs between two runs, or now, from what the last one left is somebody else's doing.
Other sessions in the same folder at the same time, and a person, are taken for the run itself while it lasts: nobody could tell.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from quell.core.checkpoints import CheckpointRefused, FileChange, Plan
from quell.core.session import Checkpoint
from quell.workspace.blobs import UNKNOWN, Blobs, Item, Snapshot, Tree, compact, open_blobs
from quell.workspace.lines import count
from quell.workspace.local import in_thread
from quell.workspace.restore import restore, same
from quell.workspace.snapshot import Camera, outermost
from quell.workspace.walk import Stop

T = TypeVar("T")

_GONE = Snapshot()


class LocalCheckpoints:
    """`folder` is where the files are that hold them, one for each workspace; `own` are places that are never looked at, whatever they are in."""

    def __init__(self, folder: str, own: Sequence[str] = ()) -> None:
        self._folder = Path(folder)
        self._own = frozenset(os.fsencode(os.path.realpath(place)) for place in own)

    async def keep(self, session: str, folders: Sequence[str]) -> str:
        return await self._do(folders, partial(_take, session, folders, self._own))

    async def touch(self, session: str, folders: Sequence[str], paths: Sequence[str]) -> None:
        await self._do(folders, partial(_touch, session, [os.fsencode(path) for path in paths]))

    async def plan(self, session: str, folders: Sequence[str], runs: Sequence[Checkpoint]) -> Plan:
        return await self._do(folders, partial(_plan, session, folders, runs, self._own))

    async def plan_undo(self, session: str, folders: Sequence[str], source: str, target: str) -> Plan:
        return await self._do(folders, partial(_plan_undo, session, folders, source, target))

    async def restore(self, session: str, folders: Sequence[str], source: str, target: str) -> Sequence[str]:
        return await self._do(folders, partial(_restore, session, folders, source, target))

    async def forget(self, session: str, folders: Sequence[str]) -> None:
        path = self._path(folders)
        if path.exists():
            await self._do(folders, lambda blobs, stop: blobs.forget(session))
            await in_thread(lambda stop: _compact(path))

    def _path(self, folders: Sequence[str]) -> Path:
        return self._folder / f"{hashlib.sha256(os.fsencode(folders[0])).hexdigest()[:32]}.sqlite"

    async def _do(self, folders: Sequence[str], work: Callable[[Blobs, Stop], T]) -> T:
        return await in_thread(partial(_with_blobs, self._path(folders), work))


def _with_blobs(path: Path, work: Callable[[Blobs, Stop], T], stop: Stop) -> T:
    try:
        with open_blobs(path, stop) as blobs:
            return work(blobs, stop)
    except sqlite3.Error as error:
        raise CheckpointRefused(f"{path}: {error}") from error
    except OSError as error:
        raise CheckpointRefused(f"{path}: {error.strerror or error}") from error


def _compact(path: Path) -> None:
    try:
        compact(path)
    except sqlite3.Error:
        pass  # another process is at it; there will be another time


def _take(session: str, folders: Sequence[str], own: frozenset[bytes], blobs: Blobs, stop: Stop) -> str:
    return Camera(blobs, stop, own).take(session, [os.path.realpath(folder) for folder in folders])


def _touch(session: str, paths: Sequence[bytes], blobs: Blobs, stop: Stop) -> None:
    known, camera = blobs.touched(session), Camera(blobs, stop)
    for path in paths:
        if path not in known:
            blobs.touch(session, path, camera.item(path))


def _restore(session: str, folders: Sequence[str], source: str, target: str, blobs: Blobs, stop: Stop) -> Sequence[str]:
    before, after = blobs.snapshot(session, source), blobs.snapshot(session, target)
    if before is None or after is None:
        raise CheckpointRefused("what was kept of the files is not there any more")
    return [_shown(path, folders) for path in restore(blobs, before.single, after.single, stop)]


def _plan(
    session: str, folders: Sequence[str], runs: Sequence[Checkpoint], own: frozenset[bytes], blobs: Blobs, stop: Stop
) -> Plan:
    past, draft = _Past(session, blobs), _Draft(folders, blobs)
    spans = _spans(runs, past, draft)
    if not spans:
        return Plan(notes=tuple(draft.notes))
    camera = Camera(blobs, stop)
    now = past.snapshot(_take(session, folders, own, blobs, stop))
    found = {path for before, after in spans for path in past.differences(before, after or now)}
    for path in sorted(found | past.touched.keys()):
        history = [(past.state(before, path), past.state(after or now, path)) for before, after in spans]
        present = past.state(now, path, guess=False)
        decided = _decided(history, camera.item(path) if present == UNKNOWN else present)
        if decided is not None:
            present, wanted, edited = decided
            draft.add(path, present, wanted, edited=edited)
    return draft.plan(session)


def _spans(runs: Sequence[Checkpoint], past: _Past, draft: _Draft) -> list[tuple[Snapshot, Snapshot | None]]:
    """Each run's two snapshots, as far as they are there. What a run has left is what the next one found, if nobody has looked between."""
    found: list[tuple[Snapshot, Snapshot | None]] = []
    for number, run in enumerate(runs):
        following = next((other.before for other in runs[number + 1 :] if other.before), "")
        before, after = past.snapshot(run.before), past.snapshot(run.after or following)
        if before is _GONE or (after is _GONE and (run.after or following)):
            draft.notes.append(f"What a run has changed stays: no checkpoint of it is there ({run.problem or 'lost'}).")
        else:
            found.append((before, None if after is _GONE else after))
    return found


def _decided(
    history: Sequence[tuple[Item | None, Item | None]], present: Item | None
) -> tuple[Item | None, Item | None, bool] | None:
    """What is there, what is to be there, and whether somebody else had a hand in it; None: nothing is to be done."""
    for number, (before, after) in enumerate(history):
        if before == UNKNOWN or same(before, after):
            continue
        if same(present, before):
            return None
        later = [*(state for pair in history[number + 1 :] for state in pair), present]
        left = [after, *(after for _, after in history[number + 1 :])]
        found = later[::2]
        edited = any(
            UNKNOWN in (mine, theirs) or not same(mine, theirs) for mine, theirs in zip(left, found, strict=True)
        )
        return present, before, edited
    return None


def _plan_undo(session: str, folders: Sequence[str], source: str, target: str, blobs: Blobs, stop: Stop) -> Plan:
    past, draft, camera = _Past(session, blobs), _Draft(folders, blobs), Camera(blobs, stop)
    expected, wanted = past.snapshot(source), past.snapshot(target)
    if target and wanted is _GONE:
        draft.notes.append("The files stay as they are: what was kept of them is not there any more.")
    for path, item in sorted(wanted.single.items()):
        present = camera.item(path)
        if not same(present, item):
            draft.add(path, present, item, edited=not same(present, expected.single.get(path)))
    return draft.plan(session)


class _Past:
    """What a session's snapshots say."""

    def __init__(self, session: str, blobs: Blobs) -> None:
        self.touched = blobs.touched(session)
        self._session = session
        self._blobs = blobs
        self._trees: dict[bytes, Tree] = {}

    def snapshot(self, name: str) -> Snapshot:
        return (self._blobs.snapshot(self._session, name) if name else None) or _GONE

    def state(self, snapshot: Snapshot, path: bytes, *, guess: bool = True) -> Item | None:
        """What was there. Of a file that was ignored until a tool wrote it: what it was before that, if we may guess."""
        if path in snapshot.single:
            return snapshot.single[path]
        state = self._in_trees(snapshot, path)
        return self.touched.get(path, UNKNOWN) if state == UNKNOWN and guess else state

    def _in_trees(self, snapshot: Snapshot, path: bytes) -> Item | None:
        for top, digest in snapshot.trees.items():
            inside = top.rstrip(b"/") + b"/"
            if path.startswith(inside):
                item: Item | None = Item("folder", 0, digest)
                for name in path[len(inside) :].split(b"/"):
                    if item is None or item == UNKNOWN:
                        return item
                    item = self.tree(item.content).get(name) if item.kind == "folder" else None
                return item
        return UNKNOWN

    def tree(self, digest: bytes) -> Tree:
        if digest not in self._trees:
            self._trees[digest] = self._blobs.tree(digest)
        return self._trees[digest]

    def differences(self, before: Snapshot, after: Snapshot) -> Iterator[bytes]:
        """The paths at which the trees differ."""
        waiting = [
            (top, before.trees.get(top), after.trees.get(top)) for top in before.trees.keys() | after.trees.keys()
        ]
        while waiting:
            path, one, other = waiting.pop()
            if one == other:
                continue
            mine, theirs = ({} if digest is None else self.tree(digest) for digest in (one, other))
            for name in mine.keys() | theirs.keys():
                pair = mine.get(name), theirs.get(name)
                if pair[0] != pair[1]:
                    inside = os.path.join(path, name)
                    yield inside
                    waiting.append((inside, *(_tree_of(item) for item in pair)))  # type: ignore[arg-type]  # two of them


def _tree_of(item: Item | None) -> bytes | None:
    return item.content if item is not None and item.kind == "folder" else None


class _Draft:
    """A plan in the making."""

    def __init__(self, folders: Sequence[str], blobs: Blobs) -> None:
        self.notes: list[str] = []
        self._folders = folders
        self._blobs = blobs
        self._source: dict[bytes, Item | None] = {}
        self._target: dict[bytes, Item | None] = {}
        self._edited: set[bytes] = set()

    def add(self, path: bytes, present: Item | None, wanted: Item | None, *, edited: bool) -> None:
        shown = _shown(path, self._folders)
        if wanted is not None and wanted.kind not in ("file", "link", "folder"):
            self.notes.append(f"{shown} stays as it is: it was too large to be kept, or no file.")
        elif present is not None and present.kind not in ("file", "link", "folder"):
            self.notes.append(f"{shown} stays as it is: it is too large to be kept, or no file.")
        else:
            self._source[path], self._target[path] = present, wanted
            if edited:
                self._edited.add(path)

    def plan(self, session: str) -> Plan:
        if not self._target:
            return Plan(notes=tuple(self.notes))
        return Plan(
            source=self._blobs.add_snapshot(session, Snapshot(single=self._source)),
            target=self._blobs.add_snapshot(session, Snapshot(single=self._target)),
            changes=tuple(self._changes()),
            notes=tuple(self.notes),
        )

    def _changes(self) -> Iterator[FileChange]:
        paths = sorted(self._target)
        for path, following in zip(paths, [*paths[1:], b""], strict=True):
            present, wanted = self._source[path], self._target[path]
            folder = any(item is not None and item.kind == "folder" for item in (present, wanted))
            if folder and following.startswith(path + b"/"):
                continue  # what is in it says so
            additions, removals = self._lines(present, wanted)
            yield FileChange(
                path=_shown(path, self._folders) + ("/" if folder else ""),
                change="create" if present is None else "delete" if wanted is None else "modify",
                additions=additions,
                removals=removals,
                edited=path in self._edited,
            )

    def _lines(self, present: Item | None, wanted: Item | None) -> tuple[int | None, int | None]:
        contents: list[bytes] = []
        for item in (present, wanted):
            content = self._blobs.content(item.content) if item is not None and item.kind == "file" else b""
            if content is None or (item is not None and item.kind != "file"):
                return None, None
            contents.append(content)
        return count(*contents)


def _shown(path: bytes, folders: Sequence[str]) -> str:
    top = os.fsencode(outermost(folders[:1])[0]).rstrip(b"/") + b"/"
    return path.removeprefix(top).decode("utf-8", "replace")
