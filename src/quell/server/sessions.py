"""Sessions: create, list, look at, change, delete; what was said in them; what they ask of people."""

from __future__ import annotations

from typing import assert_never

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from quell.core import inputs as i
from quell.core.errors import InvalidRequest
from quell.core.ports import JobState, position
from quell.core.session import Summary
from quell.server.asgi import JSON_TYPE
from quell.server.route import Call, Document
from quell.wire import api


async def create(call: Call[api.Nothing, api.NewSession]) -> Summary:
    """Begin a session in a folder. What is left out is as configured."""
    request = await call.site.choices.new_session(api.new_id(), call.body)
    await call.engine.apply(request.session, request, call.body.environment or None)
    return await call.engine.summary(request.session)


async def list_all(call: Call[api.SessionsQuery, api.Nothing]) -> api.SessionPage:
    """Sessions, last updated first: those of users, or the sub-agents of one."""
    query = call.query
    found = await call.engine.summaries(
        workspace=query.workspace,
        parent=query.parent,
        query=query.q,
        limit=query.limit + 1,
        before=query.cursor,
    )
    items = tuple(found[: query.limit])
    return api.SessionPage(items, position(items[-1]) if len(found) > query.limit else None)


async def show(call: Call[api.Nothing, api.Nothing]) -> Summary:
    """One session."""
    return await call.engine.summary(call.session)


async def change(call: Call[api.Nothing, api.SessionChange]) -> Summary:
    """Change the title, the models, the mode or the extra folders."""
    body = call.body
    await call.apply(
        i.Change(
            title=None if body.title is UNSET else body.title,
            model=None if body.model is UNSET else body.model,
            small_model=None if body.small_model is UNSET else body.small_model,
            mode=None if body.mode is UNSET else body.mode,
            extra=None if body.extra is UNSET else body.extra,
        )
    )
    return await call.engine.summary(call.session)


async def delete(call: Call[api.Nothing, api.Nothing]) -> None:
    """Cancel everything in a session and forget it. Its id is never used again."""
    await call.apply(i.Delete())


async def fork(call: Call[api.Nothing, api.Fork]) -> Summary:
    """A new session that begins as this one did. It is idle, whatever this one does; its prompts, requests and costs are its own."""
    session = api.new_id()
    request = i.Fork(session=session, source=call.session, upto=call.body.at)
    await call.engine.apply(session, request, call.engine.environment(call.session))
    return await call.engine.summary(session)


async def view(call: Call[api.ViewQuery, api.Nothing]) -> api.Snapshot:
    """What a screen shows, and the `seq` from which to follow on."""
    seq, view = await call.engine.view(call.session)
    end = len(view.items) if call.query.before is None else min(call.query.before, len(view.items))
    start = max(0, end - call.query.tail)
    return api.Snapshot(seq, replace(view, items=view.items[start:end]), start or None)


async def messages(call: Call[api.MessagesQuery, api.Nothing]) -> api.MessagePage:
    """What was said, in order."""
    said = (await call.engine.transcript(call.session)).messages
    end = call.query.after + call.query.limit
    return api.MessagePage(tuple(said[call.query.after : end]), end if end < len(said) else None)


async def export(call: Call[api.ExportQuery, api.Nothing]) -> Document:
    """The whole session, to keep or pass on: everything, as JSON; or for people to read, as Markdown or as one page of HTML."""
    row = await call.engine.summary(call.session)
    if call.query.format == "html":
        from quell.server.page import HEADERS, to_html

        _, shown = await call.engine.view(call.session)
        return Document(to_html(row, shown), "text/html; charset=utf-8", HEADERS)
    said = tuple((await call.engine.transcript(call.session)).messages)
    match call.query.format:
        case "json":
            return Document(msgspec.json.encode(api.Export(session=row, messages=said)), JSON_TYPE)
        case "markdown":
            from quell.server.markdown import to_markdown

            return Document(to_markdown(row, said), "text/markdown; charset=utf-8")
        case _:
            assert_never(call.query.format)


async def jobs(call: Call[api.Nothing, api.Nothing]) -> api.Jobs:
    """The commands that run on in the background, and those that did, oldest first."""
    await call.engine.state(call.session)
    return api.Jobs(tuple(call.engine.toolset.jobs(call.session)))


async def end_job(call: Call[api.Nothing, api.Nothing]) -> JobState:
    """End a background command, and every process that it has started."""
    await call.engine.state(call.session)
    return await call.engine.toolset.end_job(call.session, call.path["job"])


async def requests(call: Call[api.Nothing, api.Nothing]) -> api.Requests:
    """The permission requests and questions that wait for a person."""
    _, view = await call.engine.view(call.session)
    return api.Requests(tuple(view.requests))


async def answer(call: Call[api.Nothing, api.RequestAnswer]) -> i.Noted:
    """Answer a permission request, or questions. The same answer again gets the same reply."""
    body, request = call.body, call.path["request"]
    if body.answers is not UNSET and body.option is UNSET and body.note is None:
        return await call.apply(i.AnswerQuestions(request=request, answers=body.answers))
    if body.option is UNSET or body.answers is not UNSET:
        raise InvalidRequest("Send either an `option`, for a permission request, or `answers`, for questions.")
    if body.note is not None and body.option.startswith("allow"):
        raise InvalidRequest("A note goes with a rejection: it tells the model what to do instead.")
    return await call.apply(i.Answer(request=request, option=body.option, note=body.note))
