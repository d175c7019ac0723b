"""The server behind the command: found, started when there is none, replaced when it is older and idle, stopped when asked.

    connect   a connection to a server that can be used; the way in for every command
    stop      `quell serve --stop`

Rules: one start at a time, however many commands want one: whoever holds the start lock starts, the others wait for the lock and then find
the server. Who is lost looks for the standby that takes over before it starts anything. The server tells through a pipe that it is ready, or
why it cannot be; its other end closes by itself when it dies. A busy
server is never stopped for an upgrade. That there is one server per data directory is the server's own rule, not made here.
"""

from __future__ import annotations

import errno
import json
import os
import select
import sys
import time

from quell import __version__
from quell.cli.failure import CommandFailed, InUse, of_refusal
from quell.client.oneshot import ANSWER_SECONDS, Connection, Json, Refused, Silent, Unreachable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from quell.config.paths import Paths

START_SECONDS = 20.0
STOP_SECONDS = 10.0
LISTEN_SECONDS = 5.0
HEALTH_SECONDS = 20.0
"""How long a server may take to say how it is. It does so in a millisecond; what takes longer is the machine."""
FOUND_SECONDS = 5.0
"""How long a server that has the journal may take to say where it is: it has it already, so no lease is waited for."""
PAUSE = 0.005
LOG_LINES = 12


def here() -> Paths:
    """The files of this user, from the environment; the socket is that of the daemon that has the data, wherever it put it.

    $XDG_RUNTIME_DIR is not the same in a terminal, in cron and over ssh, and a standby server that took over is elsewhere, too. One that
    has yet to take over is as good: it takes whatever is asked for. Who names a socket means that one.
    """
    from quell.config.paths import PathRefused, Paths, paths, standby_sockets

    try:
        place = paths(os.environ)
    except PathRefused as refused:
        raise CommandFailed(str(refused)) from None
    if not os.environ.get("QUELL_SOCKET"):
        recorded = _recorded(place.address)
        candidates = [*([recorded] if recorded else []), *standby_sockets(place.socket)]
        others = [each for each in candidates if each != place.socket and os.path.exists(each)]
        if others and not _connects(place.socket):
            for other in others:
                if _listens(other):
                    return Paths(config_file=place.config_file, data_dir=place.data_dir, socket=other)
    return place


def _recorded(address: str) -> str | None:
    try:
        with open(address, encoding="utf-8") as file:
            return file.read().strip() or None
    except (OSError, ValueError):
        return None


def _connects(socket: str) -> bool:
    try:
        Connection(socket, timeout=1.0).close()
    except Unreachable:
        return False
    return True


def _listens(socket: str) -> bool:
    try:
        with Connection(socket, timeout=LISTEN_SECONDS) as connection:
            connection.request("GET", "/v1/health")
    except (Unreachable, Refused):
        return False
    return True


def connect(place: Paths) -> Connection:
    """A connection to the user's server; its `path` is where that is. Raises `CommandFailed` when there is none and none can be started."""
    connection = _agreed(place)
    if connection is not None:
        return connection
    with _StartLock(place):
        place = here()  # there may be another one by now
        return _agreed(place) or _replace_or_start(place)


def running(place: Paths) -> Json | None:
    """What the present server says of itself; None when there is none."""
    try:
        with Connection(place.socket) as connection:
            return _health(connection, place)
    except Unreachable:
        return None
    except Refused as refused:
        raise of_refusal(refused) from None


def _health(connection: Connection, place: Paths) -> Json:
    """What the server says of itself. One that says nothing is no server that could be replaced: it holds the journal."""
    connection.grant(HEALTH_SECONDS)
    try:
        health = connection.request("GET", "/v1/health")
    except Silent:
        pid = connection.peer
        raise CommandFailed(
            f"the server{'' if pid is None else f' (pid {pid})'} does not answer: it is stuck, or was stopped. Its log: {place.log}. What was accepted is"
            f" on disk; to begin again with a new server, end this one: kill -9 {'PID' if pid is None else pid}"
        ) from None
    connection.grant(ANSWER_SECONDS)
    return health


def stop(place: Paths, *, force: bool) -> Json | None:
    """Stop the server, and wait until it is gone. None: there was none."""
    health = running(place)
    if health is None:
        return None
    try:
        with Connection(place.socket, timeout=START_SECONDS) as connection:
            connection.request("POST", "/v1/shutdown", {"force": True} if force else {})
    except Refused as refused:
        if refused.status == 409:
            raise CommandFailed(
                f"the server (pid {health.number('pid')}) is working: {refused.detail.partition('. ')[0]}. Wait, cancel what runs with"
                " `quell cancel`, or stop it anyway with `quell serve --stop --force`"
            ) from None
        raise of_refusal(refused) from None
    except Unreachable:
        pass  # it left before it had answered
    _wait_for_end(health.number("pid"))
    return health


def _agreed(place: Paths) -> Connection | None:
    """A connection to a server that this command can work with; None when there is none, or one that should be replaced."""
    try:
        connection = Connection(place.socket)
    except Unreachable:
        return None
    try:
        health = _health(connection, place)
    except CommandFailed:
        connection.close()
        raise
    except Unreachable:  # it is just leaving
        connection.close()
        return None
    except Refused as refused:
        connection.close()
        if refused.status == 404:
            raise CommandFailed(
                f"the running server speaks another version of the API than this command ({__version__}), and will not be stopped"
                " while it works. Use the command that it came with, or stop it there with `quell serve --stop`"
            ) from None
        raise of_refusal(refused) from None
    if _older(health.text("version")) and not health.flag("busy"):
        connection.close()
        return None
    return connection


def _older(version: str) -> bool:
    return version != __version__ and _release(version) < _release(__version__)


def _release(version: str) -> tuple[int, ...]:
    """`0.10.1` as numbers; what follows them is left out."""
    numbers = []
    for piece in version.split("."):
        digits = piece[: len(piece) - len(piece.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
    return tuple(numbers)


class _StartLock:
    """Held by the one command that starts a server. The kernel lets it go with the process."""

    def __init__(self, place: Paths) -> None:
        from quell.config.paths import PathRefused, secure_folder

        try:
            secure_folder(place.data_dir)
            secure_folder(os.path.dirname(place.log))
            self._file = os.open(
                os.path.join(place.data_dir, "start.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
        except PathRefused as refused:
            raise CommandFailed(str(refused)) from None
        except OSError as error:
            raise CommandFailed(
                f"cannot write to {place.data_dir}: {error.strerror}. {_remedy(error)}, or set QUELL_DATA_DIR to another folder"
            ) from None

    def __enter__(self) -> None:
        import fcntl

        fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        os.close(self._file)


def _replace_or_start(place: Paths) -> Connection:
    """With the start lock held: end an older idle server if there is one, then start ours."""
    try:
        with Connection(place.socket) as old:
            health = _health(old, place)
            old.request("POST", "/v1/shutdown", {})
        _wait_for_end(health.number("pid"))
    except Unreachable:
        pass  # nobody there, which is the usual case, or just gone
    except Refused as refused:
        if refused.status != 409:
            raise of_refusal(refused) from None
        # It has become busy meanwhile, and speaks our API: use it.
        return Connection(place.socket)
    try:
        _start(place)
    except InUse:
        if (found := _found()) is None:
            raise
        return found
    try:
        return Connection(here().socket)
    except Unreachable as error:
        raise CommandFailed(f"a server was started and left at once: {error}. Its log is {place.log}") from None


def _found() -> Connection | None:
    """A connection to the server that was faster, as soon as it has said where it is."""
    deadline = time.monotonic() + FOUND_SECONDS
    while not os.environ.get("QUELL_SOCKET") and time.monotonic() < deadline:
        try:
            return Connection(here().socket)
        except Unreachable:
            time.sleep(PAUSE)
    return None


def _start(place: Paths) -> None:
    """Start a server that outlives us, and return when it answers."""
    import subprocess

    try:
        log = os.open(place.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CommandFailed(f"cannot write the server's log {place.log}: {error.strerror}. {_remedy(error)}") from None
    ready, told = os.pipe()
    try:
        before = os.fstat(log).st_size
        # -P: its folder is /, which has no business on the path of its imports.
        server = subprocess.Popen(
            [sys.executable, "-P", "-m", "quell", "serve", "--ready-fd", str(told)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,
            pass_fds=(told,),
        )
        os.close(told)
        told = -1
        answered = bool(select.select([ready], [], [], START_SECONDS)[0])
        said = _line(ready) if answered else b""
        if said == b"\n":
            server.returncode = 0  # it is not ours to wait for: we leave first
            return
        if not answered:
            server.kill()
        status = server.wait()
    finally:
        os.close(log)
        os.close(ready)
        if told >= 0:
            os.close(told)
    if said:
        reason = Json(json.loads(said))
        failure = InUse if reason.flag("in_use") else CommandFailed
        raise failure(reason.text("text"), reason.number("status"))
    why = f"it did not answer within {START_SECONDS:.0f} s" if not answered else f"it ended with status {status}"
    raise CommandFailed(f"the server could not be started: {why}.{_said(place.log, before)}")


def _line(pipe: int) -> bytes:
    """What the server says of its start: an empty line when it answers, else why it does not; nothing at all when it died."""
    said = b""
    while not said.endswith(b"\n") and (piece := os.read(pipe, 1 << 16)):
        said += piece
    return said if said.endswith(b"\n") else b""


def _remedy(error: OSError) -> str:
    return "Make room" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "Mend its permissions (chmod u+rwx)"


def _said(log: str, since: int) -> str:
    """The last lines that were added to the log."""
    try:
        with open(log, "rb") as file:
            file.seek(max(since, os.fstat(file.fileno()).st_size - (1 << 14)))
            lines = file.read().decode("utf-8", "replace").strip().splitlines()[-LOG_LINES:]
    except OSError:
        lines = []
    if not lines:
        return f" It said nothing; its log is {log}"
    return f" The end of its log ({log}):\n" + "\n".join(f"  {line}" for line in lines)


def _wait_for_end(pid: int) -> None:
    """Return when the process is gone."""
    deadline = time.monotonic() + STOP_SECONDS
    while alive(pid):
        if time.monotonic() > deadline:
            raise CommandFailed(
                f"the server (pid {pid}) was asked to stop and has not within {STOP_SECONDS:.0f} s. End it with: kill -9 {pid}"
            )
        time.sleep(PAUSE)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    """Ended, but nobody has asked for its status: so in containers whose first process does not."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b") ")[2][:1] == b"Z"
    except OSError:
        return False
