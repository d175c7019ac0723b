"""Programs in the settings, hooks and language servers: only the user names them, and a mistake in them is told with its place."""

from __future__ import annotations

import pytest

from quell.config.file import ConfigError
from quell.config.languages import completed
from quell.config.load import load
from quell.config.settings import HookSettings, LanguageServerSettings
from tests.config.test_load import Place, place

__all__ = ["place"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "[[hooks.PreToolUs]]\ncommand = 'x'",
            ":1: there is no event `PreToolUs` for hooks; did you mean `PreToolUse`?",
        ),
        ("[[hooks.SessionStart]]\ncommand = 'x'", "there are `PreToolUse`, `PostToolUse`, `Stop`"),
        ("[[hooks.Stop]]\nname = 'x'", ":1: a hook needs `command`: what is to be run"),
        ("[[hooks.Stop]]\ncommand = 'x'\nmatcher = 'y'", ":3: `Stop` is of no tool; leave `matcher` out"),
        (
            "[[hooks.PreToolUse]]\ncommand = 'x'\n[[hooks.PreToolUse]]\ncommand = 'y'\nmatcher = '(bash'",
            ":5: not a regular expression: missing ), unterminated subpattern",
        ),
        ("[[hooks.PreToolUse]]\ncomand = 'x'", ":2: unknown key `comand`"),
        (
            "[hooks.PreToolUse]\ncommand = 'x'",
            ":1: `hooks.PreToolUse` has to be a list; found a table: write [[hooks.PreToolUse]]",
        ),
        ("[permissions.rules.deny]", ":1: `permissions.rules.deny` has to be a list; found a table"),
        (
            "[lsp.pyrigt]",
            ":1: the language server `pyrigt` is not known, so it needs `command` and `filetypes`; did you mean `pyright`?",
        ),
        (
            "[lsp.mine]\ncommand = 'x'",
            ":1: the language server `mine` is not known, so it needs `filetypes`; known are",
        ),
        ("[lsp.pyright]\nfiletypes = 'py'", ":2: `lsp.pyright.filetypes` has to be a list"),
    ],
)
def test_a_mistake_is_told_with_its_place(place: Place, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        place.load(text)
    assert f"{place.user}" in str(refused.value)
    assert said in str(refused.value)


def test_a_project_may_neither_bring_hooks_nor_take_them_away(place: Place) -> None:
    own = "[[hooks.PreToolUse]]\ncommand = 'guard'"
    loaded = place.load(own, "[[hooks.PreToolUse]]\ncommand = 'theirs'")
    assert loaded.settings.hooks == {"PreToolUse": (HookSettings(command="guard"),)}
    (notice,) = loaded.notices
    assert notice.startswith(f"{place.project}:1: `hooks` is ignored in a project's file")


def test_a_project_may_not_name_programs_to_run(place: Place) -> None:
    loaded = place.load("", 'auto_lsp = true\n[lsp.pyright]\ncommand = "./evil"')
    assert (loaded.settings.lsp, loaded.settings.auto_lsp) == ({}, False)
    assert [notice.split(" ")[1] for notice in loaded.notices] == ["`auto_lsp`", "`lsp`"]


def test_of_a_language_server_that_is_known_nothing_has_to_be_said() -> None:
    own = completed("pyright", LanguageServerSettings(env={"A": "b"}))
    assert (own.command, own.args, own.filetypes) == ("pyright-langserver", ("--stdio",), ("py", "pyi"))
    assert "pyproject.toml" in (own.root_markers or ())
    other = completed("pyright", LanguageServerSettings(command="wrapper", root_markers=()))
    assert (other.command, other.args, other.root_markers) == ("wrapper", (), ())


def test_a_hook_that_is_never_asked_is_named(place: Place) -> None:
    place.user.write_text(
        "".join(f"[[hooks.PreToolUse]]\ncommand = 'x'\nmatcher = '{word}'\n" for word in ("Bash", "bsh", "mcp_.*", "*"))
    )
    notices = load(str(place.user), {}, tools=lambda: ["bash", "edit"]).notices
    assert [notice.split(",")[0] for notice in notices] == [f"{place.user}:6: no tool fits `bsh`"]
