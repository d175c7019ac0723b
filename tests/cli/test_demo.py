"""The demonstration is a newcomer's first command: it has to work on every machine."""

from __future__ import annotations

from tests.cli.command import Home

GIT = """
[commit]
    gpgsign = true
[core]
    autocrlf = true
    hooksPath = /nowhere
[diff]
    external = false
"""
"""What people have git do for their own work."""


def test_the_demonstration_repairs_its_project_and_stops_a_long_run(home: Home) -> None:
    (home.root / ".gitconfig").write_text(GIT, encoding="utf-8")
    done = home.quell("demo")
    assert done.status == 0, done
    assert "FAILED (failures=3)" in done.out
    assert "Ran 4 tests" in done.out.rpartition("The same tests now:")[2]
    assert "denied:" not in done.out + done.err
    assert "cancelled" in done.out + done.err


def test_a_configuration_beside_a_project_does_not_make_it_a_protected_place(home: Home) -> None:
    """`$QUELL_CONFIG` may name a file anywhere; what else is in its folder is not ours."""
    file = home.workspace / "quell.toml"
    file.write_text("")
    environment = {"QUELL_CONFIG": str(file), "QUELL_DATA_DIR": str(home.root / "d")}
    done = home.quell("run", "--json", "--model", home.model, "write it", environment=environment)
    assert home.quell("serve", "--stop", environment=environment).status == 0
    assert done.json()["denied"] == 0
