"""Checkpoints in repositories of every sort: of git itself nothing is touched, and nothing that it could run is run."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.workspace.kept import Place, everything, remove


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def git(top: Path, *words: str, **environment: str) -> str:
    names = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "PATH": os.environ["PATH"]}
    names |= {f"GIT_{who}_{what}": "a@b" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    done = subprocess.run(
        ["git", "-c", "protocol.file.allow=always", *words],
        cwd=top,
        env=names | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def plain(place: Place) -> None:
    git(place.top, "init", "-q")
    place.write("a", "1\n")
    git(place.top, "add", ".")
    git(place.top, "commit", "-qm", "first")


def unborn(place: Place) -> None:
    git(place.top, "init", "-q")
    place.write("a", "1\n")
    git(place.top, "add", ".")


def detached(place: Place) -> None:
    plain(place)
    git(place.top, "checkout", "-q", "--detach")


def conflicted(place: Place) -> None:
    plain(place)
    git(place.top, "checkout", "-qb", "other")
    place.write("a", "2\n")
    git(place.top, "commit", "-qam", "second")
    git(place.top, "checkout", "-q", "-")
    place.write("a", "3\n")
    git(place.top, "commit", "-qam", "third")
    with pytest.raises(subprocess.CalledProcessError):
        git(place.top, "merge", "other")


def worktree(place: Place) -> None:
    main = place.top.parent / "main"
    main.mkdir()
    git(main, "init", "-q")
    (main / "a").write_bytes(b"1\n")
    git(main, "add", ".")
    git(main, "commit", "-qm", "first")
    place.top.rmdir()
    git(main, "worktree", "add", "-q", str(place.top))


def submodule(place: Place) -> None:
    plain(place)
    other = Place(place.top.parent / "other")
    plain(other)
    git(place.top, "submodule", "--quiet", "add", str(other.top), "sub")
    place.write("sub/b", "untracked\n")


def sparse(place: Place) -> None:
    plain(place)
    place.write("left/a", "1\n")
    place.write("out/a", "1\n")
    git(place.top, "add", ".")
    git(place.top, "commit", "-qm", "second")
    git(place.top, "sparse-checkout", "set", "left")


def hostile(place: Place) -> None:
    """Everything that git would run, or that would change what a file holds."""
    plain(place)
    ran = place.top.parent / "ran"
    program = f"sh -c 'touch {ran}; cat'"
    for key in (
        "filter.x.clean",
        "filter.x.smudge",
        "filter.x.process",
        "core.fsmonitor",
        "diff.external",
        "core.pager",
    ):
        git(place.top, "config", key, program)
    git(place.top, "config", "core.autocrlf", "true")
    git(place.top, "config", "core.hooksPath", ".git/hooks")
    place.write(".gitattributes", "* text=auto eol=crlf filter=x ident working-tree-encoding=UTF-16\n")
    for hook in ("post-index-change", "reference-transaction", "pre-commit", "post-checkout"):
        place.write(f".git/hooks/{hook}", f"#!/bin/sh\ntouch {ran}\n").chmod(0o755)


REPOSITORIES = (plain, unborn, detached, conflicted, worktree, submodule, sparse, hostile)


@pytest.mark.parametrize("prepare", REPOSITORIES, ids=lambda prepare: prepare.__name__)
async def test_in_a_repository_only_files_are_touched(prepare: Callable[[Place], None], place: Place) -> None:
    """Byte for byte what there was, whatever git would make of it; and of git itself nothing, not even the index."""
    prepare(place)
    place.write("crlf", b"a\r\nb\n$Id$\r\n")
    place.write("untracked/b", b"\0\xff")
    (place.top / "empty").mkdir()

    def of_git() -> dict[str, object]:
        found = everything(place.top.parent)
        return {path: found[path] for path in found if path.startswith("main/") or "/.git/" in f"{path}/"}

    before, git_before = place.all(), of_git()
    inside = [path for path in before if not path.startswith(".git/") and path != ".git"]

    def act() -> None:
        for path in inside:
            if (place.top / path).is_file() and ".git/" not in path and not path.endswith("/.git"):
                (place.top / path).write_bytes(b"changed\n")
        remove(place.top / "untracked")
        (place.top / "empty").rmdir()
        place.write("new/x")

    run = await place.run(act)
    after = place.all()
    plan = await place.back(run)
    assert place.all() == before
    await place.forth(plan)
    assert place.all() == after
    assert of_git() == git_before
    assert not (place.top.parent / "ran").exists()
