"""What the writing thread does with a batch: one transaction, in which each order gets its own outcome.

Rules: few statements, because after each one the thread has to get the interpreter's lock back from a busy loop; a
stale append is found before anything of it is written, so the others of its batch are not touched by it; whether its writer
still owns the database is asked by the statement that writes its first row, so it costs no other (contract I10); when the
transaction itself fails, every order is tried alone, so that one that does not fit refuses nobody else; nothing of a
refused order is kept. Opening the file is the business of `database`.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import assert_never

from msgspec import Struct

from quell.core.errors import StaleOwner, StaleWriter, StorageRefused
from quell.core.ports import Claim
from quell.store import reading
from quell.store.orders import (
    Append,
    Delete,
    Line,
    SaveDraft,
    SaveSnapshot,
    columns,
    last_drafts,
    stale_owner,
    stale_writer,
)
from quell.store.refusals import refusal
from quell.store.thread import Order

LONG = 64 * 1024
"""Bodies above this many bytes are blobs (contract F2)."""

ROWS = 50
"""Facts in one statement at most; more of them are written by several."""


class Own(Struct, frozen=True):
    """Claim the database. Whoever asks holds its lock."""


class Look(Struct, frozen=True):
    """A number that changes when another process writes."""


Write = Append | SaveDraft | SaveSnapshot | Delete | Own | Look

Connect = Callable[[], sqlite3.Connection]


class Writer:
    """The writing connection, and what is done with it. Used by one thread."""

    def __init__(self, path: Path, connection: sqlite3.Connection, connect: Connect) -> None:
        self._path = path
        self._named = str(path)  # for every batch: a `Path` takes longer to say what it is than to look
        self._connect = connect
        self._connection: sqlite3.Connection | None = connection
        self._synchronous = "FULL"
        self._file = path.stat().st_ino

    def work(self, orders: Sequence[Order[Write]]) -> None:
        """Carry out a batch; every order has its outcome afterwards."""
        looks = [order for order in orders if isinstance(order.job, Look)]
        if looks:
            self._look(looks)
            orders = [order for order in orders if not isinstance(order.job, Look)]
            if not orders:
                return
        try:
            self._begin(durable=not all(isinstance(order.job, SaveDraft | SaveSnapshot) for order in orders))
        except (sqlite3.Error, StorageRefused) as error:
            self._roll_back()
            for order in orders:
                order.refuse(self._refusal(error))
            return
        try:
            self._write(orders)
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing of it may be kept
            self._roll_back()
            if len(orders) == 1:
                orders[0].refuse(self._refusal(error))
                return
            for order in orders:
                self.work([order])
            return
        if any(isinstance(order.job, Delete) for order in orders):
            self._forget_log()

    def close(self) -> None:
        """The last connection takes the write-ahead log back into the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _look(self, orders: Sequence[Order[Write]]) -> None:
        """By the connection that writes: to it, its own commits are no news."""
        try:
            (version,) = self._connected().execute("PRAGMA data_version").fetchone()
        except (sqlite3.Error, StorageRefused) as error:
            for order in orders:
                order.refuse(self._refusal(error))
        else:
            for order in orders:
                order.answer(version)

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = self._connect()
            self._synchronous = "FULL"
        return self._connection

    def _begin(self, *, durable: bool) -> None:
        """A commit of drafts or snapshots alone is not waited for: they may be lost with the power, not with the process."""
        connection = self._connected()
        if not self._in_place():
            raise StorageRefused(
                f"The journal {self._path} was moved, replaced or deleted while it was in use; what is written now "
                "would be lost. Stop the server, put the file back, and start again."
            )
        wanted = "FULL" if durable else "NORMAL"
        if wanted != self._synchronous:
            connection.execute(f"PRAGMA synchronous={wanted}")
            self._synchronous = wanted
        connection.execute("BEGIN IMMEDIATE")

    def _in_place(self) -> bool:
        """Whether the open file is still the one at the path."""
        try:
            return os.stat(self._named).st_ino == self._file
        except OSError:
            return False

    def _write(self, orders: Sequence[Order[Write]]) -> None:
        connection = self._connection
        assert connection is not None, "a batch has begun"
        for order in last_drafts(orders):
            try:
                order.answer(apply(connection, order.job))
            except (StaleWriter, StaleOwner) as error:
                order.refuse(error)
        connection.execute("COMMIT")

    def _refusal(self, error: Exception) -> Exception:
        return refusal(self._path, "written", error) if isinstance(error, sqlite3.Error) else error

    def _roll_back(self) -> None:
        """Back to before the batch. A connection that cannot even do that is replaced at the next one."""
        connection = self._connection
        if connection is None:
            return
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            self._connection = None
            connection.close()

    def _forget_log(self) -> None:
        """What was deleted is to be nowhere, the log included. Not possible while somebody reads: then later."""
        try:
            if self._connection is not None:
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error:
            return


def apply(connection: sqlite3.Connection, write: Write) -> object:
    """Returns what it is answered with."""
    match write:
        case Append():
            _append(connection, write)
        case SaveDraft():
            _save_draft(connection, write)
        case SaveSnapshot():
            _save_snapshot(connection, write)
        case Delete():
            _delete(connection, write)
        case Own():
            return _own(connection)
        case Look():
            raise AssertionError("looking is no part of a transaction")
        case _:
            assert_never(write)
    return None


def _own(connection: sqlite3.Connection) -> Claim:
    """In one transaction: what is unfinished now is what the former owner left, and what has been asked for since."""
    connection.execute("UPDATE owner SET generation = generation + 1")
    return Claim(reading.generation(connection), tuple(reading.busy(connection)))


def _check_owner(connection: sqlite3.Connection, generation: int | None) -> None:
    if generation is not None and reading.generation(connection) != generation:
        raise stale_owner(generation)


def _append(connection: sqlite3.Connection, write: Append) -> None:
    _write_row(connection, write)
    row = "((SELECT key FROM sessions WHERE id = ?1), ?, ?, ?, ?)"
    for lines in _chunks(write.lines, ROWS):
        values: list[str | int | bytes | None] = [write.session]
        for line in lines:
            digest = _keep_long(connection, line.body)
            values += [line.seq, line.message, line.body if digest is None else None, digest]
        rows = ", ".join([row] * len(lines))
        statement = f"INSERT INTO facts (session, seq, message, body, blob) VALUES {rows}"  # noqa: S608 - of the above
        connection.execute(statement, values)
    for line in write.lines:
        if line.message is not None:
            connection.execute(
                "DELETE FROM drafts WHERE session = (SELECT key FROM sessions WHERE id = ?) AND message = ?",
                (write.session, line.message),
            )


def _keep_long(connection: sqlite3.Connection, body: bytes) -> bytes | None:
    """Put a long body where those are kept; its name there."""
    if len(body) <= LONG:
        return None
    digest = sha256(body).digest()
    connection.execute("INSERT OR IGNORE INTO blobs (sha256, body) VALUES (?, ?)", (digest, body))
    return digest


def _write_row(connection: sqlite3.Connection, write: Append) -> None:
    """Write the session's row. Raises `StaleOwner` when the writer's claim is not the last one, `StaleWriter` when another was first."""
    values = (*columns(write.summary), write.session, write.generation)
    if write.expected > 0:
        replaced = connection.execute(
            "UPDATE sessions SET seq = ?1, workspace = ?2, parent = ?3, folded = ?4, updated = ?5, busy = ?6, summary = ?7"
            " WHERE id = ?8 AND seq = ?10 AND (?9 IS NULL OR ?9 = (SELECT generation FROM owner))",
            (*values, write.expected),
        )
    else:
        replaced = connection.execute(
            "INSERT OR IGNORE INTO sessions (seq, workspace, parent, folded, updated, busy, summary, id)"
            " SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8 WHERE NOT EXISTS (SELECT 1 FROM deleted WHERE id = ?8)"
            " AND (?9 IS NULL OR ?9 = (SELECT generation FROM owner))",
            values,
        )
    if replaced.rowcount != 1:
        _check_owner(connection, write.generation)
        raise stale_writer(write.session, write.expected)


def _chunks(lines: Sequence[Line], size: int) -> Iterator[Sequence[Line]]:
    for start in range(0, len(lines), size):
        yield lines[start : start + size]


def _save_draft(connection: sqlite3.Connection, write: SaveDraft) -> None:
    _check_owner(connection, write.generation)
    connection.execute(
        "INSERT OR REPLACE INTO drafts (session, message, reply)"
        " SELECT key, ?2, ?3 FROM sessions WHERE id = ?1"
        " AND NOT EXISTS (SELECT 1 FROM facts WHERE session = key AND message = ?2)",
        (write.session, write.message, write.reply),
    )


def _save_snapshot(connection: sqlite3.Connection, write: SaveSnapshot) -> None:
    snapshot = write.snapshot
    connection.execute(
        "INSERT OR REPLACE INTO snapshots (session, seq, at, version, state, view)"
        " SELECT key, ?2, ?3, ?4, ?5, ?6 FROM sessions WHERE id = ?1",
        (write.session, snapshot.seq, snapshot.at, snapshot.version, snapshot.state, snapshot.view),
    )


def _delete(connection: sqlite3.Connection, write: Delete) -> None:
    _check_owner(connection, write.generation)
    found = connection.execute("SELECT key FROM sessions WHERE id = ?", (write.session,)).fetchone()
    if found is None:
        return
    blobs = connection.execute(
        "SELECT DISTINCT blob FROM facts WHERE session = ? AND blob IS NOT NULL", found
    ).fetchall()
    connection.execute("DELETE FROM facts WHERE session = ?", found)
    connection.executemany(
        "DELETE FROM blobs WHERE sha256 = ?1 AND NOT EXISTS (SELECT 1 FROM facts WHERE blob = ?1)", blobs
    )
    connection.execute("DELETE FROM drafts WHERE session = ?", found)
    connection.execute("DELETE FROM snapshots WHERE session = ?", found)
    connection.execute("DELETE FROM sessions WHERE key = ?", found)
    connection.execute("INSERT INTO deleted (id) VALUES (?)", (write.session,))
