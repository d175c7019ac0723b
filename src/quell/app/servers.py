"""The tool servers that are configured at this moment. A part of the composition root.

Nothing of them is loaded before there is one.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from quell.config.expand import Unset, expand, needed
from quell.config.secrets import redacted
from quell.config.settings import McpSettings, Settings
from quell.core.mcp import ServerState
from quell.core.ports import Toolset
from quell.core.session import Session

if TYPE_CHECKING:
    from quell.mcp import McpServers, ServerOptions


class ConfiguredServers:
    """`settings(workspace)` are those of a folder, or of none; `hidden` are variables that no server gets to see."""

    def __init__(
        self,
        settings: Callable[[str | None], Settings],
        hidden: Collection[str],
        secrets: Collection[str],
    ) -> None:
        self._settings = settings
        self._hidden = frozenset(hidden)
        self._secrets = secrets
        self._servers: McpServers | None = None
        self._group = asyncio.TaskGroup()

    async def __aenter__(self) -> ConfiguredServers:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._servers is not None:
            await self._servers.close()
        await self._group.__aexit__(None, None, None)

    async def equip(self, session: Session, environment: Mapping[str, str], attended: bool) -> Sequence[str]:
        """Have the servers of a session ready, before it samples; what it should know of those that are not."""
        configured = self._settings(session.workspace).mcp
        if session.parent is not None or not (configured or self._servers):
            return ()
        wanted = [_options(name, server, environment) for name, server in configured.items()]
        if self._servers is None:
            self._servers = self._made()
        return await self._servers.equip(session.id, session.workspace, wanted, environment, attended=attended)

    def tools(self, session: Session, inner: Toolset) -> Toolset:
        return inner if self._servers is None or session.parent is not None else self._servers.tools(session.id, inner)

    def instructions(self, session: Session) -> str:
        return "" if self._servers is None or session.parent is not None else self._servers.instructions(session.id)

    def states(self, workspace: str, environment: Mapping[str, str] | None) -> tuple[ServerState, ...]:
        """How they stand for a session with this environment; None: nobody knows yet which variables are set. One that was never needed has not
        been loaded for that."""
        configured = self._settings(workspace).mcp
        wanted = [_options(name, server, environment or {}) for name, server in configured.items()]
        if environment is None:
            wanted = [replace(options, problem="") for options in wanted]
        if self._servers is not None:
            states = self._servers.states(os.path.realpath(workspace), wanted)
        else:
            states = tuple(map(_never_needed, wanted))
        return tuple(_with_needs(state, server) for state, server in zip(states, configured.values(), strict=True))

    async def warm(self) -> None:
        """Load what speaks to servers, if there may be any."""
        if any(not server.disabled for server in self._settings(None).mcp.values()):
            from quell.mcp.server import load

            await asyncio.to_thread(load)

    def _made(self) -> McpServers:
        from quell.mcp import McpServers, Surroundings
        from quell.workspace.programs import LocalPrograms

        return McpServers(
            self._group, Surroundings(LocalPrograms(), lambda text: redacted(text, self._secrets), self._hidden)
        )


def _options(name: str, server: McpSettings, environment: Mapping[str, str]) -> ServerOptions:
    """With the variables of an environment in their places."""
    from quell.mcp import ServerOptions

    try:
        command = [expand(word, environment) for word in (server.command, *server.args) if word or server.command]
        options = ServerOptions(
            name=name,
            type=server.type or ("http" if server.url else "stdio"),
            command=(os.path.expanduser(command[0]), *command[1:]) if command else (),
            environment=tuple((key, expand(value, environment)) for key, value in server.env.items()),
            url=expand(server.url, environment),
            headers=tuple((key, expand(value, environment)) for key, value in server.headers.items()),
        )
    except Unset as unset:
        options = ServerOptions(name=name, problem=f"{unset}, which its settings name.")
    return replace(
        options,
        timeout=server.timeout,
        start_timeout=server.start_timeout,
        disabled=server.disabled,
        enabled_tools=server.enabled_tools,
        disabled_tools=server.disabled_tools,
        written=msgspec.json.encode(server).decode(),
    )


def _with_needs(state: ServerState, server: McpSettings) -> ServerState:
    """A program that a variable names, or that is looked for elsewhere, can only be found by starting it."""
    texts = (server.command, *server.args, *server.env.values(), server.url, *server.headers.values())
    return replace(
        state,
        remote=bool(server.url),
        program="" if "$" in server.command or "PATH" in server.env else server.command,
        variables=tuple(dict.fromkeys(name for text in texts for name in needed(text))),
    )


def _never_needed(options: ServerOptions) -> ServerState:
    if options.disabled:
        return ServerState(name=options.name, state="disabled")
    return ServerState(
        name=options.name, state="failed" if options.problem else "stopped", problem=options.problem or None
    )
