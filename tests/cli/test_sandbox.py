"""`quell run` and the sandbox, end to end: what is done without asking in it, and what leaving it takes."""

from __future__ import annotations

import json

import pytest

from quell.workspace import sandboxing
from tests.cli.command import Home

needs_sandbox = pytest.mark.skipif(bool(sandboxing.unavailable()), reason=f"no sandbox: {sandboxing.unavailable()}")


@needs_sandbox
def test_commands_run_unasked_in_the_sandbox(home: Home) -> None:
    done = home.run("touch it")
    assert "mode auto" in done.err.splitlines()[0]
    assert "denied" not in done.err
    assert (home.workspace / "touched.txt").exists()


@needs_sandbox
def test_to_leave_it_asks_which_nobody_answers(home: Home) -> None:
    done = home.run("leave the sandbox")
    first, second = [line for line in done.err.splitlines() if "touch ~/left" in line][:2]
    assert "denied" in done.err, (first, second)
    assert "exit 1 · perhaps because of the sandbox" in done.err
    assert not (home.root / "left").exists()
    allowed = home.run("--allow", "bash(touch ~/left)", "leave the sandbox")
    assert "denied" not in allowed.err
    assert (home.root / "left").exists()
    (home.root / "left").unlink()


@needs_sandbox
def test_a_mode_that_is_said_or_set_wins(home: Home) -> None:
    assert "mode edits" in home.run("--mode", "edits", "say hello").err
    path = home.configure('mode = "ask"')
    assert "mode ask" in home.run("say hello").err
    home.configure('[sandbox]\nmode = "off"')
    assert "mode edits" in home.run("say hello").err
    path.unlink()


def test_without_bubblewrap_nothing_changes_and_doctor_says_so(own_home: Home) -> None:
    (own_home.root / "bin").mkdir()
    environment = {"PATH": str(own_home.root / "bin")}
    done = own_home.quell("run", "--model", own_home.model, "say hello", environment=environment)
    assert "mode edits" in done.err, done
    found = {each["what"]: each for each in json.loads(own_home.quell("doctor", "--json").out)}
    assert found["sandbox"]["health"] == "note"
    assert "bubblewrap is not installed" in found["sandbox"]["found"]
    own_home.configure('[sandbox]\nmode = "strict"')
    found = {each["what"]: each for each in json.loads(own_home.quell("doctor", "--json").out)}
    assert found["sandbox"]["health"] == "bad"
    ran = own_home.run("--allow", "bash", "fail it")
    assert "the sandbox that is configured is not available" in ran.err
