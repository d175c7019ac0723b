"""What is read from the tables. Each query sees one moment, and all that was acknowledged before it was asked."""

from __future__ import annotations

from collections.abc import Sequence

from quell.core.facts import Recorded
from quell.core.ports import Draft, Snapshot
from quell.core.session import Summary
from quell.store import rows
from quell.store.postgres.line import Patient

FACTS = """
SELECT facts.seq, body FROM facts JOIN sessions ON key = session WHERE id = %s AND facts.seq > %s ORDER BY facts.seq LIMIT %s
"""
DRAFT = "SELECT message, reply FROM drafts JOIN sessions ON key = session WHERE id = %s"
SNAPSHOT = """
SELECT snapshots.seq, at, version, state, view FROM snapshots JOIN sessions ON key = session WHERE id = %s
"""


def facts(connection: Patient, session: str, after: int, limit: int | None) -> Sequence[Recorded]:
    found = connection.cursor(binary=True).execute(FACTS, (session, after, limit))
    return rows.records(session, after, found)


def summary(connection: Patient, session: str) -> Summary | None:
    found = connection.cursor(binary=True).execute("SELECT summary FROM sessions WHERE id = %s", (session,))
    return rows.summary(found.fetchone())


def summaries(connection: Patient, search: rows.Search) -> Sequence[Summary]:
    statement, values = search.statement("strpos")
    found = connection.cursor(binary=True).execute(statement.replace("?", "%s").encode(), values)
    return rows.summaries(found)


def busy(connection: Patient) -> Sequence[str]:
    return [row[0] for row in connection.execute("SELECT id FROM sessions WHERE busy ORDER BY id")]


def draft(connection: Patient, session: str) -> Draft | None:
    return rows.draft(connection.cursor(binary=True).execute(DRAFT, (session,)).fetchone())


def snapshot(connection: Patient, session: str) -> Snapshot | None:
    found = connection.cursor(binary=True).execute(SNAPSHOT, (session,)).fetchone()
    return None if found is None else Snapshot(*found)
