"""The journal's tables in the database: made, brought up to date, or refused.

Rules: they lie in a schema of their own, and touch nothing beside it; all the steps that are lacking are one transaction, which one
process at a time can be in; while somebody owns the journal, its tables stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
from psycopg import sql

from quell.core.errors import StorageRefused
from quell.store.postgres.address import PostgresOptions
from quell.store.postgres.line import Line, Patient
from quell.store.postgres.refusals import refusal
from quell.store.steps import Migration, missing

MIGRATIONS = Path(__file__).with_name("migrations")

VERSION = "SELECT coalesce(max(number), 0) FROM versions"


def prepare(line: Line, options: PostgresOptions, steps: Sequence[Migration]) -> None:
    """Raises `StorageRefused`, with everything left as it was."""
    try:
        line.run(lambda connection: _prepare(connection, line.shown, options.schema, steps))
    except psycopg.Error as error:
        raise refusal(line.shown, "opened", error) from error


def _prepare(connection: Patient, shown: str, schema: str, steps: Sequence[Migration]) -> None:
    if not _lacking(connection, shown, steps):
        return
    with _locked(connection, schema), connection.transaction():
        _migrate(connection, shown, schema, steps)


@contextmanager
def _locked(connection: Patient, schema: str) -> Iterator[None]:
    """Of the session, not of the transaction: one that began before the lock was had may not see what was made meanwhile."""
    connection.execute("SELECT pg_advisory_lock(hashtext('quell'), hashtext(%s))", (schema,))
    unlock = "SELECT pg_advisory_unlock_all()"
    try:
        yield
    except BaseException:
        # What came first is told; where nothing can be asked any more, the lock goes with the connection.
        with suppress(psycopg.Error):
            connection.execute(unlock)
        raise
    connection.execute(unlock)


def _lacking(connection: Patient, shown: str, steps: Sequence[Migration]) -> Sequence[Migration]:
    version = _version(connection)
    newest = steps[-1].number
    if version > newest:
        raise StorageRefused(
            f"The journal in {shown} was written by a newer quell (tables of version {version}, this one knows {newest}). "
            "It was left as it was. Update quell, or use another database."
        )
    return missing(steps, version)


def _version(connection: Patient) -> int:
    """0 when there are no tables of ours."""
    found = connection.execute("SELECT to_regclass('versions') IS NOT NULL").fetchone()
    if found != (True,):
        return 0
    row = connection.execute(VERSION).fetchone()
    assert row is not None, "an aggregate is one row"
    version: int = row[0]
    return version


def _migrate(connection: Patient, shown: str, schema: str, steps: Sequence[Migration]) -> None:
    lacking = _lacking(connection, shown, steps)  # another process may have been first
    if not lacking:
        return
    if lacking[0].number == 1:
        connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema)))
        connection.execute("CREATE TABLE versions (number int PRIMARY KEY, at timestamptz NOT NULL DEFAULT now())")
    elif owner := connection.execute("SELECT host FROM owner WHERE expires > clock_timestamp()").fetchone():
        raise StorageRefused(
            f"The journal in {shown} is in use by an older quell ({owner[0]}), whose tables this one would change. "
            "Stop that one first."
        )
    for step in lacking:
        connection.execute(step.script.encode(), prepare=False)  # from a file of ours
        connection.execute("INSERT INTO versions (number) VALUES (%s)", (step.number,))
    # Who owned the older tables, and is paused, does not write into these.
    connection.execute("UPDATE owner SET generation = generation + 1")
