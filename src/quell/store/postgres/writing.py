"""What the writing thread does with a batch: one statement for all its appends, one for its drafts, each a transaction by itself.

Rules: the server never waits for us while it holds a lock, for a statement is sent whole and is its own transaction: a process that is
stopped, or a network that fails, holds nobody up. Whether the writer still owns the journal is asked in that statement, with a lock
that a claim waits for, and that waits for a claim (contract I10). A stale append writes nothing and leaves the others alone; a
statement that fails is tried again order by order. Where the connection was lost before the answer came, every order of
the statement is refused, although it may have been written: whoever asked looks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, assert_never

import psycopg

from quell.core.errors import StorageRefused
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
from quell.store.postgres.lease import Lease
from quell.store.postgres.line import Line, Patient
from quell.store.postgres.refusals import refusal
from quell.store.thread import Order

Write = Append | SaveDraft | SaveSnapshot | Delete
Kind = TypeVar("Kind", bound=Write)

CURRENT = "current AS (SELECT generation FROM owner FOR SHARE)"
"""The last claim's; asked by an owner only, as guests need no lock. One that is being made is waited for."""

ALLOWED = "(generation IS NULL OR generation = (SELECT generation FROM current))"
ANSWERED = "CASE WHEN %(owned)s THEN (SELECT generation FROM current) END"

APPEND = f"""
WITH {CURRENT}, wanted AS (
    SELECT * FROM unnest(
        %(id)s::text[], %(expected)s::bigint[], %(generation)s::bigint[], %(last)s::bigint[], %(workspace)s::text[],
        %(parent)s::text[], %(folded)s::text[], %(updated)s::text[], %(busy)s::boolean[], %(summary)b::bytea[]
    ) AS wanted (id, expected, generation, seq, workspace, parent, folded, updated, busy, summary)
    WHERE {ALLOWED}
), held AS (  -- in one order everywhere, so that two processes do not wait for each other
    SELECT key, sessions.id FROM sessions JOIN wanted ON sessions.id = wanted.id AND expected > 0
    ORDER BY sessions.id FOR UPDATE OF sessions
), replaced AS (
    UPDATE sessions
    SET seq = wanted.seq, workspace = wanted.workspace, parent = wanted.parent, folded = wanted.folded,
        updated = wanted.updated, busy = wanted.busy, summary = wanted.summary
    FROM held JOIN wanted ON held.id = wanted.id
    WHERE sessions.key = held.key AND sessions.seq = wanted.expected
    RETURNING sessions.key, sessions.id
), named AS (
    INSERT INTO ids (id) SELECT id FROM wanted WHERE expected = 0 ON CONFLICT DO NOTHING RETURNING id
), created AS (
    INSERT INTO sessions (id, seq, workspace, parent, folded, updated, busy, summary)
    SELECT id, seq, workspace, parent, folded, updated, busy, summary FROM named JOIN wanted USING (id)
    RETURNING key, id
), written AS (
    SELECT key, id FROM replaced UNION ALL SELECT key, id FROM created
), line AS (
    SELECT key, seq, message, body FROM written JOIN unnest(
        %(of)s::text[], %(seq)s::bigint[], %(message)s::text[], %(body)b::bytea[]
    ) AS line (id, seq, message, body) USING (id)
), added AS (
    INSERT INTO facts (session, seq, message, body) SELECT key, seq, message, body FROM line
), dropped AS (
    DELETE FROM drafts USING line WHERE drafts.session = line.key AND drafts.message = line.message
), counted AS (
    INSERT INTO writers (process, writes, last) SELECT %(process)s, 1, now() WHERE EXISTS (SELECT 1 FROM written)
    ON CONFLICT (process) DO UPDATE SET writes = writers.writes + 1, last = excluded.last
)
SELECT {ANSWERED}, ARRAY(SELECT id FROM written)
"""  # noqa: S608  # of the above
SAVE_DRAFTS = f"""
WITH {CURRENT}, wanted AS (
    SELECT * FROM unnest(%(id)s::text[], %(message)s::text[], %(reply)b::bytea[], %(generation)s::bigint[])
    AS wanted (id, message, reply, generation) WHERE {ALLOWED}
), kept AS (
    INSERT INTO drafts (session, message, reply)
    SELECT key, message, reply FROM wanted JOIN sessions USING (id)
    WHERE NOT EXISTS (SELECT 1 FROM facts WHERE facts.session = key AND facts.message = wanted.message)
    ON CONFLICT (session) DO UPDATE SET message = excluded.message, reply = excluded.reply
)
SELECT {ANSWERED}
"""  # noqa: S608  # of the above
SAVE_SNAPSHOT = """
INSERT INTO snapshots (session, seq, at, version, state, view)
SELECT key, %(seq)s, %(at)s, %(version)s, %(state)b, %(view)b FROM sessions WHERE id = %(id)s
ON CONFLICT (session) DO UPDATE SET seq = excluded.seq, at = excluded.at, version = excluded.version,
    state = excluded.state, view = excluded.view
"""
DELETE = f"""
WITH {CURRENT}, wanted AS (
    SELECT * FROM (VALUES (%(id)s::text, %(generation)s::bigint)) AS wanted (id, generation) WHERE {ALLOWED}
), gone AS (
    DELETE FROM sessions USING wanted WHERE sessions.id = wanted.id RETURNING sessions.id
), counted AS (
    INSERT INTO writers (process, writes, last) SELECT %(process)s, 1, now() WHERE EXISTS (SELECT 1 FROM gone)
    ON CONFLICT (process) DO UPDATE SET writes = writers.writes + 1, last = excluded.last
)
SELECT {ANSWERED}
"""  # noqa: S608  # of the above


class Writer:
    """The writing connection, and what is done with it. Used by one thread."""

    def __init__(self, line: Line, lease: Lease) -> None:
        self._line = line
        self._lease = lease

    def work(self, orders: Sequence[Order[Write]]) -> None:
        """Carry out a batch; every order has its outcome afterwards."""
        for turn in _turns(last_drafts(orders)):
            self._together(_of(turn, Append), self._append)
            self._together(_of(turn, SaveDraft), self._save_drafts)
            for order in turn:
                if isinstance(order.job, SaveSnapshot | Delete):
                    self._together([order], self._alone)

    def close(self) -> None:
        self._line.close()

    def _together(
        self,
        orders: Sequence[Order[Write]],
        write: Callable[[Patient, Sequence[Order[Write]]], None],
        *,
        again: bool = True,
    ) -> None:
        """When the whole fails, each alone; alone once more, as what stood in the way of the others may be gone."""
        if not orders:
            return
        try:
            self._line.run(lambda connection: write(connection, orders))
        except StorageRefused as refused:
            for order in orders:
                order.refuse(refused)
        except (psycopg.Error, UnicodeError) as error:
            if isinstance(error, UnicodeError):
                error = psycopg.DataError(str(error))
            if self._line.lost:
                self._lease.write_as_another()
            elif again:
                for order in orders:
                    self._together([order], write, again=False)
                return
            for order in orders:
                order.refuse(refusal(self._line.shown, "written", error, lost=self._line.lost))

    def _append(self, connection: Patient, orders: Sequence[Order[Write]]) -> None:
        writes = [order.job for order in orders if isinstance(order.job, Append)]
        rows = [columns(write.summary) for write in writes]
        names = ("last", "workspace", "parent", "folded", "updated", "busy", "summary")
        lines = [(write.session, line) for write in writes for line in write.lines]
        values: dict[str, object] = {
            **{name: [row[number] for row in rows] for number, name in enumerate(names)},
            "folded": [row[3].replace("\0", "") for row in rows],  # which PostgreSQL has no text for
            "id": [write.session for write in writes],
            "expected": [write.expected for write in writes],
            "of": [session for session, _ in lines],
            "seq": [line.seq for _, line in lines],
            "message": [line.message for _, line in lines],
            "body": [line.body for _, line in lines],
        }
        current, written = self._ask(connection, APPEND, writes, values)
        for order, write in zip(orders, writes, strict=True):
            if _is_stale(write.generation, current):
                assert write.generation is not None
                order.refuse(stale_owner(write.generation))
            elif write.session not in written:
                order.refuse(stale_writer(write.session, write.expected))
            else:
                order.answer(None)

    def _save_drafts(self, connection: Patient, orders: Sequence[Order[Write]]) -> None:
        writes = [order.job for order in orders if isinstance(order.job, SaveDraft)]
        values = {
            "id": [write.session for write in writes],
            "message": [write.message for write in writes],
            "reply": [write.reply for write in writes],
        }
        (current,) = self._ask(connection, SAVE_DRAFTS, writes, values)
        for order, write in zip(orders, writes, strict=True):
            _answer(order, write.generation, current)

    def _alone(self, connection: Patient, orders: Sequence[Order[Write]]) -> None:
        (order,) = orders
        match order.job:
            case SaveSnapshot(session, snapshot):
                values = {field: getattr(snapshot, field) for field in ("seq", "at", "version", "state", "view")}
                connection.execute(SAVE_SNAPSHOT, {"id": session, **values})
                order.answer(None)
            case Delete(session, generation):
                values = {"id": session, "owned": generation is not None, "generation": generation}
                row = connection.execute(DELETE, {**values, "process": self._lease.writes_as}).fetchone()
                assert row is not None, "it selects no table"
                _answer(order, generation, row[0])
            case Append() | SaveDraft():
                raise AssertionError("these go together")
            case _:
                assert_never(order.job)

    def _ask(
        self,
        connection: Patient,
        statement: str,
        writes: Sequence[Append] | Sequence[SaveDraft],
        values: Mapping[str, object],
    ) -> tuple[Any, ...]:
        generations = [write.generation for write in writes]
        owned = any(generation is not None for generation in generations)
        more = {"generation": generations, "owned": owned, "process": self._lease.writes_as}
        row = connection.execute(statement.encode(), {**values, **more}).fetchone()
        assert row is not None, "it selects no table"
        return row


def _turns(orders: Sequence[Order[Write]]) -> Iterator[Sequence[Order[Write]]]:
    """What is asked of one session stays in order: of each, one order at a time. Different sessions have nothing to do with each other."""
    while orders:
        first: dict[str, Order[Write]] = {}
        later = [order for order in orders if first.setdefault(order.job.session, order) is not order]
        yield list(first.values())
        orders = later


def _of(orders: Sequence[Order[Write]], kind: type[Append | SaveDraft]) -> Sequence[Order[Write]]:
    return [order for order in orders if isinstance(order.job, kind)]


def _is_stale(generation: int | None, current: int | None) -> bool:
    return generation is not None and generation != current


def _answer(order: Order[Write], generation: int | None, current: int | None) -> None:
    if generation is not None and _is_stale(generation, current):
        order.refuse(stale_owner(generation))
    else:
        order.answer(None)
