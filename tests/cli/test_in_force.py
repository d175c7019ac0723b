"""What a model is told of the program that it runs in, end to end; and which tools it gets to see."""

from __future__ import annotations

import json

import pytest

from tests.cli.command import Home

KEY = "qk-0123456789-abcdefghijklmnop-the-key"

SCRIPT = """
[[when]]
prompt = "go"
[[when.reply]]
step = [{ tool = "quell_info", input = {} }]
[[when.reply]]
step = [{ tool = "quell_logs", input = {} }]
[[when.reply]]
step = [{ tool = "bash", input = { command = "ls" } }]
[[when.reply]]
step = [{ tool = "todos", input = { todos = [] } }]
[[when.reply]]
step = [{ text = "Done." }]
"""


def told(home: Home, *options: str) -> list[str]:
    """The results of the calls, in order."""
    (home.root / "script.toml").write_text(SCRIPT)
    done = home.quell(
        "run", "--stream-json", "--model", home.model, *options, "go", environment={"OPENAI_API_KEY": KEY}
    )
    assert done.status == 0, done
    events = [json.loads(line) for line in done.out.splitlines()]
    return [event["result"]["text"] for event in events if event.get("kind") == "call_finished"]


def test_what_holds_in_a_session_is_told_without_keys(own_home: Home) -> None:
    file = own_home.configure(
        f'mode = "edits"\n[providers.own]\ndialect = "openai"\nbase_url = "http://me:{KEY}@localhost:1/v1"\napi_key = "{KEY}"\n'
        f'headers = {{ X-Auth = "{KEY}" }}\n'
        '[permissions.rules]\ndeny = ["bash(rm *)"]\n'
        f'[network]\nallow_private = ["wiki"]\nproxy = "http://someone:{KEY}@proxy:3128"\n'
        '[search]\nprovider = "brave"\n[logging]\nlevel = "debug"\n[server]\nidle_exit = 60\n'
        '[[hooks.PreToolUse]]\nname = "guard"\ncommand = "true"\nmatcher = "edit"\n[lsp.gopls]\n'
    )
    project = own_home.project('[permissions.rules]\nask = ["edit(migrations/**)"]\n[tools]\ndisabled = ["todos"]\n')
    (own_home.workspace / "AGENTS.md").write_text("Be brief.")
    assert own_home.quell("models").status == 0  # there is a server, and its log
    with (own_home.data / "logs" / "daemon.log").open("a") as written:
        written.write(f"{KEY} was logged before it was known to be one\n")
    info, log, *_ = told(own_home, "--allow", "bash(ls)", "--max-turns", "9")
    for line in (
        f"- model: {own_home.model}",
        f"- {file} (last changed 20",
        f"- {project} (last changed 20",
        "- openai: usable; ",
        "- anthropic: not usable: ",
        "- own: usable; 0 known models, at http://localhost:1/v1",
        "- mode: edits",
        "- deny bash(rm *) (user)",
        "- ask edit(migrations/**) (project)",
        "- allow bash(ls) (run)",
        "- nobody can be asked in this run",
        "- PreToolUse: guard, for edit",
        "- language server: gopls",
        "- hidden tools: todos",
        "- private addresses that may be asked: wiki",
        "- proxy: http://proxy:3128",
        "- search engine: brave (its key is missing: $BRAVE_API_KEY)",
        f"- {own_home.workspace}/AGENTS.md",
        "- this run: 9 turns",
    ):
        assert line in info, (line, info)
    assert KEY not in info + log
    assert "[hidden] was logged before it was known to be one" in log

    own_home.configure(file.read_text().replace("idle_exit = 60", "idle_exit = 61") + "[retry]\nattempts = 0\n")
    info = told(own_home, "--continue")[0]
    assert "wrong since the last change, so that what was there before still holds: " in info
    own_home.configure(file.read_text().replace("attempts = 0", "attempts = 2"))
    info = told(own_home)[0]
    assert "holding only from its next start (`quell serve --stop`): server" in info
    assert "- attempts to ask a model: 2" in info


def test_hidden_tools_are_none_and_a_project_adds_to_them(own_home: Home) -> None:
    own_home.configure('[tools]\ndisabled = ["bash"]\n')
    own_home.project('[tools]\ndisabled = ["todos"]\n')
    *_, bash, todos = told(own_home)
    assert "There is no tool `bash`" in bash
    assert "There is no tool `todos`" in todos
    assert "todos" not in bash.partition("The tools are")[2]


@pytest.mark.parametrize("whose", ["configure", "project"])
def test_a_tool_that_is_misspelt_is_an_error(own_home: Home, whose: str) -> None:
    file = getattr(own_home, whose)('[tools]\ndisabled = ["view", "bahs"]\n')
    done = own_home.run("say hello")
    assert done.status == 2
    assert f"{file}:2: there is no tool `bahs`; did you mean `bash`?" in done.err
