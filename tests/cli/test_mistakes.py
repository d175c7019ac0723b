"""Bad input: a clear text on standard error, the right exit status, no traceback, and no session left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.command import Home


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "the prompt is empty"),
        (["   "], "the prompt is empty"),
        (["--session", "0000nothing", "x"], "there is no session 0000nothing"),
        (["--session", "../../etc", "x"], "is not the id of a session"),
        (["--session", "a", "--continue", "x"], "--session and --continue exclude each other"),
        (["--json", "--stream-json", "x"], "--json and --stream-json exclude each other"),
        (["--mode", "plan", "--yolo", "x"], "--mode and --yolo exclude each other"),
        (["--ask", "--no-ask", "x"], "--ask and --no-ask exclude each other"),
        (["--ask", "--json", "x"], "--ask and --json exclude each other"),
        (["--ask", "--stream-json", "x"], "--ask and --stream-json exclude each other"),
        (["--ask", "x"], "nobody can be asked"),
        (["--mode", "careless", "x"], "'careless' is not one of"),
        (["--timeout", "0", "x"], "--timeout"),
        (["--timeout", "inf", "x"], "--timeout"),
        (["--timeout", "nan", "x"], "'nan' is no number of seconds"),
        (["--timeout", "1e99", "x"], "--timeout"),
        (["--max-turns", "none", "x"], "--max-turns"),
        (["--sesion", "x"], "No such option '--sesion'. Did you mean `--session`? See `quell run --help`"),
        (["--modle", "x"], "Did you mean `--model`?"),
        (["--model"], "--model"),
        (["--cwd", "nowhere", "x"], "cannot work in nowhere: there is no such folder"),
        (["--cwd", "file", "x"], "cannot work in file: it is not a folder"),
        (["--add-dir", "nowhere", "x"], "cannot add nowhere: there is no such folder"),
        (["--file", "nowhere", "x"], "cannot attach nowhere"),
        (["--file", ".", "x"], "cannot attach .: it is a folder"),
        (["--file", "/dev/zero", "x"], "cannot attach /dev/zero: it is not a regular file"),
        (["--file", "pipe", "x"], "cannot attach pipe: it is not a regular file"),
        (["--file", "binary", "x"], "cannot attach binary: it is neither UTF-8 text"),
        (["--allow", "bash((", "x"], "is not a permission rule"),
        (["--allow", "", "x"], "is not a permission rule"),
        (["--model", "nobody/nothing", "x"], "nobody"),
        (["--model", "antropic/x", "x"], "did you mean anthropic? `quell models`"),
        (["--model", "anthropic/", "x"], 'no model is named in "anthropic/"; write anthropic/ and the model'),
        (["--model", "scripted:nowhere.toml", "x"], "nowhere.toml"),
        (["--model", "scripted:broken.toml", "x"], "broken.toml:1"),
    ],
    ids=lambda value: " ".join(value) or "nothing" if isinstance(value, list) else None,
)
def test_wrong_usage(home: Home, arguments: list[str], said: str) -> None:
    (home.workspace / "file").touch()
    if not (home.workspace / "pipe").exists():
        os.mkfifo(home.workspace / "pipe")
    (home.workspace / "binary").write_bytes(b"abc\0\xff")
    (home.workspace / "broken.toml").write_text("reply =")
    before = len(home.sessions())
    model = [] if "--model" in arguments or "--session" in arguments else ["--model", home.model]
    done = home.quell("run", *model, *arguments)
    assert done.status == 2, done
    assert done.err.startswith("quell: ")
    assert said in done.err
    assert "Traceback" not in done.err
    assert done.out == ""
    assert len(home.sessions()) == before


@pytest.mark.parametrize("option", ["--json", "--stream-json"])
def test_a_program_gets_a_result_of_what_could_not_be_asked(home: Home, option: str) -> None:
    done = home.run(option, "--session", "0000nothing", "x")
    assert done.status == 2
    result = done.json()
    assert result.pop("event", "result") == "result"
    assert result.keys() == home.run("--json", "say hello").json().keys()
    assert (result["session"], result["prompt"], result["outcome"], result["exit"]) == (None, None, None, 2)
    assert f"quell: {result['error']}\n" == done.err


def test_a_result_of_what_was_refused_names_the_session_that_is_still_there(home: Home) -> None:
    session = home.run("--json", "say hello").json()["session"]
    for place, named in (("--session", str(session)), session), (("--quiet",), None):
        done = home.run("--json", *place, "--allow", "bash(", "x")
        assert (done.status, done.json()["session"], done.json()["prompt"]) == (2, named, None)


def test_a_broken_script_is_not_looked_for_among_the_models(home: Home) -> None:
    (home.workspace / "broken.toml").write_text("reply =")
    done = home.quell("run", "--model", "scripted:broken.toml", "x")
    assert "broken.toml:1" in done.err
    assert "quell models" not in done.err


def test_no_model_is_configured(home: Home) -> None:
    before = len(home.sessions())
    done = home.quell("run", "hello")
    assert done.status == 2
    assert done.err.startswith("quell: no model configured. Three ways to go on:")
    for way in ("ANTHROPIC_API_KEY", "--model", "quell demo"):
        assert way in done.err
    assert len(home.sessions()) == before


def test_no_key(home: Home) -> None:
    done = home.quell("run", "--model", "anthropic/claude-haiku-4-5", "hello")
    assert done.status in (1, 2)
    assert "ANTHROPIC_API_KEY" in done.err


@pytest.mark.parametrize(
    ("content", "said"), [(b"\x7fELF\0\0", "not UTF-8 text (byte 5)"), (b"caf\xe9 au lait", "not UTF-8 text (byte 4)")]
)
def test_binary_on_stdin(home: Home, content: bytes, said: str) -> None:
    done = home.run("describe this", input=content)
    assert done.status == 2
    assert said in done.err


def test_arguments_that_are_no_text(home: Home) -> None:
    line = [os.fsencode(word) for word in home.line("run", "--model", home.model)]
    done = subprocess.run(
        [*line, b"caf\xe9"], env=home.environment, cwd=home.workspace, capture_output=True, timeout=30, check=False
    )
    assert done.returncode == 2
    assert b"not valid UTF-8" in done.stderr


def test_an_environment_that_is_no_text_does_no_harm(home: Home) -> None:
    environment = {os.fsencode(name): os.fsencode(value) for name, value in home.environment.items()} | {
        b"ODD": b"caf\xe9",
        b"N\xe9": b"x",
    }
    line = [os.fsencode(word) for word in home.line("run", "--quiet", "--model", home.model, "say hello")]
    done = subprocess.run(line, env=environment, cwd=home.workspace, capture_output=True, timeout=30, check=False)
    assert (done.returncode, done.stdout.decode()) == (0, "Hello, wörld.\n"), done.stderr


def test_nothing_to_continue(home: Home, tmp_path: Path) -> None:
    done = home.quell("run", "--continue", "go on", cwd=tmp_path)
    assert done.status == 2
    assert f"there is no session to continue in {tmp_path}" in done.err


def test_a_session_whose_folder_is_gone(home: Home, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    session = str(home.run("--json", "--cwd", str(tmp_path / "there"), "say hello").json()["session"])
    (tmp_path / "there").rmdir()
    done = home.quell("run", "--session", session, "go on")
    assert done.status == 2
    assert f"the folder of session {session} is gone: {tmp_path / 'there'}" in done.err


@pytest.mark.skipif(os.getuid() == 0, reason="root may enter everywhere")
def test_a_folder_that_may_not_be_entered(home: Home, tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o000)
    done = home.run("--cwd", str(tmp_path / "closed"), "say hello")
    assert done.status == 2
    assert "cannot work in" in done.err


def test_an_ambiguous_session_is_listed(home: Home) -> None:
    while True:  # until two ids begin alike, which takes few
        home.run("--quiet", "say hello")
        firsts = [str(each["id"])[0] for each in home.sessions()]
        twice = next((first for first in firsts if firsts.count(first) > 1), None)
        if twice:
            break
    done = home.quell("run", "--session", twice, "go on")
    assert done.status == 2
    assert f"sessions begin with {twice}: give more of the id" in done.err
    assert len(done.err.splitlines()) > 2


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["sessions", "nonsense"], ["logs", "--lines", "x"], ["serve", "--force"]]
)
def test_unknown_commands_and_options(home: Home, arguments: list[str]) -> None:
    done = home.quell(*arguments)
    assert done.status == 2
    assert done.err.startswith("quell: ")
    assert "--help`" in done.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rnu", "hello"], "No such command 'rnu'. Did you mean `run`? See `quell --help`"),
        (["session"], "No such command 'session'. Did you mean `sessions`? See `quell --help`"),
        (["queue", "prmote", "x"], "No such command 'prmote'. Did you mean `promote`? See `quell queue --help`"),
        (["--verion"], "No such option '--verion'. Did you mean `--version`? See `quell --help`"),
        (["serve", "--stnadby"], "No such option '--stnadby'. Did you mean `--standby`? See `quell serve --help`"),
        (["xyzzyq"], "No such command 'xyzzyq'. See `quell --help`"),
    ],
)
def test_a_name_that_is_misspelt_is_answered_with_the_nearest(home: Home, arguments: list[str], said: str) -> None:
    done = home.quell(*arguments)
    assert (done.status, done.out, done.err) == (2, "", f"quell: {said}\n")


def test_a_typo_in_the_configuration(own_home: Home) -> None:
    folder = own_home.root / "config" / "quell"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text('mode = "edits"\nmodle = "x"\n')
    done = own_home.run("say hello")
    assert done.status in (1, 2)
    assert "config.toml" in done.err
    assert "model" in done.err
    assert "Traceback" not in done.err


def test_a_bug_is_told_and_its_traceback_is_in_a_file(own_home: Home) -> None:
    code = "import sys; sys.argv[1:] = ['run', 'x']; import quell.cli.run as r; r.run = lambda options: 1 // 0; import quell.__main__ as m; sys.exit(m.main())"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env=own_home.environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("quell: a bug stopped this command (ZeroDivisionError: ")
    log = Path(done.stderr.split()[-1])
    assert "Traceback" in log.read_text()
    assert log.is_relative_to(own_home.data)
    assert "Traceback" not in done.stderr
