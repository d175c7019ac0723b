"""A cancel that takes long says so, and what it waits for (C7, C9): nobody presses Ctrl-C and sees nothing happen."""

from __future__ import annotations

import json
import resource
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from quell.cli.run import RECORDING, STOPPING
from quell.config.paths import paths
from tests.cli.command import Home, until

STUBBORN = r"""
[[reply]]
step = [{ tool = "bash", input = { command = "trap '' TERM; echo deaf > deaf.txt; sleep 1000; sleep 1000" } }]
"""

LASTING = r"""
[[reply]]
step = [{ tool = "bash", input = { command = "touch begun.txt; until [ -e go.txt ]; do sleep 0.02; done" } }]

[[reply]]
step = [{ text = "Done." }]
"""


class Withholding:
    """Between commands and a server: whoever cancels gets the answer when it is released, or `refusal` in its place."""

    def __init__(self, path: Path, server: str) -> None:
        self.path = str(path)
        self.refusal = b""
        self._server = server
        self._released = threading.Event()
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(self.path)
        self._listening.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def release(self) -> None:
        self._released.set()

    def close(self) -> None:
        self.release()
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                taken, _ = self._listening.accept()
                threading.Thread(target=self._connect, args=(taken,), daemon=True).start()

    def _connect(self, taken: socket.socket) -> None:
        upstream = socket.socket(socket.AF_UNIX)
        with closing(taken), closing(upstream), suppress(OSError):
            upstream.connect(self._server)
            held = threading.Event()
            threading.Thread(target=self._answers, args=(upstream, taken, held), daemon=True).start()
            while piece := taken.recv(1 << 16):
                if b"/cancel HTTP" in piece:
                    held.set()
                    if self.refusal:
                        taken.sendall(self.refusal)
                        return
                upstream.sendall(piece)

    def _answers(self, upstream: socket.socket, taken: socket.socket, held: threading.Event) -> None:
        with suppress(OSError):
            while piece := upstream.recv(1 << 16):
                if held.is_set():
                    self._released.wait()
                taken.sendall(piece)
            taken.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def between(own_home: Home) -> Iterator[Withholding]:
    assert own_home.run("say hello").status == 0
    withholding = Withholding(own_home.root / "between", paths(own_home.environment).socket)
    yield withholding
    withholding.close()


@pytest.mark.parametrize(("number", "how"), [(signal.SIGINT, "--stream-json"), (signal.SIGTERM, "--quiet")])
def test_c9_a_cancel_without_an_answer_says_what_it_waits_for(
    own_home: Home, between: Withholding, number: signal.Signals, how: str
) -> None:
    running = own_home.start(
        "run", how, "--model", own_home.model, "for ever", environment={"QUELL_SOCKET": between.path}
    )
    running.reads("and on")
    running.signal(number)
    running.complains(f"quell: {RECORDING}\n")
    between.release()
    assert running.end().status == 130


def test_c9_a_cancel_that_could_not_be_recorded_says_why(own_home: Home, between: Withholding) -> None:
    """The run is stopped all the same, and whoever waits for that is told when it is recorded (K5)."""
    problem = json.dumps({"detail": "The journal in the moon does not answer.", "code": "storage_refused"}).encode()
    between.refusal = b"HTTP/1.1 503 Moon\r\nContent-Length: %d\r\n\r\n%b" % (len(problem), problem)
    running = own_home.start("run", "--model", own_home.model, "for ever", environment={"QUELL_SOCKET": between.path})
    running.reads("and on")
    running.signal(signal.SIGINT)
    running.complains("quell: the cancel could not be recorded yet: The journal in the moon does not answer.\n")
    assert own_home.quell("cancel").status == 0
    assert running.end().status == 130


def test_c7_a_cancel_whose_run_does_not_stop_at_once_says_so(own_home: Home) -> None:
    (own_home.root / "script.toml").write_text(STUBBORN, encoding="utf-8")
    running = own_home.start("run", "--yolo", "--model", own_home.model, "go")
    running.complains("sleep 1000")
    until((own_home.workspace / "deaf.txt").exists)
    running.signal(signal.SIGINT)
    running.complains(f"quell: {STOPPING}\n")
    assert running.end().status == 130


def test_quell_cancel_says_what_it_waits_for(own_home: Home, between: Withholding) -> None:
    running = own_home.start("run", "--model", own_home.model, "for ever")
    running.reads("and on")
    cancelling = own_home.start("cancel", environment={"QUELL_SOCKET": between.path})
    cancelling.complains("quell: waiting for the server to record the cancel\n")
    between.release()
    assert cancelling.end().status == 0
    assert running.end().status == 130


def test_k5_who_follows_a_run_that_cannot_be_recorded_is_told_and_told_when_it_goes_on(own_home: Home) -> None:
    """Its server may write no more, as on a full disk: it has nothing to say, and the command said nothing."""
    (own_home.root / "script.toml").write_text(LASTING, encoding="utf-8")
    running = own_home.start("run", "--yolo", "--model", own_home.model, "go")
    until((own_home.workspace / "begun.txt").exists)
    (server,) = own_home.servers()
    room = resource.prlimit(server, resource.RLIMIT_FSIZE)
    resource.prlimit(server, resource.RLIMIT_FSIZE, (1, room[1]))
    (own_home.workspace / "go.txt").touch()
    running.complains("stalled, until it can be recorded what has happened: ")
    resource.prlimit(server, resource.RLIMIT_FSIZE, room)
    running.complains("the session can be recorded again, and goes on\n")
    done = running.end()
    assert (done.status, done.out) == (0, "Done.\n"), done
