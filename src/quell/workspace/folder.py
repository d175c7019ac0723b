"""Opening a workspace: whether the folder of a session can be worked in, before anything is promised."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress

from quell.core.errors import InvalidRequest
from quell.core.ports import Sandbox
from quell.workspace.confined import ConfinedWorkspace
from quell.workspace.local import LocalWorkspace


def open_workspace(
    root: str, extra: Sequence[str] = (), kept: str = "", sandbox: Callable[[], Sandbox] = Sandbox
) -> LocalWorkspace:
    """The workspace at `root`. Raises `InvalidRequest`, naming the folder and what is wrong with it."""
    for folder in (root, *extra):
        if problem := _problem(folder):
            raise InvalidRequest(f"The folder {folder} {problem}")
    return LocalWorkspace(root, extra, kept, sandbox)


def open_confined(root: str) -> ConfinedWorkspace:
    """The workspace at `root`, which is made if need be, and nothing else. Raises `InvalidRequest`."""
    with suppress(OSError):  # that it cannot be made is what its being missing says
        os.makedirs(root, 0o700, exist_ok=True)
    if problem := _problem(root):
        raise InvalidRequest(f"The folder {root} {problem}")
    return ConfinedWorkspace(root)


def _problem(folder: str) -> str | None:
    if not os.path.isabs(folder):
        return "is not an absolute path."
    if not os.path.lexists(folder):
        return "does not exist. If it was moved, start a new session where it is now."
    if not os.path.isdir(folder):
        return "is not a folder."
    if not os.access(folder, os.R_OK | os.X_OK):
        return "cannot be read: check its permissions."
    return None
