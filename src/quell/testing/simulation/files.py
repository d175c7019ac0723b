"""The files of the simulated sessions, and their checkpoints. They survive the process, as files do.

Each session has a folder of its own, which only its tool changes, and its reverts. Keeping and restoring take time, can fail, can hang until
the world is healed, and can be broken off in the middle when the process dies.
"""

from __future__ import annotations

from collections.abc import Sequence

from quell.core.checkpoints import CheckpointRefused, Plan
from quell.core.session import Checkpoint
from quell.testing.checkpoints import PlayedCheckpoints
from quell.testing.simulation.world import World


def workspace(session: str) -> str:
    return f"/work/{session}"


class Folder(PlayedCheckpoints):
    """One folder: its files, and all that was kept of it."""

    def restore_one(self, source: str, target: str) -> None:
        """As far as a restore has come when it is broken off."""
        before, after = self._snapshots[source], self._snapshots[target]
        for path in sorted(after)[:1]:
            if self.files.get(path) == before[path]:
                self._put(path, after[path])

    def unlike(self, target: str) -> list[str]:
        """The files that are not as a snapshot has them."""
        wanted = self._snapshots.get(target, {})
        return [path for path, state in wanted.items() if self.files.get(path) != state]


class SimulatedFiles:
    """The `Checkpoints` port."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._folders: dict[str, Folder] = {}

    def write(self, session: str, name: str, text: str) -> None:
        """What its tool does."""
        folder = workspace(session)
        self.of(folder).files[f"{folder}/{name}"] = text

    def of(self, folder: str) -> Folder:
        return self._folders.setdefault(folder, Folder())

    async def keep(self, session: str, folders: Sequence[str]) -> str:
        await self._take_time(f"keep {session}")
        return await self.of(folders[0]).keep(session, folders)

    async def touch(self, session: str, folders: Sequence[str], paths: Sequence[str]) -> None:
        await self._take_time(f"touch {session}")

    async def plan(self, session: str, folders: Sequence[str], runs: Sequence[Checkpoint]) -> Plan:
        await self._take_time(f"plan {session}")
        return await self.of(folders[0]).plan(session, folders, runs)

    async def plan_undo(self, session: str, folders: Sequence[str], source: str, target: str) -> Plan:
        await self._take_time(f"plan {session}")
        return await self.of(folders[0]).plan_undo(session, folders, source, target)

    async def restore(self, session: str, folders: Sequence[str], source: str, target: str) -> Sequence[str]:
        folder = self.of(folders[0])
        await self._take_time(f"restore {session}")
        folder.restore_one(source, target)
        await self._take_time(f"restore {session}")
        return await folder.restore(session, folders, source, target)

    async def forget(self, session: str, folders: Sequence[str]) -> None:
        await self.of(folders[0]).forget(session, folders)

    async def _take_time(self, what: str) -> None:
        random = self._world.random(what)
        await self._world.idle(random.choice((0.0, 0.002, 0.3)))
        if self._world.misbehaves(random) and random.random() < 0.5:
            if random.random() < 0.3:
                await self._world.healed.wait()
            raise CheckpointRefused("as planned")
