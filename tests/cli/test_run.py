"""`quell run`, end to end: the real command, server, engine, journal and tools, with a scripted model."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from quell.cli.run import RECORDING, STOPPING
from tests.cli.command import Home, until
from tests.core.drawing import png

# What is shown


def test_text_goes_to_stdout_and_progress_to_stderr(home: Home) -> None:
    done = home.run("say", "hello")
    assert (done.status, done.out) == (0, "Hello, wörld.\n")
    first, last = done.err.splitlines()
    assert first.startswith("session ")
    assert last.startswith("completed · 1 turn · 1200 tokens in, 30 out · $0.25")


def test_quiet_says_nothing_but_the_text(home: Home) -> None:
    done = home.run("--quiet", "look around")
    assert (done.status, done.out, done.err) == (0, "I look.\n\nNothing here.\n", "")


def test_tools_are_named_once(home: Home) -> None:
    done = home.run("write it")
    assert done.status == 0
    assert [line for line in done.err.splitlines() if line.startswith("write")] == ["write  made.txt  +1 −0"]
    assert (home.workspace / "made.txt").read_text() == "made\n"


def test_a_retry_is_told_and_goes_on_behind_what_it_repeats(home: Home) -> None:
    done = home.run("be flaky")
    assert (done.status, done.out) == (0, "Half a word.\n")
    assert "attempt 2 of 5, in less than a second, because the provider is overloaded (the script says so)" in done.err


def test_json_is_one_object(home: Home) -> None:
    done = home.run("--json", "look around")
    result = done.json()
    assert (result["outcome"], result["stop_reason"], result["text"], result["turns"], result["exit"]) == (
        "completed",
        "end_turn",
        "Nothing here.",
        2,
        0,
    )
    assert result["error"] is None
    assert isinstance(result["seconds"], float)


def test_stream_json_is_one_event_a_line(home: Home) -> None:
    done = home.run("--stream-json", "--quiet", "say hello")
    events = [json.loads(line) for line in done.out.splitlines()]
    assert events[0]["event"] == "session"
    assert events[-1]["event"] == "result"
    assert events[-1]["text"] == "Hello, wörld."
    kinds = [event["kind"] for event in events if event["event"] == "fact"]
    assert [kind for kind in kinds if kind in ("run_started", "replied", "run_settled")] == [
        "run_started",
        "replied",
        "run_settled",
    ]
    assert done.err == ""


def test_no_colours_in_a_pipe(home: Home) -> None:
    done = home.run("--mode", "edits", "touch it")
    assert "\x1b" not in done.out + done.err


@pytest.mark.parametrize(
    ("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_colours_on_a_terminal_unless_unwanted(home: Home, environment: dict[str, str], coloured: bool) -> None:
    status, shown = home.on_terminal("run", "-m", home.model, "look around", environment=environment)
    assert status == 0
    assert ("\x1b[" in shown) is coloured


def test_a_terminal_is_not_told_what_a_model_wants_it_to_do(home: Home) -> None:
    assert "a[2Jb" in home.on_terminal("run", "-m", home.model, "escape", environment={"NO_COLOR": "1"})[1]
    assert "a\x1b[2Jb" in home.run("escape").out


# What is asked


def test_stdin_comes_before_the_arguments(home: Home) -> None:
    done = home.run("--json", "and this", input=b"\xef\xbb\xbffirst this\n")
    shown = home.quell("sessions", "show", str(done.json()["session"]))
    assert "> first this\n>\n> and this\n" in shown.out


def test_stdin_alone_is_a_prompt(home: Home) -> None:
    assert home.run(input=b"say hello\n").out == "Hello, wörld.\n"


def test_arguments_after_two_dashes_are_text(home: Home) -> None:
    assert home.run("--", "--say hello").out == "Hello, wörld.\n"


def test_files_are_attached(home: Home, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("remember")
    (tmp_path / "shot.png").write_bytes(png())
    done = home.run("--json", "-f", str(tmp_path / "notes.txt"), "--file", str(tmp_path / "shot.png"), "say hello")
    assert done.status == 0
    exported = home.quell("sessions", "export", str(done.json()["session"])).json()
    messages = exported["messages"]
    assert isinstance(messages, list)
    notes, shot = messages[0]["attachments"]
    assert (notes["name"], notes["content"]) == (str(tmp_path / "notes.txt"), "remember")
    assert (shot["mime_type"], shot["encoding"]) == ("image/png", "base64")


def test_a_text_file_can_be_the_whole_prompt(home: Home, tmp_path: Path) -> None:
    (tmp_path / "task.txt").write_text("do it")
    assert home.run("--quiet", "--file", str(tmp_path / "task.txt")).status == 0


def test_a_large_prompt_is_taken(home: Home) -> None:
    done = home.run("--quiet", input=b"0123456789abcdef\n" * 620_000)
    assert (done.status, done.out) == (0, "You said something.\n"), done.err[:500]


# Where it ends


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["wrong key"], 1, "the run failed: the provider says 401. The provider refuses the key"),
        (["refuse"], 1, "safety filter"),
        (["be cut"], 3, "cut at its longest"),
        (["--max-turns", "2", "again and again"], 3, "limit of turns"),
        (["--max-cost", "0.50", "be costly"], 3, "limit of cost (--max-cost)"),
        (["--timeout", "0.3", "for ever"], 3, "limit of time"),
    ],
)
def test_exit_statuses(home: Home, arguments: list[str], status: int, said: str) -> None:
    done = home.run(*arguments)
    assert done.status == status, done
    assert said in done.err.splitlines()[-1]
    assert "Traceback" not in done.err


def test_what_would_ask_is_denied_and_the_rule_that_allows_it_is_named(home: Home) -> None:
    done = home.run("--mode", "edits", "touch it")
    assert done.status in (0, 3), done
    assert "denied" in done.err
    assert "--allow" in done.err
    assert not (home.workspace / "touched.txt").exists()


def test_a_run_that_was_denied_something_says_at_its_end_what_would_allow_it(home: Home) -> None:
    done = home.run("--mode", "edits", "touch much")
    assert (done.status, done.out) == (0, "Tried.\n")
    assert "2 calls were denied; to allow them: --allow" in done.err
    last = done.err.splitlines()[-2]
    assert last.count("--allow 'bash(touch") >= 1
    rules = [word for word in shlex.split(last) if word.startswith("bash(")]
    allowed = home.run(
        "--json", "--mode", "edits", *(word for rule in rules for word in ("--allow", rule)), "touch much"
    )
    assert (allowed.status, allowed.json()["denied"]) == (0, 0), (rules, allowed)
    (home.workspace / "touched.txt").unlink()
    assert home.run("--quiet", "--mode", "edits", "touch much").err == ""


def test_a_denied_call_is_called_so_on_a_narrow_terminal(home: Home) -> None:
    _, shown = home.on_terminal(
        "run", "--model", home.model, "--mode", "edits", "touch much", environment={"NO_COLOR": "1"}
    )
    lines = [line for line in shown.splitlines() if line.startswith("bash  touch")]
    assert len(lines) == 2
    assert all("  denied: " in line for line in lines), lines


def test_the_exit_status_of_a_command_is_told(home: Home) -> None:
    lines = home.run("--allow", "bash", "fail it").err.splitlines()
    assert lines[1:3] == ["bash  exit 3", "  exit 3"]


def test_what_is_to_know_of_the_configuration_is_said_once(own_home: Home) -> None:
    project = own_home.project('[permissions.rules]\nallow = ["bash"]\n')
    first = own_home.run("say hello")
    assert f"note: {project}:2: rules that allow are ignored in a project's file" in first.err
    assert first.status == 0
    session = first.err.split()[1]
    assert "note:" not in own_home.quell("run", "--session", session, "say hello").err
    assert own_home.run("--quiet", "say hello").err == ""


def test_a_provider_that_is_incomplete_is_an_error_until_it_is_mended(own_home: Home) -> None:
    own_home.run("say hello")
    path = own_home.configure('[providers.own]\ndialect = "openai"\n')
    done = own_home.run("say hello")
    assert (done.status, done.err) == (
        2,
        f"quell: {path}:1: the provider `own` is not built in, so it needs `base_url`, too\n",
    )
    path.write_text('[providers.own]\ndialect = "openai"\nbase_url = "http://localhost:9"\n')
    assert own_home.run("--quiet", "say hello").status == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device here")
def test_output_on_a_full_disk_cancels_the_run_and_says_so(home: Home) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            home.line("run", "--quiet", "--model", home.model, "for ever"),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=home.environment,
            cwd=home.workspace,
            timeout=30,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == (
        "quell: cannot write the output: No space left on device. The run was cancelled; what was done is kept\n"
    )
    until(lambda: not any(each["busy"] for each in home.sessions()))


@pytest.mark.parametrize("allowing", [["--allow", "bash(touch *)"], ["--yolo"], ["--mode", "yolo"]])
def test_what_is_allowed_is_done(home: Home, allowing: list[str]) -> None:
    (home.workspace / "touched.txt").unlink(missing_ok=True)
    done = home.run(*allowing, "touch it")
    assert (done.status, done.out) == (0, "Tried.\n"), done
    assert (home.workspace / "touched.txt").exists()
    (home.workspace / "touched.txt").unlink()


def test_plan_mode_changes_nothing(home: Home) -> None:
    (home.workspace / "made.txt").unlink(missing_ok=True)
    assert "denied" in home.run("--mode", "plan", "write it").err
    assert not (home.workspace / "made.txt").exists()


def test_another_folder_may_belong_to_the_work(home: Home, tmp_path: Path) -> None:
    done = home.run("--json", "--quiet", "--add-dir", str(tmp_path), "say hello")
    assert done.status == 0, done


# Sessions


def test_a_session_goes_on(home: Home) -> None:
    first = home.run("--json", "say hello").json()
    by_prefix = home.quell("run", "--json", "--session", str(first["session"])[:8], "say hello").json()
    assert by_prefix["session"] == first["session"]
    continued = home.quell("run", "--json", "--continue", "say hello").json()
    assert continued["session"] == first["session"]


def test_a_busy_session_takes_the_prompt_when_it_is_free(home: Home) -> None:
    running = home.start("run", "--stream-json", "--model", home.model, "for ever")
    running.reads("delta")
    session = str(json.loads(running._read.split(b"\n")[0])["id"])
    waiting = home.start("run", "--session", session, "say hello")
    until(lambda: any(each["id"] == session and each["queued"] for each in home.sessions()))
    running.signal(signal.SIGINT)
    assert running.end().status == 130
    done = waiting.end()
    assert (done.status, done.out) == (0, "Hello, wörld.\n"), done
    assert "waiting: the session is busy" in done.err


# Cancel


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("prompt", ["for ever", "in silence"])
def test_a_signal_cancels_the_run_and_waits_for_it(home: Home, number: signal.Signals, prompt: str) -> None:
    running = home.start("run", "--model", home.model, prompt)
    running.reads("Hm." if prompt == "in silence" else "and on")
    running.signal(number)
    done = running.end()
    assert done.status == 130, done
    assert "quell: cancelled. To go on: quell run --session" in done.err
    assert done.out.endswith("\n")
    session = done.err.split()[1]
    assert [each["busy"] for each in home.sessions() if each["id"] == session] == [False]


def test_ctrl_c_on_a_terminal(home: Home) -> None:
    script = """import os, pty, sys
pressed = []
def read(fd):
    text = os.read(fd, 9999)
    if b"and on" in text and not pressed:  # once: a second time means something else
        pressed.append(os.write(fd, b"\\x03"))
    return text
sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:], read)))"""
    line = home.line("run", "--model", home.model, "for ever")
    done = subprocess.run(
        [line[0], "-c", script, *line],
        env=home.environment,
        cwd=home.workspace,
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 130
    assert b"Traceback" not in done.stdout


def test_a_second_signal_leaves_at_once(own_home: Home) -> None:
    running = own_home.start("run", "--model", own_home.model, "for ever")
    running.reads("and on")
    [server] = own_home.servers()
    os.kill(server, signal.SIGSTOP)  # so that nothing can settle
    try:
        running.signal(signal.SIGINT)
        until(lambda: _is_cancelling(running.process.pid))
        running.signal(signal.SIGINT)
        assert running.process.wait(5) == 130
    finally:
        os.kill(server, signal.SIGCONT)
    assert running.end().status == 130
    until(lambda: not any(each["busy"] for each in own_home.sessions()))


def _is_cancelling(pid: int) -> bool:
    """It has a second connection: the one that cancels."""
    sockets = 0
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):  # closed just now
            sockets += os.readlink(link).startswith("socket:")
    return sockets > 1


def test_when_nobody_reads_on_the_run_is_cancelled_quietly(home: Home) -> None:
    running = home.start("run", "--quiet", "--model", home.model, "for ever")
    running.reads("and on")
    assert running.process.stdout is not None
    running.process.stdout.close()
    assert running.process.wait(20) == 130
    assert running.process.stderr is not None
    said = running.process.stderr.read().decode().splitlines()
    assert {*said} <= {f"quell: {RECORDING}", f"quell: {STOPPING}"}, "it says no more than what takes long"
    running.process.stderr.close()
    until(lambda: not any(each["busy"] for each in home.sessions()))


@pytest.mark.parametrize("options", [[], ["--quiet"]], ids=["", "quiet"])
def test_closed_streams_are_no_trouble(home: Home, options: list[str]) -> None:
    line = " ".join(f"'{word}'" for word in home.line("run", *options, "--model", home.model, "say hello"))
    done = subprocess.run(
        ["sh", "-c", f"{line} <&- >&- 2>&-"], env=home.environment, cwd=home.workspace, timeout=30, check=False
    )
    assert done.returncode == 0


# Lost servers


def test_a_server_that_is_killed_in_the_middle(own_home: Home) -> None:
    running = own_home.start("run", "--model", own_home.model, "look first")
    running.reads("and on")
    [server] = own_home.servers()
    os.kill(server, signal.SIGKILL)
    done = running.end()
    assert done.status == 1, done
    assert done.out.startswith("First I look.\n\nand on")
    assert "the server was stopped in the middle of this run" in done.err
    assert "To go on: quell run --session" in done.err
    assert [pid for pid in own_home.servers() if pid != server], "a new one has told what became of the run"


def test_a_run_that_is_gone_on_with_is_followed_to_its_end(own_home: Home) -> None:
    own_home.configure("resume_interrupted = true\n")
    running = own_home.start("run", "--json", "--model", own_home.model, "look first")
    until(lambda: bool(own_home.servers()) and any(session["busy"] for session in own_home.sessions()))
    until(lambda: "First I look." in own_home.quell("sessions", "show").out)
    own_home.kill_server()
    done = running.end()
    assert done.status == 0, done
    result = done.json()
    assert (result["outcome"], result["text"], result["error"]) == ("completed", "You said something.", None)
    assert "the server was stopped in the middle; the run is gone on with" in done.err


def test_a_run_that_is_gone_on_with_is_cancelled(own_home: Home) -> None:
    own_home.configure("resume_interrupted = true\n")
    script = own_home.root / "script.toml"
    script.write_text(
        script.read_text().replace("You said something.", "Well…").replace('text = "Well…"', 'endless = "well… "')
    )
    running = own_home.start("run", "--model", own_home.model, "look first")
    running.reads("and on")
    own_home.kill_server()
    running.reads("well…")
    running.process.send_signal(signal.SIGINT)
    assert running.end().status == 130
    assert not any(each["busy"] for each in own_home.sessions())


def test_a_server_that_is_killed_before_the_first_word(own_home: Home) -> None:
    """Nothing was said yet: the run begins again by itself in the new server (contract K3)."""
    script = own_home.root / "script.toml"
    script.write_text("[[reply]]\nstep = [{ silence = true }]\n")
    running = own_home.start("run", "--stream-json", "--model", own_home.model, "wait")
    running.reads("run_started")
    running.signal(signal.SIGSTOP)  # it starts the new one when there is something to say
    own_home.kill_server()
    script.write_text('[[reply]]\nstep = [{ text = "Late." }]\n')
    running.signal(signal.SIGCONT)
    done = running.end()
    assert done.status == 0, done
    assert "the run begins again" in done.err
    assert json.loads(done.out.splitlines()[-1])["text"] == "Late."
    assert "run_recovered" in done.out
