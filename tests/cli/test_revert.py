"""`quell sessions revert`."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.cli.command import Home


def test_a_run_is_taken_back_and_comes_back(own_home: Home) -> None:
    ended = own_home.run("--yolo", "--json", "write it")
    session = str(ended.json()["session"])
    made = own_home.workspace / "made.txt"
    assert made.exists()
    listed = own_home.quell("sessions", "revert", session, "--list")
    assert listed.out.split("\t")[1:] == ["write it\n"], listed
    message = listed.out.split("\t")[0]

    shown = own_home.quell("sessions", "revert", "--dry-run")  # the last session of the folder
    assert (shown.status, shown.err) == (0, "")
    assert shown.out == f"to go back to before {message} would change\n  - made.txt  +0 -1  goes\n"
    assert made.exists()
    done = own_home.quell("sessions", "revert", session[:9], "--to", message[:9])
    assert (done.status, done.err) == (0, ""), done
    assert done.out == f"back to before {message}\n  - made.txt  +0 -1  goes\n> write it\n"
    assert not made.exists()
    assert "> write it" not in own_home.quell("sessions", "show", session).out
    assert own_home.quell("sessions", "revert", session).status == 2  # there is no message left

    undone = own_home.quell("sessions", "revert", session, "--undo")
    assert (undone.status, undone.out) == (0, "the revert is undone\n  + made.txt  +1 -0  comes back\n"), undone
    assert made.read_text("utf-8") == "made\n"
    assert "> write it" in own_home.quell("sessions", "show", session).out
    again = own_home.quell("sessions", "revert", session, "--undo")
    assert (again.status, again.out) == (2, "")
    assert "nothing to undo" in again.err


def test_what_was_edited_since_is_refused_by_name_and_overwritten_only_by_force(own_home: Home) -> None:
    session = str(own_home.run("--yolo", "--json", "write it").json()["session"])
    made = own_home.workspace / "made.txt"
    made.write_text("made\nand mine\n", encoding="utf-8")
    refused = own_home.quell("sessions", "revert", session)
    assert (refused.status, refused.out) == (1, "")
    assert "made.txt" in refused.err
    assert "--force" in refused.err
    assert made.read_text("utf-8") == "made\nand mine\n"
    assert "edited since" in own_home.quell("sessions", "revert", session, "-n").out
    forced = own_home.quell("sessions", "revert", session, "--force", "--json")
    assert forced.status == 0, forced
    assert json.loads(forced.out)["done"] is True
    assert not made.exists()
    assert own_home.quell("sessions", "revert", session, "--undo").status == 0
    assert made.read_text("utf-8") == "made\nand mine\n"


def test_mistakes_are_named(own_home: Home) -> None:
    session = str(own_home.run("--json", "say hello").json()["session"])
    unknown = own_home.quell("sessions", "revert", session, "--to", "nothing")
    assert unknown.status == 2
    assert "say hello" in unknown.err  # those that there are
    assert own_home.quell("sessions", "revert", session, "--undo", "--to", "x").status == 2
    nothing = own_home.quell("sessions", "revert", session, "-n")
    assert (nothing.status, nothing.out.endswith("would change: no file\n")) == (0, True), nothing


def test_what_the_page_on_going_back_says_can_be_typed(own_home: Home) -> None:
    page = Path(__file__).parents[2] / "docs" / "guide" / "reverting.md"
    (block,) = re.findall(r"```console\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    own_home.run("--yolo", "write it")
    for line in block.splitlines():
        done = own_home.quell(*line.split()[2:])
        assert done.status == 0, (line, done)
    assert (own_home.workspace / "made.txt").exists()
