"""`web_search`: a question to the search engine that the user has chosen."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from msgspec import Meta, Struct

from quell.core.errors import WebRefused
from quell.core.messages import ToolResult
from quell.core.ports import ToolContext, Workspace
from quell.tools import web
from quell.tools.tool import Call, Options, Refused

_MOST = 20
_TEXT = 500


class WebSearch(Struct, frozen=True, forbid_unknown_fields=True):
    query: Annotated[str, Meta(description="What to search for.")]
    max_results: Annotated[int, Meta(ge=1, description=f"How many results, at most {_MOST}.")] = 10


def prepare_web_search(asked: WebSearch, workspace: Workspace, options: Options) -> Call:
    if not asked.query.strip():
        raise Refused("The query is empty.")
    try:
        engine = web.web(options).searches()
    except WebRefused as refusal:
        raise Refused(str(refusal)) from None
    access = web.asks("web_search", f"Search with {engine}: {asked.query}", None, workspace)
    return Call("fetch", access, partial(_web_search, asked, options), concurrent=True)


async def _web_search(asked: WebSearch, options: Options, context: ToolContext) -> ToolResult:
    limit = min(asked.max_results, _MOST)
    hits = await web.web(options).search(asked.query, limit, context.environment)
    found = [
        "\n   ".join(filter(None, (f"{number}. {hit.title or hit.url}", hit.url, hit.text[:_TEXT])))
        for number, hit in enumerate(hits, 1)
    ]
    text = "\n\n".join(found) or f"Nothing was found for {asked.query!r}. Try other or fewer words."
    return ToolResult(text=text, metadata={"query": asked.query, "results": [hit.url for hit in hits]})
