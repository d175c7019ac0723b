"""The server on demand: one start whoever asks, replaced when it is old and idle, and clear words when it cannot be had."""

from __future__ import annotations

import os
import signal
import socket
import threading
from pathlib import Path

import pytest

from quell.cli import daemon
from quell.cli.daemon import _older
from quell.cli.failure import CommandFailed
from quell.config.paths import paths
from tests.cli.command import Ended, Home, until


def test_a_storm_of_commands_starts_one_server(own_home: Home) -> None:
    running = [own_home.start("run", "--quiet", "--model", own_home.model, "say hello") for _ in range(50)]
    ended = [each.end() for each in running]
    assert {(each.status, each.out, each.err) for each in ended} == {(0, "Hello, wörld.\n", "")}
    assert len(own_home.servers()) == 1
    assert len(own_home.sessions()) == 50


def test_stop_ends_it_and_the_next_command_starts_another(own_home: Home) -> None:
    assert own_home.quell("serve", "--stop").out == "no server is running\n"
    own_home.run("say hello")
    [first] = own_home.servers()
    assert own_home.quell("serve", "--stop").out == f"stopped the server (pid {first})\n"
    assert own_home.servers() == []
    assert len(own_home.sessions()) == 1
    [second] = own_home.servers()
    assert second != first


def test_a_server_at_work_is_only_stopped_by_force(own_home: Home) -> None:
    running = own_home.start("run", "--model", own_home.model, "for ever")
    running.reads("and on")
    refused = own_home.quell("serve", "--stop")
    assert refused.status == 1
    assert "is working" in refused.err
    assert "quell serve --stop --force" in refused.err
    assert own_home.quell("serve", "--stop", "--force").status == 0
    assert "the server was stopped in the middle of this run" in running.end().err


def test_a_stale_socket_is_replaced(own_home: Home) -> None:
    own_home.run("say hello")
    own_home.kill_server()
    assert Path(paths(own_home.environment).socket).exists()
    assert own_home.run("--quiet", "say hello").out == "Hello, wörld.\n"


def test_a_socket_of_somebody_else_is_left_alone(own_home: Home) -> None:
    path = Path(paths(own_home.environment).socket)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()

        def greet() -> None:
            connection, _ = other.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"220 mail\r\n")

        thread = threading.Thread(target=greet)
        thread.start()
        done = own_home.run("say hello")
        thread.join()
    assert done.status == 1
    assert "does not speak HTTP" in done.err
    assert "belongs to another program" in done.err
    assert own_home.servers() == []


@pytest.mark.parametrize("command", [["sessions"], ["serve", "--stop"]], ids=" ".join)
def test_a_server_that_does_not_answer_is_named(
    own_home: Home, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    own_home.run("say hello")
    [server] = own_home.servers()
    os.kill(server, signal.SIGSTOP)
    monkeypatch.setattr(daemon, "HEALTH_SECONDS", 0.2)
    monkeypatch.setattr(os, "environ", own_home.environment)
    place = daemon.here()
    try:
        with pytest.raises(CommandFailed, match=f"pid {server}\\) does not answer.*kill -9 {server}"):
            daemon.connect(place).close() if command == ["sessions"] else daemon.stop(place, force=False)
    finally:
        os.kill(server, signal.SIGCONT)
    assert own_home.servers() == [server]


def test_something_else_at_the_place_of_the_socket(own_home: Home) -> None:
    path = Path(paths(own_home.environment).socket)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_text("mine")
    done = own_home.run("say hello")
    assert done.status == 1
    assert f"There is something at {path} that is no socket. Remove it" in done.err
    assert path.read_text() == "mine"


def test_a_server_that_cannot_start_says_why_and_no_more(own_home: Home) -> None:
    own_home.data.mkdir(mode=0o700)
    (own_home.data / "quell.db").write_bytes(b"this is no database, whatever its name" * 100)
    done = own_home.run("say hello")
    assert done.status == 1
    assert done.err.startswith(f"quell: The journal {own_home.data / 'quell.db'} cannot be opened, because the file is")
    assert done.err.count("\n") == 1, done
    assert own_home.servers() == []


def test_a_configuration_that_is_wrong_is_wrong_usage(own_home: Home) -> None:
    path = own_home.configure('mode = "edits"\nmodle = "x"\n')
    done = own_home.run("say hello")
    assert (done.status, done.err) == (2, f"quell: {path}:2: unknown key `modle`; did you mean `model`?\n")
    in_the_foreground = own_home.quell("serve")
    assert (in_the_foreground.status, in_the_foreground.err) == (2, done.err)


def test_a_socket_folder_that_is_not_safe_is_no_bug(own_home: Home) -> None:
    folder = Path(paths(own_home.environment).socket).parent
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    done = own_home.run("say hello")
    assert done.status == 1
    assert done.err.startswith(f"quell: the folder {folder} can be written by others")
    assert "bug" not in own_home.quell("serve").err


def test_a_server_that_dies_without_a_word_shows_the_end_of_its_log(own_home: Home) -> None:
    """Nothing is known of the reason, so the log is where to look."""
    (own_home.root / "modules").mkdir()
    (own_home.root / "modules" / "uvloop.py").write_text("raise SystemExit('this module is broken')")
    done = own_home.quell("run", "hello", environment={"PYTHONPATH": str(own_home.root / "modules")})
    assert done.status == 1
    assert "the server could not be started: it ended with status 1" in done.err
    assert str(own_home.data / "logs" / "daemon.log") in done.err
    assert "this module is broken" in done.err


def test_a_server_that_cannot_load_what_the_model_needs_goes_on(own_home: Home) -> None:
    """It loads that beforehand, beside what else it does."""
    (own_home.root / "modules").mkdir()
    (own_home.root / "modules" / "openai.py").write_text("raise RuntimeError('this module is broken')")
    own_home.configure('model = "openai/gpt-5"\n')
    path = f"{own_home.root / 'modules'}:{own_home.environment['PYTHONPATH']}"
    assert own_home.quell("sessions", environment={"PYTHONPATH": path, "OPENAI_API_KEY": "sk-1"}).status == 0
    log = own_home.data / "logs" / "daemon.log"
    until(lambda: "what is loaded beforehand cannot be" in log.read_text())
    servers = own_home.servers()
    assert own_home.run("--quiet", "say hello").out == "Hello, wörld.\n"
    assert own_home.servers() == servers


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_data_folder_that_cannot_be_written(own_home: Home) -> None:
    own_home.data.mkdir(mode=0o500)
    done = own_home.run("say hello")
    assert done.status == 1
    assert str(own_home.data) in done.err


def test_a_data_folder_that_is_a_file(own_home: Home) -> None:
    own_home.data.write_text("")
    done = own_home.run("say hello")
    assert done.status == 1
    assert f"cannot use the folder {own_home.data}" in done.err


def test_a_relative_data_folder_is_refused(own_home: Home) -> None:
    done = own_home.quell("run", "hello", environment={"QUELL_DATA_DIR": "here"})
    assert (done.status, done.err) == (
        1,
        "quell: $QUELL_DATA_DIR is 'here', a relative path. Give it as an absolute one\n",
    )


def test_the_foreground_server_ends_with_a_signal_and_respects_another(own_home: Home) -> None:
    serving = own_home.start("serve")
    serving.reads("serving at ")
    assert own_home.quell("serve", "--stop").out.startswith("stopped")
    assert serving.end().status == 0

    serving = own_home.start("serve")
    serving.reads("serving at ")
    second = own_home.quell("serve")
    assert second.status == 1
    assert "there already" in second.err
    serving.signal(signal.SIGTERM)
    assert serving.end().status == 0


def test_the_foreground_server_on_tcp_says_where_its_token_is(own_home: Home) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
    serving = own_home.start("serve", "--listen", str(port))
    serving.reads("Ctrl-C ends it")
    serving.signal(signal.SIGTERM)
    done = serving.end()
    token = own_home.data / "token"
    assert f"serving at http://127.0.0.1:{port}, with the token in {token}\n" in done.out
    assert token.read_text().strip() not in done.out + done.err


@pytest.mark.parametrize("address", ["nonsense", "localhost:port", "127.0.0.1:99999"])
def test_an_address_that_is_none(own_home: Home, address: str) -> None:
    done = own_home.quell("serve", "--listen", address)
    assert done.status == 2
    assert "is no address" in done.err


def test_a_port_in_use(own_home: Home) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        done = own_home.quell("serve", "--listen", str(other.getsockname()[1]))
    assert done.status == 1
    assert "choose another port" in done.err


@pytest.mark.parametrize(
    ("version", "older"),
    [("0.0.9", True), ("0.0.9rc1", True), ("0.1.0", False), ("0.1.1", False), ("1.0", False), ("", True)],
)
def test_versions_are_compared_as_numbers(version: str, older: bool) -> None:
    assert _older(version) is older


def _with_version(home: Home, version: str, *arguments: str) -> Ended:
    """The command as a release of that version would be."""
    code = f"import sys, quell; quell.__version__ = {version!r}; from quell.__main__ import main; sys.exit(main())"
    line = home.line()
    import subprocess

    done = subprocess.run(
        [line[0], "-P", "-c", code, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=home.environment,
        cwd=home.workspace,
        timeout=40,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def test_an_older_idle_server_is_replaced(own_home: Home) -> None:
    own_home.run("say hello")
    [old] = own_home.servers()
    done = _with_version(own_home, "0.9.0", "run", "--quiet", "--model", own_home.model, "say hello")
    assert (done.status, done.out) == (0, "Hello, wörld.\n"), done
    [new] = own_home.servers()
    assert new != old


def test_an_older_busy_server_is_used_as_it_is(own_home: Home) -> None:
    running = own_home.start("run", "--model", own_home.model, "for ever")
    running.reads("and on")
    servers = own_home.servers()
    done = _with_version(own_home, "0.9.0", "run", "--quiet", "--model", own_home.model, "say hello")
    assert (done.status, done.out) == (0, "Hello, wörld.\n"), done
    assert own_home.servers() == servers
    running.signal(signal.SIGINT)
    assert running.end().status == 130


def test_a_newer_server_is_used_as_it_is(own_home: Home) -> None:
    own_home.run("say hello")
    servers = own_home.servers()
    assert _with_version(own_home, "0.0.1", "run", "--quiet", "--model", own_home.model, "say hello").status == 0
    assert own_home.servers() == servers


def test_a_command_with_another_runtime_folder_finds_the_server(own_home: Home, tmp_path: Path) -> None:
    """As in cron, or over ssh."""
    own_home.quell("sessions", "list")
    (server,) = own_home.servers()
    other = {"XDG_RUNTIME_DIR": str(tmp_path)}
    assert own_home.quell("sessions", "list", environment=other).status == 0
    assert own_home.servers() == [server]
    assert own_home.quell("serve", "--stop", environment=other).out.startswith("stopped")
