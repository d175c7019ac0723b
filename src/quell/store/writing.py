"""What the writing thread does with a batch: one transaction, in which each order gets its own outcome.

Rules: few statements, because after each one the thread has to get the interpreter's lock back from a busy loop: the appends of a
batch are written together, by as many statements as one of them takes; a stale append is found before its facts are written,
and those it was to be written with are then written one by one, so that they are not touched by it; whether a writer
still owns the database is asked by the statement that writes its row, so it costs no other (contract I10); when the
transaction itself fails, every order is tried alone, so that one that does not fit refuses nobody else; nothing of a
refused order is kept. Opening the file is the business of `database`.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TypeVar, assert_never

from msgspec import Struct

from quell.core.errors import StaleOwner, StaleWriter, StorageRefused
from quell.core.ports import Claim
from quell.store import reading
from quell.store.orders import (
    Append,
    Delete,
    SaveDraft,
    SaveSnapshot,
    columns,
    last_drafts,
    stale_owner,
    stale_writer,
)
from quell.store.refusals import refusal
from quell.store.thread import Order

T = TypeVar("T")

LONG = 64 * 1024
"""Bodies above this many bytes are blobs (contract F2)."""

ROWS = 50
"""Facts, or sessions, in one statement at most; more of them are written by several. Each number of them is a statement of its own to prepare."""

TOGETHER = sqlite3.sqlite_version_info >= (3, 33)
"""Older libraries do not know `UPDATE … FROM`."""


_REPLACE_ROWS = (
    "UPDATE sessions SET seq = column1, workspace = column2, parent = column3, folded = column4, updated = column5,"
    " busy = column6, summary = column7 FROM (VALUES {}) WHERE id = column8 AND seq = column10"
    " AND (column9 IS NULL OR column9 = (SELECT generation FROM owner))"
)
_ADD_FACTS = "INSERT INTO facts (session, seq, message, body, blob) VALUES {}"
_DROP_DRAFTS = "DELETE FROM drafts WHERE (session, message) IN (VALUES {})"
_SAVE_DRAFTS = (
    "INSERT OR REPLACE INTO drafts (session, message, reply)"
    " SELECT key, column2, column3 FROM (VALUES {}) JOIN sessions ON id = column1"
    " WHERE NOT EXISTS (SELECT 1 FROM facts WHERE session = key AND message = column2)"
)


class Own(Struct, frozen=True):
    """Claim the database. Whoever asks holds its lock."""


class Look(Struct, frozen=True):
    """A number that changes when another process writes."""


class _SomeAreStale(Exception):
    """Of those that were to be written together; which ones, each by itself can tell."""


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
        wanted = last_drafts(orders)
        try:
            _write_groups(connection, _groups(wanted))
        except _SomeAreStale:
            connection.execute("ROLLBACK")
            connection.execute("BEGIN IMMEDIATE")
            _write_groups(connection, [[order] for order in wanted])
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


def _groups(orders: Sequence[Order[Write]]) -> Iterator[Sequence[Order[Write]]]:
    """What may be written together: appends and drafts, each of another session, that there is already. Everything else is by itself.

    Between sessions the order does not matter; but for a claim, before and after which other writers are stale.
    """
    group: dict[str, Order[Write]] = {}
    for order in orders:
        job = order.job
        session = None if isinstance(job, Own | Look) else job.session
        if group and (session is None or session in group or len(group) == ROWS):
            yield tuple(group.values())
            group = {}
        if (
            session is not None
            and TOGETHER
            and (isinstance(job, SaveDraft) or (isinstance(job, Append) and job.expected))
        ):
            group[session] = order
        else:
            yield (order,)
    if group:
        yield tuple(group.values())


def _write_groups(connection: sqlite3.Connection, groups: Iterable[Sequence[Order[Write]]]) -> None:
    """Raises `_SomeAreStale`."""
    for group in groups:
        if len(group) > 1:
            _write_together(connection, [order.job for order in group])
            continue
        (order,) = group
        try:
            order.answer(apply(connection, order.job))
        except (StaleWriter, StaleOwner) as error:
            order.refuse(error)


def _write_together(connection: sqlite3.Connection, writes: Sequence[Write]) -> None:
    """Raises `_SomeAreStale`, and then has written some of it."""
    if appends := [write for write in writes if isinstance(write, Append)]:
        _append_all(connection, appends)
    if drafts := [write for write in writes if isinstance(write, SaveDraft)]:
        try:
            _save_drafts(connection, drafts)
        except StaleOwner:
            raise _SomeAreStale from None


def apply(connection: sqlite3.Connection, write: Write) -> object:
    """Returns what it is answered with."""
    match write:
        case Append():
            _append(connection, write)
        case SaveDraft():
            _save_drafts(connection, [write])
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
    _write_lines(connection, [write])


def _append_all(connection: sqlite3.Connection, writes: Sequence[Append]) -> None:
    """Several, each to another session that there is. Raises `_SomeAreStale`, and then has written some rows."""
    values: list[object] = []
    for write in writes:
        values += (*columns(write.summary), write.session, write.generation, write.expected)
    replaced = connection.execute(_REPLACE_ROWS.format(_rows("(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", len(writes))), values)
    if replaced.rowcount != len(writes):
        raise _SomeAreStale
    _write_lines(connection, writes)


def _write_lines(connection: sqlite3.Connection, writes: Sequence[Append]) -> None:
    """The facts themselves. What a reply has become was a draft until now."""
    lines = [(write.session, line) for write in writes for line in write.lines]
    for some in _chunks(lines, ROWS):
        values: list[object] = []
        for session, line in some:
            digest = _keep_long(connection, line.body)
            values += (session, line.seq, line.message, line.body if digest is None else None, digest)
        rows = _rows("((SELECT key FROM sessions WHERE id = ?), ?, ?, ?, ?)", len(some))
        connection.execute(_ADD_FACTS.format(rows), values)
    replies = [(session, line.message) for session, line in lines if line.message is not None]
    for those in _chunks(replies, ROWS):
        rows = _rows("((SELECT key FROM sessions WHERE id = ?), ?)", len(those))
        connection.execute(_DROP_DRAFTS.format(rows), [value for pair in those for value in pair])


def _rows(row: str, count: int) -> str:
    return ", ".join([row] * count)


def _keep_long(connection: sqlite3.Connection, body: bytes) -> bytes | None:
    """Put a long body where those are kept; its name there."""
    if len(body) <= LONG:
        return None
    digest = sha256(body).digest()
    connection.execute("INSERT OR IGNORE INTO blobs (sha256, body) VALUES (?, ?)", (digest, body))
    return digest


def _write_row(connection: sqlite3.Connection, write: Append) -> None:
    """Write the session's row. Raises `StaleOwner` when the writer's claim is not the last one, `StaleWriter` when another was first."""
    owner = (write.generation, write.generation)
    if write.expected > 0:
        replaced = connection.execute(
            "UPDATE sessions SET seq = ?, workspace = ?, parent = ?, folded = ?, updated = ?, busy = ?, summary = ?"
            " WHERE id = ? AND seq = ? AND (? IS NULL OR ? = (SELECT generation FROM owner))",
            (*columns(write.summary), write.session, write.expected, *owner),
        )
    else:
        replaced = connection.execute(
            "INSERT OR IGNORE INTO sessions (seq, workspace, parent, folded, updated, busy, summary, id)"
            " SELECT ?, ?, ?, ?, ?, ?, ?, ? WHERE NOT EXISTS (SELECT 1 FROM deleted WHERE id = ?)"
            " AND (? IS NULL OR ? = (SELECT generation FROM owner))",
            (*columns(write.summary), write.session, write.session, *owner),
        )
    if replaced.rowcount != 1:
        _check_owner(connection, write.generation)
        raise stale_writer(write.session, write.expected)


def _chunks(all: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(all), size):
        yield all[start : start + size]


def _save_drafts(connection: sqlite3.Connection, writes: Sequence[SaveDraft]) -> None:
    for generation in {write.generation for write in writes}:
        _check_owner(connection, generation)
    values = [value for write in writes for value in (write.session, write.message, write.reply)]
    connection.execute(_SAVE_DRAFTS.format(_rows("(?, ?, ?)", len(writes))), values)


def _save_snapshot(connection: sqlite3.Connection, write: SaveSnapshot) -> None:
    snapshot = write.snapshot
    connection.execute(
        "INSERT OR REPLACE INTO snapshots (session, seq, at, version, state, view)"
        " SELECT key, ?, ?, ?, ?, ? FROM sessions WHERE id = ?",
        (snapshot.seq, snapshot.at, snapshot.version, snapshot.state, snapshot.view, write.session),
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
        "DELETE FROM blobs WHERE sha256 = ? AND NOT EXISTS (SELECT 1 FROM facts WHERE blob = sha256)", blobs
    )
    connection.execute("DELETE FROM drafts WHERE session = ?", found)
    connection.execute("DELETE FROM snapshots WHERE session = ?", found)
    connection.execute("DELETE FROM sessions WHERE key = ?", found)
    connection.execute("INSERT INTO deleted (id) VALUES (?)", (write.session,))
