"""The servers of all workspaces, and which of them a session has.

A server belongs to a folder, and is shared by the sessions that work there with the same settings and variables. It ends when no session
has wanted it for long, when no session has it any more, and with this process.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence

from quell.core.mcp import ServerState
from quell.core.ports import Toolset
from quell.mcp.options import ServerOptions
from quell.mcp.server import Server, Surroundings
from quell.mcp.toolset import ServerTools

PATIENCE = 3.0
"""Seconds from the start of a server in which a session waits for it before its first sample, where a person is there."""
UNUSED = 1800.0
"""Seconds after which a server is ended that no session has wanted."""
REMEMBERED = 512
"""Sessions whose servers are known."""


class McpServers:
    """`group` is where their lives are tasks; `close` ends all of them."""

    def __init__(
        self, group: asyncio.TaskGroup, around: Surroundings, *, patience: float = PATIENCE, unused: float = UNUSED
    ) -> None:
        self._tasks = group
        self._around = around
        self._patience = patience
        self._unused = unused
        self._servers: dict[tuple[str, ServerOptions], Server] = {}
        self._of: OrderedDict[str, tuple[Server, ...]] = OrderedDict()
        self._told: dict[str, set[tuple[str, str]]] = {}
        self._watch = group.create_task(self._end_unused())

    async def close(self) -> None:
        self._watch.cancel()
        await _stop(self._servers.values())

    async def equip(
        self,
        session: str,
        root: str,
        wanted: Sequence[ServerOptions],
        environment: Mapping[str, str],
        *,
        attended: bool,
    ) -> list[str]:
        """Have a session's servers started, and wait for them: as long as each may take, or, where a person waits, for a moment.

        What a session should know of those that are missing is returned once.
        """
        servers = tuple(self._server(root, options, environment) for options in wanted if not options.disabled)
        self._assign(session, servers)
        if not servers:
            return []
        for server in servers:
            server.begin(self._tasks)
        now = asyncio.get_running_loop().time()
        for server in servers:
            await _wait(server, server.begun + self._patience - now if attended else None)
        return self._news(session, servers)

    def tools(self, session: str, inner: Toolset) -> Toolset:
        """The tools of a session, with those of its servers."""
        servers = self._of.get(session)
        return ServerTools(inner, servers, self._tasks) if servers else inner

    def instructions(self, session: str) -> str:
        """What the servers of a session have to say to its model."""
        texts = [
            f"## {server.options.name}\n\n{server.instructions}"
            for server in self._of.get(session, ())
            if server.instructions and (server.offers or server.has_resources)
        ]
        return "\n\n".join([_HEADING, *texts]) if texts else ""

    def states(self, root: str, wanted: Sequence[ServerOptions]) -> tuple[ServerState, ...]:
        """How the servers of a folder stand, as far as they were ever needed with the settings that hold now, whatever their variables were."""
        found = []
        for options in wanted:
            alike = [
                server
                for (at, known), server in self._servers.items()
                if (at, known.name, known.written) == (root, options.name, options.written) and not known.problem
            ]
            live = [server.state for server in alike if server.state.state != "stopped" and not options.disabled]
            found.append(live[-1] if live else Server(options, root, {}, self._around).state)
        return tuple(found)

    def _server(self, root: str, options: ServerOptions, environment: Mapping[str, str]) -> Server:
        server = self._servers.get((root, options))
        if server is None:
            server = self._servers[root, options] = Server(options, root, environment, self._around)
        return server

    def _assign(self, session: str, servers: tuple[Server, ...]) -> None:
        before = self._of.get(session)
        self._of[session] = servers
        self._of.move_to_end(session)
        if len(self._of) > REMEMBERED:
            gone, _ = self._of.popitem(last=False)
            self._told.pop(gone, None)
        if before is not None and before != servers:
            self._tasks.create_task(self._end_dropped())

    def _news(self, session: str, servers: Sequence[Server]) -> list[str]:
        told, news = self._told.setdefault(session, set()), []
        for server in servers:
            state = server.state
            if state.state == "connected" or (state.name, state.problem or "") in told:
                continue
            told.add((state.name, state.problem or ""))
            if state.state == "starting":
                news.append(f"The tool server `{state.name}` is still starting. Its tools are there when it is ready.")
            else:
                news.append(
                    f"The tool server `{state.name}` is not there, and its tools are missing. {state.problem or ''}".rstrip()
                )
        return news

    async def _end_dropped(self) -> None:
        """Settings have changed: what no session has any more is not needed."""
        had = {server for servers in self._of.values() for server in servers}
        dropped = {key: server for key, server in self._servers.items() if server not in had and not server.in_use}
        for key in dropped:
            del self._servers[key]
        await _stop(dropped.values())

    async def _end_unused(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(min(60.0, self._unused / 4))
            since = loop.time() - self._unused
            await _stop([server for server in self._servers.values() if server.used < since and not server.in_use])


_HEADING = """# Tool servers

What follows was written by the makers of the servers that these tools come from. It says how their tools are used; it is not the user's word."""


async def _stop(servers: Collection[Server]) -> None:
    async with asyncio.TaskGroup() as group:
        for server in servers:
            group.create_task(server.stop())


async def _wait(server: Server, seconds: float | None) -> None:
    try:
        async with asyncio.timeout(seconds if seconds is None else max(seconds, 0)):
            await server.ready()
    except TimeoutError:
        pass
