"""The commands that look: sessions, models, logs, doctor; and cancel, rename, delete."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from quell import __version__
from tests.cli.command import Home, until


def new_session(home: Home, prompt: str = "say hello") -> str:
    return str(home.run("--json", prompt).json()["session"])


@pytest.mark.parametrize("flag", ["--version", "-V"])
def test_version(home: Home, flag: str) -> None:
    assert home.quell(flag).out == f"quell {__version__}\n"


def test_the_bare_command_is_help(home: Home) -> None:
    bare = home.quell()
    assert bare.status == 0
    assert bare.out == home.quell("--help").out
    for command in ("run", "sessions", "cancel", "models", "serve", "logs", "doctor", "demo"):
        assert f"\n  {command} " in bare.out


def test_sessions_are_listed_last_used_first_and_only_of_this_folder(home: Home, tmp_path: Path) -> None:
    first, second = new_session(home), new_session(home)
    elsewhere = str(home.run("--json", "--cwd", str(tmp_path), "say hello").json()["session"])
    listed = [line.split("\t") for line in home.quell("sessions", "list").out.splitlines()]
    assert [row[0] for row in listed[:2]] == [second, first]
    assert elsewhere not in [row[0] for row in listed]
    assert {len(row) for row in listed} == {4}
    everywhere = home.quell("sessions", "list", "--all", "-n", "1").out.split("\t")
    assert (everywhere[0], everywhere[-1]) == (elsewhere, f"{tmp_path}\n")
    assert home.quell("sessions", "list", "--cwd", str(tmp_path)).out.startswith(elsewhere)


def test_the_list_says_how_the_last_run_ended(home: Home) -> None:
    for prompt, state in (("wrong key", "failed"), ("again and again", "stopped (loop)"), ("say hello", "idle")):
        session = new_session(home, prompt)
        listed = home.quell("sessions", "list", "-n", "1").out.split("\t")
        assert (listed[0], listed[2]) == (session, state)
    session = new_session(home)
    home.run("--session", session, "--timeout", "0.2", "for ever")
    assert home.quell("sessions", "list", "-n", "1").out.split("\t")[2] == "stopped (time_limit)"
    assert home.quell("sessions", "fork", session, "--at", "4").status == 0
    assert home.quell("sessions", "list", "-n", "1").out.split("\t")[2] == "interrupted"


def test_a_session_is_called_what_a_model_says_unless_that_is_not_wanted(own_home: Home) -> None:
    script = own_home.root / "titled.toml"
    script.write_text('title = "A greeting"\n[[when]]\nprompt = "."\nreply = [{ step = [{ text = "hi" }] }]\n')
    assert own_home.quell("run", "--model", f"scripted:{script}", "hello").out == "hi\n"
    until(lambda: own_home.sessions()[0]["title"] == "A greeting")
    own_home.kill_server()
    own_home.configure("titles = false\n")
    session = str(own_home.quell("run", "--model", f"scripted:{script}", "--json", "hello").json()["session"])
    follow = own_home.start("run", "--stream-json", "--session", session, "again").end()
    assert "title" not in {json.loads(line).get("kind", "")[:5] for line in follow.out.splitlines()}
    assert own_home.sessions()[0]["title"] == "hello"


def test_no_sessions(home: Home, tmp_path: Path) -> None:
    done = home.quell("sessions", "list", cwd=tmp_path)
    assert (done.status, done.out) == (0, "")
    assert "no sessions in" in done.err


def test_a_list_on_a_terminal_has_titles_and_fits(home: Home) -> None:
    new_session(home)
    shown = home.on_terminal("sessions", "list", "-n", "3", environment={"PAGER": "cat", "NO_COLOR": "1"})[1]
    assert shown.splitlines()[0].split() == ["id", "updated", "state", "title"]


def test_show_is_a_transcript_with_tools(home: Home) -> None:
    session = new_session(home, "look around")
    shown = home.quell("sessions", "show", session[:9]).out
    wanted = ["> look around", "I look.", "→ ls  .", "Nothing here."]
    assert [line for line in shown.splitlines() if line in wanted] == wanted
    assert "\x1b" not in shown


def test_show_as_json_is_the_export(home: Home) -> None:
    session = new_session(home)
    assert home.quell("sessions", "show", "--json", session).out == home.quell("sessions", "export", session).out


def test_export_to_a_file_that_must_not_exist(home: Home, tmp_path: Path) -> None:
    session = new_session(home)
    target = tmp_path / "session.md"
    assert home.quell("sessions", "export", session, "--format", "markdown", "-o", str(target)).status == 0
    assert "Hello, wörld." in target.read_text(encoding="utf-8")
    again = home.quell("sessions", "export", session, "-o", str(target))
    assert again.status == 1
    assert "File exists" in again.err


def test_export_is_of_the_last_session_unless_one_is_named(home: Home, tmp_path: Path) -> None:
    session = new_session(home)
    exported = home.quell("sessions", "export").json()["session"]
    assert isinstance(exported, dict)
    assert exported["id"] == session
    page = home.quell("sessions", "export", "--format", "html").out
    assert page.startswith("<!DOCTYPE html>")
    assert "Hello, wörld." in page
    nowhere = home.quell("sessions", "export", cwd=tmp_path)
    assert (nowhere.status, "there is no session in" in nowhere.err) == (2, True)


def test_rename_and_delete(home: Home) -> None:
    session = new_session(home)
    assert home.quell("sessions", "rename", session, "A", "better", "name").out == f"{session}  A better name\n"
    assert home.quell("sessions", "list", "better").out.split("\t")[3] == "A better name\n"
    unconfirmed = home.quell("sessions", "delete", session)
    assert (unconfirmed.status, "pass --yes" in unconfirmed.err) == (2, True)
    assert home.quell("sessions", "delete", "--yes", session).out == f"deleted {session} (A better name)\n"
    gone = home.quell("sessions", "show", session)
    assert gone.status == 2
    assert f"there is no session {session}" in gone.err


def test_a_fork_goes_on_by_itself(home: Home) -> None:
    session = new_session(home, "look around")
    forked = home.quell("sessions", "fork", session[:9])
    assert (forked.status, forked.err) == (0, "")
    id, _, title = forked.out.strip().partition("  ")
    assert (id != session, title) == (True, "look around")
    assert home.quell("run", "--session", id, "say hello").status == 0
    assert "say hello" not in home.quell("sessions", "show", session).out
    assert home.quell("sessions", "show", id).out.count("Nothing here.") == 1
    beginning = json.loads(home.quell("sessions", "fork", session, "--at", "1", "--json").out)
    assert beginning["seq"] == 2
    wrong = home.quell("sessions", "fork", session, "--at", "999")
    assert (wrong.status, "has facts 1 to" in wrong.err) == (2, True)


def test_a_conversation_is_summarised_and_goes_on_from_the_summary(home: Home) -> None:
    session = new_session(home, "look around")
    done = home.quell("compact")
    assert (done.status, done.out, done.err) == (
        0,
        f"summarised session {session}: quell sessions show {session}\n",
        "",
    )
    assert json.loads(home.quell("compact", session[:9], "--json").out) == {
        "session": session,
        "outcome": "completed",
        "summary": "You said something.",
    }
    assert home.quell("run", "--session", session, "say hello").out == "Hello, wörld.\n"
    assert "> look around" in home.quell("sessions", "show", session).out


def test_a_conversation_is_summarised_before_its_window_is_full(own_home: Home) -> None:
    own_home.configure("[compaction]\nwindow = 1_500\n")
    session = str(own_home.run("--json", "say hello").json()["session"])  # 1230 of them are taken
    done = own_home.quell("run", "--session", session, "say something")
    assert "summarising the conversation so far" in done.err
    assert done.out == "You said something.\n"


def test_a_session_deleted_under_a_run(home: Home) -> None:
    running = home.start("run", "--model", home.model, "for ever")
    running.reads("and on")
    session = str(home.sessions()[0]["id"])
    assert home.quell("sessions", "delete", "-y", session).status == 0
    done = running.end()
    assert (done.status, done.err.splitlines()[-1]) == (130, "quell: cancelled: the session was deleted"), done


def test_a_session_deleted_before_a_run_has_begun(home: Home) -> None:
    running = home.start("run", "--model", home.model, "for ever")
    running.reads("and on")
    session = str(home.sessions()[0]["id"])
    waiting = home.start("run", "--session", session, "--json", "say hello")
    until(lambda: home.sessions()[0]["queued"])
    assert home.quell("sessions", "delete", "-y", session).status == 0
    done = waiting.end()
    assert (done.status, done.json()["error"]) == (130, "cancelled: the session was deleted"), done
    assert running.end().status == 130


def test_cancel_without_a_session_finds_the_busy_one(own_home: Home) -> None:
    assert own_home.quell("cancel").out == "nothing is running here\n"
    running = own_home.start("run", "--model", own_home.model, "for ever")
    running.reads("and on")
    session = str(own_home.sessions()[0]["id"])
    assert own_home.quell("cancel").out == f"cancelled the run in session {session}\n"
    done = running.end()
    assert done.status == 130
    assert own_home.quell("cancel", session).out == f"nothing was running in session {session}\n"


def test_cancel_active_parks_what_waits(own_home: Home) -> None:
    running = own_home.start("run", "--model", own_home.model, "for ever")
    running.reads("and on")
    session = str(own_home.sessions()[0]["id"])
    waiting = own_home.start("run", "--session", session, "say hello")
    until(lambda: own_home.sessions()[0]["queued"])
    assert own_home.quell("cancel", session, "--active").status == 0
    assert running.end().status == 130
    assert own_home.sessions()[0]["parked"] is True
    assert "parked: say hello" in own_home.quell("sessions", "show", session).out
    assert own_home.quell("cancel", session).out == f"cancelled what waited in session {session}\n"
    dropped = waiting.end()
    assert dropped.status == 130
    assert "dropped before it had begun" in dropped.err


def test_jobs_are_listed_and_ended(own_home: Home) -> None:
    assert own_home.quell("jobs").err == "quell: no background jobs\n"
    done = own_home.run("--yolo", "--json", "start a server")
    assert "bash  sleep 1000\n  runs on in the background: quell jobs\n" in done.err
    session = str(done.json()["session"])
    (line,) = own_home.quell("jobs").out.splitlines()
    job, where, _, state, command = line.split("\t")
    assert (where, state, command) == (session, "running", "sleep 1000")
    assert own_home.quell("jobs", session, "--end", "x").status == 2
    assert own_home.quell("jobs", "--end", job).out == f"ended {job}\n"
    assert json.loads(own_home.quell("jobs", "--json").out)[0]["running"] is False
    assert own_home.quell("jobs", "--end", job).out == f"{job} had ended already: signal 15\n"


def test_cancel_of_one_of_several_wants_to_know_which(own_home: Home) -> None:
    running = [own_home.start("run", "--model", own_home.model, "for ever") for _ in range(2)]
    for each in running:
        each.reads("and on")
    done = own_home.quell("cancel")
    assert done.status == 2
    assert "2 sessions of this folder are busy: say which" in done.err
    for each in running:
        each.signal(signal.SIGINT)
        assert each.end().status == 130


def test_logs(own_home: Home) -> None:
    missing = own_home.quell("logs")
    assert missing.status == 1
    assert "there is no log yet" in missing.err
    log = own_home.data / "logs" / "daemon.log"
    log.parent.mkdir(parents=True)
    log.write_text("".join(f"line {number}\n" for number in range(100_000)))
    assert own_home.quell("logs", "-n", "2").out == "line 99998\nline 99999\n"
    following = own_home.start("logs", "-f", "-n", "1")
    following.reads("line 99999\n")
    with log.open("a") as file:
        file.write("one more\n")
    following.reads("one more\n")
    following.signal(signal.SIGINT)
    assert following.end().status == 130


def test_a_listing_whose_reader_leaves_ends_quietly(own_home: Home) -> None:
    log = own_home.data / "logs" / "daemon.log"
    log.parent.mkdir(parents=True)
    log.write_text("a line\n" * 100_000)
    line = " ".join(f"'{word}'" for word in own_home.line("logs", "-n", "100000"))
    done = subprocess.run(
        f"{{ {line}; echo status $? >&2; }} | head -n 1",
        shell=True,
        env=own_home.environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("a line\n", "status 0\n")


def test_doctor_says_what_is_missing_and_how_to_mend_it(own_home: Home) -> None:
    done = own_home.quell("doctor")
    assert done.status == 1, "no model can be used"
    found = {line[6:20].strip(): line for line in done.out.splitlines() if line[:4].strip()}
    for what in (
        "version",
        "your settings",
        "keys",
        "data",
        "database",
        "socket",
        "server",
        "model",
        "rg",
        "git",
        "bash",
        "sandbox",
    ):
        assert what in found, done
    assert found["model"].startswith("BAD")
    assert "quell demo" in done.out


def test_doctor_names_keys_and_never_shows_them(own_home: Home) -> None:
    done = own_home.quell("doctor", environment={"ANTHROPIC_API_KEY": "sk-secret"})
    assert "ANTHROPIC_API_KEY" in done.out
    assert "sk-secret" not in done.out + done.err


def test_doctor_names_the_search_engine_and_what_it_lacks(own_home: Home) -> None:
    assert "no search engine is chosen" in own_home.quell("doctor").out
    own_home.configure('[search]\nprovider = "brave"\n')
    assert "export BRAVE_API_KEY=…" in own_home.quell("doctor").out
    done = own_home.quell("doctor", environment={"BRAVE_API_KEY": "bsa-secret"})
    assert "ok    web search     brave" in done.out.splitlines()
    assert "bsa-secret" not in done.out


def test_doctor_finds_a_broken_configuration(own_home: Home) -> None:
    folder = own_home.root / "config" / "quell"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text("model = \n")
    done = own_home.quell("doctor", "--json")
    assert done.status == 1
    bad = {each["what"]: each for each in json.loads(done.out) if each["health"] == "bad"}
    assert "config.toml:1" in bad["settings"]["found"]
    assert bad["settings"]["mend"]


def test_doctor_does_not_look_at_a_file_where_a_database_is_configured(own_home: Home) -> None:
    """The file of before is not in use: that it is well says nothing."""
    own_home.run("say hello")
    own_home.quell("serve", "--stop")
    done = own_home.quell(
        "doctor", "--json", environment={"QUELL_DATABASE": "postgresql://me:s3cret@127.0.0.1:1/sessions"}
    )
    found = {each["what"]: each for each in json.loads(done.out)}
    assert "database sessions at 127.0.0.1:1 as user me cannot be opened" in found["server"]["found"]
    assert "database" not in found
    assert "s3cret" not in done.out


def test_doctor_finds_a_typo_that_came_after_the_start(own_home: Home) -> None:
    own_home.run("say hello")
    path = own_home.configure('mode = "edits"\nmodle = "x"\n')
    done = own_home.quell("doctor")
    assert done.status == 1
    assert f"BAD   settings       {path}:2: unknown key `modle`; did you mean `model`?" in done.out.splitlines()
    path.write_text('mode = "edits"\n')
    assert f"ok    your settings  {path}" in own_home.quell("doctor").out.splitlines()


def test_doctor_shows_what_a_project_may_not_set(own_home: Home) -> None:
    project = own_home.project('mode = "yolo"\n')
    lines = own_home.quell("doctor").out.splitlines()
    assert f"ok    this project's {project}" in lines
    assert any(line.startswith(f'note  settings       {project}:1: the mode "yolo" is ignored') for line in lines), (
        lines
    )


@pytest.mark.parametrize("spec", ["ollama/some-model", "anthropic/claude-haiku-4-5"])
def test_the_model_of_the_environment_is_the_default(own_home: Home, spec: str) -> None:
    environment = {"QUELL_MODEL": spec, "ANTHROPIC_API_KEY": "sk-secret"}
    done = own_home.quell("doctor", environment=environment)
    assert (done.status, f"ok    model          {spec}" in done.out.splitlines()) == (0, True), done
    default = [
        row["spec"]
        for row in json.loads(own_home.quell("models", "--json", environment=environment).out)
        if row["default"]
    ]
    assert default == [spec]


def test_a_model_of_the_environment_that_cannot_be_used(own_home: Home) -> None:
    done = own_home.quell("doctor", environment={"QUELL_MODEL": "anthropic/brand-new"})
    assert "BAD   model          anthropic/brand-new cannot be used: there is no key for anthropic" in done.out
    done = own_home.quell("doctor", environment={"QUELL_MODEL": "nobody/nothing"})
    assert 'BAD   model          nobody/nothing cannot be used: unknown provider "nobody"' in done.out


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_doctor_knows_how_a_folder_of_ours_becomes_writable(own_home: Home) -> None:
    own_home.run("say hello")
    own_home.kill_server()
    own_home.data.chmod(0o500)
    try:
        done = own_home.quell("doctor")
    finally:
        own_home.data.chmod(0o700)
    assert f"chmod u+rwx {own_home.data}" in done.out
    assert "chown" not in done.out
    assert "note  database" in done.out


@pytest.mark.parametrize("arguments", [["sessions", "list"], ["cancel"], ["models"], ["doctor"]])
def test_a_folder_that_was_deleted_under_us(home: Home, tmp_path: Path, arguments: list[str]) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    line = " ".join(f"'{word}'" for word in home.line(*arguments))
    done = subprocess.run(
        f"cd '{gone}' && rmdir '{gone}' && exec {line}",
        shell=True,
        env=home.environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert "the present folder is gone" in done.stdout + done.stderr
    assert "a bug" not in done.stderr
    assert done.returncode == (1 if arguments == ["doctor"] else 2)


def test_sessions_alone_lists_them_and_show_alone_shows_the_last(home: Home) -> None:
    new_session(home)
    last = new_session(home)
    bare = home.quell("sessions")
    assert (bare.status, bare.err) == (0, "")
    assert bare.out == home.quell("sessions", "list").out
    assert home.quell("sessions", "show").out == home.quell("sessions", "show", last).out


def test_doctor_breaks_lines_between_words_on_a_terminal_only(home: Home) -> None:
    home.project('[permissions.rules]\nallow = ["bash"]\n')
    try:
        piped = home.quell("doctor").out
        _, shown = home.on_terminal("doctor", environment={"NO_COLOR": "1"})
    finally:
        (home.workspace / ".quell" / "config.toml").unlink()
    (notice,) = [line for line in piped.splitlines() if "rules that allow are ignored" in line]
    lines = [line.rstrip() for line in shown.splitlines()]
    at = next(number for number, line in enumerate(lines) if line.startswith("note  settings"))
    broken = [line for line in lines[at:] if not line[:1].strip() or line == lines[at]]
    assert all(len(line) <= 80 or " " not in line[21:] for line in lines)
    assert " ".join(" ".join(broken).split()).startswith(" ".join(notice.split()))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device here")
@pytest.mark.parametrize("arguments", [["--version"], ["sessions", "list"], ["models", "--all"]])
def test_a_listing_on_a_full_disk_says_so(home: Home, arguments: list[str]) -> None:
    new_session(home)
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            home.line(*arguments),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=home.environment,
            cwd=home.workspace,
            timeout=30,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, "quell: cannot write the output: No space left on device\n")


def test_the_end_of_a_run_is_told_once(home: Home) -> None:
    shown = home.quell("sessions", "show", new_session(home, "wrong key")).out
    assert shown.count("the provider says 401") == 1
    assert "· failed: the provider says 401" in shown


def test_show_has_the_exit_status_of_a_command_and_a_denial_once(home: Home) -> None:
    failing = str(home.run("--json", "--allow", "bash", "fail it").json()["session"])
    assert "→ bash  exit 3  exit 3" in home.quell("sessions", "show", failing).out.splitlines()
    session = str(home.run("--json", "--mode", "edits", "touch it").json()["session"])
    denied = home.quell("sessions", "show", session).out
    assert "→ bash  touch touched.txt  denied" in denied.splitlines()
    assert denied.count("nobody is there to be asked") == 1
