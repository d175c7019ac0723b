"""`lsp_symbols`: the outline of a file, as a language server knows it."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from msgspec import Meta, Struct

from quell.core.languages import Unanswered
from quell.core.messages import ToolResult
from quell.core.ports import Place, ToolContext, Workspace
from quell.tools import language
from quell.tools.tool import Call, Options, failed, place, touches

_MOST = 500


class Symbols(Struct, frozen=True, forbid_unknown_fields=True):
    file_path: Annotated[str, Meta(description="The file, relative to the workspace or absolute.")]


def prepare_lsp_symbols(asked: Symbols, workspace: Workspace, options: Options) -> Call:
    where = place(workspace, asked.file_path)
    access = touches("lsp_symbols", "read", f"Outline {where.shown}", where, workspace)
    return Call("read", access, partial(_symbols, where, options), concurrent=True)


async def _symbols(where: Place, options: Options, context: ToolContext) -> ToolResult:
    servers, root = language.servers(options, context.workspace), context.workspace.root
    text = await language.text_of(context.workspace, where)
    try:
        found = await servers.symbols(root, where.path, text, context.environment)
    except Unanswered as unanswered:
        return failed(f"{unanswered} Use `view`, or `grep` for the words with which definitions begin.")
    lines = [f"{'  ' * each.depth}{each.kind} {each.name}  {each.line}-{each.end}" for each in found[:_MOST]]
    if len(found) > _MOST:
        lines.append(f"… and {len(found) - _MOST} more")
    return ToolResult(text="\n".join(lines) or f"{where.shown} has no symbols.", metadata={"symbols": len(found)})
