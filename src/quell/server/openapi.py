"""`/openapi.json`, made from the route table and from the types that its rows name. Nothing in it is written by hand twice."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from quell.core.errors import STATUS, InvalidRequest, QuellError, SessionNotFound
from quell.server.errors import PROBLEM_TYPE
from quell.server.route import AnyRoute, Document, Stream
from quell.wire import api

Json = dict[str, Any]
"""A piece of the document; it is made here, encoded by the caller, and read by nobody else."""

HEADERS: dict[str, tuple[str, str, Json]] = {
    "POST /v1/sessions/{session}/prompts": (
        "Idempotency-Key",
        "The same as the field `id`.",
        msgspec.json.schema(api.Id),
    ),
    "GET /v1/sessions/{session}/events": (
        "Last-Event-ID",
        "The `seq` of the last fact that the client has.",
        {"type": "string", "pattern": "^[0-9]{1,15}$"},
    ),
}
"""The headers that mean something to a route: name, description, schema."""


def openapi(routes: Sequence[AnyRoute], version: str) -> Json:
    types = [kind for route in routes for kind in (route.body, route.query, route.answer) if _is_value(kind)]
    _, components = msgspec.json.schema_components([*types, api.Problem], ref_template="#/components/schemas/{name}")
    paths: dict[str, Json] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, components)
    queries = {route.query.__name__ for route in routes}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Quell",
            "version": version,
            "description": "A coding agent's server. Over TCP every request needs the bearer token; over the unix socket none does.",
        },
        "paths": paths,
        "components": {
            "schemas": {name: schema for name, schema in components.items() if name not in queries},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


def _is_value(kind: type) -> bool:
    return issubclass(kind, Struct) and kind not in (Document, Stream, api.Nothing)


def _operation(route: AnyRoute, components: Json) -> Json:
    name = f"{route.run.__module__.rpartition('.')[2]}_{route.run.__name__.strip('_')}"
    operation: Json = {
        "operationId": name,
        "summary": (route.run.__doc__ or "").strip(),
        "parameters": [*_path_parameters(route), *_query_parameters(route, components), *_header_parameters(route)],
        "responses": {str(route.status): _answer(route), **_refusals(route)},
    }
    if route.body is not api.Nothing:
        schema = {"$ref": f"#/components/schemas/{route.body.__name__}"}
        operation["requestBody"] = {
            "required": any(field.required for field in msgspec.structs.fields(route.body)),
            "content": {"application/json": {"schema": schema}},
        }
    return operation


def _path_parameters(route: AnyRoute) -> Iterable[Json]:
    for name in route.parameters:
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}


def _query_parameters(route: AnyRoute, components: Json) -> Iterable[Json]:
    if route.query is api.Nothing:
        return
    schema = components[route.query.__name__]
    required = schema.get("required", ())
    for name, field in schema["properties"].items():
        yield {"name": name, "in": "query", "required": name in required, "schema": _without_null(field)}


def _without_null(field: Json) -> Json:
    """A query has no null: what may be null may be left out."""
    kinds = [kind for kind in field.get("anyOf", ()) if kind != {"type": "null"}]
    return kinds[0] if len(kinds) == 1 else field


def _header_parameters(route: AnyRoute) -> Iterable[Json]:
    if row := HEADERS.get(f"{route.method} {route.path}"):
        name, description, schema = row
        yield {"name": name, "in": "header", "required": False, "description": description, "schema": schema}


def _answer(route: AnyRoute) -> Json:
    description = re.sub(r"\s+", " ", (route.answer.__doc__ or "").split("\n\n")[0]) if _is_value(route.answer) else ""
    answer: Json = {"description": description or "Done."}
    if route.answer is Stream:
        answer["content"] = {media: {"schema": {"type": "string"}} for media in route.media}
    elif route.answer is Document:
        answer["content"] = {media: {} for media in route.media}
    elif route.answer is not type(None):
        schema = {"$ref": f"#/components/schemas/{route.answer.__name__}"}
        answer["content"] = {media: {"schema": schema} for media in route.media}
    return answer


def _refusals(route: AnyRoute) -> Json:
    """By status, with the codes that it may carry; `default` is what any request may meet (401, 413, 500, 503, 507 …)."""
    refusals: list[type[QuellError]] = [*route.refusals]
    if route.body is not api.Nothing or route.query is not api.Nothing:
        refusals.append(InvalidRequest)
    if "session" in route.parameters:
        refusals.append(SessionNotFound)
    codes: dict[int, list[str]] = {}
    for refusal in refusals:
        codes.setdefault(STATUS[refusal.code], []).append(refusal.code)
    answers = {
        str(status): _problem(f"Refused: {', '.join(sorted(names))}.") for status, names in sorted(codes.items())
    }
    return {**answers, "default": _problem("Anything else that was refused, or went wrong.")}


def _problem(description: str) -> Json:
    return {"description": description, "content": {PROBLEM_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}
