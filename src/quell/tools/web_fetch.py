"""`web_fetch`: a page to read; a long one goes to a file that can be searched."""

from __future__ import annotations

import os
import re
from functools import partial
from typing import Annotated

from msgspec import Meta, Struct

from quell.core.messages import ToolResult, printable
from quell.core.ports import Place, ToolContext, Workspace
from quell.core.web import Destination
from quell.tools import web
from quell.tools.tool import Call, Options

_SECONDS = 60
_LONG = 50_000
_BEGINNING = 3_000
_OUTLINE = 40
_HEADING = re.compile(r"#{1,6} .+")


class WebFetch(Struct, frozen=True, forbid_unknown_fields=True):
    url: Annotated[str, Meta(description="The whole address, with https:// or http://.")]


def prepare_web_fetch(asked: WebFetch, workspace: Workspace, options: Options) -> Call:
    where = web.destination(options, asked.url)
    access = web.asks("web_fetch", f"Read {where.url}", where, workspace)
    return Call("fetch", access, partial(_web_fetch, where, options), concurrent=True)


async def _web_fetch(where: Destination, options: Options, context: ToolContext) -> ToolResult:
    content = await web.read(options, where, "markdown", _SECONDS)
    facts = web.facts(content)
    text = printable(content.text)
    head = f"# {content.title}\n" if content.title else ""
    notes = ["(The page is longer than what is read: its end is missing.)"] if content.cut else []
    if len(text) <= _LONG:
        body = text if text.strip() else f"{content.page.url} has no text."
        return ToolResult(text="\n".join([f"{head}{content.page.url}\n", body, *notes]), metadata=facts)
    whole = f"{head}{content.page.url}\n\n{text}\n"
    try:
        kept = await _kept(whole, context)
    except OSError:  # it cannot be kept: the beginning is better than nothing
        shown = f"{head}{content.page.url}\n\n{text[:_LONG]}\n\n(The first {_LONG:,} characters of {len(text):,}.)"
        return ToolResult(text="\n".join([shown, *notes]), metadata=facts)
    lines = whole.split("\n")
    outline = [f"{number:6}|{line[:120]}" for number, line in enumerate(lines, 1) if _HEADING.fullmatch(line)]
    parts = [
        f"{head}{content.page.url}\n",
        f"The page is long ({len(text):,} characters, {len(lines):,} lines). All of it is in {kept.shown}:",
        "search it with `grep`, read parts of it with `view`. It begins:\n",
        text[:_BEGINNING],
        *(["\nIts headings, with their lines:", *outline[:_OUTLINE]] if outline else []),
        *([f"… and {len(outline) - _OUTLINE} more"] if len(outline) > _OUTLINE else []),
        *notes,
    ]
    return ToolResult(text="\n".join(parts), metadata={**facts, "path": kept.path})


async def _kept(text: str, context: ToolContext) -> Place:
    """Where what is too long for the session's results is, and `view` and `grep` may read."""
    folder = context.workspace.kept
    if not folder:
        raise FileNotFoundError
    where = context.workspace.place(os.path.join(folder, f"{context.call}.md"))
    if not await context.workspace.write(where.path, text.encode(), replaces=None):
        raise FileExistsError
    return where
