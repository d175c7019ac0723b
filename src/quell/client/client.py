"""The client: typed methods for what a front end asks of the server, asynchronous, over a unix socket or TCP.

    async with Client(UnixSocket(path)) as client:
        session = client.session((await client.create(NewSession(workspace="/src/project"))).id)
        accepted = await session.submit(NewPrompt(text="…"))
        async with session.follow() as following: …

Rules: bodies and answers are the values of `wire.api` and of the core; what the server refuses is raised as the error of `core.errors`
that it is. No server, or one that is lost, is `Unavailable`. What may be asked twice (looking, and submitting: the prompt's id is chosen
here, contract A3) is asked again for `patience` seconds while the connection is lost; anything else is not, since nobody can know
whether it was done. Finding and starting a server is up to the caller; following is `client.follow`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from types import TracebackType
from typing import TypeVar
from urllib.parse import quote, urlencode

import httpx2
import msgspec
from msgspec import Struct
from msgspec.structs import replace

from quell.client.follow import FIRST_PAUSE, LONGEST_PAUSE, Following
from quell.core import errors
from quell.core import inputs as i
from quell.core.errors import InvalidRequest, QuellError, Unavailable
from quell.core.events import Deleted
from quell.core.facts import PermissionOption
from quell.core.ports import JobState
from quell.core.questions import QuestionAnswer
from quell.core.session import Summary
from quell.wire import sse
from quell.wire.api import (
    Cancellation,
    Export,
    ExportQuery,
    Fork,
    Health,
    Jobs,
    Leave,
    MessagePage,
    Model,
    Models,
    NewAttachment,
    NewLimits,
    NewPrompt,
    NewSession,
    Problem,
    Promotion,
    Prompt,
    Provider,
    Providers,
    Queue,
    QueueEdit,
    RequestAnswer,
    Requests,
    Revert,
    Reverted,
    SessionChange,
    SessionPage,
    Snapshot,
    Unrevert,
    new_id,
)

__all__ = [  # front ends see `client` and `core` only: what they need of `wire` is here
    "Cancellation",
    "Client",
    "Export",
    "Health",
    "MessagePage",
    "Model",
    "NewAttachment",
    "NewLimits",
    "NewPrompt",
    "NewSession",
    "Prompt",
    "Provider",
    "Queue",
    "QueueEdit",
    "RemoteSession",
    "Reverted",
    "SessionChange",
    "SessionPage",
    "Snapshot",
    "Tcp",
    "UnixSocket",
]

T = TypeVar("T")

ANSWER_SECONDS = 75.0
"""How long an answer may take: the server lets a request wait for 60 s at most."""


class UnixSocket(Struct, frozen=True):
    """A server of this user on this machine."""

    path: str


class Tcp(Struct, frozen=True):
    """A server that listens on TCP: `http://host:port`, and its token."""

    url: str
    token: str


class Client:
    """One server. Connections are made as they are needed, and kept."""

    def __init__(self, address: UnixSocket | Tcp, patience: float = 5.0) -> None:
        self._where = address.path if isinstance(address, UnixSocket) else address.url
        self._patience = patience
        # No TLS is spoken: not to verify spares the loading of certificates, which takes longer than the request.
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=20, keepalive_expiry=60.0)
        uds = address.path if isinstance(address, UnixSocket) else None
        self._http = httpx2.AsyncClient(
            transport=httpx2.AsyncHTTPTransport(verify=False, uds=uds, limits=limits),
            base_url="http://localhost" if isinstance(address, UnixSocket) else address.url,
            headers={b"authorization": f"Bearer {address.token}".strip().encode()}
            if isinstance(address, Tcp)
            else None,
            timeout=httpx2.Timeout(ANSWER_SECONDS, connect=5.0),
            trust_env=False,
        )

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    def session(self, id: str) -> RemoteSession:
        return RemoteSession(self, id)

    async def health(self) -> Health:
        return await self.ask("GET", "/v1/health", Health)

    async def shutdown(self, *, grace: float = 0, force: bool = False) -> Health:
        """Have the server leave. Raises `Busy` while runs are active."""
        return await self.ask("POST", "/v1/shutdown", Health, Leave(grace_s=grace, force=force))

    async def models(self, have: Iterable[str] = ()) -> tuple[Model, ...]:
        """`have`: the names of variables that are set here and may hold keys; their values stay here."""
        return (await self.ask("GET", "/v1/models" + _query({"have": ",".join(have) or None}), Models)).items

    async def providers(self, have: Iterable[str] = ()) -> tuple[Provider, ...]:
        """Where models are, and what is there to use them. `have`: as for `models`."""
        return (await self.ask("GET", "/v1/providers" + _query({"have": ",".join(have) or None}), Providers)).items

    async def create(self, new: NewSession) -> Summary:
        return await self.ask("POST", "/v1/sessions", Summary, new)

    async def fork(self, session: str, at: int | None = None) -> Summary:
        """A new, idle session with a copy of what has happened in another one, up to the fact `at`."""
        return await self.ask("POST", f"/v1/sessions/{quote(session, safe='')}/fork", Summary, Fork(at=at))

    async def revert(self, session: str, to: str, *, force: bool = False, dry_run: bool = False) -> Reverted:
        """Back to before the message `to`, files and conversation. Raises `Busy`, and `Edited` unless `force`."""
        body = Revert(to=to, force=force, dry_run=dry_run)
        return await self.ask("POST", f"/v1/sessions/{quote(session, safe='')}/revert", Reverted, body)

    async def unrevert(self, session: str, *, force: bool = False, dry_run: bool = False) -> Reverted:
        """Undo the last revert, which can be done until the next run begins."""
        body = Unrevert(force=force, dry_run=dry_run)
        return await self.ask("POST", f"/v1/sessions/{quote(session, safe='')}/unrevert", Reverted, body)

    async def sessions(
        self,
        *,
        workspace: str | None = None,
        parent: str = "",
        search: str = "",
        limit: int = 50,
        cursor: str | None = None,
    ) -> SessionPage:
        """Last updated first. `parent`: the sub-agents of that session, which are in no other list."""
        query = {
            "workspace": workspace,
            "parent": parent or None,
            "q": search or None,
            "limit": limit,
            "cursor": cursor,
        }
        return await self.ask("GET", "/v1/sessions" + _query(query), SessionPage)

    @asynccontextmanager
    async def watch(
        self, workspace: str | None = None, parent: str = ""
    ) -> AsyncIterator[AsyncIterator[Summary | Deleted]]:
        """Sessions as they are, then each that changes or goes, until the connection is lost (`Unavailable`)."""
        query = {"workspace": workspace, "parent": parent or None}
        async with self.stream("/v1/events" + _query(query)) as pieces:
            yield _summaries(pieces)

    # For `RemoteSession` and `follow`

    async def ask(
        self, method: str, path: str, answer: type[T], body: Struct | None = None, *, again: bool = False
    ) -> T:
        """One request; a GET, and what says `again`, is repeated while the connection is lost."""
        return msgspec.json.decode(await self.fetch(method, path, body, again=again) or b"null", type=answer)

    async def fetch(self, method: str, path: str, body: Struct | None = None, *, again: bool = False) -> bytes:
        """The same, with the answer as it was sent."""
        content = None if body is None else msgspec.json.encode(body)
        response = await self._send(method, path, content, again=again or method == "GET")
        if response.is_error:
            raise refusal(response.status_code, response.content)
        return response.content

    async def _send(self, method: str, path: str, content: bytes | None, *, again: bool) -> httpx2.Response:
        clock = asyncio.get_running_loop().time
        deadline, pause = clock() + self._patience, FIRST_PAUSE
        while True:
            try:
                return await self._http.request(method, path, content=content)
            except httpx2.TransportError as error:
                # After a time-out the server is there, and slow: asking again would not make it quicker.
                lost = isinstance(error, httpx2.NetworkError | httpx2.RemoteProtocolError)
                if not (again and lost) or clock() + pause > deadline:
                    raise self._lost(error) from error
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    @asynccontextmanager
    async def stream(self, path: str, headers: Mapping[str, str] | None = None) -> AsyncIterator[AsyncIterator[bytes]]:
        """An event stream, in the pieces in which it comes. Silence for three heartbeats is a lost connection."""
        timeout = httpx2.Timeout(3 * sse.HEARTBEAT_SECONDS, connect=5.0)
        try:
            async with self._http.stream("GET", path, headers=headers, timeout=timeout) as response:
                if response.is_error:
                    raise refusal(response.status_code, await response.aread())
                async with aclosing(self._received(response)) as pieces:
                    yield pieces
        except httpx2.TransportError as error:
            raise self._lost(error) from error

    async def _received(self, response: httpx2.Response) -> AsyncGenerator[bytes, None]:
        try:
            async with aclosing(response.aiter_raw()) as pieces:
                async for piece in pieces:
                    yield piece
        except httpx2.TransportError as error:
            raise self._lost(error) from error

    def _lost(self, error: httpx2.TransportError) -> Unavailable:
        return Unavailable(
            f"There is no answer from the server at {self._where}: {str(error) or type(error).__name__}."
        )


class RemoteSession:
    """One session of a server. That it exists is found out by whatever is asked first."""

    def __init__(self, client: Client, id: str) -> None:
        self.id = id
        self._client = client
        self._path = f"/v1/sessions/{quote(id, safe='')}"

    def follow(self) -> Following:
        """Its view, and everything that happens in it, across lost connections and restarted servers."""
        return Following(self)

    async def show(self) -> Summary:
        return await self._client.ask("GET", self._path, Summary)

    async def change(self, change: SessionChange) -> Summary:
        return await self._client.ask("PATCH", self._path, Summary, change)

    async def delete(self) -> None:
        await self._client.fetch("DELETE", self._path)

    async def submit(self, prompt: NewPrompt) -> i.Accepted:
        """When this returns, the prompt is on disk and will run. Without an id it gets one, so that it can be asked for again."""
        prompt = prompt if prompt.id is not None else replace(prompt, id=new_id())
        return await self._client.ask("POST", self._path + "/prompts", i.Accepted, prompt, again=True)

    async def prompt(self, id: str, wait: float = 0) -> Prompt:
        """What has become of a prompt; with `wait` (seconds, at most 60) answered at its end."""
        path = f"{self._path}/prompts/{quote(id, safe='')}"
        return await self._client.ask("GET", path + _query({"wait": wait or None}), Prompt)

    async def cancel(self, cancellation: Cancellation = Cancellation()) -> i.Covered:
        return await self._client.ask("POST", self._path + "/cancel", i.Covered, cancellation)

    async def compact(self) -> i.Accepted:
        return await self._client.ask("POST", self._path + "/compact", i.Accepted)

    async def queue(self) -> Queue:
        return await self._client.ask("GET", self._path + "/queue", Queue)

    async def drop_all(self) -> i.Noted:
        return await self._client.ask("DELETE", self._path + "/queue", i.Noted)

    async def edit(self, entry: str, edit: QueueEdit) -> i.Noted:
        """Raises `NotWaiting` once the entry has started."""
        return await self._client.ask("PATCH", self._entry(entry), i.Noted, edit)

    async def drop(self, entry: str) -> i.Noted:
        return await self._client.ask("DELETE", self._entry(entry), i.Noted)

    async def promote(self, entry: str, *, interrupt: bool = False) -> i.Noted:
        return await self._client.ask("POST", self._entry(entry) + "/promote", i.Noted, Promotion(interrupt=interrupt))

    async def resume(self) -> i.Noted:
        return await self._client.ask("POST", self._path + "/resume", i.Noted)

    async def view(self, *, tail: int = 200, before: int | None = None) -> Snapshot:
        return await self._client.ask("GET", self._path + "/view" + _query({"tail": tail, "before": before}), Snapshot)

    async def messages(self, *, after: int = 0, limit: int = 1_000) -> MessagePage:
        path = self._path + "/messages" + _query({"after": after, "limit": limit})
        return await self._client.ask("GET", path, MessagePage)

    async def requests(self) -> Requests:
        return await self._client.ask("GET", self._path + "/requests", Requests)

    async def answer(
        self, request: str, given: PermissionOption | Sequence[QuestionAnswer], note: str | None = None
    ) -> i.Noted:
        """A permission, or an answer to each question. Raises `Stale` when it was answered otherwise, or withdrawn."""
        body = RequestAnswer(option=given, note=note) if isinstance(given, str) else RequestAnswer(answers=tuple(given))
        return await self._client.ask("POST", f"{self._path}/requests/{quote(request, safe='')}", i.Noted, body)

    async def jobs(self) -> Jobs:
        """The commands that run on in the background, and those that did."""
        return await self._client.ask("GET", self._path + "/jobs", Jobs)

    async def end_job(self, job: str) -> JobState:
        return await self._client.ask("DELETE", f"{self._path}/jobs/{quote(job, safe='')}", JobState)

    async def export(self) -> Export:
        return await self._client.ask("GET", self._path + "/export", Export)

    async def export_text(self, form: str = "markdown") -> str:
        query = msgspec.convert({"format": form}, ExportQuery)
        return (await self._client.fetch("GET", f"{self._path}/export?format={query.format}")).decode()

    @asynccontextmanager
    async def events(self, after: int) -> AsyncIterator[AsyncIterator[bytes]]:
        """The bytes of its event stream behind a `seq`. Use `follow`, which makes sense of them."""
        async with self._client.stream(self._path + "/events", {"last-event-id": str(after)}) as pieces:
            yield pieces

    def _entry(self, id: str) -> str:
        return f"{self._path}/queue/{quote(id, safe='')}"


async def _summaries(pieces: AsyncIterator[bytes]) -> AsyncIterator[Summary | Deleted]:
    decoder = sse.Decoder()
    async for piece in pieces:
        for frame in decoder.feed(piece):
            value = sse.parse(frame)
            if isinstance(value, Summary | Deleted):
                yield value


def _query(fields: Mapping[str, str | int | float | None]) -> str:
    given = {name: value for name, value in fields.items() if value is not None}
    return "?" + urlencode(given) if given else ""


def _by_code() -> dict[str, type[QuellError]]:
    """Every error that has a status, by its code."""
    kinds: dict[str, type[QuellError]] = {}
    rest = [QuellError]
    while rest:
        kind = rest.pop()
        rest.extend(kind.__subclasses__())
        if kind.code in errors.STATUS and kind.__module__ == errors.__name__:
            kinds[kind.code] = kind
    return kinds


_kinds = _by_code()


def refusal(status: int, content: bytes) -> QuellError:
    """The error that a problem document stands for."""
    try:
        problem = msgspec.json.decode(content, type=Problem)
    except msgspec.DecodeError:
        return QuellError(f"The server answered with status {status}, and with something that is no problem document.")
    kind = _kinds.get(problem.code, InvalidRequest if status < 500 else QuellError)
    return kind(problem.detail)
