"""The journal's file: opening it, owning it, bringing it up to date.

Rules: nothing is written to a file before it is known to be ours; a file that cannot be used is left as it was; one
process owns it, for as long as it lives (contract I10: the kernel releases the lock with the process), and only the owner
brings it up to date. What is in the tables is the business of `writing` and `reading`.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import stat
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from msgspec import Struct

from quell.core.errors import InUse, StorageRefused
from quell.store.mounts import file_system, is_shared
from quell.store.steps import Migration, missing

APPLICATION_ID = 0x5175656C
"""Marks the file as ours, in its header."""

LINGERS = 0.5
"""Seconds that a lock may outlive its owner: one killed while it starts a command leaves it to that, until the command begins."""


class SqliteOptions(Struct, frozen=True):
    """`allow_shared`: also on a file system that other machines may write to. `patience`: how many seconds to
    wait for a lock.
    """

    allow_shared: bool = False
    patience: float = 2.0


MIGRATIONS = Path(__file__).with_name("migrations")


def place(path: Path, options: SqliteOptions) -> Path:
    """Make the folder if there is none, and see that it is a safe place. Returns the file's real path."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = path.resolve()
    except OSError as error:
        raise _unusable(path, error) from error
    check_file_system(path, file_system(path.parent), options)
    return path


def check_file_system(path: Path, kind: str | None, options: SqliteOptions) -> None:
    if is_shared(kind) and not options.allow_shared:
        raise StorageRefused(
            f"The journal {path} would be on a network or shared file system ({kind}), where SQLite cannot keep it "
            "from damage. Choose a data directory on a local disk, or allow it if no other machine uses this one."
        )


class Lock:
    """The sign that a process owns the database: a file beside it that holds the owner's process id.

    Taken before the database is touched. That is not only for order: a process that opens and closes a file by itself
    loses all the locks that SQLite holds on it in the same process.
    """

    def __init__(self, database: Path) -> None:
        self._database = database
        self._path = database.with_name(database.name + ".lock")
        self._descriptor: int | None = None
        self._released = False

    def take(self) -> bool:
        """Whether it is ours now. A file that was put in its place is another lock: the one that counts is at the path."""
        if self._released:
            return False
        if self._descriptor is not None:
            if self._in_place(self._descriptor):
                return True
            os.close(self._descriptor)
            self._descriptor = None
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _unusable(self._database, error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if self._in_place(descriptor):
                # In place of the last owner's. Shorter numbers are padded, so that nobody reads a mixture.
                os.pwrite(descriptor, f"{os.getpid():<19}\n".encode(), 0)
                self._descriptor = descriptor
                return True
        except BlockingIOError:
            pass
        except OSError as error:
            os.close(descriptor)
            raise _unusable(self._database, error) from error
        os.close(descriptor)
        return False

    def take_soon(self) -> bool:
        """The same, and waits a moment for whoever is about to let go of it."""
        deadline = time.monotonic() + LINGERS
        while not self.take():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.005)
        return True

    def in_use(self) -> InUse:
        """Why it could not be taken."""
        try:
            holder = self._path.read_text("ascii", "replace").strip()
        except OSError:
            holder = ""
        return InUse(
            f"The journal {self._database} is in use by another quell (process {holder or 'unknown'}). "
            "Use that one, stop it, or choose another data directory."
        )

    def release(self) -> None:
        """For good."""
        self._released = True
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _in_place(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), self._path.stat())
        except OSError:
            return False


def make(path: Path) -> None:
    """Make the file if there is none, for its owner's eyes only; see that it can be written."""
    try:
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            if not stat.S_ISREG(path.stat().st_mode):
                raise StorageRefused(
                    f"The journal {path} cannot be opened, because it is no regular file. "
                    "Move it away, or choose another data directory."
                ) from None
            os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        raise _unusable(path, error) from error


def _unusable(path: Path, error: OSError) -> StorageRefused:
    return StorageRefused(
        f"The journal {path} cannot be opened ({error.strerror}: {error.filename or path}). It was left as it was. "
        "Give the user that runs quell the right to write there and free space, or choose another data directory."
    )


def connect(path: Path, options: SqliteOptions, mode: Literal["ro", "rw"] = "rw") -> sqlite3.Connection:
    """A connection that changes nothing by itself. It may be used by one thread at a time."""
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode={mode}",
        uri=True,
        timeout=options.patience,
        isolation_level=None,
        check_same_thread=False,
    )
    for pragma in ("trusted_schema=OFF", "cell_size_check=ON", "temp_store=MEMORY"):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def connect_writer(path: Path, options: SqliteOptions) -> sqlite3.Connection:
    """The connection that writes: a commit returns when it survives power loss, and what is deleted is overwritten."""
    connection = connect(path, options)
    try:
        mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        if mode != "wal":
            raise StorageRefused(
                f"The journal {path} cannot be opened, because its file system does not support a write-ahead log. "
                "Choose a data directory on a local disk."
            )
        for pragma in ("synchronous=FULL", "fullfsync=ON", "secure_delete=ON"):
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:
        connection.close()
        raise
    return connection


def connect_reader(path: Path, options: SqliteOptions) -> sqlite3.Connection:
    connection = connect(path, options)
    connection.execute("PRAGMA query_only=ON")
    return connection


def check(path: Path, options: SqliteOptions, newest: int, oldest: int = 0) -> None:
    """Refuse what is not ours, or is from a newer quell, and leave it untouched: even its log is not taken in.

    What is older than `oldest` is refused, too: whoever owns it works with tables that we do not know how to use.
    """
    connection = connect(path, options, "ro")
    try:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    finally:
        connection.close()
    if application != APPLICATION_ID and (application, version, tables) != (0, 0, 0):
        raise StorageRefused(
            f"The journal {path} cannot be opened, because it is another program's database. "
            "It was left as it was. Choose another data directory."
        )
    if version > newest:
        raise StorageRefused(
            f"The journal {path} was written by a newer quell (tables of version {version}, this one knows {newest}). "
            "It was left as it was. Update quell, or choose another data directory."
        )
    if version < oldest:
        raise StorageRefused(
            f"The journal {path} is in use by an older quell (tables of version {version}, this one needs {oldest}). "
            "Stop that one first."
        )


def migrate(connection: sqlite3.Connection, steps: Sequence[Migration]) -> None:
    """All the steps that the file lacks, in one transaction."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    lacking = missing(steps, version)
    if not lacking:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        for step in lacking:
            for statement in statements(step.script):
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version={lacking[-1].number}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def statements(script: str) -> Sequence[str]:
    """One by one, because the whole script at once would commit before it begins."""
    found: list[str] = []
    begun = ""
    for line in script.splitlines(keepends=True):
        begun += line
        if sqlite3.complete_statement(begun):
            found.append(begun)
            begun = ""
    return found
