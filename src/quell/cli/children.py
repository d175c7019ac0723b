"""What the sub-agents of a run do, told live: each is followed as any session is, in a thread of its own beside the run's.

One more thread watches which there are. Threads, because the client of the one-shot commands is blocking; they end with the command. It is
progress, no more: when the server is lost, they stop telling, and the run's own events say what has become of it.
"""

from __future__ import annotations

import threading

from quell.client.oneshot import Connection, Event, Refused, Unreachable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from quell.cli.narrate import Narrator

CATCH_UP_SECONDS = 2.0
"""How long the end of a sub-agent may keep the run's own events waiting, so that its lines come first."""


class Children:
    """The sub-agents of a session's run. `take` the run's events before the narrator shows them."""

    def __init__(self, socket: Callable[[], str], session: str, narrator: Narrator) -> None:
        self._socket = socket
        self._session = session
        self._narrator = narrator
        self._threads: dict[str, threading.Thread] = {}
        self._lock = threading.Lock()
        threading.Thread(target=self._watch, daemon=True).start()

    def take(self, event: Event) -> None:
        """Before the end of a sub-agent is told, all that it did has been."""
        child = event.body.inner("result").inner("metadata").text("session")
        if event.body.text("kind") == "call_finished" and child:
            self._follow(child)
            if child in self._threads:
                self._threads[child].join(CATCH_UP_SECONDS)

    def _watch(self) -> None:
        try:
            with Connection(self._socket()) as connection:
                for event in connection.stream(f"/v1/events?parent={self._session}", 0):
                    if event.kind == "session":
                        self._follow(event.body.text("id"))
        except (Unreachable, Refused):
            pass

    def _follow(self, child: str) -> None:
        """Once, and not those of other runs, or of a call that is not known yet: we hear of them again."""
        with self._lock:
            name = self._narrator.sub_agents.get(child.removeprefix(f"{self._session}-"))
            if name is not None and child not in self._threads:
                told = self._narrator.beside(name)
                self._threads[child] = threading.Thread(target=self._tell, args=(child, told), daemon=True)
                self._threads[child].start()

    def _tell(self, child: str, narrator: Narrator) -> None:
        try:
            with Connection(self._socket()) as connection:
                for event in connection.stream(f"/v1/sessions/{child}/events", 0):
                    narrator.take(event)
                    if event.body.text("kind") == "run_settled":
                        return
        except (Unreachable, Refused):
            pass
