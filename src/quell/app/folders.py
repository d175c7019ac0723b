"""Where sessions work: folders on this machine, what is kept of them, and what bounds commands there. A part of the composition root.

Of the package `workspace` nothing is loaded before the first session asks, or `warm` is called.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING

from quell.core.checkpoints import Checkpoints
from quell.core.ports import Sandbox, Workspace
from quell.core.session import Session

if TYPE_CHECKING:
    from quell.workspace.local import LocalWorkspace


def folder(root: str, extra: Sequence[str] = ()) -> LocalWorkspace:
    """Raises `InvalidRequest`, naming the folder and what is wrong with it."""
    from quell.workspace.folder import open_workspace

    return open_workspace(root, extra)


def sandbox_problem() -> str | None:
    """Why commands cannot be bounded on this machine, if they cannot. Found out once."""
    from quell.workspace.sandboxing import unavailable

    return unavailable() or None


def warm() -> None:
    """Whatever the first session would have to wait for. For a thread."""
    import quell.workspace.folder  # noqa: F401 - is loaded

    sandbox_problem()


class Folders:
    """`outputs` has a folder for each session, `own` are places that are never kept. `sandbox(root)` is what is configured for a folder."""

    def __init__(self, outputs: str, checkpoints: str, own: Sequence[str], sandbox: Callable[[str], Sandbox]) -> None:
        self._outputs = outputs
        self._checkpoints = checkpoints
        self._own = own
        self._sandbox = sandbox

    def open(self, session: Session) -> Workspace:
        from quell.workspace.folder import open_confined, open_workspace

        kept = os.path.join(self._outputs, session.id)
        if session.parent is not None and session.role == "web":
            return open_confined(kept)  # it sees what it has found, and nothing of the project
        return open_workspace(session.workspace, session.extra, kept, partial(self._sandbox, session.workspace))

    def checkpoints(self) -> Checkpoints:
        return self._made

    @cached_property
    def _made(self) -> Checkpoints:
        from quell.workspace.checkpoints import LocalCheckpoints

        return LocalCheckpoints(self._checkpoints, self._own)
