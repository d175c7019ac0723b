"""The system prompt: who the agent is and how it works, what the project wants, where it is.

Rules: within a session it stays the same from turn to turn, so that the provider's cache holds it: a date and no clock,
and git's state as it was when the session began. It changes when the project's instructions do. What changes most
stands last: the instructions, then the surroundings, then the mode. Once built, asking again costs a few looks at
inodes.
"""

from __future__ import annotations

import asyncio
import os
import platform
from collections import OrderedDict
from collections.abc import Sequence
from functools import cache
from typing import Generic, Literal, TypeVar

from quell.context import files, git
from quell.core.access import repository_root
from quell.core.facts import Role
from quell.core.permissions import Mode

REMEMBERED = 128
"""Sessions whose view of git, and folders whose instructions, are kept."""

Key = TypeVar("Key")
Value = TypeVar("Value")

_PROMPTS = os.path.join(os.path.dirname(__file__), "prompts")


@cache
def prompt(name: Literal["system", "plan", "agent", "web", "compact", "title"]) -> str:
    """A text of ours, from its file."""
    with open(os.path.join(_PROMPTS, f"{name}.md"), encoding="utf-8") as file:
        return file.read().strip()


class SystemPrompts:
    """Builds system prompts. `user_folder` holds the user's own AGENTS.md; `home` is shown as `~`."""

    def __init__(self, user_folder: str | None = None, home: str = "", git_limit: float = git.LIMIT) -> None:
        self._user_folder = user_folder
        self._home = home
        self._git = git.Git(git_limit)
        self._instructions: _Recent[tuple[str, ...], tuple[tuple[files.Found, ...], str]] = _Recent()
        self._states: _Recent[tuple[str, str], str] = _Recent()

    async def system_prompt(
        self, workspace_root: str, extra: tuple[str, ...], mode: Mode | Role, today: str, session: str = ""
    ) -> str:
        """A role stands for a sub-agent in mode `plan`. `today` is a date. The first one of a `session` asks git, which takes up to 0.3 s.

        A sub-agent for the web is told nothing of the project: it could tell others.
        """
        if mode == "web":
            return f"{prompt('web')}\n\nDate: {today}"
        parts = [
            prompt("system"),
            await self._project(workspace_root, extra),
            await self._surroundings(workspace_root, extra, today, session),
            prompt(mode) if mode in ("plan", "agent") else "",
        ]
        return "\n\n".join(part for part in parts if part)

    async def _project(self, root: str, extra: tuple[str, ...]) -> str:
        key = (root, *extra)
        found = files.find(self._user_folder, root, extra)
        known = self._instructions.get(key)
        if known is not None and known[0] == found:
            return known[1]
        text = await asyncio.to_thread(files.render, found, self._home) if found else ""
        if text:
            text = f"# Instructions of the user and the project\n\nWhere they disagree, the later one counts.\n\n{text}"
        self._instructions.put(key, (found, text))
        return text

    async def _surroundings(self, root: str, extra: Sequence[str], today: str, session: str) -> str:
        state = self._states.get((session, root))
        if state is None:
            state = await self._git.describe(root) if repository_root(root, os.path.lexists) else ""
            self._states.put((session, root), state)
        lines = [
            f"Workspace: {root} (relative paths begin here)",
            *(f"Also in the workspace: {folder}" for folder in extra),
            f"Platform: {platform.system()} {platform.machine()}",
            f"Date: {today}",
        ]
        if state:
            lines.append(f"Git, when this session began:\n{state}")
        return "\n".join(["# Surroundings", "", *lines])


class _Recent(Generic[Key, Value]):
    """The last few; the least recently used goes first."""

    def __init__(self) -> None:
        self._values: OrderedDict[Key, Value] = OrderedDict()

    def get(self, key: Key) -> Value | None:
        value = self._values.get(key)
        if value is not None:
            self._values.move_to_end(key)
        return value

    def put(self, key: Key, value: Value) -> None:
        self._values[key] = value
        self._values.move_to_end(key)
        while len(self._values) > REMEMBERED:
            self._values.popitem(last=False)
