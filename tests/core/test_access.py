"""Where a path lies: below a folder, and in which repository."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from quell.core.access import repository_root, within


def root_of(folder: Path) -> str | None:
    return repository_root(str(folder), os.path.lexists)


def git(folder: Path, *arguments: str) -> None:
    names = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "protocol.file.allow=always")
    subprocess.run(["git", *names, *arguments], cwd=folder, check=True, capture_output=True)


def test_what_a_folder_holds_is_within_it_and_what_only_begins_alike_is_not() -> None:
    assert within("/a", "/a")
    assert within("/a/b", "/a")
    assert within("/a/b", "/a/")
    assert within("/a", "/")
    assert not within("/ab", "/a")
    assert not within("/", "/a")


def test_the_root_of_a_repository_is_that_of_git_also_in_worktrees_and_submodules(tmp_path: Path) -> None:
    main, other = tmp_path / "main", tmp_path / "other"
    for each in (main, other):
        each.mkdir()
        git(each, "init")
        git(each, "commit", "--allow-empty", "-m", "first")
    git(main, "worktree", "add", str(main / "kept" / "tree"))
    git(main, "submodule", "add", str(other), "parts/other")
    for root in (main, main / "kept" / "tree", main / "parts" / "other"):
        below = root / "a" / "b"
        below.mkdir(parents=True)
        told = subprocess.check_output(["git", "rev-parse", "--show-toplevel"], cwd=below, text=True).strip()
        assert root_of(below) == root_of(root) == told == str(root)
    assert root_of(main / "kept") == str(main)
    assert root_of(main / ".git" / "hooks") == str(main)  # git has no work tree there, but obeys the same settings


def test_a_link_to_nowhere_and_an_empty_file_are_roots_and_a_home_is_none(tmp_path: Path) -> None:
    """What lies above such a folder is not taken for its project's, whatever git makes of it."""
    (tmp_path / ".git").mkdir()
    linked, empty, home = tmp_path / "linked", tmp_path / "empty", tmp_path / "home"
    for each in (linked, empty, home):
        each.mkdir()
    (linked / ".git").symlink_to("nowhere")
    (empty / ".git").touch()
    assert root_of(linked) == str(linked)
    assert root_of(empty) == str(empty)
    assert root_of(home) == str(tmp_path)


def test_there_may_be_no_repository_or_one_of_everything() -> None:
    assert repository_root("/a/b/", lambda path: False) is None
    assert repository_root("/a/b", lambda path: path == "/.git") == "/"
    assert repository_root("/", lambda path: True) == "/"
    assert repository_root("//a", lambda path: path == "/.git") == os.path.dirname("//a") == "//"
