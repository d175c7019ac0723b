"""`grep`: lines by content, grouped by file."""

from __future__ import annotations

from functools import partial
from itertools import groupby
from typing import Annotated

from msgspec import Meta, Struct

from quell.core.messages import ToolResult
from quell.core.ports import Matches, Place, ToolContext, Workspace
from quell.tools.paths import not_found
from quell.tools.tool import Call, Options, Refused, place, shown_name, touches

_LIMIT = 100


class Grep(Struct, frozen=True, forbid_unknown_fields=True):
    pattern: Annotated[str, Meta(min_length=1, description="A regular expression; a plain text with `literal_text`.")]
    path: Annotated[str, Meta(description="The folder or file to search; the workspace if left out.")] = "."
    include: Annotated[
        str, Meta(description="Only files that fit this glob, such as `*.py` or `src/**/*.{ts,tsx}`.")
    ] = ""
    literal_text: Annotated[bool, Meta(description="Take the pattern as plain text.")] = False


def prepare_grep(asked: Grep, workspace: Workspace, options: Options) -> Call:
    del options
    where = place(workspace, asked.path or ".")
    access = touches("grep", "search", f"Search {where.shown} for {asked.pattern}", where, workspace)
    return Call("search", access, partial(_grep, asked, where), concurrent=True)


async def _grep(asked: Grep, where: Place, context: ToolContext) -> ToolResult:
    try:
        found = await context.workspace.search(
            where.path, asked.pattern, literal=asked.literal_text, include=asked.include, limit=_LIMIT
        )
    except FileNotFoundError:
        raise Refused(await not_found(context.workspace, where)) from None
    except ValueError as problem:
        advice = "" if asked.literal_text else " To search for it as it stands, set literal_text to true."
        raise Refused(f"The search was not possible: {problem}.{advice}") from None
    files = {match.path for match in found.matches}
    return ToolResult(
        text=_shown(found, asked, where, context.workspace),
        metadata={"path": where.path, "matches": len(found.matches), "files": len(files), "cut": found.cut},
    )


def _shown(found: Matches, asked: Grep, where: Place, workspace: Workspace) -> str:
    late = "The search took too long and was stopped: there may be more. Use a narrower path or include."
    if not found.matches:
        return (
            late
            if found.cut == "time"
            else f"No lines fit `{asked.pattern}` in `{where.shown}`. Ignored files are not searched."
        )
    lines = [f"Found {len(found.matches)}{'+' if found.cut else ''} matching lines."]
    for path, matches in groupby(found.matches, key=lambda match: match.path):
        lines += ["", f"{shown_name(workspace.place(path).shown)}:"]
        lines += [f"  Line {match.line}, Char {match.column}: {match.text}" for match in matches]
    if found.cut == "limit":
        lines += ["", f"(Only the first {_LIMIT} are shown; use a narrower pattern, path or include.)"]
    if found.cut == "time":
        lines += ["", f"({late})"]
    return "\n".join(lines)
