"""The system prompt: what is in it, and that it keeps still."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from quell.context import SystemPrompts, prompt

TODAY = "2026-11-22"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "repo"
    root.mkdir()
    subprocess.run(["git", "init", "--quiet", "--initial-branch=main"], cwd=root, check=True)
    return root


def prompts() -> SystemPrompts:
    return SystemPrompts(git_limit=30)


def test_our_own_words_are_few() -> None:
    assert len(prompt("system") + prompt("plan")) <= 6_000  # characters, of which a token has about four
    assert len(prompt("compact")) <= 2_000


async def test_everything_is_in_it_in_order(repository: Path) -> None:
    (repository / "AGENTS.md").write_text("be kind")
    text = await prompts().system_prompt(str(repository), ("/other",), "plan", TODAY, "s1")
    parts = [
        "You are Quell",
        "be kind",
        f"Workspace: {repository}",
        "Also in the workspace: /other",
        "Platform: ",
        f"Date: {TODAY}",
        "branch: main",
        "?? AGENTS.md",
        "# Mode: plan",
    ]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)


async def test_a_folder_without_anything(tmp_path: Path) -> None:
    text = await prompts().system_prompt(str(tmp_path), (), "edits", TODAY)
    assert "Instructions of the user" not in text
    assert "Git" not in text
    assert "plan mode" not in text
    assert "\n\n\n" not in text


async def test_it_keeps_still_within_a_session(repository: Path) -> None:
    ours = prompts()
    first = await ours.system_prompt(str(repository), (), "edits", TODAY, "s1")
    (repository / "new.py").write_text("")
    assert await ours.system_prompt(str(repository), (), "edits", TODAY, "s1") == first
    assert "?? new.py" in await ours.system_prompt(str(repository), (), "edits", TODAY, "s2")


async def test_only_the_end_changes_with_the_mode(repository: Path) -> None:
    ours = prompts()
    edits = await ours.system_prompt(str(repository), (), "edits", TODAY, "s1")
    plan = await ours.system_prompt(str(repository), (), "plan", TODAY, "s1")
    assert plan == f"{edits}\n\n{prompt('plan')}"


async def test_changed_instructions_are_read_again(repository: Path) -> None:
    ours = prompts()
    file = repository / "AGENTS.md"
    file.write_text("be kind")
    await ours.system_prompt(str(repository), (), "edits", TODAY, "s1")
    file.write_text("be firm")
    os.utime(file, ns=(0, 1))
    changed = await ours.system_prompt(str(repository), (), "edits", TODAY, "s1")
    assert "be firm" in changed
    assert "be kind" not in changed
    file.unlink()
    assert "be firm" not in await ours.system_prompt(str(repository), (), "edits", TODAY, "s1")


async def test_the_users_own_instructions_come_first(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "AGENTS.md").write_text("mine")
    (repository / "AGENTS.md").write_text("theirs")
    ours = SystemPrompts(str(tmp_path / "config"), home=str(tmp_path), git_limit=30)
    text = await ours.system_prompt(str(repository), (), "edits", TODAY, "s1")
    assert text.index("mine") < text.index("theirs")
    assert 'from="~/config/AGENTS.md"' in text
