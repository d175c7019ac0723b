"""What is read from the tables. Each query sees one moment, and all that was acknowledged before it was asked.

Queries run in a thread of their own; what decodes their rows is handed to them by the event loop's, which makes it (`wire.facts.decoder`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from functools import cache

import msgspec

from quell.core.errors import StorageRefused
from quell.core.facts import Recorded
from quell.core.messages import Reply
from quell.core.ports import Draft, Snapshot
from quell.core.session import Summary


@cache
def summary_decoder() -> msgspec.json.Decoder[Summary]:
    """Made on first use, like the next one: a start need not wait for either."""
    return msgspec.json.Decoder(Summary)


@cache
def reply_decoder() -> msgspec.json.Decoder[Reply]:
    return msgspec.json.Decoder(Reply)


def facts(
    connection: sqlite3.Connection, decode: Callable[[bytes], Recorded], session: str, after: int, limit: int | None
) -> Sequence[Recorded]:
    rows = connection.execute(
        "SELECT facts.seq, coalesce(facts.body, blobs.body)"
        " FROM facts LEFT JOIN blobs ON blobs.sha256 = facts.blob"
        " WHERE facts.session = (SELECT key FROM sessions WHERE id = ?) AND facts.seq > ? ORDER BY facts.seq LIMIT ?",
        (session, after, -1 if limit is None else limit),
    ).fetchall()
    records: list[Recorded] = []
    for number, (seq, body) in enumerate(rows, after + 1):
        if seq != number or body is None:
            raise StorageRefused(
                f"Fact {number} of session {session} is missing: the journal is damaged. "
                "It was left as it was. Restore it from a copy, or delete this session."
            )
        records.append(decode(body))
    return records


def summary(connection: sqlite3.Connection, decoder: msgspec.json.Decoder[Summary], session: str) -> Summary | None:
    found = connection.execute("SELECT summary FROM sessions WHERE id = ?", (session,)).fetchone()
    return None if found is None else decoder.decode(found[0])


def summaries(
    connection: sqlite3.Connection,
    decoder: msgspec.json.Decoder[Summary],
    workspace: str | None,
    parent: str | None,
    query: str,
    limit: int,
    before: str | None,
) -> Sequence[Summary]:
    conditions: list[str] = []
    values: list[str | int] = []
    if workspace is not None:
        conditions.append("workspace = ?")
        values.append(workspace)
    if parent is not None:
        conditions.append("parent = ?")
        values.append(parent)
    if query:
        conditions.append("instr(folded, ?) > 0")
        values.append(query.casefold())
    if before is not None:
        updated, _, id = before.partition(" ")
        conditions.append("(updated, id) < (?, ?)")
        values += [updated, id]
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    rows = connection.execute(
        f"SELECT summary FROM sessions{where} ORDER BY updated DESC, id DESC LIMIT ?",  # noqa: S608 - of the above
        (*values, limit),
    )
    return [decoder.decode(row[0]) for row in rows]


def busy(connection: sqlite3.Connection) -> Sequence[str]:
    return [row[0] for row in connection.execute("SELECT id FROM sessions WHERE busy ORDER BY id")]


def draft(connection: sqlite3.Connection, decoder: msgspec.json.Decoder[Reply], session: str) -> Draft | None:
    found = connection.execute(
        "SELECT message, reply FROM drafts WHERE session = (SELECT key FROM sessions WHERE id = ?)", (session,)
    ).fetchone()
    return None if found is None else Draft(found[0], decoder.decode(found[1]))


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
