"""A server for tests: the real one, on a unix socket, around an engine that the test plays."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from quell.client.client import Client, NewSession, RemoteSession, UnixSocket
from quell.core import inputs as i
from quell.core.ports import Journal
from quell.server.daemon import Listener, Options, serve
from quell.server.listen import unix_socket
from quell.testing.harness import Play, played
from quell.wire import api

numbers = itertools.count(1)


class PlayedChoices:
    """The `Choices` port: one model."""

    async def new_session(self, id: str, asked: api.NewSession) -> i.Create:
        return i.Create(
            session=id,
            workspace=asked.workspace,
            title=asked.title,
            model="played/model" if asked.model is None else asked.model,
            small_model=asked.small_model or "",
            mode=asked.mode or "edits",
            extra=asked.extra,
        )

    async def models(self, asked: api.ModelsQuery) -> Sequence[api.Model]:
        return (api.Model(spec="played/model", provider="played", configured=True, default=True),)

    async def providers(self, asked: api.ProvidersQuery) -> Sequence[api.Provider]:
        return (
            api.Provider(
                name="played",
                dialect="openai",
                origin="own",
                base_url="http://localhost",
                configured=True,
                needs_key=False,
            ),
        )

    async def status(self, workspace: str) -> api.WorkspaceStatus:
        return api.WorkspaceStatus(workspace=workspace, model="played/model", mode="edits")


@dataclass
class Serving:
    """A running server. `path` is its socket."""

    play: Play
    client: Client
    path: str

    async def session(self, **fields: str) -> RemoteSession:
        created = await self.client.create(NewSession(workspace="/work", **fields))  # type: ignore[arg-type]  # the test's
        return self.client.session(created.id)


OPTIONS = Options(version="1.2.3")


@asynccontextmanager
async def serving(
    folder: Path, *, journal: Journal | None = None, options: Options = OPTIONS, path: str | None = None
) -> AsyncIterator[Serving]:
    """It is stopped at the end, if the test has not done so."""
    path = path or str(folder / f"{next(numbers)}.sock")
    folder.chmod(0o700)
    async with AsyncExitStack() as stack:
        socket = stack.enter_context(unix_socket(path))
        play = await stack.enter_async_context(played(journal))
        group = await stack.enter_async_context(asyncio.TaskGroup())
        ready = asyncio.Event()
        served = group.create_task(serve(play.engine, PlayedChoices(), [Listener(socket)], options, ready.set))
        await ready.wait()
        async with Client(UnixSocket(path)) as client:
            yield Serving(play, client, path)
            if not served.done():
                await client.shutdown(force=True)
