"""`lsp_references`: where a name is used, as a language server knows it."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from msgspec import Meta, Struct

from quell.core.messages import ToolResult
from quell.core.ports import Place, ToolContext, Workspace
from quell.tools import language
from quell.tools.tool import Call, Options, place, touches


class References(Struct, frozen=True, forbid_unknown_fields=True):
    symbol: Annotated[str, Meta(min_length=1, description="The name, as it stands in the code.")]
    path: Annotated[str, Meta(description="A file or folder in which it stands; the workspace if left out.")] = "."


def prepare_lsp_references(asked: References, workspace: Workspace, options: Options) -> Call:
    where = place(workspace, asked.path or ".")
    access = touches("lsp_references", "search", f"Look for uses of {asked.symbol}", where, workspace)
    return Call("search", access, partial(_references, asked, where, options), concurrent=True)


async def _references(asked: References, where: Place, options: Options, context: ToolContext) -> ToolResult:
    servers, root = language.servers(options, context.workspace), context.workspace.root
    return await language.asked_at(
        asked.symbol,
        where,
        context,
        lambda path, text, at: servers.references(root, path, text, at, context.environment),
    )
