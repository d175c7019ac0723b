"""Puts files back: what is to go goes first, from the deepest on; then folders come, then files.

Nothing is written through a link, and nothing is overwritten that is not what it was expected to be. Each file is replaced in one step.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping

from quell.core.checkpoints import CheckpointRefused
from quell.workspace.blobs import Blobs, Item
from quell.workspace.files import CREATE, copy_marks, open_folder, sync
from quell.workspace.snapshot import Camera
from quell.workspace.walk import Stop

Items = Mapping[bytes, Item | None]


def same(one: Item | None, other: Item | None) -> bool:
    """For whom it matters: what is in a folder is its own business."""
    if one is None or other is None:
        return one is other
    if one.kind == "folder":
        return other.kind == "folder"
    return one == other


def restore(blobs: Blobs, source: Items, target: Items, stop: Stop) -> list[bytes]:
    """Have what `target` says where there is what `source` says. Returns where there was something else, or the disk refused."""
    camera = Camera(blobs, stop)
    left: set[bytes] = set()
    todo: dict[bytes, Item | None] = {}
    for path, wanted in target.items():
        present = camera.item(path)
        if same(present, wanted):
            continue
        # What is not there is overwritten by nobody: so it is, too, when an earlier attempt was stopped.
        if same(present, source.get(path)) or (present is None and wanted is not None):
            todo[path] = wanted
        else:
            left.add(path)
    for path in sorted(todo, reverse=True):
        with _noting(path, left):
            _clear(path, todo[path])
    for kind in ("folder", "link", "file"):
        for path, item in sorted(todo.items()):
            if item is not None and item.kind == kind and path not in left:
                if stop.reason is not None:
                    raise CheckpointRefused("it was stopped")
                with _noting(path, left):
                    _put(path, item, blobs)
    return sorted(left)


@contextlib.contextmanager
def _noting(path: bytes, left: set[bytes]) -> Iterator[None]:
    """What the disk refuses stays as it is, and is named."""
    try:
        yield
    except OSError:
        left.add(path)


@contextlib.contextmanager
def _above(path: bytes) -> Iterator[tuple[int, bytes]]:
    """The folder that it is in, reached without following a link, and its name there."""
    above, name = os.path.split(path)
    folder = open_folder(os.fsdecode(above))
    try:
        yield folder, name
    finally:
        os.close(folder)


def _clear(path: bytes, wanted: Item | None) -> None:
    """Remove what cannot be replaced in one step. A folder in which there is something else stays, if it may."""
    try:
        with _above(path) as (folder, name):
            is_folder = stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
            becomes_folder = wanted is not None and wanted.kind == "folder"
            if is_folder and not becomes_folder:
                os.rmdir(name, dir_fd=folder)
            elif not is_folder and (wanted is None or becomes_folder):
                os.unlink(name, dir_fd=folder)
    except OSError as error:
        full = error.errno in (errno.ENOTEMPTY, errno.EEXIST) and wanted is None
        if not full and error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise


def _put(path: bytes, item: Item, blobs: Blobs) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with _above(path) as (folder, name):
        if item.kind == "folder":
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, item.mode, dir_fd=folder)
                os.chmod(name, item.mode, dir_fd=folder)  # the process has a mask
            return
        # Always the same name: what a kill has left of an earlier attempt is taken away by the next one.
        temporary = b".quell-%s.tmp" % hashlib.sha256(path).hexdigest()[:16].encode()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=folder)
        try:
            if item.kind == "link":
                os.symlink(item.content, temporary, dir_fd=folder)
            else:
                _write(temporary, name, item, blobs, folder)
            os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary, dir_fd=folder)
            raise
        sync(folder)


def _write(temporary: bytes, name: bytes, item: Item, blobs: Blobs, folder: int) -> None:
    content = blobs.content(item.content)
    if content is None:
        raise FileNotFoundError(errno.ENOENT, "its content is not there any more")
    file = os.open(temporary, CREATE, 0o600, dir_fd=folder)
    with open(file, "wb", buffering=0) as writer:
        written = 0
        while written < len(content):
            written += writer.write(memoryview(content)[written:]) or 0
        with contextlib.suppress(OSError):  # there may be none yet, or no file
            old = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISREG(old.st_mode):
                copy_marks(os.fsdecode(name), old, writer.fileno(), folder)
        os.fchmod(writer.fileno(), item.mode)
        os.fsync(writer.fileno())
