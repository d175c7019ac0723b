"""A standby server, as commands meet it: they find it when the owner is killed, and start no third one beside it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from quell.client.oneshot import Connection
from quell.config.paths import paths, standby_sockets
from quell.testing.postgresql import Server
from tests.cli.command import Home, Started, until

SILENT = "[[reply]]\nstep = [{ silence = true }]\n"


@contextmanager
def serving(home: Home, *arguments: str, environment: dict[str, str] | None = None) -> Iterator[Started]:
    server = home.start("serve", *arguments, environment=environment)
    try:
        server.reads("Ctrl-C ends it")
        yield server
    finally:
        server.process.kill()
        server.process.communicate()


def role(home: Home, socket: str) -> str:
    with Connection(socket) as connection:
        return connection.request("GET", "/v1/health").text("role")


@pytest.fixture(params=["sqlite", "postgres"])
def any_home(own_home: Home, request: pytest.FixtureRequest) -> Home:
    """On a file, and on a database, where the owner's lease has to end before the standby takes over."""
    if request.param == "postgres":
        server: Server = request.getfixturevalue("postgresql")
        own_home.configure(f'[server]\ndatabase = "{server.url(server.database())}"\nlease = 5\n')
    return own_home


@pytest.mark.parametrize("stopped", [False, True], ids=["at once", "later"])
def test_the_owner_is_killed_in_the_middle(any_home: Home, stopped: bool) -> None:
    socket = standby_sockets(paths(any_home.environment).socket)[0]
    with serving(any_home) as owner, serving(any_home, "--standby") as standby:
        running = any_home.start("run", "--model", any_home.model, "look first")
        running.reads("and on")
        if stopped:
            standby.process.send_signal(signal.SIGSTOP)
        owner.process.kill()
        owner.process.wait()
        if stopped:
            running.complains("connecting again")
            standby.process.send_signal(signal.SIGCONT)
        done = running.end()
        assert done.status == 1, done
        assert "the server was stopped in the middle of this run" in done.err
        assert "To go on: quell run --session" in done.err
        assert any_home.servers() == [standby.process.pid]
        assert role(any_home, socket) == "owner"
        assert any_home.run("--quiet", "say hello").out == "Hello, wörld.\n"
        assert any_home.servers() == [standby.process.pid]


def test_the_owner_is_killed_before_the_first_word(own_home: Home) -> None:
    """The standby begins the run again (contract K3), and the command sees it through; Ctrl-C would reach it there."""
    script = own_home.root / "script.toml"
    script.write_text(SILENT, encoding="utf-8")
    with serving(own_home) as owner, serving(own_home, "--standby") as standby:
        running = own_home.start("run", "--stream-json", "--model", own_home.model, "wait")
        running.reads("run_started")
        standby.process.send_signal(signal.SIGSTOP)  # until there is something to say
        owner.process.kill()
        owner.process.wait()
        script.write_text('[[reply]]\nstep = [{ text = "Late." }]\n', encoding="utf-8")
        standby.process.send_signal(signal.SIGCONT)
        done = running.end()
        assert done.status == 0, done
        assert "the run begins again" in done.err
        assert json.loads(done.out.splitlines()[-1])["text"] == "Late."
        assert own_home.servers() == [standby.process.pid]


def test_a_cancel_reaches_the_server_that_took_over(own_home: Home) -> None:
    (own_home.root / "script.toml").write_text(SILENT, encoding="utf-8")
    with serving(own_home) as owner, serving(own_home, "--standby") as standby:
        running = own_home.start("run", "--stream-json", "--model", own_home.model, "wait")
        running.reads("run_started")
        owner.process.kill()
        owner.process.wait()
        running.reads("run_recovered")
        running.process.send_signal(signal.SIGINT)
        assert running.end().status == 130
        assert own_home.servers() == [standby.process.pid]


def test_a_server_that_was_faster_is_found_when_it_says_where_it_is(own_home: Home) -> None:
    """Its socket is elsewhere, and it has the journal already: the server that was started is refused."""
    place = paths(own_home.environment)
    (own_home.root / "elsewhere").mkdir(mode=0o700)
    with serving(own_home, environment={"XDG_RUNTIME_DIR": str(own_home.root / "elsewhere")}) as owner:
        until(lambda: os.path.exists(place.address) and os.path.getsize(place.address) > 0)
        hidden = f"{place.address}.hidden"
        os.rename(place.address, hidden)
        running = own_home.start("run", "--quiet", "--model", own_home.model, "say hello")
        until(lambda: os.path.exists(place.log) and b"in use by another quell" in Path(place.log).read_bytes())
        os.rename(hidden, place.address)
        done = running.end()
        assert (done.status, done.out) == (0, "Hello, wörld.\n"), done
        assert own_home.servers() == [owner.process.pid]


def test_a_socket_that_is_named_is_the_one_that_is_meant(own_home: Home) -> None:
    with serving(own_home) as owner:
        named = {"QUELL_SOCKET": str(own_home.root / "run" / "named.sock")}
        refused = own_home.quell("run", "--model", own_home.model, "say hello", environment=named)
        assert refused.status == 1, refused
        assert f"in use by another quell (process {owner.process.pid})" in refused.err
