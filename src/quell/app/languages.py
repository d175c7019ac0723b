"""The language servers that are configured, or found, at this moment: the port `Languages`. A part of the composition root.

Nothing of them is loaded before there is one. Only the user's own settings name programs: a project's cannot.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence

from msgspec.structs import replace

from quell.config.settings import LanguageServerSettings, Settings
from quell.core.languages import Findings, Languages, LanguageServerState, Relation, Spot, Symbol, Unanswered
from quell.wire import api

LOOK_AGAIN = 30.0
"""Seconds for which what was found in a workspace is believed."""

Wanted = Mapping[str, LanguageServerSettings]


class ConfiguredLanguages:
    """The port, of which nothing is loaded until a server is for a file. `hidden` are variables that none of them gets to see."""

    def __init__(self, settings: Callable[[], Settings], hidden: Collection[str], path: str) -> None:
        self._settings = settings
        self._hidden = hidden
        self._path = path
        self._found: dict[str, tuple[float, Wanted]] = {}
        self._made: _Made | None = None
        self._last: tuple[Wanted, bool] = ({}, False)

    def offered(self, root: str) -> bool:
        return bool(self._wanted(root))

    def standing(self, workspace: str) -> Sequence[api.LanguageServerStatus]:
        """Which there are for a folder, looked for anew, and how they stand: one that works in several of its folders is there as often."""
        root = os.path.realpath(workspace)
        self._found.pop(root, None)
        wanted, running = self._wanted(root), self.states(root)
        off = [name for name, own in self._settings().lsp.items() if own.disabled]
        found = [api.LanguageServerStatus(name=name, state="disabled") for name in off]
        for name, own in wanted.items():
            shown = api.LanguageServerStatus(name=name, program=own.command or "", filetypes=own.filetypes or ())
            found += [
                replace(shown, state=each.state, folder=each.folder, problem=each.problem or None)
                for each in running
                if each.name == name
            ] or [shown]
        return found

    def touched(self, root: str, path: str, environment: Mapping[str, str]) -> None:
        if self.offered(root):
            self._servers.touched(root, path, environment)

    async def changed(self, root: str, path: str, text: str, environment: Mapping[str, str]) -> Sequence[Findings]:
        return await self._servers.changed(root, path, text, environment) if self.offered(root) else ()

    def known(self, root: str) -> Sequence[Findings]:
        return self._made.servers.known(root) if self._made is not None else ()

    def states(self, root: str) -> Sequence[LanguageServerState]:
        return self._made.servers.states(root) if self._made is not None else ()

    async def places(
        self, relation: Relation, root: str, path: str, text: str, at: tuple[int, int], environment: Mapping[str, str]
    ) -> Sequence[Spot]:
        return await self._asked(root).places(relation, root, path, text, at, environment)

    async def symbols(self, root: str, path: str, text: str, environment: Mapping[str, str]) -> Sequence[Symbol]:
        return await self._asked(root).symbols(root, path, text, environment)

    def restart(self, root: str, name: str = "") -> Sequence[str]:
        return self._made.servers.restart(root, name) if self._made is not None else ()

    async def close(self) -> None:
        if self._made is not None:
            await self._made.close()

    def _asked(self, root: str) -> Languages:
        if not self.offered(root):
            raise Unanswered("No language server is configured.")
        return self._servers

    @property
    def _servers(self) -> Languages:
        if self._made is None:
            self._made = _Made(self._wanted, self._hidden)
        return self._made.servers

    def _wanted(self, root: str) -> Wanted:
        settings = self._settings()
        if not settings.lsp and not settings.auto_lsp:
            return {}
        now = time.monotonic()
        found = self._found.get(root)
        said = (settings.lsp, settings.auto_lsp)
        if said != self._last:
            self._last = said
            self._found.clear()
            found = None
        if found is None or now - found[0] > LOOK_AGAIN:
            found = self._found[root] = (now, self._look(settings, root))
        return found[1]

    def _look(self, settings: Settings, root: str) -> Wanted:
        import shutil  # what a person without language servers need not wait for

        from quell.config.languages import CATALOGUE, completed

        wanted = {name: completed(name, own) for name, own in settings.lsp.items() if not own.disabled}
        for name, known in CATALOGUE.items() if settings.auto_lsp else ():
            marked = any(os.path.exists(os.path.join(root, mark)) for mark in known.root_markers or ())
            if name not in settings.lsp and marked and shutil.which(known.command or "", path=self._path):
                wanted[name] = known
        return wanted


class _Made:
    """The servers themselves."""

    def __init__(self, wanted: Callable[[str], Wanted], hidden: Collection[str]) -> None:
        from quell.lsp import LanguageServers, Server
        from quell.workspace.programs import LocalPrograms

        def servers(root: str) -> Sequence[Server]:
            return [
                Server(
                    name=name,
                    command=(os.path.expanduser(own.command or ""), *(own.args or ())),
                    environment=own.env,
                    filetypes=tuple(end.removeprefix(".").lower() for end in own.filetypes or ()),
                    root_markers=own.root_markers or (),
                    init_options=own.init_options,
                    timeout=own.timeout,
                )
                for name, own in wanted(root).items()
            ]

        made = LanguageServers(servers, LocalPrograms(), hidden)
        self.servers: Languages = made
        self.close = made.close
