"""Where our files are: one place decides, from the environment, for the command, the daemon and the tests alike.

    config_dir   the folder of config_file; the user's own context files are looked for here
    config_file  $QUELL_CONFIG, else $XDG_CONFIG_HOME/quell/config.toml
    data_dir     $QUELL_DATA_DIR, else $XDG_DATA_HOME/quell
    database     data_dir/quell.db          log    data_dir/logs/daemon.log
    token        data_dir/token
    outputs      data_dir/outputs: what commands printed that was too long for a result, a folder for each session
    address      data_dir/daemon.address: where the running daemon's socket is, for those whose environment says otherwise
    socket       $XDG_RUNTIME_DIR/quell/daemon.sock, else /tmp/quell-$UID/daemon.sock; with a data directory other than
                 the one in the account's home, daemon-<hash of it>.sock, so that tests never meet the user's daemon;
                 $QUELL_SOCKET names another one; standby servers have .2, .3, … behind it

Rules: `paths` reads the environment that it is given and no disk but the account database; `secure_folder` alone
creates. A relative $XDG_… is ignored, as that standard demands; a relative $QUELL_… is refused, because the command and
its daemon work in different folders. This module is on the start-up path of every command: it imports `os` until it
needs more.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False  # type checkers read the name; importing it from typing would cost more than this whole module
if TYPE_CHECKING:
    from collections.abc import Mapping

SOCKET_BYTES = 100
"""The longest socket path we use: the kernel's limit is 108 on Linux and 104 on macOS, with the closing zero."""


STANDBY_SERVERS = 8
"""How many there may be beside the usual one."""


class PathRefused(Exception):
    """A folder that cannot be used, or must not be trusted; the message names it, the reason and the remedy."""


class Paths:
    """The files and folders of one user's Quell, all absolute. Immutable."""

    __slots__ = (
        "address",
        "config_dir",
        "config_file",
        "data_dir",
        "database",
        "log",
        "outputs",
        "socket",
        "token",
    )

    address: str
    config_dir: str
    config_file: str
    data_dir: str
    database: str
    log: str
    outputs: str
    token: str
    socket: str

    def __init__(self, *, config_file: str, data_dir: str, socket: str) -> None:
        values = {
            "address": os.path.join(data_dir, "daemon.address"),
            "config_dir": os.path.dirname(config_file),
            "config_file": config_file,
            "data_dir": data_dir,
            "database": os.path.join(data_dir, "quell.db"),
            "log": os.path.join(data_dir, "logs", "daemon.log"),
            "outputs": os.path.join(data_dir, "outputs"),
            "token": os.path.join(data_dir, "token"),
            "socket": socket,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"Paths is immutable: {name} cannot be set")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"Paths is immutable: {name} cannot be deleted")

    def __repr__(self) -> str:
        return f"Paths(config_file={self.config_file!r}, data_dir={self.data_dir!r}, socket={self.socket!r})"


def paths(environ: Mapping[str, str]) -> Paths:
    """Where everything is for a process with this environment. Raises `PathRefused`."""
    account = _account_home()
    home = _absolute(environ.get("HOME")) or account
    if home is None:
        raise PathRefused(
            "there is no home folder: $HOME is not set and the account has none. Set HOME to an absolute path"
        )
    config_dir = _absolute(environ.get("XDG_CONFIG_HOME")) or os.path.join(home, ".config")
    data_home = _absolute(environ.get("XDG_DATA_HOME")) or os.path.join(home, ".local", "share")
    data_dir = _ours(environ, "QUELL_DATA_DIR") or os.path.join(data_home, "quell")
    usual = account is not None and data_dir == os.path.join(account, ".local", "share", "quell")
    return Paths(
        config_file=_ours(environ, "QUELL_CONFIG") or os.path.join(config_dir, "quell", "config.toml"),
        data_dir=data_dir,
        socket=_ours(environ, "QUELL_SOCKET")
        or _socket(
            _absolute(environ.get("XDG_RUNTIME_DIR")), "daemon.sock" if usual else f"daemon-{_digest(data_dir)}.sock"
        ),
    )


def standby_sockets(usual: str) -> list[str]:
    """The sockets of standby servers, beside the usual one's."""
    return [f"{usual}.{number}" for number in range(2, 2 + STANDBY_SERVERS)]


def secure_folder(path: str) -> None:
    """Make `path` a folder that only we can enter; parents are made as the umask says. Raises `PathRefused`.

    What others could have written to is refused rather than mended: they may have left something there.
    """
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            # A link made by somebody else could lead to a folder that is ours and was never meant for this.
            _owned(path, os.lstat(path).st_uid)
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise PathRefused(
            f"cannot use the folder {path}: {error.strerror}. Make it a folder of yours, or point $QUELL_DATA_DIR"
            " or $XDG_RUNTIME_DIR elsewhere"
        ) from error
    try:
        found = os.fstat(descriptor)
        _owned(path, found.st_uid)
        if found.st_mode & 0o022:
            raise PathRefused(
                f"the folder {path} can be written by others (mode {found.st_mode & 0o777:03o}), who may have put"
                f" something there. Look into it, then: chmod 700 {path}"
            )
        if found.st_mode & 0o077:
            os.fchmod(descriptor, 0o700)
    finally:
        os.close(descriptor)


def _owned(path: str, owner: int) -> None:
    if owner != os.getuid():
        raise PathRefused(
            f"the folder {path} belongs to user {owner}, not to you (user {os.getuid()}), so it cannot be trusted."
            " Remove it, or point $QUELL_DATA_DIR or $XDG_RUNTIME_DIR elsewhere"
        )


def _absolute(value: str | None) -> str | None:
    return os.path.normpath(value) if value and os.path.isabs(value) else None


def _ours(environ: Mapping[str, str], name: str) -> str | None:
    value = environ.get(name)
    if value and not os.path.isabs(value):
        raise PathRefused(f"${name} is {value!r}, a relative path. Give it as an absolute one")
    return _absolute(value)


def _account_home() -> str | None:
    """From the account, not $HOME: with a borrowed $HOME the socket must not be the one of the account's daemon."""
    import pwd

    try:
        return _absolute(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:  # a container's user without an entry
        return None


def _digest(data_dir: str) -> str:
    import hashlib

    return hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:12]


def _socket(runtime: str | None, name: str) -> str:
    if runtime is not None:
        path = os.path.join(runtime, "quell", name)
        if len(os.fsencode(path)) < SOCKET_BYTES:
            return path
    return f"/tmp/quell-{os.getuid()}/{name}"  # noqa: S108 - secure_folder refuses the folder unless it is ours alone
