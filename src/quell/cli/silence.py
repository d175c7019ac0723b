"""What a follower is told while nothing comes: whether anything can.

The events of a session are its recorded facts. Where nothing can be recorded none of them says so, so the session is asked for.
"""

from __future__ import annotations

import select
import time

from quell.cli import terminal
from quell.client.oneshot import Connection, Event, Refused, Unreachable

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from quell.cli.narrate import Narrator

SILENT = 2.0
"""Seconds without an event after which it is looked whether there can be any."""

LOOK_SECONDS = 5.0
LONGEST_WAIT = 40.0
"""Seconds after which a stream that is silent is read from, less than what makes it count as lost."""


class Silence:
    """Of a session that is followed: where nothing can be recorded in it (contract K5), no event will say so. It is said once, and when it goes on."""

    def __init__(self, server: Callable[[], str], session: str, narrator: Narrator) -> None:
        self._server = server
        self._session = session
        self._narrator = narrator
        self._stalled = ""

    def wait(self, stream: socket.socket) -> None:
        """Until there is something to be read from the stream."""
        deadline = time.monotonic() + LONGEST_WAIT
        while not select.select([stream.fileno()], [], [], SILENT)[0]:
            if time.monotonic() > deadline or not self._look():
                return

    def take(self, event: Event) -> None:
        if self._stalled and event.kind == "fact":
            self._stalled = ""
            self._narrator.line("the session can be recorded again, and goes on", "yellow")

    def _look(self) -> bool:
        """Whether the server answers. One that is lost is noticed by who reads the stream."""
        try:
            with Connection(self._server(), timeout=LOOK_SECONDS) as connection:
                why = connection.request("GET", f"/v1/sessions/{self._session}").text("stalled")
        except (Refused, Unreachable):
            return False
        if why and not self._stalled:
            why = terminal.one_line(why)
            self._narrator.line(f"stalled, until it can be recorded what has happened: {why}", "yellow", whole=True)
        self._stalled = self._stalled or why
        return True
