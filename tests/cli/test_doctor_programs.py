"""What `quell doctor` says of the user's own programs: hooks, language servers, tool servers. It is true at the moment that it is said."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from quell.cli.doctor_programs import programs
from quell.client.oneshot import Json
from tests.cli.command import Home


def found(home: Home, what: str, environment: Mapping[str, str] | None = None) -> list[tuple[str, str, str]]:
    """The findings of that name: health, what was found, how to mend it."""
    done = home.quell("doctor", "--json", environment=environment)
    return [(each["health"], each["found"], each["mend"]) for each in json.loads(done.out) if each["what"] == what]


def program(folder: Path, name: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def hook(event: str, command: str, more: str = "") -> str:
    return f"[[hooks.{event}]]\ncommand = '{command}'\n{more}\n"


def test_hooks_are_listed_and_one_whose_program_is_missing_says_what_follows(own_home: Home) -> None:
    own_home.configure(
        hook("PreToolUse", "no-such-guard --strict", 'name = "guard"\nmatcher = "bash"')
        + hook("PreToolUse", "./guard", 'on_failure = "ignore"')
        + hook("PostToolUse", "if true; then echo; fi", 'name = "words"')
        + hook("PostToolUse", "X=1 what-comes-of-it", 'name = "set"\nmatcher = "*"')
        + hook("Stop", "cat; no-such-program", 'name = "end"')
    )
    mend = "Install it, or mend its `command`: until then "
    guard = (
        "bad",
        "PreToolUse: guard, for bash: `no-such-guard` is not found",
        f"{mend}every call that it is for is denied",
    )
    rest = [("ok", "PostToolUse: words", ""), ("ok", "PostToolUse: set", ""), ("ok", "Stop: end", "")]
    assert found(own_home, "hook") == [
        guard,
        ("bad", "PreToolUse: ./guard: `./guard` is not found", f"{mend}it fails each time"),
        *rest,
    ]
    program(own_home.workspace, "guard")
    assert found(own_home, "hook") == [guard, ("ok", "PreToolUse: ./guard", ""), *rest]


def test_language_servers_are_listed_and_looked_for(own_home: Home) -> None:
    installed = own_home.root / "installed"
    own_home.configure('[lsp.mine]\ncommand = "my-server"\nfiletypes = ["my", "mine"]\n[lsp.gopls]\ndisabled = true\n')
    path = {"PATH": f"{installed}:{own_home.environment['PATH']}"}
    assert found(own_home, "lsp mine", path) == [("bad", "`my-server` is not found", "Install it, or: disabled = true")]
    assert found(own_home, "lsp gopls", path) == [("note", "off, by the settings", "")]
    program(installed, "my-server")
    assert found(own_home, "lsp mine", path) == [("ok", "is started with the first file of its kind (my, mine)", "")]


def test_language_servers_that_are_looked_for_are_listed_as_soon_as_they_are_there(own_home: Home) -> None:
    installed = own_home.root / "installed"
    path = {"PATH": f"{installed}:{own_home.environment['PATH']}"}
    own_home.configure("auto_lsp = true\n")
    (own_home.workspace / "build.zig").touch()
    assert found(own_home, "lsp zls", path) == []
    program(installed, "zls")
    assert found(own_home, "lsp zls", path) == [("ok", "is started with the first file of its kind (zig)", "")]


def test_what_a_tool_server_needs_is_looked_for_where_sessions_would_be_started(own_home: Home) -> None:
    """Not where the server was started, and not then."""
    own_home.configure(
        '[mcp.wiki]\nurl = "https://wiki.example.org/mcp"\nheaders = { A = "$WIKI_TOKEN", B = "${WIKI_USER:-me} $$x" }\n'
        '[mcp.kit]\ncommand = "~/bin/kit"\n'
    )
    ready = [("ok", "is started when a session needs it", "")]
    assert found(own_home, "mcp wiki") == [
        (
            "bad",
            "$WIKI_TOKEN is not set, which its settings name",
            "export WIKI_TOKEN=…, where you start sessions; or say in the settings what it is otherwise: ${WIKI_TOKEN:-…}",
        )
    ]
    assert found(own_home, "mcp wiki", {"WIKI_TOKEN": "w-0123456789"}) == ready
    assert found(own_home, "mcp kit") == [("bad", "`~/bin/kit` is not found", "Install it, or: disabled = true")]
    program(Path(own_home.environment["HOME"]) / "bin", "kit")
    assert found(own_home, "mcp kit") == ready


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("hooks", "[[hooks.PreToolUse]]\ncommand = 'true'\n"),
        ("lsp", "[lsp.gopls]\n"),
        ("auto_lsp", "auto_lsp = true\n"),
    ],
)
def test_programs_of_a_project_s_file_are_said_to_be_ignored_and_why(own_home: Home, key: str, said: str) -> None:
    project = own_home.project(said)
    why = "which came with the repository: it would have programs run. If you trust it, put it into your own"
    ignored = f"{project}:1: `{key}` is ignored in a project's file, {why}"
    assert ("note", ignored, "") in found(own_home, "settings")
    assert found(own_home, "hook") == []
    assert found(own_home, "lsp gopls") == []


@pytest.mark.parametrize(
    ("state", "health", "said"),
    [
        ({"state": "connected", "tools": 3}, "ok", "connected, 3 tools"),
        ({"state": "connected", "tools": 3, "remote": True}, "ok", "was there when it was last asked, 3 tools"),
        ({"state": "connected", "tools": 3, "problem": "x"}, "note", "connected, 3 tools, but x"),
        ({"state": "failed", "problem": "x"}, "bad", "failed when it was last started: x"),
        ({"state": "starting"}, "ok", "starting"),
        ({"state": "disabled"}, "note", "off, by the settings"),
    ],
)
def test_of_a_tool_server_no_more_is_said_than_is_known(state: dict[str, object], health: str, said: str) -> None:
    (finding,) = programs(Json({"mcp": [{"name": "kit", **state}]}), "/")
    assert (finding.what, finding.health, finding.found) == ("mcp kit", health, said)
