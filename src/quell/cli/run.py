"""`quell run`: one prompt, from its text to an exit status.

The prompt is checked, accepted by the server under an id of ours (so that asking again is harmless), and followed to its end: across lost
connections and a restarted server. The run belongs to the server. Ctrl-C and SIGTERM cancel it there and wait for it to settle; a second one
leaves at once. When nobody reads our output any more, the run is cancelled as well, as a pipeline would end any other command. A terminal that
is gone ends the command alone.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time

from quell.cli import daemon, failure
from quell.cli.failure import CommandFailed, InUse, of_refusal, wrong_usage
from quell.cli.late import Late
from quell.cli.lookup import find_session, last_session, path_of
from quell.cli.narrate import Narrator
from quell.cli.options import RunOptions
from quell.cli.outcome import Followed
from quell.cli.prompt import argument_text, attachments, compose
from quell.cli.silence import Silence
from quell.cli.terminal import hung_up, somebody_is_there
from quell.client.oneshot import Connection, Event, Json, Refused, Unreachable, follow, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from types import FrameType

    from quell.cli.asking import Asker
    from quell.cli.children import Children
    from quell.config.paths import Paths

PATIENCE = 30.0
"""Seconds to go on trying when the server is lost."""
CANCEL_SECONDS = 12.0
"""For the answer to a cancel: more than a server has patience with its journal, so that it can say what is wrong."""

RECORDING = "cancelling: waiting for the server to record it. A second Ctrl-C leaves at once"
STOPPING = "cancelling: waiting for what runs to stop. A second Ctrl-C leaves at once"


def run(options: RunOptions) -> int:
    """The exit status. Raises `CommandFailed`; who wants JSON has a result by then."""
    _check(options)
    try:
        return _run(options, _folder(options.cwd or ".", "work in"), _Content(options), daemon.here())
    except CommandFailed as failed:
        if options.json or options.stream_json:
            result = Followed(failed.session, failed.prompt, None).summary()
            result |= {
                "outcome": None,
                "stop_reason": None,
                "error": str(failed),
                "exit": failed.status,
                "seconds": None,
            }
            _print_json(({"event": "result"} if options.stream_json else {}) | result)
        raise


def _run(options: RunOptions, workspace: str, content: _Content, place: Paths) -> int:
    known: str | None = None  # of what a failure is: the session that is there, the prompt that was accepted
    prompt: str | None = None
    try:
        with daemon.connect(place) as connection:
            session, is_new = _session(connection, options, workspace, content.environment)
            task = _Task(connection.path, session.text("id"), options)
            known = None if is_new else task.session
            interrupts = _Interrupts(task)
            try:
                accepted = task.submit(connection, content)
            except (KeyboardInterrupt, Refused):
                if is_new:  # nothing was asked in it
                    task.forget_session()
                raise
            known, prompt = task.session, task.prompt
            if interrupts.seen:  # while it was being accepted: the cancel may have come before the prompt
                task.cancel()
            try:
                notices = _notices(connection, workspace) if is_new and not options.quiet else []
                return task.follow(connection, accepted, session, notices, interrupts)
            except OSError:  # nobody reads on, or nothing more can be written
                if hung_up():
                    _end_with_terminal()
                task.cancel()
                raise
    except (CommandFailed, Refused, Unreachable) as trouble:
        failed = _explained(trouble, place)
        failed.session, failed.prompt = known, prompt
        raise failed from None


def _explained(trouble: CommandFailed | Refused | Unreachable, place: Paths) -> CommandFailed:
    match trouble:
        case Refused():
            return of_refusal(trouble)
        case Unreachable():
            return CommandFailed(f"the server was lost and does not come back: {trouble}. Its log: {place.log}")
        case _:
            return trouble


class _Content:
    """What is asked, with everything that goes with it, read and checked."""

    def __init__(self, options: RunOptions) -> None:
        self.extra = tuple(_folder(path, "add") for path in options.add_dir)
        self.attachments = attachments(options.file)
        self.allow = tuple(argument_text(rule) for rule in options.allow)
        self.text = compose(options.words, notice=not options.quiet)
        has_text_file = any("encoding" not in each and each["content"] for each in self.attachments)
        if not self.text.strip() and not has_text_file:
            raise wrong_usage(
                'there is nothing to do: the prompt is empty. Say what to do: quell run "…", or pass it on standard input'
            )
        # Values that are no UTF-8 would not survive JSON; a mangled value beats a missing variable.
        self.environment = {
            name: value.encode("utf-8", "replace").decode() if not value.isascii() else value
            for name, value in os.environ.items()
            if name.isprintable()
        }


class _Task:
    """One prompt on its way through the server."""

    def __init__(self, socket: str, session: str, options: RunOptions) -> None:
        self.session = session
        self.prompt = self.entry = f"p{os.urandom(10).hex()}"
        self.sent = False
        self.uncancelled = False
        self.late = Late()
        self._socket = socket
        self._options = options
        self._mode = "yolo" if options.yolo else options.mode
        self._asks = _asks(options)
        self._began = time.monotonic()

    def submit(self, connection: Connection, content: _Content) -> Json:
        """Have the prompt accepted, once, however often it takes to hear of it."""
        body: dict[str, object] = {
            "id": self.prompt,
            "text": content.text,
            "on_ask": "wait" if self._asks else "deny",
            "environment": content.environment,
        }
        limits = {
            "turns": self._options.max_turns,
            "cost": self._options.max_cost,
            "seconds": self._options.timeout,
        }
        body |= {
            name: value
            for name, value in (
                ("attachments", content.attachments),
                ("allow", content.allow),
                ("mode", self._mode),
                ("limits", {name: limit for name, limit in limits.items() if limit is not None}),
            )
            if value
        }
        self.sent = True
        path, deadline = f"/v1/sessions/{self.session}/prompts", time.monotonic() + PATIENCE
        try:
            return connection.request("POST", path, body)
        except Unreachable:
            pass
        except Refused as refused:
            if refused.status != 503:
                raise
        while True:
            try:
                with self._connect() as again:
                    return again.request("POST", path, body)
            except (Unreachable, Refused) as trouble:
                if time.monotonic() > deadline or (isinstance(trouble, Refused) and trouble.status != 503):
                    raise
            time.sleep(0.1)

    def follow(
        self, connection: Connection, accepted: Json, session: Json, notices: list[str], interrupts: _Interrupts
    ) -> int:
        followed = Followed(self.session, self.prompt, accepted.text("run") or None)
        options = self._options
        narrator = Narrator(text=not (options.json or options.stream_json), progress=not options.quiet)
        narrator.line(f"session {self.session} · {session.text('model')} · mode {self._mode or session.text('mode')}")
        for notice in notices:
            narrator.line(f"note: {notice}", "yellow", whole=True)
        if options.stream_json:
            _print_json({"event": "session"} | session.raw)
        if not followed.begun:
            self._tell_place(narrator)
        children: Children | None = None
        asker = self._asker(narrator)
        silence = Silence(lambda: self._socket, self.session, narrator)
        first = [connection]

        def wait(stream: socket.socket) -> None:
            if asker is not None:
                asker.wait(stream)
            if asker is None or not asker.asks:
                silence.wait(stream)

        for event in follow(
            lambda: first.pop() if first else self._reconnect(narrator),
            self.session,
            accepted.number("seq") - 1,
            PATIENCE,
            None if options.quiet and asker is None else wait,
        ):
            silence.take(event)
            if event.kind == "reset":
                raise CommandFailed(
                    f"the session {self.session} is not what it was: its database was replaced or restored. See `quell sessions list`"
                )
            ours = followed.take(event)
            if ours:
                if asker is not None:
                    asker.take(event)
                if children is not None:
                    children.take(event)
                narrator.take(event)
                if narrator.sub_agents and children is None and not options.quiet:
                    from quell.cli.children import Children  # few runs have any

                    children = Children(lambda: self._socket, self.session, narrator)
                if options.stream_json:
                    _print_json(_line_of(event))
            elif not followed.begun and event.body.text("kind") == "run_settled":
                self._tell_place(narrator)
            self.entry = followed.entry or self.prompt
            if followed.ended and not self._goes_on(followed, event):
                break
        self.late.end()
        narrator.end_line()
        return self._close(followed, narrator, time.monotonic() - self._began, interrupts)

    def _goes_on(self, followed: Followed, event: Event) -> bool:
        """Whether there is more behind the end of an interrupted run, which can only be what follows it up: the facts are of one decision."""
        if followed.outcome != "interrupted" or event.body.text("kind") != "run_settled":
            return False
        try:
            with Connection(self._socket) as connection:
                return connection.request("GET", f"/v1/sessions/{self.session}").number("seq") > (event.id or 0)
        except (Unreachable, Refused):
            return False

    def _asker(self, narrator: Narrator) -> Asker | None:
        if not self._asks:
            return None
        from quell.cli.asking import Asker  # the prompt is on its way already

        return Asker(lambda: self._socket, self.session, narrator)

    def cancel(self) -> None:
        """Cancel the prompt, on a connection of its own. When it cannot be told now, it will be with the next connection."""
        self.uncancelled = True
        self.late.waiting_for = RECORDING
        try:
            with Connection(self._socket, timeout=CANCEL_SECONDS) as connection:
                connection.request("POST", f"/v1/sessions/{self.session}/cancel", {"prompt": self.entry})
            self.uncancelled = False
            self.late.waiting_for = STOPPING
        except Refused as refused:  # by its journal: the server stops the run all the same, and records it when it can
            self.late.waiting_for = f"the cancel could not be recorded yet: {refused.detail}"
        except Unreachable as lost:
            self.late.waiting_for = f"the cancel was not answered: {lost}. It is sent again with the next connection"

    def forget_session(self) -> None:
        self.late.waiting_for = "leaving: waiting for the server to remove the session, which is empty"
        try:
            with Connection(self._socket, timeout=CANCEL_SECONDS) as connection:
                connection.request("DELETE", f"/v1/sessions/{self.session}")
        except (Unreachable, Refused):
            pass  # an empty session is no harm

    def _reconnect(self, narrator: Narrator) -> Connection:
        narrator.line("the connection to the server was lost; connecting again", "yellow")
        try:
            connection = self._connect()
        except InUse as failed:
            raise CommandFailed(
                f"{failed}\nThat server has the prompt; see what becomes of it there with: quell sessions show {self.session}",
                failed.status,
            ) from None
        except CommandFailed as failed:
            raise CommandFailed(
                f"{failed}\nThe prompt is on disk and will go on when a server runs again; see it with: quell sessions show {self.session}",
                failed.status,
            ) from None
        if self.uncancelled:
            self.cancel()
        return connection

    def _connect(self) -> Connection:
        """To the server that there is now: a standby may have taken over."""
        connection = daemon.connect(daemon.here())
        self._socket = connection.path
        return connection

    def _tell_place(self, narrator: Narrator) -> None:
        try:
            with Connection(self._socket) as connection:
                queue = connection.request("GET", f"/v1/sessions/{self.session}/queue").items("items")
        except (Unreachable, Refused):
            return
        ids = [item.text("id") for item in queue if not item.flag("parked") or item.text("id") == self.prompt]
        if self.prompt in ids:
            ahead = ids.index(self.prompt)
            narrator.line(f"waiting: the session is busy{f', {ahead} more before this one' if ahead else ''}", "yellow")

    def _close(self, followed: Followed, narrator: Narrator, seconds: float, interrupts: _Interrupts) -> int:
        options = self._options
        summary = followed.summary() | {"seconds": round(seconds, 3)}
        if options.json:
            _print_json(summary)
        elif options.stream_json:
            _print_json({"event": "result"} | summary)
        if options.max_cost is not None and followed.spent.cost is None:
            narrator.line(
                "note: the price of this model is not known, so --max-cost could not stop it", "yellow", whole=True
            )
        if denials := str(followed.denials):
            narrator.line(denials, "yellow", whole=True)
        if followed.complaint and not (interrupts.seen and options.quiet):
            sys.stderr.write(f"quell: {followed.complaint}\n")
        elif not followed.complaint:
            narrator.line(f"{followed.outcome} · {followed.spent} · {seconds:.1f} s")
        return followed.status


class _Interrupts:
    """SIGINT and SIGTERM: the first cancels, the second leaves.

    Cancelling is done in the signal's own function, on a connection of its own: it works wherever the command happens to be blocked, be it
    on a terminal that takes no more output.
    """

    def __init__(self, task: _Task) -> None:
        self.seen = False
        self._task = task
        for number in (signal.SIGINT, signal.SIGTERM):
            # A shell's background job is not meant to hear of Ctrl-C.
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.seen:
            os._exit(failure.CANCELLED)  # at once, whatever is blocked; the cancel has been sent
        self.seen = True
        self._task.late.begin()
        if not self._task.sent:
            raise KeyboardInterrupt
        self._task.cancel()


def _end_with_terminal() -> None:
    """As the SIGHUP would that is on its way: the command ends, and the run goes on."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGHUP)


def _check(options: RunOptions) -> None:
    for one, other, both in (
        ("--session", "--continue", options.session is not None and options.continue_),
        ("--json", "--stream-json", options.json and options.stream_json),
        ("--mode", "--yolo", options.mode is not None and options.yolo),
        ("--ask", "--no-ask", options.ask and options.no_ask),
        ("--ask", "--json", options.ask and options.json),
        ("--ask", "--stream-json", options.ask and options.stream_json),
    ):
        if both:
            raise wrong_usage(f"{one} and {other} exclude each other: give one of them")
    if options.ask and not somebody_is_there():
        raise wrong_usage(
            "nobody can be asked: that needs a terminal for standard input and standard error, and a run in its foreground. Without"
            " --ask what would ask is denied; `quell answer` answers the requests of other sessions"
        )


def _asks(options: RunOptions) -> bool:
    """Whether a person is asked in the middle of the run. A program that reads the output, or wants quiet, has nobody to ask."""
    if options.ask or options.no_ask:
        return options.ask
    return not (options.json or options.stream_json or options.quiet) and somebody_is_there()


def _folder(path: str, purpose: str) -> str:
    """The real path of a folder that can be entered and listed."""
    argument_text(path)
    try:
        real = os.path.realpath(path, strict=True)
        os.scandir(real).close()
    except FileNotFoundError:
        why = "there is no such folder"
    except NotADirectoryError:
        why = "it is not a folder"
    except OSError as error:
        why = error.strerror or str(error)
    else:
        if os.access(real, os.X_OK):
            return real
        why = "it may not be entered"
    raise wrong_usage(f"cannot {purpose} {path}: {why}")


def _session(
    connection: Connection, options: RunOptions, workspace: str, environment: dict[str, str]
) -> tuple[Json, bool]:
    """The session to ask in, and whether it was made just now."""
    wanted: dict[str, object] = {} if options.model is None else {"model": _model(options.model)}
    extra = [_folder(path, "add") for path in options.add_dir]
    if options.session is None and not options.continue_:
        body = (
            {"workspace": workspace, "environment": environment, "unattended": True}
            | wanted
            | ({"extra": extra} if extra else {})
        )
        return connection.request("POST", "/v1/sessions", body), True
    if options.session is not None:
        session = find_session(connection, argument_text(options.session))
    else:
        last = last_session(connection, workspace)
        if last is None:
            raise wrong_usage(
                f"there is no session to continue in {workspace}. Begin one without --continue; `quell sessions list`"
                " shows all"
            )
        session = last
    if not os.path.isdir(session.text("workspace")):
        raise wrong_usage(
            f"the folder of session {session.text('id')} is gone: {session.text('workspace')}. Put it back, or begin a new session where it"
            " is now; what was said is in `quell sessions show`"
        )
    if extra:
        wanted["extra"] = sorted({*session.texts("extra"), *extra})
    if wanted:
        session = connection.request("PATCH", path_of(session), wanted)
    return session, False


def _notices(connection: Connection, workspace: str) -> list[str]:
    """What the person should know of the configuration. Asked when the prompt is on its way already; an older server does not know."""
    try:
        return connection.request("GET", f"/v1/workspaces/status?workspace={quoted(workspace)}").texts("notices")
    except (Refused, Unreachable):  # a server that is lost now is found again by who follows
        return []


def _model(spec: str) -> str:
    """A script's file is meant from here, not from wherever the server was started."""
    if not spec.startswith("scripted:"):
        return spec
    return "scripted:" + os.path.abspath(os.path.expanduser(spec.removeprefix("scripted:")))


def _line_of(event: Event) -> dict[str, object]:
    return {"event": event.kind} | event.body.raw


def _print_json(value: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()
