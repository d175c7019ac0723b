"""Files on this machine's disk, synchronously: open, read, list, replace.

Paths are absolute with links resolved (`LocalWorkspace.place`). They are opened one component at a time without following links, so that
what was judged is what is opened, even if somebody swaps a folder for a link in between. Only regular files are read: a pipe or
a device could block for ever, or never end. A file is replaced by renaming a finished one over it, in one step; so a hard link to
the old file keeps the old content.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import stat
import threading
from collections.abc import Iterator

from quell.core.ports import DirectoryEntry

_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

_swap = threading.Lock()
"""Held while a file is compared and replaced, so that of two writers of this process only one can win."""


def open_folder(path: str) -> int:
    """A descriptor of the folder. A link in the path is an error (ENOTDIR or ELOOP)."""
    folder = os.open("/", _FOLDER)
    for name in path.split("/"):
        if name:
            above = folder
            try:
                folder = os.open(name, _FOLDER, dir_fd=above)
            except OSError as error:
                state = _state(name, above)
                if state is not None and stat.S_ISLNK(state.st_mode):
                    raise OSError(
                        errno.ELOOP, "a folder in it has become a symbolic link in the meantime", path
                    ) from None
                raise OSError(error.errno, error.strerror, path) from None
            finally:
                os.close(above)
    return folder


def open_file(path: str) -> tuple[int, int]:
    """A descriptor of the regular file, to read from, and its size."""
    above, name = os.path.split(path)
    folder = open_folder(above)
    try:
        require_regular(os.stat(name or ".", dir_fd=folder, follow_symlinks=False).st_mode, path)
        file = os.open(name, _READ, dir_fd=folder)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
    finally:
        os.close(folder)
    state = os.fstat(file)
    try:
        require_regular(state.st_mode, path)
    except OSError:
        os.close(file)
        raise
    return file, state.st_size


def require_regular(mode: int, path: str) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if stat.S_ISLNK(mode):
        raise OSError(errno.ELOOP, "it has become a symbolic link in the meantime", path)
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is a pipe, a socket or a device, not a file", path)


def read_from(file: int, start: int, limit: int | None) -> bytes:
    """From an open file, which is closed."""
    with open(file, "rb", buffering=0) as reader:
        if start:
            reader.seek(start)
        if limit is None:
            return reader.readall()
        pieces: list[bytes] = []
        while limit > 0 and (piece := reader.read(limit)):
            pieces.append(piece)
            limit -= len(piece)
        return b"".join(pieces)


def entry(path: str) -> DirectoryEntry:
    """The name itself, a link not followed."""
    return entry_of(path, os.lstat(path))


def entry_of(path: str, state: os.stat_result) -> DirectoryEntry:
    match stat.S_IFMT(state.st_mode):
        case stat.S_IFREG:
            return DirectoryEntry(path, "file", state.st_size, state.st_mtime_ns)
        case stat.S_IFDIR:
            return DirectoryEntry(path, "directory", state.st_size, state.st_mtime_ns)
        case stat.S_IFLNK:
            return DirectoryEntry(path, "link", state.st_size, state.st_mtime_ns)
        case _:
            return DirectoryEntry(path, "other", state.st_size, state.st_mtime_ns)


def write(path: str, content: bytes, replaces: str | None) -> bool:
    """As `Workspace.write` in the port."""
    with Replacement(path, replaces) as new:
        new.take(content)
        return new.finish()


class Replacement:
    """A file in the making, beside the place where it is to be: nothing is to be seen there before `finish`.

    `possible` is False when the place is not as it has to be; then nothing is made. Leaving the context removes what is not finished.
    """

    def __init__(self, path: str, replaces: str | None) -> None:
        self._path = path
        self._replaces = replaces
        self._above, self._name = os.path.split(path)
        self._temporary = f".{self._name[:100]}.{secrets.token_hex(6)}.tmp"
        self._file: int | None = None
        if replaces is None:
            os.makedirs(self._above, exist_ok=True)
        self._folder = open_folder(self._above)
        try:
            with self._explaining():
                self._old = _state(self._name, self._folder)
                self.possible = (self._old is None) == (replaces is None)
                if self.possible:
                    self._begin()
        except BaseException:
            self.close()
            raise

    def _begin(self) -> None:
        if self._old is not None:
            require_regular(self._old.st_mode, self._path)
            if not self._old.st_mode & 0o222:
                raise PermissionError(errno.EACCES, "the file is marked read-only", self._path)
        self._file = os.open(self._temporary, CREATE, 0o666, dir_fd=self._folder)

    def take(self, content: bytes) -> None:
        """Add to it."""
        if self._file is None:
            return
        with self._explaining():
            written = 0
            while written < len(content):
                written += os.write(self._file, memoryview(content)[written:])

    def finish(self) -> bool:
        """Put it in its place, in one step. False when what is there is not what it was to replace."""
        if self._file is None:
            return False
        with self._explaining():
            if self._old is not None:
                copy_marks(self._name, self._old, self._file, self._folder)
            os.fsync(self._file)
            return _put(self._temporary, self._name, self._replaces, self._folder)

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._temporary, dir_fd=self._folder)
        os.close(self._folder)

    def __enter__(self) -> Replacement:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @contextlib.contextmanager
    def _explaining(self) -> Iterator[None]:
        try:
            yield
        except PermissionError as error:
            raise _explained(error, self._path, self._above) from None
        except OSError as error:
            raise OSError(error.errno, error.strerror, self._path) from None


def _put(temporary: str, name: str, replaces: str | None, folder: int) -> bool:
    with _swap:
        if replaces is None:
            try:
                os.link(temporary, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
            except FileExistsError:
                return False
            except OSError:  # a file system without hard links
                if _state(name, folder) is not None:
                    return False
                os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        else:
            file = os.open(name, _READ, dir_fd=folder)
            with open(file, "rb", buffering=0) as reader:
                if hashlib.file_digest(reader, "sha256").hexdigest() != replaces:
                    return False
            os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    sync(folder)
    return True


def _state(name: str, folder: int) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def copy_marks(name: str, old: os.stat_result, file: int, folder: int) -> None:
    """Owner, mode and extended attributes (access lists too), as far as this user may set them."""
    new = os.fstat(file)
    if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
        with contextlib.suppress(PermissionError):
            os.fchown(file, old.st_uid, old.st_gid)
    os.fchmod(file, stat.S_IMODE(old.st_mode))
    if not hasattr(os, "listxattr"):
        return
    source = os.open(name, _READ, dir_fd=folder)
    try:
        for attribute in os.listxattr(source):
            with contextlib.suppress(OSError):
                os.setxattr(file, attribute, os.getxattr(source, attribute))
    except OSError:
        pass  # a file system without attributes
    finally:
        os.close(source)


def sync(folder: int) -> None:
    """Make the new name durable. `O_PATH` descriptors cannot be synced, so the folder is opened once more."""
    with contextlib.suppress(OSError):
        readable = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
        try:
            os.fsync(readable)
        finally:
            os.close(readable)


def _explained(error: PermissionError, path: str, folder: str) -> PermissionError:
    if os.access(folder, os.W_OK | os.X_OK):
        return PermissionError(error.errno, error.strerror, path)
    why = f"the folder {folder} is read-only, and a file is replaced by renaming a new one over it"
    return PermissionError(error.errno, why, path)
