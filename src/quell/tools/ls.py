"""`ls`: a folder as a tree."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from typing import Annotated

from msgspec import Meta, Struct

from quell.core.messages import ToolResult
from quell.core.ports import DirectoryEntry, Listing, Place, ToolContext, Workspace
from quell.tools.paths import not_found
from quell.tools.tool import Call, Options, Refused, place, shown_name, touches

_LIMIT = 1000


class List(Struct, frozen=True, forbid_unknown_fields=True):
    path: Annotated[str, Meta(description="The folder; the workspace if left out.")] = "."
    ignore: Annotated[tuple[str, ...], Meta(description="What to leave out, as in .gitignore.")] = ()
    depth: Annotated[int, Meta(ge=0, description="How many levels to show; 0 for all.")] = 0


def prepare_ls(asked: List, workspace: Workspace, options: Options) -> Call:
    del options
    where = place(workspace, asked.path or ".")
    access = touches("ls", "read", f"List {where.shown}", where, workspace)
    return Call("read", access, partial(_ls, asked, where), concurrent=True)


async def _ls(asked: List, where: Place, context: ToolContext) -> ToolResult:
    try:
        listing = await context.workspace.walk(where.path, depth=asked.depth or None, ignore=asked.ignore, limit=_LIMIT)
    except FileNotFoundError:
        raise Refused((await not_found(context.workspace, where)).replace("no file", "no folder", 1)) from None
    except NotADirectoryError:
        raise Refused(f"{where.shown} is a file, not a folder. Use `view` to see it.") from None
    notes = _notes(listing)
    if not listing.entries:
        return ToolResult(text=f"{where.path}/ is empty, or all that is in it is ignored.", metadata={"entries": 0})
    tree = "\n".join([f"- {where.path}/", *_tree(where.path, listing.entries, 1)])
    return ToolResult(text="\n".join([*notes, tree]), metadata={"path": where.path, "entries": len(listing.entries)})


def _notes(listing: Listing) -> list[str]:
    match listing.cut:
        case "limit":
            return [
                f"There are more than {_LIMIT} entries; the first {_LIMIT} are shown, nearest levels first. List a folder below."
            ]
        case "time":
            return ["The listing took too long and was stopped; it is not complete. List a folder below, or set depth."]
        case None:
            return []


def _tree(top: str, entries: Sequence[DirectoryEntry], level: int) -> list[str]:
    children: dict[str, list[DirectoryEntry]] = {}
    for entry in entries:
        children.setdefault(os.path.dirname(entry.path), []).append(entry)
    lines: list[str] = []
    waiting = [(entry, level) for entry in reversed(children.get(top, ()))]
    while waiting:
        entry, depth = waiting.pop()
        name = shown_name(os.path.basename(entry.path))
        marks = {"file": "", "directory": "/", "link": "@", "other": " (not a file)"}
        lines.append(f"{'  ' * depth}- {name}{marks[entry.kind]}")
        waiting += [(child, depth + 1) for child in reversed(children.get(entry.path, ()))]
    return lines
