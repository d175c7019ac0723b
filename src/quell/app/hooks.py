"""The hooks that are configured at this moment. A part of the composition root.

Nothing of them is loaded before there is one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING

from quell.config.settings import HookSettings, Settings
from quell.core.hooks import Hooks
from quell.core.messages import headline
from quell.core.programs import Program
from quell.wire import api

if TYPE_CHECKING:
    from quell.hooks import CommandHooks

_FIRST_WORD = re.compile(r"\s*([\w./~+@%-]+)(?=\s|;|$)")
"""A plain one: what is set, quoted or expanded is the shell's business."""

Configured = Mapping[str, tuple[HookSettings, ...]]


class ConfiguredHooks:
    """Called, what the settings say now; None when they say nothing. `hidden` are variables that no hook gets to see."""

    def __init__(self, settings: Callable[[], Settings], hidden: Collection[str]) -> None:
        self._settings = settings
        self._hidden = hidden
        self._known: tuple[Configured, CommandHooks] | None = None
        self._behind: set[Program] = set()

    def __call__(self) -> Hooks | None:
        wanted = self._settings().hooks
        if not any(wanted.values()):
            return None
        if self._known is None or self._known[0] != wanted:
            self._known = (wanted, _hooks(wanted, self._hidden, self._behind))
        return self._known[1]

    async def close(self) -> None:
        """End those that run behind settled runs, also such as are configured no longer."""
        if self._known is not None:
            await self._known[1].close()


def statuses(settings: Settings) -> tuple[api.HookStatus, ...]:
    """What a person is told of those that are configured: their programs, so far as a line of shell shows one."""
    return tuple(
        api.HookStatus(
            event=event,
            name=hook.name or headline(hook.command),
            matcher="" if hook.matcher == "*" else hook.matcher,
            program=found[1] if (found := _FIRST_WORD.match(hook.command)) else "",
            denies=event == "PreToolUse" and hook.on_failure == "deny",
        )
        for event, hooks in settings.hooks.items()
        for hook in hooks
    )


def _hooks(wanted: Configured, hidden: Collection[str], behind: set[Program]) -> CommandHooks:
    from quell.hooks import CommandHooks, Hook
    from quell.workspace.programs import LocalPrograms

    found = [
        Hook(
            event=event,  # type: ignore[arg-type]  # as was checked
            name=hook.name or headline(hook.command),
            command=hook.command,
            matcher=None if hook.matcher in ("", "*") else re.compile(hook.matcher, re.IGNORECASE),
            timeout=hook.timeout,
            on_failure=hook.on_failure,
        )
        for event, hooks in wanted.items()
        for hook in hooks
    ]
    return CommandHooks(found, LocalPrograms(), hidden, behind)
