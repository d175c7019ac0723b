"""`lsp_diagnostics`: what language servers find wrong, in a file or in all that they have looked at."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from msgspec import Meta, Struct

from quell.core.languages import Languages
from quell.core.messages import ToolResult
from quell.core.ports import Place, ToolContext, Workspace
from quell.tools import language
from quell.tools.tool import Call, Options, place, shown_name, touches


class Diagnostics(Struct, frozen=True, forbid_unknown_fields=True):
    file_path: Annotated[
        str,
        Meta(description="The file; left out: everything that was said of the project, and the state of the servers."),
    ] = ""


def prepare_lsp_diagnostics(asked: Diagnostics, workspace: Workspace, options: Options) -> Call:
    where = place(workspace, asked.file_path or ".")
    access = touches("lsp_diagnostics", "read", f"Diagnose {where.shown}", where, workspace)
    return Call("read", access, partial(_diagnostics, asked, where, options), concurrent=True)


async def _diagnostics(asked: Diagnostics, where: Place, options: Options, context: ToolContext) -> ToolResult:
    servers = language.servers(options, context.workspace)
    if not asked.file_path:
        return _of_project(servers, context.workspace)
    text = await language.text_of(context.workspace, where)
    found = await servers.changed(context.workspace.root, where.path, text, context.environment)
    if not found:
        return ToolResult(text=f"No language server is for {where.shown}.", status="failed")
    lines: list[str] = []
    for each in found:
        said = each.problem or language.counted(each.diagnostics) or "nothing wrong"
        lines += [f"{each.server}: {said}", *language.listed(each.diagnostics, language.MOST)]
    answered = any(not each.problem for each in found)
    return ToolResult(text="\n".join(lines), status="completed" if answered else "failed")


def _of_project(servers: Languages, workspace: Workspace) -> ToolResult:
    states = servers.states(workspace.root)
    lines = [f"{each.name}: {each.state}{each.problem and f': {each.problem}'}" for each in states]
    left = language.MOST
    for each in servers.known(workspace.root):
        if left > 0:
            where = shown_name(workspace.place(each.path).shown)
            lines += [f"\n{where} ({each.server}): {language.counted(each.diagnostics)}"]
            lines += language.listed(each.diagnostics, left)
            left -= len(each.diagnostics)
    if not states:
        lines = ["No language server runs yet: they start with the first file of theirs that is viewed or edited."]
    return ToolResult(text="\n".join(lines))
