"""A connection to a server: the handshake, its lists, and calls that can be given up (contract T5).

A call that is cancelled, or takes too long, is told to its server with the protocol's notification and waited for a little longer: what it
really did by then is its result. Then it is abandoned: nobody waits for an answer any more, one that comes is dropped, and the connection
serves others. A server that does not even take the notification is not asked again: the connection is over.

The SDK is imported here, and nowhere else but in `stdio`. It opens and closes a connection in one task; calls come from any.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any, Literal, TypeVar

import anyio
import httpx2
import mcp_types as types
import msgspec
from mcp.client.session import ClientSession, IncomingMessage
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.dispatcher import CallOptions, OnNotify, OnNotifyIntercept, OnRequest, ProgressFnT
from mcp.shared.exceptions import MCPError
from mcp.shared.jsonrpc_dispatcher import JSONRPCDispatcher
from mcp.shared.transport_context import TransportContext
from pydantic import TypeAdapter

from quell import __version__
from quell.core.programs import Programs
from quell.core.web import HERE
from quell.mcp.answers import Called, Read, RemoteTool, Resources, ServerFailed
from quell.mcp.offers import input_schema
from quell.mcp.options import ServerOptions
from quell.mcp.stdio import LONGEST, StdioServer

GRACE = 1.0
"""Seconds from telling a server that a call is cancelled to abandoning it."""
PAGES = 50
"""Of a list; one that never ends is cut."""
CONNECT = 10.0
"""Seconds to reach a server over HTTP."""

_ANYTHING: TypeAdapter[Any] = TypeAdapter(dict[str, Any])
_number: ContextVar[str] = ContextVar("number")

T = TypeVar("T")
Progress = Callable[[float, float | None, str | None], None]

logging.getLogger("mcp").setLevel(logging.ERROR)  # what goes wrong is told by what fails
logging.getLogger("client").setLevel(logging.ERROR)


class _Dispatcher(JSONRPCDispatcher[TransportContext]):
    """The SDK's, with numbers of our own for requests, so that they can be cancelled by us; `over` is set when nothing more can come."""

    def __init__(self, *streams: Any) -> None:
        super().__init__(*streams)
        self.over = asyncio.Event()

    async def send_raw_request(
        self,
        method: str,
        params: Mapping[str, Any] | None,
        opts: CallOptions | None = None,
        *,
        _related_request_id: types.RequestId | None = None,
    ) -> dict[str, Any]:
        if (number := _number.get("")) and method not in ("initialize", "server/discover"):
            opts = {**(opts or {}), "request_id": number, "cancel_on_abandon": False}
        answer = await super().send_raw_request(method, params, opts, _related_request_id=_related_request_id)
        return _mended(answer) if method == "tools/list" else answer

    async def run(
        self,
        on_request: OnRequest,
        on_notify: OnNotify,
        on_notify_intercept: OnNotifyIntercept | None = None,
        *,
        task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        try:
            await super().run(on_request, on_notify, on_notify_intercept, task_status=task_status)
        finally:
            self.over.set()


def _mended(answer: dict[str, Any]) -> dict[str, Any]:
    """One tool that is described wrongly must not hide the others, which is what the SDK makes of it."""
    tools = answer.get("tools")
    kept = []
    for tool in tools if isinstance(tools, list) else ():
        if isinstance(tool, dict) and isinstance(tool.get("name"), str) and tool["name"]:
            description = tool.get("description")
            kept.append(
                {
                    "name": tool["name"],
                    "description": description if isinstance(description, str) else "",
                    "inputSchema": input_schema(tool.get("inputSchema")),
                }
            )
    return {**answer, "tools": kept}


class Connection:
    """Made by `opened`. `tools` are as they were listed last; `changed` is called when there may be others.

    `forgotten`: the server does not know this connection any more, because it was started anew.
    """

    def __init__(self, options: ServerOptions, dispatcher: _Dispatcher, changed: Callable[[], None]) -> None:
        self.over = dispatcher.over
        self.tools: tuple[RemoteTool, ...] = ()
        self.instructions = ""
        self.has_resources = False
        self._options = options
        self._changed = changed
        self._numbers = itertools.count(1)
        self.deaf: Callable[[], bool] = lambda: False
        self.forgotten = asyncio.Event()
        self.session = ClientSession(
            dispatcher=dispatcher,
            client_info=types.Implementation(name="quell", version=__version__),
            message_handler=self._heard,
        )

    async def begin(self) -> None:
        """Shake hands and ask what there is. Raises `ServerFailed`."""
        try:
            await self._greet()
            if (capabilities := self.session.server_capabilities) is not None:
                self.instructions = self.session.instructions or ""
                self.has_resources = capabilities.resources is not None
                if capabilities.tools is not None:
                    await self.list_tools()
        except _TROUBLE as trouble:
            raise ServerFailed(_words(trouble)) from trouble

    async def _greet(self) -> None:
        """As every server can; one that knows nothing but the protocol without a handshake says so."""
        try:
            await self.session.initialize()
        except MCPError as error:
            if error.code not in (types.METHOD_NOT_FOUND, types.UNSUPPORTED_PROTOCOL_VERSION):
                raise
            await self.session.discover()

    async def _heard(self, message: IncomingMessage) -> None:
        if isinstance(message, types.ToolListChangedNotification):
            self._changed()

    async def list_tools(self) -> None:
        """Raises what the SDK does."""
        found: list[RemoteTool] = []
        cursor: str | None = None
        for _ in range(PAGES):
            page = await self.session.list_tools(params=types.PaginatedRequestParams(cursor=cursor))
            found += [RemoteTool(tool.name, tool.description or "", tool.input_schema) for tool in page.tools]
            if (cursor := page.next_cursor) is None:
                break
        self.tools = tuple(found)

    async def refresh(self) -> None:
        """Raises `ServerFailed`."""
        try:
            await self.list_tools()
        except _TROUBLE as trouble:
            raise ServerFailed(_words(trouble)) from trouble

    # Asking

    async def call(self, tool: str, arguments: dict[str, Any], tell: Progress) -> Called:
        """Raises `ServerFailed`, also when it took too long; cancelled, as the module says."""

        async def told(progress: float, total: float | None, message: str | None) -> None:
            tell(progress, total, message)

        params = types.CallToolRequestParams(name=tool, arguments=arguments)
        return _read(await self._ask(types.CallToolRequest(params=params), told), Called)

    async def resources(self, cursor: str | None = None) -> Resources:
        params = types.PaginatedRequestParams(cursor=cursor)
        return _read(await self._ask(types.ListResourcesRequest(params=params)), Resources)

    async def templates(self) -> Resources:
        return _read(await self._ask(types.ListResourceTemplatesRequest()), Resources)

    async def read(self, uri: str) -> Read:
        params = types.ReadResourceRequestParams(uri=uri)
        return _read(await self._ask(types.ReadResourceRequest(params=params)), Read)

    async def _ask(self, request: types.Request[Any, Any], progress: ProgressFnT | None = None) -> dict[str, Any]:
        number = f"quell-{next(self._numbers)}"
        cancelled: asyncio.CancelledError | None = None
        async with asyncio.TaskGroup() as group:
            asking = group.create_task(self._answer(request, number, progress))
            try:
                await asyncio.wait((asking,), timeout=self._options.timeout)
            except asyncio.CancelledError as error:
                cancelled = error
            if not asking.done():
                cancelled = (
                    await self._abandon(group, asking, number, "cancelled" if cancelled else "timeout") or cancelled
                )
        answer = None if asking.cancelled() else asking.result()
        if isinstance(answer, dict):
            if answer.get("resultType") == "input_required":
                raise ServerFailed(
                    "It wants to be told more by the user in the middle of a call, which is not possible here."
                )
            return answer
        if cancelled is not None:  # that it was refused because of the cancel is no result of its own
            raise cancelled
        if answer is None:
            raise ServerFailed(
                f"It has not answered within {self._options.timeout:g} s, its `timeout`, and was told to stop; it may have done a part of it."
            )
        if isinstance(answer, MCPError) and (answer.code == types.CONNECTION_CLOSED or self.forgotten.is_set()):
            self.over.set()
        raise ServerFailed(_words(answer)) from answer

    async def _answer(
        self, request: types.Request[Any, Any], number: str, progress: ProgressFnT | None
    ) -> dict[str, Any] | Exception:
        _number.set(number)
        try:
            answer: dict[str, Any] = await self.session.send_request(request, _ANYTHING, progress_callback=progress)
        except _TROUBLE as trouble:
            return trouble
        return answer

    async def _abandon(
        self,
        group: asyncio.TaskGroup,
        asking: asyncio.Task[dict[str, Any] | Exception],
        number: str,
        why: Literal["cancelled", "timeout"],
    ) -> asyncio.CancelledError | None:
        """Returns the cancellation that came meanwhile: then there is no more time at all."""
        telling, cancelled = group.create_task(self._tell(number, why)), None
        try:
            await asyncio.wait((asking,), timeout=GRACE)
        except asyncio.CancelledError as error:
            cancelled = error
        if not telling.done() or self.deaf():
            self.over.set()
        telling.cancel()
        asking.cancel()
        return cancelled

    async def _tell(self, number: str, why: str) -> None:
        params = types.CancelledNotificationParams(request_id=number, reason=why)
        try:
            await self.session.send_notification(types.CancelledNotification(params=params))
        except _TROUBLE:
            pass  # it is gone: that is told by whoever asks it next


_TROUBLE = (
    MCPError,
    ValueError,
    RuntimeError,
    OSError,
    httpx2.HTTPError,
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
)


@asynccontextmanager
async def opened(
    options: ServerOptions,
    programs: Programs,
    directory: str,
    environment: Mapping[str, str],
    changed: Callable[[], None],
) -> AsyncIterator[Connection]:
    """Ready to be asked, until the end of the block. Raises `ServerFailed`, also at the end, with the reason that it is over."""
    program, forgotten = StdioServer(), asyncio.Event()
    if options.type == "stdio":
        transport = program.opened(programs, options.command, directory, environment)
    else:
        transport = (_sse if options.type == "sse" else _streamable)(options, forgotten)
    try:
        async with asyncio.timeout(options.start_timeout) as limit, transport as streams:
            connection = Connection(options, _Dispatcher(*streams), changed)
            connection.deaf, connection.forgotten = lambda: program.deaf, forgotten
            async with connection.session:
                await connection.begin()
                limit.reschedule(None)
                yield connection
    except TimeoutError as error:
        late = f"It was not ready within {options.start_timeout:g} s, its `start_timeout`."
        raise ServerFailed(late + program.last_words()) from error
    except (ServerFailed, ExceptionGroup, *_TROUBLE) as error:
        raise ServerFailed((program.how_ended() or _words(error)) + program.last_words()) from error
    if ended := program.how_ended():
        raise ServerFailed(ended + program.last_words())


def _words(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    match error:
        case ServerFailed():
            return str(error)
        case MCPError(code=types.CONNECTION_CLOSED):
            return "The connection was closed."
        case MCPError():
            return f"It says: {error}"
        case httpx2.HTTPStatusError():
            return f"{_address(error)} answers with HTTP status {error.response.status_code}."
        case httpx2.HTTPError():
            return f"{_address(error)} cannot be reached: {str(error).rstrip('.') or type(error).__name__}."
        case ValueError():
            return f"What it says is not what the protocol allows: {str(error).splitlines()[0]}"
        case _:
            return f"{str(error) or type(error).__name__}"


def _address(error: httpx2.HTTPError) -> str:
    """Where it was asked, without what may be secret of it: a password, the query, and with some the path."""
    try:
        url = error.request.url
    except RuntimeError:  # it was not on its way yet
        return "It"
    return f"{url.scheme}://{url.netloc.decode()}"


def _read(answer: dict[str, Any], kind: type[T]) -> T:
    try:
        return msgspec.convert(answer, kind, strict=False)
    except msgspec.ValidationError as error:
        raise ServerFailed(f"What it says is not what the protocol allows: {error}") from error


# HTTP


@asynccontextmanager
async def _streamable(options: ServerOptions, forgotten: asyncio.Event) -> AsyncIterator[Any]:
    client = await asyncio.to_thread(_client, dict(options.headers), forgotten)  # reads certificates
    async with (
        client,
        streamable_http_client(options.url, http_client=client, max_sse_event_size=LONGEST) as streams,
    ):
        yield streams


@asynccontextmanager
async def _sse(options: ServerOptions, forgotten: asyncio.Event) -> AsyncIterator[Any]:
    client = await asyncio.to_thread(_client, dict(options.headers), forgotten)
    async with sse_client(
        options.url, httpx_client_factory=lambda headers=None, timeout=None, auth=None: client
    ) as streams:
        yield streams


def _client(headers: dict[str, str], forgotten: asyncio.Event) -> httpx2.AsyncClient:
    """Answers are waited for as long as their calls are; only a connection has to come about soon. Raises `ServerFailed`."""

    async def look(response: httpx2.Response) -> None:
        if response.status_code == 404 and "mcp-session-id" in response.request.headers:
            forgotten.set()
        if "text/event-stream" not in response.headers.get("content-type", ""):
            response.stream = _Bounded(response.stream)  # the SDK bounds an event, and reads any other answer whole

    try:
        return httpx2.AsyncClient(
            headers=headers,
            mounts={f"all://{host}": None for host in HERE},  # directly, whatever the environment says of proxies
            timeout=httpx2.Timeout(CONNECT, read=None),
            event_hooks={"response": [look]},
        )
    except (ValueError, OSError) as error:
        raise ServerFailed(f"A proxy or the certificates that the environment names cannot be used: {error}") from None


class _Bounded(httpx2.AsyncByteStream):
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for piece in self._stream:
            size += len(piece)
            if size > LONGEST:
                raise httpx2.ReadError(f"the answer is longer than {LONGEST >> 20} MiB")
            yield piece

    async def aclose(self) -> None:
        await self._stream.aclose()
