"""`quell sessions revert`."""

from __future__ import annotations

import json

from tests.cli.command import Home


def test_a_run_is_taken_back_and_comes_back(home: Home) -> None:
    ended = home.run("--yolo", "--json", "write it")
    session = str(ended.json()["session"])
    made = home.workspace / "made.txt"
    assert made.exists()
    listed = home.quell("sessions", "revert", session, "--list")
    assert listed.out.split("\t")[1:] == ["write it\n"], listed
    message = listed.out.split("\t")[0]

    shown = home.quell("sessions", "revert", session, "--dry-run")
    assert (shown.status, shown.err) == (0, "")
    assert shown.out == f"to go back to before {message} would change\n  - made.txt  +0 -1  goes\n"
    assert made.exists()
    done = home.quell("sessions", "revert", session[:9], "--to", message[:9])
    assert (done.status, done.err) == (0, ""), done
    assert done.out == f"back to before {message}\n  - made.txt  +0 -1  goes\n> write it\n"
    assert not made.exists()
    assert "> write it" not in home.quell("sessions", "show", session).out
    assert home.quell("sessions", "revert", session).status == 2  # there is no message left

    undone = home.quell("sessions", "revert", session, "--undo")
    assert (undone.status, undone.out) == (0, "the revert is undone\n  + made.txt  +1 -0  comes back\n"), undone
    assert made.read_text("utf-8") == "made\n"
    assert "> write it" in home.quell("sessions", "show", session).out
    again = home.quell("sessions", "revert", session, "--undo")
    assert (again.status, again.out) == (2, "")
    assert "nothing to undo" in again.err


def test_what_was_edited_since_is_refused_by_name_and_overwritten_only_by_force(home: Home) -> None:
    session = str(home.run("--yolo", "--json", "write it").json()["session"])
    made = home.workspace / "made.txt"
    made.write_text("made\nand mine\n", encoding="utf-8")
    refused = home.quell("sessions", "revert", session)
    assert (refused.status, refused.out) == (1, "")
    assert "made.txt" in refused.err
    assert "--force" in refused.err
    assert made.read_text("utf-8") == "made\nand mine\n"
    assert "edited since" in home.quell("sessions", "revert", session, "-n").out
    forced = home.quell("sessions", "revert", session, "--force", "--json")
    assert forced.status == 0, forced
    assert json.loads(forced.out)["done"] is True
    assert not made.exists()
    assert home.quell("sessions", "revert", session, "--undo").status == 0
    assert made.read_text("utf-8") == "made\nand mine\n"


def test_mistakes_are_named(home: Home) -> None:
    session = str(home.run("--json", "say hello").json()["session"])
    unknown = home.quell("sessions", "revert", session, "--to", "nothing")
    assert unknown.status == 2
    assert "say hello" in unknown.err  # those that there are
    assert home.quell("sessions", "revert", session, "--undo", "--to", "x").status == 2
    nothing = home.quell("sessions", "revert", session, "-n")
    assert (nothing.status, nothing.out.endswith("would change: no file\n")) == (0, True), nothing
