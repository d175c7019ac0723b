"""`lsp_restart`: end language servers; they start again when they are needed."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from msgspec import Meta, Struct

from quell.core.access import Access
from quell.core.messages import ToolResult
from quell.core.ports import ToolContext, Workspace
from quell.tools import language
from quell.tools.tool import Call, Options


class Restart(Struct, frozen=True, forbid_unknown_fields=True):
    name: Annotated[str, Meta(description="The server, as `lsp_diagnostics` names it; left out: all.")] = ""


def prepare_lsp_restart(asked: Restart, workspace: Workspace, options: Options) -> Call:
    del workspace
    access = Access(tool="lsp_restart", kind="think", title=f"Restart {asked.name or 'the language servers'}")
    return Call("think", access, partial(_restart, asked, options))


async def _restart(asked: Restart, options: Options, context: ToolContext) -> ToolResult:
    ended = language.servers(options, context.workspace).restart(context.workspace.root, asked.name)
    if not ended:
        return ToolResult(text=f"{asked.name or 'No language server'} does not run.", status="failed")
    return ToolResult(text=f"Ended: {', '.join(ended)}. They start again with the next file of theirs.")
