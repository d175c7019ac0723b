"""The tools of servers, beside the others: implements the port `Toolset` around another one.

What a call would touch is not known: its access names the tool and nothing else, so that it is asked about unless a rule for that name
answers. What a server says of its tool, that it only reads for example, is not believed: it would be its own judge.
"""

from __future__ import annotations

import asyncio
import difflib
import json
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from quell.core.access import Access, short
from quell.core.mcp import LIST_RESOURCES, READ_RESOURCE, is_of_servers
from quell.core.messages import ToolCall, ToolKind, ToolResult, ToolSpec
from quell.core.ports import JobState, PreparedCall, ToolContext, Toolset, Workspace
from quell.core.questions import Question
from quell.mcp import results
from quell.mcp.answers import Called, ServerFailed
from quell.mcp.offers import Offer
from quell.mcp.server import Server

if TYPE_CHECKING:  # it imports what is heavy
    from quell.mcp.connection import Connection

TITLE = 500
"""Characters of what a person is asked about."""

_LIST = ToolSpec(
    LIST_RESOURCES,
    "Lists what a tool server has to read: documents, records, files, each with a URI for `read_mcp_resource`.",
    {
        "type": "object",
        "properties": {"mcp_name": {"type": "string", "description": "The server; all of them if left out."}},
        "required": [],
    },
)
_READ = ToolSpec(
    READ_RESOURCE,
    "Reads a resource of a tool server.",
    {
        "type": "object",
        "properties": {
            "mcp_name": {"type": "string", "description": "The server that has it."},
            "uri": {"type": "string", "description": "The URI of the resource, as `list_mcp_resources` shows it."},
        },
        "required": ["mcp_name", "uri"],
    },
)


class ServerCall(Struct, frozen=True):
    """Implements the port `PreparedCall`. Calls of servers run one at a time: what they do to each other is not known."""

    kind: ToolKind
    access: Access
    act: Callable[[ToolContext], Awaitable[ToolResult]]
    concurrent: bool = False
    questions: tuple[Question, ...] = ()
    reason: str = ""

    async def run(self, context: ToolContext) -> ToolResult:
        try:
            return await self.act(context)
        except ServerFailed as failure:
            return _failed(f"{short(self.access.title)}: {failure}")


class ServerTools:
    """The tools of `inner`, and those of some servers."""

    def __init__(self, inner: Toolset, servers: Sequence[Server], group: asyncio.TaskGroup) -> None:
        self._inner = inner
        self._servers = servers
        self._group = group

    def specs(self) -> Sequence[ToolSpec]:
        resources = (_LIST, _READ) if any(server.has_resources for server in self._servers) else ()
        return (*self._inner.specs(), *resources, *(spec for server in self._servers for spec in server.specs))

    def jobs(self, session: str) -> Sequence[JobState]:
        return self._inner.jobs(session)

    def works_behind(self, session: str) -> bool:
        return self._inner.works_behind(session)

    async def end_job(self, session: str, job: str) -> JobState:
        return await self._inner.end_job(session, job)

    async def forget(self, session: str) -> None:
        await self._inner.forget(session)

    def prepare(self, call: ToolCall, workspace: Workspace) -> PreparedCall | ToolResult:
        name = call.name.strip()
        if not is_of_servers(name.lower()):
            return self._inner.prepare(call, workspace)
        try:
            sent = json.loads(call.input, strict=False) if call.input.strip() else {}
        except (ValueError, RecursionError) as error:
            return _failed(f"`{name}` was not called. The input is not valid JSON: {error}.")
        if not isinstance(sent, dict):
            return _failed(f"`{name}` was not called. The input has to be a JSON object.")
        if name.lower() == LIST_RESOURCES:
            return self._list(sent)
        if name.lower() == READ_RESOURCE:
            return self._read(sent)
        known = {called.lower(): (server, offer) for server in self._servers for called, offer in server.offers.items()}
        found = known.get(name.lower())
        if found is None:
            near = difflib.get_close_matches(name.lower(), known, n=1)
            meant = f" Did you mean `{near[0]}`?" if near else ""
            there = ", ".join(offer.spec.name for _, offer in known.values()) or "none"
            return _failed(f"There is no tool `{name}`.{meant} The tools of servers are: {there}.")
        return self._call(*found, sent)

    def _call(self, server: Server, offer: Offer, arguments: dict[str, Any]) -> ServerCall:
        shown = json.dumps(arguments, ensure_ascii=False) if arguments else ""
        title = " ".join(f"Call {offer.tool} of the tool server {server.options.name} {shown}".split())
        title = title if len(title) <= TITLE else title[: TITLE - 1] + "…"
        access = Access(tool=offer.spec.name, kind="other", title=title)
        return ServerCall("other", access, partial(_called, server, self._group, offer.tool, arguments))

    def _list(self, sent: dict[str, Any]) -> PreparedCall | ToolResult:
        name = sent.get("mcp_name") or ""
        servers = [server for server in self._servers if server.has_resources and name in ("", server.options.name)]
        if not servers:
            return self._no_resources(name)
        access = Access(tool=LIST_RESOURCES, kind="read", title=f"List resources of {name or 'all tool servers'}")
        return ServerCall("read", access, partial(_listed, servers, self._group), concurrent=True)

    def _read(self, sent: dict[str, Any]) -> PreparedCall | ToolResult:
        name, uri = sent.get("mcp_name"), sent.get("uri")
        if not isinstance(uri, str) or not uri:
            return _failed(
                f"`{READ_RESOURCE}` was not called. Send `mcp_name` and `uri`, as `{LIST_RESOURCES}` shows them."
            )
        server = next((each for each in self._servers if each.has_resources and each.options.name == name), None)
        if server is None:
            return self._no_resources(name)
        access = Access(tool=READ_RESOURCE, kind="other", title=short(f"Read {uri} of the tool server {name}"))
        return ServerCall("other", access, partial(_read, server, self._group, uri))

    def _no_resources(self, name: object) -> ToolResult:
        there = ", ".join(server.options.name for server in self._servers if server.has_resources) or "none"
        return _failed(f"There is no tool server {name!r} with resources. Those with some are: {there}.")


async def _called(
    server: Server, group: asyncio.TaskGroup, tool: str, arguments: dict[str, Any], context: ToolContext
) -> ToolResult:
    progress = results.Progress(context.output)

    async def work(connection: Connection) -> Called:
        return await connection.call(tool, arguments, progress.take)

    return await results.of_call(await server.ask(group, work), server.options.name, tool, context)


async def _listed(servers: Sequence[Server], group: asyncio.TaskGroup, context: ToolContext) -> ToolResult:
    texts = []
    for server in servers:
        try:
            texts.append(results.listing(server.options.name, *await server.ask(group, _everything)))
        except ServerFailed as failure:
            texts.append(f"{server.options.name}: {failure}")
    return await results.of_text("\n\n".join(texts), context)


async def _everything(connection: Connection) -> tuple[Any, Any]:
    resources = await connection.resources()
    try:
        return resources, await connection.templates()
    except ServerFailed:  # many servers do not know the word
        return resources, None


async def _read(server: Server, group: asyncio.TaskGroup, uri: str, context: ToolContext) -> ToolResult:
    answer = await server.ask(group, lambda connection: connection.read(uri))
    return await results.of_contents(answer, context)


def _failed(text: str) -> ToolResult:
    return ToolResult(text=text, status="failed")
