"""Language servers: those of every workspace, started when a file that they are for is touched. Implements the port `Languages`.

Which there are is the business of `app`; a server belongs to a folder, the nearest one above the file with one of its marks. One that is not
needed for a while is ended, one that has failed is tried again after a pause. None of them keeps the process from leaving: their supervisors
see to their end.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TypeVar

import msgspec

from quell.core.access import within
from quell.core.languages import Findings, LanguageServerState, Nobody, Relation, Spot, Symbol, Unanswered
from quell.core.programs import Programs
from quell.lsp import values
from quell.lsp.server import LanguageServer, Server, last_used

__all__ = ["LanguageServers", "Server"]

IDLE = 600.0
"""Seconds after which one that is not needed is ended."""

AGAIN = 30.0
"""Seconds after which one that has failed is tried again."""

MOST = 12
"""Servers that run at the same time."""

_ASKED_FOR = {
    "textDocument/definition": "where a name is defined",
    "textDocument/references": "where a name is used",
    "textDocument/documentSymbol": "what is in a file",
}

Key = tuple[str, str]
T = TypeVar("T")


class LanguageServers:
    """`servers` says which there are for a workspace. `hidden` are variables that none of them gets to see."""

    def __init__(
        self, servers: Callable[[str], Sequence[Server]], programs: Programs, hidden: Collection[str] = ()
    ) -> None:
        self._servers = servers
        self._programs = programs
        self._hidden = frozenset(hidden)
        self._running: dict[Key, LanguageServer] = {}
        self._ending: set[LanguageServer] = set()
        self._timer: asyncio.TimerHandle | None = None

    def offered(self, root: str) -> bool:
        return bool(self._servers(root))

    def touched(self, root: str, path: str, environment: Mapping[str, str]) -> None:
        for _ in self._of(root, path, environment):
            pass

    async def changed(self, root: str, path: str, text: str, environment: Mapping[str, str]) -> Sequence[Findings]:
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(each.changed(path, text)) for each in self._of(root, path, environment)]
        return [task.result() for task in asked]

    def known(self, root: str) -> Sequence[Findings]:
        return [
            Findings(server.server.name, path, found)
            for server in self._of_root(root)
            for path, found in server.said.items()
            if found and within(path, root)
        ]

    def states(self, root: str) -> Sequence[LanguageServerState]:
        wanted = self._servers(root)
        return [server.state() for server in self._of_root(root) if server.server in wanted]

    async def places(
        self, relation: Relation, root: str, path: str, text: str, at: tuple[int, int], environment: Mapping[str, str]
    ) -> Sequence[Spot]:
        method = f"textDocument/{relation}"
        server = await self._one(method, root, path, environment)
        more = {"context": {"includeDeclaration": True}} if relation == "references" else {}
        answer = await server.ask(method, path, text, server.at(text, at) | more)
        return _understood(server, values.spots, answer)

    async def symbols(self, root: str, path: str, text: str, environment: Mapping[str, str]) -> Sequence[Symbol]:
        method = "textDocument/documentSymbol"
        server = await self._one(method, root, path, environment)
        return _understood(server, values.symbols, await server.ask(method, path, text, {}))

    def restart(self, root: str, name: str = "") -> Sequence[str]:
        ended = [key for key, server in self._running.items() if server in self._of_root(root) and name in ("", key[0])]
        for key in ended:
            self._end(key)
        return [key[0] for key in ended]

    async def close(self) -> None:
        """End all, and wait until nothing of them is left."""
        if self._timer is not None:
            self._timer.cancel()
        for key in [*self._running]:
            self._end(key)
        for server in [*self._ending]:
            await server.gone()

    def _end(self, key: Key) -> None:
        server = self._running.pop(key)
        self._ending.add(server)
        server.end()
        server.when_gone(lambda: self._ending.discard(server))

    async def _one(self, method: str, root: str, path: str, environment: Mapping[str, str]) -> LanguageServer:
        """The first that works and can do it: it is configured so."""
        found = [*self._of(root, path, environment)]
        if not found:
            raise Nobody(f"No language server is for {os.path.basename(path)}.")
        for server in [server for server in found if not server.problem] or found:
            if await server.can(method):
                return server
        names = " and ".join(server.server.name for server in found)
        raise Nobody(f"{names} cannot tell {_ASKED_FOR[method]}.")

    def _of(self, root: str, path: str, environment: Mapping[str, str]) -> Iterator[LanguageServer]:
        """Those that are for a file, started if they do not run."""
        if not within(path, root):
            return
        name = os.path.basename(path)
        for server in self._servers(root):
            if name in server.filetypes or os.path.splitext(name)[1].removeprefix(".").lower() in server.filetypes:
                folder = _marked(server, root, path)
                if folder is not None:
                    yield self._found(server, folder, environment)

    def _found(self, server: Server, folder: str, environment: Mapping[str, str]) -> LanguageServer:
        now = asyncio.get_running_loop().time()
        key = (server.name, folder)
        running = self._running.get(key)
        failed = running is not None and running.problem and now - running.used > AGAIN
        if running is not None and (failed or running.server != server):
            self._end(key)
            running = None
        if running is None:
            if len(self._running) >= MOST:
                oldest = last_used([*self._running.values()])
                self._end((oldest.server.name, oldest.folder))
            seen = {name: value for name, value in environment.items() if name not in self._hidden}
            running = self._running[key] = LanguageServer(server, folder, self._programs, {"PATH": os.defpath, **seen})
            running.used = now
            self._look_later()
        if not running.problem:
            running.used = now
        return running

    def _look_later(self) -> None:
        if self._timer is None and self._running:
            self._timer = asyncio.get_running_loop().call_later(IDLE / 4, self._look)

    def _look(self) -> None:
        """End those that nobody needs."""
        self._timer = None
        now = asyncio.get_running_loop().time()
        for key in [key for key, server in self._running.items() if now - server.used > IDLE]:
            self._end(key)
        self._look_later()

    def _of_root(self, root: str) -> Sequence[LanguageServer]:
        return [server for server in self._running.values() if within(server.folder, root)]


def _understood(server: LanguageServer, meaning: Callable[[msgspec.Raw], T], answer: msgspec.Raw) -> T:
    try:
        return meaning(answer)
    except msgspec.DecodeError:
        raise Unanswered(f"{server.server.name} has answered what cannot be understood.") from None


def _marked(server: Server, root: str, path: str) -> str | None:
    """The nearest folder above the file, up to the workspace, with one of the server's marks; the workspace, if it needs none."""
    if not server.root_markers:
        return root
    folder = os.path.dirname(path)
    while within(folder, root):
        if any(os.path.exists(os.path.join(folder, mark)) for mark in server.root_markers):
            return folder
        folder = os.path.dirname(folder)
    return None
