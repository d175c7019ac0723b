"""Sockets to listen on: the user's unix socket, and TCP when it is asked for.

Rules: the unix socket is ours alone (0600, in a folder that is ours and closed to others). A lock file beside it says whether its server
lives: a socket whose lock is free is stale and replaced, one whose lock is taken is respected. The lock goes with the process, however
that ends. A server that is leaving has stopped listening and still holds the lock; the next one waits a little for it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager

from quell.core.errors import StorageRefused, Unavailable

BACKLOG = 1024
PAUSE = 0.02


class AddressInUse(Unavailable):
    """Somebody else listens there."""


@contextmanager
def unix_socket(path: str, wait: float = 5.0) -> Iterator[socket.socket]:
    """A socket that listens at `path`; clients may connect at once, and are answered when the server is up.

    Waits for `wait` seconds for a server that is leaving. Raises `AddressInUse`, `StorageRefused`. At the end the file is removed.
    """
    _check_folder(os.path.dirname(path))
    lock = os.open(path + ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        _take(lock, path, wait)
        listening = _bind(path)
        try:
            yield listening
        finally:
            listening.close()
            _remove(path)
    finally:
        os.close(lock)


def _check_folder(folder: str) -> None:
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        found = os.lstat(folder)
    except OSError as error:
        raise StorageRefused(f"Cannot use the folder {folder} for the socket: {error.strerror}.") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise StorageRefused(
            f"The folder {folder} for the socket has to be a folder of yours that nobody else can enter. Run "
            f"`chmod 700 {folder}`, or remove it if it is not yours."
        )


def _take(lock: int, path: str, wait: float) -> None:
    deadline = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if _answers(path) or time.monotonic() > deadline:
                pid = os.pread(lock, 20, 0).decode("ascii", "replace").strip()
                raise AddressInUse(
                    f"A server (process {pid or 'unknown'}) is there already, at {path}. `quell serve --stop` ends it; `quell serve --standby` starts one beside it."
                ) from None
            time.sleep(PAUSE)
        else:
            os.ftruncate(lock, 0)
            os.pwrite(lock, b"%d\n" % os.getpid(), 0)
            return


def _bind(path: str) -> socket.socket:
    if _answers(path):  # without a lock: not one of ours
        raise AddressInUse(f"Something else listens at {path}. End it, or choose another place with XDG_RUNTIME_DIR.")
    _remove(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.bind(path)
        os.chmod(path, 0o600)  # before it listens: nobody can have connected
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise StorageRefused(
                f"There is something at {path} that is no socket. Remove it, or choose another place with XDG_RUNTIME_DIR."
            ) from error
        raise StorageRefused(f"Cannot listen at {path}: {error.strerror or error}.") from error
    return listening


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except TimeoutError:
            return True  # a full backlog is somebody's
        except OSError:
            return False
        return True


def _remove(path: str) -> None:
    try:
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            os.unlink(path)
    except FileNotFoundError:
        pass


def tcp_socket(host: str, port: int) -> socket.socket:
    """A socket that listens on TCP; port 0 is any that is free. Raises `AddressInUse`, `StorageRefused`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise AddressInUse(f"Something else listens on {host} port {port}; choose another port.") from error
        raise StorageRefused(f"Cannot listen on {host} port {port}: {error.strerror or error}.") from error
    return listening
