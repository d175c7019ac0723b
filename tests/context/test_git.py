"""What git says, and how long it may take to say it."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from quell.context import git


def run(folder: Path, *command: str) -> None:
    subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *command], cwd=folder, check=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    run(tmp_path, "init", "--quiet", "--initial-branch=main")
    return tmp_path


async def test_a_new_repository(repository: Path) -> None:
    assert await git.describe(str(repository), 10) == "branch: main\nclean"


async def test_changes_are_shown_up_to_a_limit(repository: Path) -> None:
    (repository / "a.txt").write_text("a")
    run(repository, "add", "a.txt")
    run(repository, "commit", "--quiet", "-m", "one")
    (repository / "a.txt").write_text("b")
    assert await git.describe(str(repository), 10) == "branch: main\n M a.txt"
    for number in range(30):
        (repository / f"new{number:02}.txt").write_text("")
    lines = (await git.describe(str(repository), 10)).splitlines()
    assert len(lines) == 1 + git.LINES + 1
    assert lines[-1] == "… and 11 more"
    run(repository, "checkout", "--quiet", "--detach")
    assert (await git.describe(str(repository), 10)).startswith("branch: none (detached HEAD)\n")


async def test_no_repository_is_nothing_to_say(tmp_path: Path) -> None:
    assert await git.describe(str(tmp_path), 10) == ""
    assert await git.describe(str(tmp_path / "gone"), 10) == ""


async def test_git_that_is_not_there(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(repository))
    assert await git.describe(str(repository), 10) == ""


async def test_git_is_not_waited_for_and_not_left_behind(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = repository / "bin" / "git"
    slow.parent.mkdir()
    slow.write_text(f"#!/bin/sh\nsleep 60 &\necho $! $$ > {repository}/pids\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{slow.parent}:{os.environ['PATH']}")
    began = time.monotonic()
    assert "takes too long" in await git.describe(str(repository))
    assert time.monotonic() - began < 30  # it would sleep for 60
    if not (repository / "pids").exists():
        return  # it was so slow that it had not begun
    for pid in (repository / "pids").read_text().split():
        while _alive(int(pid)):
            assert time.monotonic() - began < 30, f"process {pid} was left behind"


def _alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


async def test_a_repository_cannot_start_anything(repository: Path) -> None:
    hook = repository / "hook"
    hook.write_text(f"#!/bin/sh\ntouch {repository}/started\n")
    hook.chmod(0o755)
    run(repository, "config", "core.fsmonitor", str(hook))
    assert (await git.describe(str(repository), 10)).startswith("branch: main")
    assert not (repository / "started").exists()


async def test_a_git_dir_of_the_daemons_own_changes_nothing(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    assert await git.describe(str(repository), 10) == "branch: main\nclean"


async def test_many_who_ask_at_once_share_what_was_asked_after_them(
    repository: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path_factory.mktemp("programs")
    log = programs / "log"
    (programs / "git").write_text(f'#!/bin/sh\necho asked >> {log}\nexec {shutil.which("git")} "$@"\n')
    (programs / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    asking = git.Git(10)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(asking.describe(str(repository))) for _ in range(20)]
    assert {task.result() for task in tasks} == {"branch: main\nclean"}
    assert len(log.read_text().splitlines()) == 2  # the first of them had not asked after all the others
    (repository / "a.txt").write_text("a")
    assert await asking.describe(str(repository)) == "branch: main\n?? a.txt"


async def test_who_waits_for_one_that_is_given_up_asks(repository: Path) -> None:
    asking = git.Git(10)
    async with asyncio.TaskGroup() as group:
        first = group.create_task(asking.describe(str(repository)))
        second = group.create_task(asking.describe(str(repository)))
        await asyncio.sleep(0)
        first.cancel()
    assert second.result() == "branch: main\nclean"
