"""Who owns the journal: a lease, in the table's one row, that ends by the database's clock unless it is renewed (contract I10).

Rules: a lease only says when another may claim; what a former owner writes is refused by its generation, whatever became of the lease. The
owner reckons with less than the lease: what it has started must have ended before another can claim, and commands take `STOPPING` seconds
to end. It counts from before it asked, so that it never believes to have longer than the database gives.
"""

from __future__ import annotations

import os
import secrets
import socket
import time

import psycopg

from quell.core.errors import InUse
from quell.core.ports import Claim
from quell.store.orders import stale_owner
from quell.store.postgres.line import Line, Patient
from quell.store.postgres.refusals import refusal

STOPPING = 2.5
"""Seconds that it takes what an owner runs to end: SIGTERM, two seconds, SIGKILL."""

SHORTEST = 2 * STOPPING
"""Seconds that a lease has to be long: half of it is left for renewing."""

FORGOTTEN = "1 day"
"""After so long a process that has not written is taken out of the count: only those that crashed are left in it."""

CLAIM = """
UPDATE owner
SET generation = generation + 1, process = %(process)s, host = %(host)s,
    expires = clock_timestamp() + make_interval(secs => %(lease)s)
WHERE process = %(process)s OR expires <= clock_timestamp()
RETURNING generation
"""
RENEW = """
UPDATE owner SET expires = clock_timestamp() + make_interval(secs => %s)
WHERE generation = %s AND process = %s
"""
COUNT = """
INSERT INTO writers (process, writes, last) VALUES (%s, 1, now())
ON CONFLICT (process) DO UPDATE SET writes = writers.writes + 1, last = excluded.last
"""
FORGET = "DELETE FROM writers WHERE last < now() - %s::interval"


class Lease:
    """`process` is this server's name in the tables. `writes_as` is the name that its writes are counted under."""

    def __init__(self, seconds: float) -> None:
        self.process = self.writes_as = secrets.token_hex(8)
        self._host = f"{socket.gethostname()}, process {os.getpid()}"
        self._seconds = seconds

    def write_as_another(self) -> None:
        """What was sent may still be written, and nobody here would know: from now on it counts as another process's."""
        self.writes_as = secrets.token_hex(8)

    def claim(self, connection: Patient) -> Claim | None:
        """In one transaction, the list after the lock: what is unfinished then is what the former owner left."""
        try:
            with connection.transaction():
                asked = {"process": self.process, "host": self._host, "lease": self._seconds}
                claimed = connection.execute(CLAIM, asked).fetchone()
                if claimed is None:
                    return None
                unfinished = tuple(
                    row[0] for row in connection.execute("SELECT id FROM sessions WHERE busy ORDER BY id")
                )
                connection.execute(FORGET, (FORGOTTEN,))
                connection.execute(COUNT, (self.writes_as,))
        except psycopg.errors.LockNotAvailable:  # it is being claimed, or written
            return None
        return Claim(claimed[0], unfinished, holds=self._seconds - STOPPING)

    def renew(self, connection: Patient, generation: int) -> None:
        if connection.execute(RENEW, (self._seconds, generation, self.process)).rowcount != 1:
            raise stale_owner(generation)

    def release(self, connection: Patient) -> None:
        """So that another need not wait for it to end."""
        connection.execute("UPDATE owner SET process = '', expires = '-infinity' WHERE process = %s", (self.process,))
        connection.execute("DELETE FROM writers WHERE process IN (%s, %s)", (self.process, self.writes_as))

    def version(self, connection: Patient) -> int:
        row = connection.execute(
            "SELECT coalesce(sum(writes), 0)::bigint FROM writers WHERE process <> %s", (self.writes_as,)
        ).fetchone()
        assert row is not None, "an aggregate is one row"
        version: int = row[0]
        return version

    def take(self, line: Line) -> None:
        """Claim at the start. Of an owner that was killed the lease is waited for; whoever renews it lives, and keeps it."""
        try:
            seen: object = None
            while line.run(self.claim) is None:
                holder = line.run(_holder)
                if seen not in (None, holder):
                    raise InUse(
                        f"The journal in {line.shown} is in use by another quell ({holder[0]}). Use that one, stop it, "
                        "or wait beside it, to take over when it ends:  quell serve --standby"
                    )
                seen = holder
                time.sleep(0.05)
        except psycopg.Error as error:
            raise refusal(line.shown, "claimed", error) from error


def _holder(connection: Patient) -> tuple[str, object]:
    row = connection.execute("SELECT host, expires FROM owner").fetchone()
    assert row is not None, "there is always one"
    return row[0], row[1]
