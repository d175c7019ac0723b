"""`lsp_definition` and `lsp_references`: where a name is defined, and where it is used, as a language server knows it.

Both look the name up as text, and ask at the places where it stands, until there is an answer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from typing import Annotated

from msgspec import Meta, Struct

from quell.core.languages import Relation, Spot, Unanswered
from quell.core.messages import ToolResult
from quell.core.ports import Match, Place, ToolContext, Workspace
from quell.tools import language
from quell.tools.tool import Call, Options, Refused, failed, place, shown_name, touches

_TRIES = 5


class Named(Struct, frozen=True, forbid_unknown_fields=True):
    symbol: Annotated[str, Meta(min_length=1, description="The name, as it stands in the code.")]
    path: Annotated[str, Meta(description="A file or folder in which it stands; the workspace if left out.")] = "."


def prepare_lsp_definition(asked: Named, workspace: Workspace, options: Options) -> Call:
    return _prepared("definition", f"Look for the definition of {asked.symbol}", asked, workspace, options)


def prepare_lsp_references(asked: Named, workspace: Workspace, options: Options) -> Call:
    return _prepared("references", f"Look for uses of {asked.symbol}", asked, workspace, options)


def _prepared(relation: Relation, title: str, asked: Named, workspace: Workspace, options: Options) -> Call:
    where = place(workspace, asked.path or ".")
    access = touches(f"lsp_{relation}", "search", title, where, workspace)
    return Call("search", access, partial(_places, relation, asked.symbol, where, options), concurrent=True)


async def _places(relation: Relation, symbol: str, where: Place, options: Options, context: ToolContext) -> ToolResult:
    servers, root = language.servers(options, context.workspace), context.workspace.root
    name = re.split(r"[.#/:\\]+", symbol.strip("()"))[-1].strip()
    if not name:
        raise Refused("The symbol is empty. Send a name as it stands in the code.")
    pattern = rf"\b{re.escape(name)}\b" if re.fullmatch(r"\w+", name) else re.escape(name)
    found = await context.workspace.search(where.path, pattern, literal=False, include="", limit=language.MOST)
    if not found.matches:
        return failed(f"`{name}` stands nowhere in {where.shown}. Ignored files are not searched.")
    problem, asked = "", False
    for match in _spread(found.matches):
        text = await language.read(context.workspace, match.path)
        if text is None:
            continue
        try:
            at = (match.line, match.column)
            spots = await servers.places(relation, root, match.path, text, at, context.environment)
        except Unanswered as unanswered:
            if not unanswered.nobody:
                return failed(f"{unanswered} Use `grep` instead.")
            problem = problem or str(unanswered)
            continue
        if spots:
            return await _told(symbol, spots, context)
        asked = True
    if asked:
        problem = f"`{symbol}` was not found. The language server knows nothing of it where it was looked for."
        return failed(f"{problem} Use `grep`, or name a file with `path`.")
    problem = problem or f"`{name}` stands only in files that no language server is shown."
    return failed(f"{problem} Use `grep` instead.")


def _spread(matches: Sequence[Match]) -> Sequence[Match]:
    """A few of them, the first of each file before others of one."""
    firsts = {match.path: match for match in reversed(matches)}
    first = [match for match in matches if firsts[match.path] is match]
    return [*first, *(match for match in matches if firsts[match.path] is not match)][: _TRIES + len(first)]


async def _told(symbol: str, spots: Sequence[Spot], context: ToolContext) -> ToolResult:
    workspace = context.workspace
    lines: list[str] = []
    texts: dict[str, list[str] | None] = {}
    unique = list(dict.fromkeys(spots))
    for spot in unique[: language.MOST]:
        where = workspace.place(spot.path)
        if spot.path not in texts:
            text = await language.read(workspace, where.path) if where.inside and len(texts) < _TRIES * 4 else None
            texts[spot.path] = None if text is None else text.split("\n")
        known = texts[spot.path]
        line = known[spot.line - 1].strip() if known is not None and 0 < spot.line <= len(known) else ""
        lines.append(f"{shown_name(where.shown)}:{spot.line}:{spot.column}{line and f'  {line[: language.WIDTH]}'}")
    more = [f"… and {len(unique) - language.MOST} more"] if len(unique) > language.MOST else []
    return ToolResult(text="\n".join([*lines, *more]), metadata={"symbol": symbol, "places": len(unique)})
