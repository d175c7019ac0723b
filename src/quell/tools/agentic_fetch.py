"""`agentic_fetch`: a question to the web, answered by a sub-agent that reads so that its parent need not.

The permission is asked here, once, for the host or for the search; what the sub-agent may ask with it is decided where it is made
(docs/decisions/0022).
"""

from __future__ import annotations

from functools import partial
from typing import Annotated

from msgspec import Meta, Struct

from quell.core.errors import WebRefused
from quell.core.messages import headline
from quell.core.ports import Task, Workspace
from quell.tools import web
from quell.tools.agent import delegated
from quell.tools.tool import Call, Options, Refused


class AgenticFetch(Struct, frozen=True, forbid_unknown_fields=True):
    prompt: Annotated[str, Meta(description="What to find out, and what to answer with.")]
    url: Annotated[
        str, Meta(description="The page to begin with; only its host is asked. Without it the web is searched.")
    ] = ""


def prepare_agentic_fetch(asked: AgenticFetch, workspace: Workspace, options: Options) -> Call:
    if not asked.prompt.strip():
        raise Refused("The prompt is empty. Say what the sub-agent is to find out.")
    about = headline(asked.prompt)
    if asked.url.strip():
        where = web.destination(options, asked.url)
        title, task = f"Look at {where.url} for: {about}", f"{asked.prompt}\n\nBegin with this page: {where.url}"
        host = where.host
    else:
        where, title, task, host = None, f"Search with {_engine(options)} and read: {about}", asked.prompt, ""
    access = web.asks("agentic_fetch", title, where, workspace)
    return Call("fetch", access, partial(delegated, Task(task, "web", host)), concurrent=True)


def _engine(options: Options) -> str:
    try:
        return web.web(options).searches()
    except WebRefused as refusal:
        raise Refused(str(refusal)) from None
