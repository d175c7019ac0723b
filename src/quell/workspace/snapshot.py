"""Looks at the folders of a workspace and keeps what it finds in `blobs`, byte for byte, whatever a repository's settings say of it.

A file whose marks (size, times, inode, mode) are those of the last look is not read again; nor is it asked again whether a name is ignored,
as long as no ignore file has changed. Links are kept, not followed; a `.git` is never looked into.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterable, Iterator

import msgspec
from msgspec import Struct

from quell.core.access import within
from quell.core.checkpoints import CheckpointRefused
from quell.workspace.blobs import UNKNOWN, Blobs, Item, Snapshot
from quell.workspace.files import open_file, open_folder
from quell.workspace.ignore import OWN, Ignored, repository
from quell.workspace.walk import Stop

FILE_BYTES = 16 * 1024 * 1024
"""Of one file: a larger one is not kept."""
NEW_BYTES = 1024 * 1024 * 1024
"""Of one snapshot that were in none before: what comes after that is not kept."""
NAMES = 200_000
"""In one snapshot."""
_FRESH = 100_000_000
"""Nanoseconds: a file that was changed so shortly before it was read may be changed again without its marks telling."""

_RULES = (b".gitignore", OWN.encode())
_GIT = b".git"
_EXCLUDE = os.path.join(_GIT, b"info", b"exclude")

Marks = tuple[int, ...]
"""Of a name, by which its content is known again: type, mode, size, times of its change and of its inode's, inode. Empty: not to be known."""


class Seen(Struct, frozen=True, array_like=True):
    """One name as it was last looked at. Without marks it has to be looked at again."""

    item: Item
    marks: Marks = ()
    ignored: bool = False


class Known(Struct, frozen=True, array_like=True):
    """One folder as it was last looked at; `rules` stands for what was to be ignored in it."""

    rules: list[Marks]
    tree: bytes
    names: dict[bytes, Seen]


class _Folder(Struct):
    """One folder as it is: what is in it, and whether that is ignored."""

    path: bytes
    rules: list[Marks]
    names: dict[bytes, tuple[Marks, bool]]
    known: Known | None


_encode = msgspec.msgpack.Encoder().encode
_known = msgspec.msgpack.Decoder(Known)


class Camera:
    """Takes snapshots within one transaction, without what is in `own`."""

    def __init__(self, blobs: Blobs, stop: Stop, own: frozenset[bytes] = frozenset()) -> None:
        self._own = {os.path.split(path) for path in own}
        self._blobs = blobs
        self._stop = stop
        self._known = blobs.known()
        self._left = NEW_BYTES
        self._count = 0

    def take(self, session: str, folders: Iterable[str]) -> str:
        """Of folders, and of the files that the session's tools have touched. Raises `CheckpointRefused`."""
        trees = {os.fsencode(folder): self._tree(os.fsencode(folder)) for folder in outermost(folders)}
        single = {path: self.item(path) for path in self._blobs.touched(session)}
        return self._blobs.add_snapshot(session, Snapshot(trees, single))

    def item(self, path: bytes) -> Item | None:
        """What is there now, its content kept. Behind a link that stands for a folder of its path there is nothing."""
        above, name = os.path.split(path)
        try:
            folder = open_folder(os.fsdecode(above))
            try:
                marks = _marks(os.stat(name, dir_fd=folder, follow_symlinks=False))
            finally:
                os.close(folder)
            return self._look(path, marks).item
        except OSError as error:
            return None if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP) else UNKNOWN

    def _tree(self, top: bytes) -> bytes:
        found = list(self._walk(top))
        trees: dict[bytes, bytes] = {}
        news: dict[bytes, bytes] = {}
        for folder in reversed(found):  # what is inside comes first
            trees[folder.path] = self._keep(folder, trees, news)
        inside = top.rstrip(b"/") + b"/"
        gone = (path for path in self._known if path.startswith(inside) and path not in trees)
        self._blobs.know(news, gone)
        return trees[top]

    def _walk(self, top: bytes) -> Iterator[_Folder]:
        ignored = Ignored(os.fsdecode(top))
        waiting = [(top, _rules_above(top))]
        while waiting:
            path, above = waiting.pop()
            try:
                names = _names(path)
            except OSError as error:
                if path == top:
                    raise CheckpointRefused(f"{os.fsdecode(top)}: {error.strerror}") from None
                continue  # its name in the folder above says that it is not known
            self._go_on(len(names))
            folder = _Folder(path, [*above, *_rules(path, names)], {}, self._last(path))
            yield self._judged(folder, names, ignored)
            for name, (marks, hidden) in folder.names.items():
                if not hidden and marks[0] == stat.S_IFDIR:
                    waiting.append((os.path.join(path, name), folder.rules))

    def _last(self, path: bytes) -> Known | None:
        encoded = self._known.get(path)
        return None if encoded is None else _known.decode(encoded)

    def _judged(self, folder: _Folder, names: dict[bytes, Marks], ignored: Ignored) -> _Folder:
        """Which of the names are ignored: as last time, if nothing has a say that had none then."""
        last = folder.known.names if folder.known is not None and folder.known.rules == folder.rules else {}
        for name, marks in names.items():
            seen = last.get(name)
            if name == _GIT or (self._own and (folder.path, name) in self._own):
                hidden = True
            elif seen is not None and seen.marks and seen.marks[0] == marks[0]:
                hidden = seen.ignored
            else:
                path = os.fsdecode(os.path.join(folder.path, name))
                hidden = ignored.covers(path, folder=marks[0] == stat.S_IFDIR)
            folder.names[name] = (marks, hidden)
        return folder

    def _keep(self, folder: _Folder, trees: dict[bytes, bytes], news: dict[bytes, bytes]) -> bytes:
        """The folder's tree, whose folders are done already. Most of the time goes here: ten thousand names, of which nothing has changed."""
        known = folder.known
        last = known.names if known is not None else {}
        names: dict[bytes, Seen] = {}
        for name, (marks, hidden) in folder.names.items():
            seen = last.get(name)
            if not hidden and marks[0] != stat.S_IFDIR:
                if seen is None or seen.marks != marks:
                    seen = self._looked(os.path.join(folder.path, name), marks)
                    if seen is None:
                        continue
            else:
                item = UNKNOWN
                if not hidden and (tree := trees.get(os.path.join(folder.path, name))) is not None:
                    item = Item("folder", stat.S_IMODE(marks[1]), tree)
                if seen is None or seen.item != item or seen.ignored != hidden:
                    seen = Seen(item, marks[:1], hidden)
            names[name] = seen
        if known is not None and known.rules == folder.rules and known.names == names:
            return known.tree
        tree = self._blobs.add_tree({name: seen.item for name, seen in names.items()})
        news[folder.path] = _encode(Known(folder.rules, tree, names))
        return tree

    def _looked(self, path: bytes, marks: Marks) -> Seen | None:
        """None: it has gone since it was listed."""
        try:
            return self._look(path, marks)
        except FileNotFoundError:
            return None
        except OSError:
            return Seen(UNKNOWN)

    def _look(self, path: bytes, marks: Marks) -> Seen:
        """Read it. Raises `OSError`."""
        kind, mode, size, modified, *_ = marks
        match kind:
            case stat.S_IFLNK:
                return Seen(Item("link", 0, os.readlink(path)), marks)
            case stat.S_IFDIR:
                return Seen(Item("folder", stat.S_IMODE(mode)))
            case stat.S_IFREG if size > min(FILE_BYTES, self._left):
                return Seen(Item("large", stat.S_IMODE(mode), b"%d %d" % (size, modified)))
            case stat.S_IFREG:
                return self._read(path)
            case _:
                return Seen(Item("other"))

    def _read(self, path: bytes) -> Seen:
        self._go_on(0)
        begun = time.time_ns()
        descriptor, _ = open_file(os.fsdecode(path))
        with open(descriptor, "rb") as file:
            before = os.fstat(descriptor)
            content = file.read(before.st_size + 1)
            after = os.fstat(descriptor)
        self._left -= len(content)
        item = Item("file", stat.S_IMODE(after.st_mode), self._blobs.add_content(content))
        settled = _marks(before) == _marks(after) and after.st_ctime_ns < begun - _FRESH
        return Seen(item, _marks(after) if settled else ())

    def _go_on(self, names: int) -> None:
        self._count += names
        if self._stop.reason is not None:
            raise CheckpointRefused("it was stopped")
        if self._count > NAMES:
            raise CheckpointRefused(f"there are more than {NAMES:,} files that are not ignored")


def outermost(folders: Iterable[str]) -> list[str]:
    """Without those that are inside another one."""
    kept: list[str] = []
    for folder in sorted(folders, key=len):
        if not any(within(folder, other) for other in kept):
            kept.append(folder)
    return kept


def _marks(state: os.stat_result) -> Marks:
    return (
        stat.S_IFMT(state.st_mode),
        state.st_mode,
        state.st_size,
        state.st_mtime_ns,
        state.st_ctime_ns,
        state.st_ino,
    )


def _names(path: bytes) -> dict[bytes, Marks]:
    found: dict[bytes, Marks] = {}
    with os.scandir(path) as entries:
        for entry in entries:
            try:
                found[entry.name] = _marks(entry.stat(follow_symlinks=False))
            except OSError:
                continue  # it has gone since it was listed
    return found


def _rules(path: bytes, names: dict[bytes, Marks]) -> list[Marks]:
    """What stands for the ignore files of one folder."""
    found = [names[name] for name in _RULES if name in names]
    if _GIT in names:
        found.extend(_of_file(os.path.join(path, _EXCLUDE)))
    return found


def _rules_above(top: bytes) -> list[Marks]:
    """Of the folders above it in its repository."""
    above, end = top, os.fsencode(repository(os.fsdecode(top)))
    found: list[Marks] = []
    while above != end:
        above = os.path.dirname(above)
        for name in (*_RULES, _EXCLUDE):
            found.extend(_of_file(os.path.join(above, name)))
    return found


def _of_file(path: bytes) -> list[Marks]:
    try:
        return [_marks(os.stat(path))]
    except OSError:
        return []
