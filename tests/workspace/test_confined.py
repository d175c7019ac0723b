"""A confined workspace: its own folder is all there is."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from quell.core.errors import InvalidRequest
from quell.workspace.confined import ConfinedWorkspace
from quell.workspace.folder import open_confined


async def pieces() -> AsyncIterator[bytes]:
    yield b"x"


USES: dict[str, Callable[[ConfinedWorkspace, str], Awaitable[object]]] = {
    "entry": lambda w, path: w.entry(path),
    "read": lambda w, path: w.read(path),
    "write": lambda w, path: w.write(path, b"x", replaces=None),
    "save": lambda w, path: w.save(path, pieces(), replaces=None),
    "walk": lambda w, path: w.walk(path, depth=None, ignore=(), limit=9),
    "find": lambda w, path: w.find(path, "*", limit=9),
    "search": lambda w, path: w.search(path, "x", literal=True, include="", limit=9),
}


@pytest.mark.parametrize("use", USES)
async def test_what_is_outside_is_not_reached_by_any_way(tmp_path: Path, use: str) -> None:
    workspace = open_confined(str(tmp_path / "own"))
    (tmp_path / "own-not").mkdir()
    (tmp_path / "secret").write_text("x")
    os.symlink(tmp_path, tmp_path / "own" / "link")
    before = sorted(os.listdir(tmp_path))
    for path in (
        "/etc/passwd",
        "/",
        str(tmp_path),
        f"{tmp_path}/own-not",
        f"{tmp_path}/own/../secret",
        f"{tmp_path}/own/link/secret",
    ):
        with pytest.raises(PermissionError, match="outside"):
            await USES[use](workspace, path)
    assert sorted(os.listdir(tmp_path)) == before


async def test_its_own_files_are_as_in_any(tmp_path: Path) -> None:
    workspace = open_confined(str(tmp_path / "own"))
    path = workspace.place("page.md").path
    assert await workspace.write(path, b"needle\n", replaces=None)
    assert await workspace.read(path) == b"needle\n"
    found = await workspace.search(workspace.root, "needle", literal=True, include="", limit=9)
    assert [match.path for match in found.matches] == [path]
    assert [entry.path for entry in (await workspace.find(workspace.root, "*", limit=9)).entries] == [path]
    with pytest.raises(PermissionError, match="no commands"):
        workspace.start(["true"], directory=workspace.root, environment={}, output=lambda piece: None)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidRequest, match="does not exist"):
        open_confined(str(tmp_path / "file" / "own"))
