"""The doorbell of a journal in PostgreSQL: NOTIFY rings, LISTEN hears (contract E5).

Rules: one connection does both, and so knows its own rings; a thread waits for it, so that ringing never waits. What is rung for while the
connection is lost is lost with it: whoever hears again after that looks everywhere, and the journal's version is looked at every second.
"""

from __future__ import annotations

import asyncio
import logging
import os
import select
import threading
from collections.abc import Callable, Collection
from contextlib import suppress

import psycopg
from psycopg import sql

from quell.core.errors import StorageRefused
from quell.store.postgres.address import Address, PostgresOptions
from quell.store.postgres.line import LONGEST_PAUSE, Line, Patient
from quell.store.postgres.refusals import refusal

log = logging.getLogger(__name__)

LONGEST = 4000
"""Bytes of a session's id; a longer one rings for everything. PostgreSQL takes less than 8000."""

MANY = 1000
"""More sessions than this at once are everything."""


class NotifyDoorbell:
    """The `Doorbell` port. `loop` is the one that waits for it."""

    def __init__(self, address: Address, options: PostgresOptions, loop: asyncio.AbstractEventLoop) -> None:
        self._line = Line(address, options, options.brief)
        self._channel = f"quell_{options.schema}"
        self._loop = loop
        self._rung: set[str] = set()
        self._arrival = asyncio.Event()
        self._to_ring: set[str] = set()
        self._woken, self._waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._door = threading.Lock()
        self._closed = False
        self._connection: Patient | None = None
        self._try(self._listen)
        self._thread = threading.Thread(target=self._run, name="journal-doorbell", daemon=True)
        self._thread.start()
        self.ring("")

    def ring(self, session: str) -> None:
        with self._door:
            if self._closed:
                return
            self._to_ring.add(session)
            with suppress(BlockingIOError):  # it has been woken often enough
                os.write(self._waker, b"!")

    async def rung(self) -> Collection[str]:
        await self._arrival.wait()
        self._arrival.clear()
        rung, self._rung = self._rung, set()
        return rung

    def close(self) -> None:
        with self._door:
            if self._closed:
                return
            self._closed = True
            os.close(self._waker)  # which wakes the thread for the last time
        self._thread.join(LONGEST_PAUSE)

    def _hear(self, session: str) -> None:
        self._rung.add(session)
        self._arrival.set()

    # In the thread

    def _run(self) -> None:
        while self._wait():
            self._try(self._ring_and_hear)
        self._line.close()
        os.close(self._woken)

    def _try(self, work: Callable[[Patient], None]) -> None:
        """Silence costs time and no more: it is tried again."""
        try:
            self._line.run(work)
        except (psycopg.Error, StorageRefused) as error:
            if self._connection is not None:
                said = refusal(self._line.shown, "heard", error) if isinstance(error, psycopg.Error) else error
                log.warning("the doorbell is silent for now: %s", said)
            self._line.close()
            self._connection = None

    def _listen(self, connection: Patient) -> None:
        own = connection.pgconn.backend_pid
        connection.add_notify_handler(lambda heard: None if heard.pid == own else self._tell(heard.payload))
        connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(self._channel)))
        self._connection = connection

    def _wait(self) -> bool:
        """Until there is something to ring or to hear, or to open the connection again; False: it was closed."""
        waiting = select.poll()
        waiting.register(self._woken, select.POLLIN)
        if self._connection is not None:
            waiting.register(self._connection.fileno(), select.POLLIN)
        ready = waiting.poll(None if self._connection is not None else LONGEST_PAUSE * 1000)
        if self._woken in dict(ready):
            return bool(os.read(self._woken, 4096))
        return True

    def _ring_and_hear(self, connection: Patient) -> None:
        with self._door:
            sessions, self._to_ring = self._to_ring, set()
        if connection is not self._connection:  # opened anew: what was rung for meanwhile was not heard, on either side
            self._listen(connection)
            self._tell("")
            sessions = {""}
        elif len(sessions) > MANY:
            sessions = {""}
        # An empty list hears what has arrived, as any statement does, and finds out whether there still is a connection.
        rings = sorted({_payload(session) for session in sessions})
        connection.execute("SELECT pg_notify(%s, session) FROM unnest(%s::text[]) AS session", (self._channel, rings))

    def _tell(self, session: str) -> None:
        with suppress(RuntimeError):  # the loop is gone, and nobody is left in it
            self._loop.call_soon_threadsafe(self._hear, session)


def _payload(session: str) -> str:
    try:
        return "" if len(session.encode()) > LONGEST or "\0" in session else session
    except UnicodeEncodeError:
        return ""
