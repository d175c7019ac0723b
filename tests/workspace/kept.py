"""A folder with checkpoints, and what the tests of them need of it."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

from quell.core.checkpoints import Plan
from quell.core.session import Checkpoint
from quell.workspace.checkpoints import LocalCheckpoints

S = "s"


class Place:
    """A folder with checkpoints, and what runs do in it."""

    def __init__(self, folder: Path, own: tuple[str, ...] = ()) -> None:
        self.top = folder.resolve() / "work"
        self.top.mkdir(parents=True, exist_ok=True)
        self.checkpoints = LocalCheckpoints(str(folder / "kept"), own)

    async def run(self, act: Callable[[], object], *touches: str, session: str = S) -> Checkpoint:
        before = await self.checkpoints.keep(session, [str(self.top)])
        if touches:
            await self.checkpoints.touch(
                session, [str(self.top)], [os.path.normpath(self.top / path) for path in touches]
            )
        act()
        return Checkpoint(before, await self.checkpoints.keep(session, [str(self.top)]))

    async def plan(self, *runs: Checkpoint) -> Plan:
        return await self.checkpoints.plan(S, [str(self.top)], runs)

    async def restore(self, plan: Plan) -> list[str]:
        return list(await self.checkpoints.restore(S, [str(self.top)], plan.source, plan.target))

    async def back(self, *runs: Checkpoint) -> Plan:
        plan = await self.plan(*runs)
        if plan.target:
            assert await self.restore(plan) == []
        return plan

    async def forth(self, plan: Plan) -> None:
        undo = await self.checkpoints.plan_undo(S, [str(self.top)], plan.target, plan.source)
        assert undo.edited == ()
        if undo.target:
            assert await self.restore(undo) == []

    def write(self, path: str, content: bytes | str = b"text\n") -> Path:
        where = self.top / path
        where.parent.mkdir(parents=True, exist_ok=True)
        where.write_bytes(content if isinstance(content, bytes) else content.encode())
        return where

    def all(self) -> dict[str, object]:
        return everything(self.top)


def everything(top: Path) -> dict[str, object]:
    """All that is below a folder: what it is, what is in it, its mode."""
    found: dict[str, object] = {}
    for folder, folders, files in os.walk(top):
        for name in (*folders, *files):
            path = Path(folder, name)
            state = path.lstat()
            what: object = None
            if stat.S_ISLNK(state.st_mode):
                what = os.readlink(path)
            elif stat.S_ISREG(state.st_mode):
                what = (path.read_bytes(), stat.S_IMODE(state.st_mode))
            found[str(path.relative_to(top))] = what
    return found


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
