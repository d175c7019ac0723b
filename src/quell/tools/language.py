"""What tools share of language servers: what is said after an edit, and how diagnostics are told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from msgspec.structs import replace

from quell.core.languages import Diagnostic, Findings, Languages
from quell.core.messages import ToolResult
from quell.core.ports import Place, ToolContext, Workspace
from quell.tools.text import decode
from quell.tools.tool import Options, Refused

Act = Callable[[ToolContext], Awaitable[ToolResult]]

AFTER_EDITS = 10
"""Diagnostics that are told after an edit."""

LONGEST = 2 * 1024 * 1024
"""Bytes. A larger file is shown to no language server."""

MOST = 100
"""Places, or diagnostics, that are told when they were asked for."""

WIDTH = 300
"""Characters of a line."""


def diagnosed(act: Act, where: Place, options: Options) -> Act:
    """An edit, with what language servers say of its file. Whatever they do, it is what it was; a cancel meanwhile takes nothing of it back."""
    languages = options.languages
    if languages is None:
        return act

    async def acting(context: ToolContext) -> ToolResult:
        result = await act(context)
        task = asyncio.current_task()
        if result.status != "completed" or not where.inside or (task is not None and task.cancelling()):
            return result
        root = context.workspace.root
        try:
            text = await read(context.workspace, where.path) if languages.offered(root) else None
            found = () if text is None else await languages.changed(root, where.path, text, context.environment)
        except asyncio.CancelledError:
            return result
        told = [line for each in found if (line := _after_edit(each, where.shown))]
        return replace(result, text="\n\n".join([result.text, *told]))

    return acting


def touching(act: Act, where: Place, options: Options) -> Act:
    """A look at a file, for which language servers get ready."""
    languages = options.languages
    if languages is None:
        return act

    async def acting(context: ToolContext) -> ToolResult:
        result = await act(context)
        if result.status == "completed" and where.inside:
            languages.touched(context.workspace.root, where.path, context.environment)
        return result

    return acting


def servers(options: Options, workspace: Workspace) -> Languages:
    if options.languages is None or not options.languages.offered(workspace.root):
        raise Refused(
            "No language server is configured for this workspace. Use `grep`, or the project's own checker in `bash`."
        )
    return options.languages


async def text_of(workspace: Workspace, where: Place) -> str:
    """What a server is told of a file."""
    if not where.inside:
        raise Refused(f"{where.shown} is outside of the workspace; language servers are asked about what is in it.")
    text = await read(workspace, where.path)
    if text is None:
        raise Refused(f"{where.shown} is no text, or too long for a language server.")
    return text


def counted(diagnostics: Iterable[Diagnostic]) -> str:
    """`2 errors, 1 warning`."""
    counts: dict[str, int] = {}
    for each in diagnostics:
        counts[each.severity] = counts.get(each.severity, 0) + 1
    plural: Mapping[str, str] = {"information": "remarks", "hint": "hints"}
    single: Mapping[str, str] = {"information": "remark"}
    return ", ".join(
        f"{count} {single.get(kind, kind) if count == 1 else plural.get(kind, f'{kind}s')}"
        for kind in ("error", "warning", "information", "hint")
        if (count := counts.get(kind, 0))
    )


def listed(diagnostics: Sequence[Diagnostic], most: int) -> list[str]:
    """One line each, the worst first."""
    lines = [_line(each) for each in diagnostics[:most]]
    return [*lines, f"… and {len(diagnostics) - most} more"] if len(diagnostics) > most else lines


def _after_edit(found: Findings, shown: str) -> str:
    if found.silent:
        return ""
    if found.problem:
        return f"[No diagnostics from the language server {found.server}: {found.problem}.]"
    bad = [each for each in found.diagnostics if each.severity in ("error", "warning")]
    if not bad:
        return ""
    return "\n".join([f"{found.server} finds {counted(bad)} in {shown}, as it is now:", *listed(bad, AFTER_EDITS)])


def _line(each: Diagnostic) -> str:
    code = f" ({each.code})" if each.code else ""
    return f"{each.severity} {each.line}:{each.column} {each.message[:WIDTH]}{code}"


async def read(workspace: Workspace, path: str) -> str | None:
    """None: it is no text, or too long to be shown to one."""
    try:
        content = await workspace.read(path, limit=LONGEST + 1)
    except OSError:
        return None
    document = decode(content) if len(content) <= LONGEST else None
    return None if document is None else document.raw
