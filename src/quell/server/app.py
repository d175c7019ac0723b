"""The route table, and the ASGI application made from it.

Rules: a row says all there is to know of a route; dispatch and `/openapi.json` read the same rows. A request is parsed and checked
against its row before its function sees it, and answered by its row's type and status. One broad `except` turns everything that is
raised into a problem document. What happens to a request whose client has gone is up to its function: appends go on (contract A4),
because the session's actor makes them and the request only waits.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, partial
from http import HTTPStatus
from urllib.parse import parse_qsl, unquote

import msgspec
from msgspec import Struct

from quell.core import inputs as i
from quell.core.errors import (
    Busy,
    Conflict,
    Edited,
    EmptyPrompt,
    InvalidRequest,
    NoModel,
    NotFound,
    NotWaiting,
    QueueFull,
    ShuttingDown,
    Stale,
    UnknownModel,
)
from quell.core.ports import JobState
from quell.core.session import Summary
from quell.server import about, events, prompts, queue, reverts, sessions
from quell.server.asgi import (
    JSON_TYPE,
    BodyLimits,
    Receive,
    Scope,
    Send,
    disconnected,
    encoder,
    header,
    read_body,
    send_pieces,
    send_problem,
    send_whole,
)
from quell.server.errors import HttpRefused, problem
from quell.server.openapi import openapi
from quell.server.route import AnyRoute, Call, Document, Route, Site, Stream, Tree
from quell.wire import api

S = "/v1/sessions/{session}"
No = api.Nothing
EVENT_STREAM = ("text/event-stream",)
GOES_BACK = (Busy, Conflict, Edited, NotFound)
EXPORT_FORMS = ("application/json", "text/markdown", "text/html")


async def _describe(call: Call[No, No]) -> Document:
    """This API, as OpenAPI 3.1."""
    return Document(_description(call.site.version), JSON_TYPE)


@cache
def _description(version: str) -> bytes:
    return encoder.encode(openapi(ROUTES, version))


ROUTES: tuple[AnyRoute, ...] = (
    Route("GET", "/v1/health", about.health, No, No, api.Health),
    Route("POST", "/v1/shutdown", about.leave, No, api.Leave, api.Health, 202, (Busy,)),
    Route("GET", "/v1/models", about.models, api.ModelsQuery, No, api.Models),
    Route("GET", "/v1/providers", about.providers, api.ProvidersQuery, No, api.Providers),
    Route("GET", "/v1/workspaces/status", about.workspace, api.StatusQuery, No, api.WorkspaceStatus),
    Route("GET", "/v1/events", events.watch, api.WatchQuery, No, Stream, media=EVENT_STREAM),
    Route("GET", "/v1/sessions", sessions.list_all, api.SessionsQuery, No, api.SessionPage),
    Route("POST", "/v1/sessions", sessions.create, No, api.NewSession, Summary, 201, (NoModel, UnknownModel)),
    Route("GET", S, sessions.show, No, No, Summary),
    Route("PATCH", S, sessions.change, No, api.SessionChange, Summary, 200, (UnknownModel,)),
    Route("DELETE", S, sessions.delete, No, No, type(None), 204),
    Route("POST", S + "/fork", sessions.fork, No, api.Fork, Summary, 201),
    Route(
        "POST",
        S + "/prompts",
        prompts.submit,
        No,
        api.NewPrompt,
        i.Accepted,
        202,
        (EmptyPrompt, Conflict, QueueFull, ShuttingDown),
    ),
    Route("GET", S + "/prompts/{prompt}", prompts.progress, api.WaitQuery, No, api.Prompt, 200, (ShuttingDown,)),
    Route("POST", S + "/cancel", prompts.cancel, No, api.Cancellation, i.Covered),
    Route("POST", S + "/compact", prompts.compact, No, No, i.Accepted, 202, (ShuttingDown,)),
    Route("POST", S + "/revert", reverts.revert, No, api.Revert, api.Reverted, 200, GOES_BACK),
    Route("POST", S + "/unrevert", reverts.unrevert, No, api.Unrevert, api.Reverted, 200, GOES_BACK),
    Route("GET", S + "/queue", queue.show, No, No, api.Queue),
    Route("DELETE", S + "/queue", queue.drop_all, No, No, i.Noted),
    Route("PATCH", S + "/queue/{prompt}", queue.edit, No, api.QueueEdit, i.Noted, 200, (NotWaiting,)),
    Route("DELETE", S + "/queue/{prompt}", queue.drop, No, No, i.Noted, 200, (NotWaiting,)),
    Route("POST", S + "/queue/{prompt}/promote", queue.promote, No, api.Promotion, i.Noted, 200, (NotWaiting,)),
    Route("POST", S + "/resume", queue.resume, No, No, i.Noted),
    Route("GET", S + "/view", sessions.view, api.ViewQuery, No, api.Snapshot),
    Route("GET", S + "/messages", sessions.messages, api.MessagesQuery, No, api.MessagePage),
    Route("GET", S + "/events", events.follow, api.EventsQuery, No, Stream, media=EVENT_STREAM),
    Route("GET", S + "/requests", sessions.requests, No, No, api.Requests),
    Route("POST", S + "/requests/{request}", sessions.answer, No, api.RequestAnswer, i.Noted, 200, (NotFound, Stale)),
    Route("GET", S + "/jobs", sessions.jobs, No, No, api.Jobs),
    Route("DELETE", S + "/jobs/{job}", sessions.end_job, No, No, JobState, 200, (NotFound,)),
    Route("GET", S + "/export", sessions.export, api.ExportQuery, No, Document, media=EXPORT_FORMS),
    Route("GET", "/openapi.json", _describe, No, No, Document),
)


class Application:
    """The ASGI application of a site."""

    def __init__(self, site: Site, limits: BodyLimits = BodyLimits()) -> None:
        self._site = site
        self._limits = limits
        self._tree = Tree(ROUTES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        where = str(scope["method"])
        try:
            route, path = self._find(scope)
            where = f"{route.method} {route.path}"
            call = Call(
                site=self._site,
                path=path,
                query=_query(scope, route.query),
                body=await self._body(scope, receive, route),
                idempotency_key=header(scope, b"idempotency-key"),
                last_event_id=header(scope, b"last-event-id"),
                gone=partial(disconnected, receive),
            )
            answer = await route.run(call)
            match answer:
                case Stream():
                    await events.send_stream(answer, receive, send, self._site.stopping)
                case Document():
                    await _send_document(send, route.status, answer)
                case _:
                    await send_whole(send, route.status, b"" if answer is None else encoder.encode(answer))
        except ConnectionError:
            pass  # nobody is left to answer
        except Exception as error:  # noqa: BLE001 - the outermost of a request: what was raised becomes its answer
            headers = error.headers if isinstance(error, HttpRefused) else ()
            await send_problem(send, problem(error, where), headers)

    def _find(self, scope: Scope) -> tuple[AnyRoute, Mapping[str, str]]:
        # Split before unquoting: a `/` within an id does not end it.
        parts = [unquote(part) for part in str(scope["raw_path"], "latin-1").split("/")[1:]]
        place = self._tree.find(parts)
        if place is None:
            raise HttpRefused(HTTPStatus.NOT_FOUND, NotFound.code, "There is nothing at this path; see /openapi.json.")
        node, values = place
        route = node.routes.get(scope["method"])
        if route is None:
            allowed = ", ".join(sorted(node.routes))
            raise HttpRefused(
                HTTPStatus.METHOD_NOT_ALLOWED,
                "method_not_allowed",
                f"{scope['method']} cannot be done here, only {allowed}.",
                (("allow", allowed),),
            )
        return route, dict(zip(route.parameters, values, strict=True))

    async def _body(self, scope: Scope, receive: Receive, route: AnyRoute) -> Struct:
        kind: type[Struct] = route.body
        if kind is No:
            return NOTHING
        content = await read_body(scope, receive, self._limits)
        try:
            return _decoder(kind).decode(content or b"{}")
        except msgspec.DecodeError as error:
            raise InvalidRequest(f"The body is not as it should be: {error}") from None


async def _send_document(send: Send, status: int, answer: Document) -> None:
    if isinstance(answer.content, bytes):
        await send_whole(send, status, answer.content, answer.content_type, answer.headers)
    else:
        await send_pieces(send, status, answer.content, answer.content_type, answer.headers)


NOTHING = No()


@cache
def _decoder(kind: type[Struct]) -> msgspec.json.Decoder[Struct]:
    """Made on first use: those of all routes take milliseconds, and a start needs none."""
    return msgspec.json.Decoder(kind)


def _query(scope: Scope, kind: type[Struct]) -> Struct:
    values = parse_qsl(str(scope["query_string"], "latin-1"), keep_blank_values=True) if scope["query_string"] else []
    fields = dict(values)
    if len(fields) < len(values):
        raise InvalidRequest("A parameter of the query was given twice.")
    try:
        return msgspec.convert(fields, kind, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"The query is not as it should be: {error}") from None
