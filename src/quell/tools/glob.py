"""`glob`: files by name, newest first."""

from __future__ import annotations

import os
from functools import partial
from typing import Annotated

from msgspec import Meta, Struct

from quell.core.messages import ToolResult
from quell.core.ports import Place, ToolContext, Workspace
from quell.tools.paths import not_found
from quell.tools.tool import Call, Options, Refused, place, shown_name, touches

_LIMIT = 100
_WILD = set("*?[{")


class Glob(Struct, frozen=True, forbid_unknown_fields=True):
    pattern: Annotated[str, Meta(description="A glob such as `*.py`, `src/**/*.{ts,tsx}` or `**/test_*`.")]
    path: Annotated[str, Meta(description="The folder to search; the workspace if left out.")] = "."


def prepare_glob(asked: Glob, workspace: Workspace, options: Options) -> Call:
    del options
    folder, pattern = _split(asked)
    where = place(workspace, folder)
    access = touches("glob", "search", f"Find {asked.pattern} in {where.shown}", where, workspace)
    return Call("search", access, partial(_glob, pattern, where), concurrent=True)


def _split(asked: Glob) -> tuple[str, str]:
    """A pattern that begins at a folder of its own (`/etc/*.conf`, `../x/*`) is searched there, and judged as that folder."""
    if not asked.pattern.startswith(("/", "~", "..")):
        if ".." in asked.pattern.split("/"):
            raise Refused("A glob cannot have `..` in its middle. Send the folder as `path`.")
        return asked.path or ".", asked.pattern
    names = asked.pattern.split("/")
    fixed = next((index for index, name in enumerate(names) if _WILD & set(name)), len(names) - 1)
    if ".." in names[fixed:]:
        raise Refused("A glob cannot have `..` after a wildcard. Send the folder as `path`.")
    base = "/".join(names[:fixed]) or "/"
    return (base if base.startswith(("/", "~")) else os.path.join(asked.path or ".", base)), "./" + "/".join(
        names[fixed:]
    )


async def _glob(pattern: str, where: Place, context: ToolContext) -> ToolResult:
    try:
        found = await context.workspace.find(where.path, pattern, limit=_LIMIT)
    except FileNotFoundError:
        raise Refused((await not_found(context.workspace, where)).replace("no file", "no folder", 1)) from None
    except NotADirectoryError:
        raise Refused(f"{where.shown} is a file, not a folder.") from None
    except ValueError as problem:
        raise Refused(f"{problem}. Globs have `*`, `?`, `[a-z]`, `{{a,b}}` and `**`.") from None
    shown = [shown_name(context.workspace.place(entry.path).shown) for entry in found.entries]
    notes = {
        "limit": f"(Only the {_LIMIT} last modified are shown; use a narrower pattern or path.)",
        "time": "(The search took too long and was stopped: the list is not complete.)",
    }
    if found.cut is not None:
        shown.append(notes[found.cut])
    text = "\n".join(shown) or f"No files fit `{pattern}` below `{where.shown}`. Ignored files are not searched."
    return ToolResult(text=text, metadata={"path": where.path, "files": len(found.entries), "cut": found.cut})
