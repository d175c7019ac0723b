"""What is read from the tables. Each query sees one moment, and all that was acknowledged before it was asked."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from quell.core.facts import Recorded
from quell.core.ports import Draft, Snapshot
from quell.core.session import Summary
from quell.store import rows


def facts(connection: sqlite3.Connection, session: str, after: int, limit: int | None) -> Sequence[Recorded]:
    found = connection.execute(
        "SELECT facts.seq, coalesce(facts.body, blobs.body)"
        " FROM facts LEFT JOIN blobs ON blobs.sha256 = facts.blob"
        " WHERE facts.session = (SELECT key FROM sessions WHERE id = ?) AND facts.seq > ? ORDER BY facts.seq LIMIT ?",
        (session, after, -1 if limit is None else limit),
    ).fetchall()
    return rows.records(session, after, found)


def summary(connection: sqlite3.Connection, session: str) -> Summary | None:
    found = connection.execute("SELECT summary FROM sessions WHERE id = ?", (session,)).fetchone()
    return rows.summary(found)


def summaries(connection: sqlite3.Connection, search: rows.Search) -> Sequence[Summary]:
    return rows.summaries(connection.execute(*search.statement("instr")))


def busy(connection: sqlite3.Connection) -> Sequence[str]:
    return [row[0] for row in connection.execute("SELECT id FROM sessions WHERE busy ORDER BY id")]


def draft(connection: sqlite3.Connection, session: str) -> Draft | None:
    found = connection.execute(
        "SELECT message, reply FROM drafts WHERE session = (SELECT key FROM sessions WHERE id = ?)", (session,)
    ).fetchone()
    return rows.draft(found)


def snapshot(connection: sqlite3.Connection, session: str) -> Snapshot | None:
    found = connection.execute(
        "SELECT seq, at, version, state, view FROM snapshots WHERE session = (SELECT key FROM sessions WHERE id = ?)",
        (session,),
    ).fetchone()
    return None if found is None else Snapshot(*found)


def generation(connection: sqlite3.Connection) -> int:
    """Of the last claim."""
    found: int = connection.execute("SELECT generation FROM owner").fetchone()[0]
    return found
