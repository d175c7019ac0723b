"""A workspace whose only folder is its own: what is outside is not there, whatever rules would allow.

For those who read what strangers wrote (docs/decisions/0022): a rule may open a file to a model, and should not open it to a page.
"""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

from quell.core.access import within
from quell.core.ports import DirectoryEntry, Listing, Matches, Process, Sandbox
from quell.workspace.local import LocalWorkspace


class ConfinedWorkspace(LocalWorkspace):
    """`root` is also where what is too long for a result is kept. No commands."""

    def __init__(self, root: str) -> None:
        super().__init__(root, kept=root)

    def git_programs(self, folder: str) -> tuple[str, ...]:
        return super().git_programs(self._own(folder))

    async def entry(self, path: str) -> DirectoryEntry:
        return await super().entry(self._own(path))

    async def read(self, path: str, start: int = 0, limit: int | None = None) -> bytes:
        return await super().read(self._own(path), start, limit)

    async def write(self, path: str, content: bytes, *, replaces: str | None) -> bool:
        return await super().write(self._own(path), content, replaces=replaces)

    async def save(self, path: str, pieces: AsyncIterator[bytes], *, replaces: str | None) -> bool:
        return await super().save(self._own(path), pieces, replaces=replaces)

    async def walk(self, path: str, *, depth: int | None, ignore: Sequence[str], limit: int) -> Listing:
        return await super().walk(self._own(path), depth=depth, ignore=ignore, limit=limit)

    async def find(self, path: str, pattern: str, *, limit: int) -> Listing:
        return await super().find(self._own(path), pattern, limit=limit)

    async def search(self, path: str, pattern: str, *, literal: bool, include: str, limit: int) -> Matches:
        return await super().search(self._own(path), pattern, literal=literal, include=include, limit=limit)

    def start(
        self,
        command: Sequence[str],
        *,
        directory: str,
        environment: Mapping[str, str],
        output: Callable[[bytes], None],
        sandbox: Sandbox = Sandbox(),
    ) -> Process:
        raise PermissionError(errno.EPERM, "there are no commands here")

    def _own(self, path: str) -> str:
        """Links in it lead nowhere that is not our own: the path is resolved here, whoever did so before."""
        real = os.path.realpath(path)
        if not within(real, self.root):
            raise PermissionError(errno.EACCES, "it is outside of the folder that is yours", path)
        return path
