"""`fetch`: what an address has, as text."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

from msgspec import Meta, Struct

from quell.core.messages import ToolResult
from quell.core.ports import ToolContext, Workspace
from quell.core.web import Destination
from quell.tools import web
from quell.tools.tool import Call, Options

_LONGEST = 120
_CAP = 100 * 1024

Format = Literal["text", "markdown", "html"]


class Fetch(Struct, frozen=True, forbid_unknown_fields=True):
    url: Annotated[str, Meta(description="The whole address, with https:// or http://.")]
    format: Annotated[Format, Meta(description="What to make of HTML; everything else comes as it is.")] = "markdown"
    timeout: Annotated[int, Meta(ge=1, description=f"Seconds after which it is given up, at most {_LONGEST}.")] = 30


def prepare_fetch(asked: Fetch, workspace: Workspace, options: Options) -> Call:
    where = web.destination(options, asked.url)
    access = web.asks("fetch", f"Fetch {where.url}", where, workspace)
    return Call("fetch", access, partial(_fetch, asked, where, options), concurrent=True)


async def _fetch(asked: Fetch, where: Destination, options: Options, context: ToolContext) -> ToolResult:
    content = await web.read(options, where, asked.format, min(asked.timeout, _LONGEST))
    text = content.text.encode("utf-8", "replace")[:_CAP].decode("utf-8", "ignore")
    shown = [text] if text.strip() else [f"{content.page.url} has no text."]
    if content.page.url != where.url:
        shown.insert(0, f"({where.url} redirects to {content.page.url})")
    if len(text) < len(content.text) or content.cut:
        more = "" if content.cut else f" of {len(content.text):,}"
        shown.append(
            f"(Only the first {len(text):,} characters{more} are shown. `web_fetch` keeps a long page in a file.)"
        )
    return ToolResult(text="\n\n".join(shown), metadata=web.facts(content))
