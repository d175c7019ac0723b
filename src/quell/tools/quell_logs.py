"""`quell_logs`: the end of the server's log, for a model that is asked why something does not work."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Annotated

from msgspec import Meta, Struct

from quell.core.access import Access
from quell.core.messages import ToolResult
from quell.core.ports import ToolContext, Workspace
from quell.tools.tool import Call, Options, Refused

_MOST = 100
_LONGEST = 500
"""Characters of a line."""


class QuellLogs(Struct, frozen=True, forbid_unknown_fields=True):
    lines: Annotated[int, Meta(ge=1, description=f"How many of the last lines, at most {_MOST}.")] = 50


def prepare_quell_logs(asked: QuellLogs, workspace: Workspace, options: Options) -> Call:
    del workspace
    access = Access(tool="quell_logs", kind="read", title="Look at the end of Quell's log")
    return Call("read", access, partial(_quell_logs, min(asked.lines, _MOST), options), concurrent=True)


async def _quell_logs(lines: int, options: Options, context: ToolContext) -> ToolResult:
    if options.log is None:
        raise Refused("There is no log here.")
    found = await asyncio.to_thread(options.log, lines)
    shown = [context.hide(line) for line in found]
    cut = [line if len(line) <= _LONGEST else line[:_LONGEST] + " …" for line in shown]
    return ToolResult(text="\n".join(cut) or "The log is empty.", metadata={"lines": len(cut)})
