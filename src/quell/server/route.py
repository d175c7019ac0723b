"""What a route is: one row of the table in `app`, from which both the dispatch and the OpenAPI document are made.

Rules: a route's function gets a `Call`, parsed and checked as its row says, and answers with a value of the row's answer type; it
raises `core.errors` and knows nothing of HTTP. What is sent as it is, is a `Document` or a `Stream`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, Literal, Protocol, TypeVar, overload

from msgspec import Struct

from quell.core import inputs as i
from quell.core.errors import QuellError
from quell.engine import Engine
from quell.wire import api

Q = TypeVar("Q", bound=Struct)
B = TypeVar("B", bound=Struct)
A = TypeVar("A")


Edits = i.Edit | i.Move | i.Drop | i.Promote | i.Resume | i.Answer | i.AnswerQuestions | i.Change | i.Delete
"""The requests that are answered with no more than `Noted`."""


class Choices(Protocol):
    """What is configured; filled in by `app`."""

    async def new_session(self, id: str, asked: api.NewSession) -> i.Create:
        """With what the client left open decided. Raises `NoModel`, `UnknownModel`, `InvalidRequest`."""

    async def models(self, asked: api.ModelsQuery) -> Sequence[api.Model]:
        """What a session can use, or could if something that is named were mended. Raises `InvalidRequest`."""

    async def providers(self, asked: api.ProvidersQuery) -> Sequence[api.Provider]:
        """Where models are, known and of the user's own, and what is there to use them. Nobody is asked. Raises `InvalidRequest`."""

    async def status(self, workspace: str) -> api.WorkspaceStatus:
        """What is configured for a folder. Files that are wrong are no error here: they are what is asked for."""


class Site(Struct, frozen=True):
    """What the routes are about. `stopping` is set when the server leaves; setting it makes the server leave."""

    engine: Engine
    choices: Choices
    version: str
    started: str
    stopping: asyncio.Event


class Call(Struct, Generic[Q, B], frozen=True):
    """One request. `idempotency_key` and `last_event_id` are headers, None when they were not sent.

    `gone` returns when the client has disconnected.
    """

    site: Site
    path: Mapping[str, str]
    query: Q
    body: B
    idempotency_key: str | None
    last_event_id: str | None
    gone: Callable[[], Awaitable[None]]

    @property
    def engine(self) -> Engine:
        return self.site.engine

    @property
    def session(self) -> str:
        return self.path["session"]

    @overload
    async def apply(self, request: i.Submit | i.Compact, environment: api.Environment | None = None) -> i.Accepted: ...
    @overload
    async def apply(self, request: i.Cancel) -> i.Covered: ...
    @overload
    async def apply(self, request: Edits) -> i.Noted: ...
    async def apply(self, request: i.Request, environment: api.Environment | None = None) -> i.Reaction:
        """Have the session that the path names decide something; what answers what is the core's rule."""
        return await self.engine.apply(self.session, request, environment)


class Document(Struct, frozen=True):
    """An answer that is not JSON of ours. What is long comes in pieces, which are made as they are sent."""

    content: bytes | Iterable[bytes]
    content_type: str
    headers: tuple[tuple[str, str], ...] = ()


class Stream(Struct, frozen=True):
    """An answer without end: pieces of an event stream. Entering it may refuse the request."""

    source: AbstractAsyncContextManager[AsyncIterator[bytes]]


Method = Literal["GET", "POST", "PATCH", "DELETE"]


class Route(Struct, Generic[Q, B, A], frozen=True):
    """`answer` is the type of the body (None: there is none), `media` names other forms of it. `refusals` are those of this route beyond what any may meet."""

    method: Method
    path: str
    run: Callable[[Call[Q, B]], Awaitable[A]]
    query: type[Q]
    body: type[B]
    answer: type[A]
    status: int = 200
    refusals: tuple[type[QuellError], ...] = ()
    media: tuple[str, ...] = ("application/json",)

    @property
    def parameters(self) -> tuple[str, ...]:
        return tuple(part[1:-1] for part in self.path.split("/") if part.startswith("{"))


AnyRoute = Route[Any, Any, Any]
"""A row of the table, whatever its types: they were checked against its function where the row is written."""


class Tree:
    """Finds routes by path: a fixed part before a parameter."""

    def __init__(self, routes: Sequence[AnyRoute] = ()) -> None:
        self.routes: dict[str, AnyRoute] = {}
        self._fixed: dict[str, Tree] = {}
        self._parameter: Tree | None = None
        for route in routes:
            self._leaf(route).routes[route.method] = route

    def _leaf(self, route: AnyRoute) -> Tree:
        node = self
        for part in _parts(route.path):
            if part.startswith("{"):
                node._parameter = node = node._parameter or Tree()
            else:
                node = node._fixed.setdefault(part, Tree())
        return node

    def find(self, parts: Sequence[str]) -> tuple[Tree, list[str]] | None:
        """The place of a path and the values of its parameters; None when there is no such path."""
        node, values = self, list[str]()
        for part in parts:
            following = node._fixed.get(part)
            if following is None:
                if node._parameter is None or not part:
                    return None
                following = node._parameter
                values.append(part)
            node = following
        return (node, values) if node.routes else None


def _parts(path: str) -> list[str]:
    return path.split("/")[1:]


async def first_of(*works: Awaitable[object]) -> None:
    """Run them side by side until one has returned, then cancel the others. What one raises is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_run(work)) for work in works]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None


async def _run(work: Awaitable[object]) -> None:
    await work
