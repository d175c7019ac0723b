"""Asking the person at the terminal, while a run goes on: the requests of the run, one form at a time.

There is one thread: while a form is shown, whoever waits for the next event waits for a line as well (`wait`). So an answer that somebody
gives elsewhere, or a cancel, withdraws the form at once. What was typed before it was shown is not an answer to it.
"""

from __future__ import annotations

import os
import select
import termios
import time

from quell.cli.form import Form, form_of
from quell.cli.silence import LONGEST_WAIT
from quell.cli.terminal import hung_up, one_line
from quell.client.oneshot import Connection, Event, Json, Refused, Unreachable

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from quell.cli.narrate import Narrator

INPUT = 0
ANSWER_SECONDS = 10.0


class Asker:
    """The requests of one run that are open. `take` its events, before the narrator does."""

    def __init__(self, server: Callable[[], str], session: str, narrator: Narrator) -> None:
        self._server = server
        self._session = session
        self._narrator = narrator
        self._inputs: dict[str, str] = {}
        self._open: dict[str, Json] = {}
        self._form: Form | None = None
        self._typed = b""
        self._deserted = False

    def take(self, event: Event) -> None:
        body = event.body
        match body.text("kind") if event.kind == "fact" else event.kind:
            case "replied":
                calls = [part for part in body.inner("reply").items("parts") if part.text("type") == "tool_call"]
                self._inputs = {call.text("id"): call.text("input") for call in calls}
            case "permission_requested" | "questions_asked":
                id = body.text("request")
                self._open[id] = Json(body.raw | {"id": id, "input": self._inputs.get(body.text("call"))})
            case "permission_answered" | "questions_answered":
                self._close(body.text("request"), "It was answered elsewhere.")
            case "call_finished":
                for request in [each for each in self._open.values() if each.text("call") == body.text("call")]:
                    self._close(request.text("id"), "It is not asked any more.")
            case "run_settled" | "deleted":
                for id in list(self._open):
                    self._close(id, "It is not asked any more.")
            case _:
                pass

    @property
    def asks(self) -> bool:
        """Whether something is asked at this moment."""
        return self._form is not None

    def show(self) -> None:
        """The next form, if none is shown: to be called when all that was said before it has been."""
        if self._form is None and self._open and not self._deserted:
            self._form = form_of(next(iter(self._open.values())))
            self._typed = b""
            _forget_typed()
            self._narrator.ask([*self._form.head, *self._form.lines], self._form.prompt)

    def wait(self, stream: socket.socket) -> None:
        """Until there is something to be read from the stream; what is typed meanwhile is taken."""
        deadline = time.monotonic() + LONGEST_WAIT
        self.show()
        while self._form is not None and time.monotonic() < deadline:
            ready = select.select([stream.fileno(), INPUT], [], [], LONGEST_WAIT)[0]
            if stream.fileno() in ready:
                return
            if INPUT in ready:
                self._read(self._form)
                self.show()

    def _read(self, form: Form) -> None:
        try:
            piece = os.read(INPUT, 4096)
        except OSError:  # the terminal is gone
            piece = b""
        if not piece and hung_up():
            # Who was asked is gone, and has not answered: the request waits for another terminal.
            self._form, self._deserted = None, True
            return
        self._typed += piece
        if not piece:  # Ctrl-D
            self._narrator.asked()
            self._put(form, None)
        while self._form is form and b"\n" in self._typed:
            line, _, self._typed = self._typed.partition(b"\n")
            self._put(form, line.decode("utf-8", "replace"))

    def _put(self, form: Form, line: str | None) -> None:
        wrong = form.take(line)
        if form.answer is None:
            self._narrator.ask([(wrong, "yellow")] if wrong else form.lines, form.prompt, typed=True)
        else:
            self._narrator.asked(typed=True)
            self._send(form)

    def _send(self, form: Form) -> None:
        """The form is over; its request as well, unless the server has not taken the answer: then it is asked again."""
        id = form.request.text("id")
        self._form = None
        try:
            with Connection(self._server(), timeout=ANSWER_SECONDS) as connection:
                connection.request("POST", f"/v1/sessions/{self._session}/requests/{id}", form.answer)
        except Refused as refused:
            self._narrator.line(f"not taken: {one_line(refused.detail)}", "yellow", whole=True)
            if refused.code not in ("stale", "not_found", "session_not_found"):  # those: it is over, as of this moment
                return
        except Unreachable as lost:
            self._narrator.line(f"the answer did not arrive: {lost}", "yellow", whole=True)
            return
        self._open.pop(id, None)

    def _close(self, id: str, why: str) -> None:
        request = self._open.pop(id, None)
        if request is not None and self._form is not None and self._form.request.text("id") == id:
            self._form = None
            self._narrator.asked()
            self._narrator.line(why, "yellow")


def _forget_typed() -> None:
    try:
        termios.tcflush(INPUT, termios.TCIFLUSH)
    except termios.error:
        pass  # the terminal is gone: reading will say so
