"""A connection to the database, opened when it is needed and again when it was lost. Used by one thread.

Rules: nothing is waited for longer than its patience, whatever the network does; a connection that did not answer in time is not used
again. After a failure to open it, the next attempt waits, longer each time, and what is asked for meanwhile is refused at once. What a lost
connection leaves unknown is the business of whoever asked.
"""

from __future__ import annotations

import logging
import select
import time
from collections.abc import Callable
from typing import Any, TypeVar

import psycopg
from psycopg.abc import RV, PQGen

from quell.core.errors import StorageRefused
from quell.store.postgres.address import Address, PostgresOptions
from quell.store.postgres.refusals import refusal

T = TypeVar("T")
log = logging.getLogger(__name__)

OLDEST = 140_000
"""The first version of PostgreSQL that this is tried with, as it numbers them."""

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
"""Seconds between two attempts to open it."""

PREPARE = """
SELECT current_setting('server_version_num')::int,
    current_setting('server_encoding'),
    pg_is_in_recovery(),
    set_config('search_path', %(schema)s, false),
    set_config('statement_timeout', %(patience)s, false),
    set_config('lock_timeout', %(patience)s, false),
    set_config('idle_in_transaction_session_timeout', %(patience)s, false),
    set_config('synchronous_commit', replace(current_setting('synchronous_commit'), 'off', 'on'), false)
"""
"""Whatever the server, the database or the user's defaults are: a commit is on disk when it returns."""


class Patient(psycopg.Connection[tuple[Any, ...]]):
    """A connection that is waited for so long and no longer."""

    patience = 5.0

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        return super().wait(gen, interval, self.patience if timeout is None else timeout)


class Line:
    """`run` is all there is to it. `lost`: after an error, that what was asked for may have been done."""

    def __init__(self, address: Address, options: PostgresOptions, patience: float) -> None:
        self.shown = address.shown
        self.lost = False
        self._address = address
        self._schema = options.schema
        self._patience = patience
        self._connection: Patient | None = None
        self._pause = 0.0
        self._not_before = 0.0
        self._refusal: StorageRefused | None = None

    def run(self, work: Callable[[Patient], T]) -> T:
        """Raises `StorageRefused` when it cannot be opened, and what `work` raises."""
        self.lost = False
        connection = self.connected()
        try:
            return work(connection)
        except psycopg.Error as error:
            if connection.closed or isinstance(error, psycopg.errors._WaitTimeout):
                self.lost = True
                self.close()
            raise

    def connected(self) -> Patient:
        if self._connection is not None and not _ended(self._connection):
            return self._connection
        self.close()
        if self._refusal is not None and time.monotonic() < self._not_before:
            raise StorageRefused(str(self._refusal))
        try:
            self._connection = self._open()
        except StorageRefused as refused:
            self._pause = min(max(2 * self._pause, FIRST_PAUSE), LONGEST_PAUSE)
            self._not_before = time.monotonic() + self._pause
            self._refusal = refused
            raise
        self._pause, self._refusal = 0.0, None
        return self._connection

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open(self) -> Patient:
        try:
            connection = Patient.connect(self._address.conninfo, autocommit=True)
            connection.patience = self._patience
            try:
                milliseconds = str(int(self._patience * 1000))
                found = connection.execute(PREPARE, {"schema": self._schema, "patience": milliseconds}).fetchone()
                assert found is not None, "it is one row"
                check(self.shown, *found[:3])
            except BaseException:
                connection.close()
                raise
        except psycopg.Error as error:
            raise refusal(self.shown, "opened", error) from error
        return connection


def _ended(connection: Patient) -> bool:
    """Whether the other side has hung up: found before anything is sent, it leaves nothing unknown."""
    if connection.closed:
        return True
    readable = select.poll()
    readable.register(connection.fileno(), select.POLLIN)
    try:
        for _ in range(3):  # a notice, a ring; its last words, and after them the end
            if not readable.poll(0):
                return False
            connection.pgconn.consume_input()
    except psycopg.OperationalError:
        return True
    return connection.pgconn.status != psycopg.pq.ConnStatus.OK


def check(shown: str, version: int, encoding: str, replica: bool) -> None:
    """Whether it is a server that a journal can be in."""
    if version < OLDEST:
        raise StorageRefused(
            f"The journal in {shown} cannot be opened, because the server is too old (PostgreSQL {version // 10_000}; "
            f"{OLDEST // 10_000} or newer is needed). Bring it up to date, or use another."
        )
    if encoding != "UTF8":
        raise StorageRefused(
            f"The journal in {shown} cannot be opened, because the database's encoding is {encoding}. "
            "Make one with:  createdb --encoding UTF8 --template template0 …"
        )
    if replica:
        raise StorageRefused(
            f"The journal in {shown} cannot be opened, because the server is a replica, which nobody can write to. "
            "Name the primary server."
        )
