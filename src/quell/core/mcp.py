"""Tool servers (MCP): what of them has to be known everywhere. How they are started and talked to is the business of `quell.mcp`."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

PREFIX = "mcp_"
"""What the names of their tools begin with: `mcp_SERVER_TOOL`."""

LIST_RESOURCES = "list_mcp_resources"
READ_RESOURCE = "read_mcp_resource"


class ServerState(Struct, frozen=True, kw_only=True):
    """How a configured server stands. `problem`: why it cannot be used, or what of its settings cannot; `tools` are those that a model gets to see.

    Of the terminal that a session comes from it needs `program`, if that can be looked for, and `variables`. `remote`: it is no program of ours, and
    was there when it was last asked.
    """

    name: str
    state: Literal["disabled", "stopped", "starting", "connected", "failed"]
    problem: str | None = None
    tools: int = 0
    program: str = ""
    remote: bool = False
    variables: tuple[str, ...] = ()


def is_of_servers(tool: str) -> bool:
    """Whether a rule for this is about tools of servers. Which there are is not known before a server has said so."""
    return tool.startswith(PREFIX) or tool in (LIST_RESOURCES, READ_RESOURCE)
