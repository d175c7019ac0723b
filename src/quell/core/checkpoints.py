"""Checkpoints: what a workspace's files were before a run and after it, so that they can be had back; their values and their port.

When one is kept and what follows from that is the machine's business (`decide_revert`); how is the adapter's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from msgspec import Struct

from quell.core.session import Checkpoint


class FileChange(Struct, frozen=True, omit_defaults=True):
    """What is to become of one file, or folder: it comes back, goes, or gets its former content. Lines are counted where it is text.

    `edited`: somebody else has changed it since the agent did.
    """

    path: str
    change: Literal["create", "delete", "modify"]
    additions: int | None = None
    removals: int | None = None
    edited: bool = False


class Plan(Struct, frozen=True, kw_only=True):
    """Where files go from and to, by snapshots of just those files; both are empty when none has to change.

    `notes` say what will not be as it was, and why.
    """

    source: str = ""
    target: str = ""
    changes: tuple[FileChange, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def edited(self) -> tuple[str, ...]:
        return tuple(change.path for change in self.changes if change.edited)


class CheckpointRefused(Exception):
    """The content of a workspace cannot be kept, or not be had back: why, for people."""


class Checkpoints(Protocol):
    """Keeps the content of workspaces. `folders` are those of a session, its workspace first.

    Not kept are what listings leave out (ignored files, unless `touch` was told of them), what a `.git` holds, and what is too
    large. Everything but `forget` may raise `CheckpointRefused`; cancelled, each has stopped when it raises.
    """

    async def keep(self, session: str, folders: Sequence[str]) -> str:
        """The content as it is now; returns the snapshot's name."""

    async def touch(self, session: str, folders: Sequence[str], paths: Sequence[str]) -> None:
        """These files are about to be written: from now on each snapshot of the session has them, and those before know what they were."""

    async def plan(self, session: str, folders: Sequence[str], runs: Sequence[Checkpoint]) -> Plan:
        """How to take back what these runs have changed, the oldest first. What they have not is left alone."""

    async def plan_undo(self, session: str, folders: Sequence[str], source: str, target: str) -> Plan:
        """How to get the files of a plan's snapshots from the first to the second, whatever has become of them since."""

    async def restore(self, session: str, folders: Sequence[str], source: str, target: str) -> Sequence[str]:
        """Have the files as the second snapshot has them, where they are as the first one has them; returns the others.

        To do it again, after it was stopped anywhere, is to do it once.
        """

    async def forget(self, session: str, folders: Sequence[str]) -> None:
        """What was kept for a session is not needed any more."""
