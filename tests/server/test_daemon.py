"""The daemon as a process: how it leaves, and what is there afterwards.

That it waits for nothing is seen by one that is patient: it would wait for an hour, and its test hangs.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from quell.client.client import Client, NewPrompt, NewSession, RemoteSession, UnixSocket
from quell.core import errors
from quell.core.events import Delta
from quell.server.events import STUCK_SECONDS

ROOT = Path(__file__).parents[2]


class Daemon:
    """A daemon on a folder; `start` it, and it is killed at the end if it has not left."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = str(folder / "s")

    @asynccontextmanager
    async def started(self, *options: str) -> AsyncIterator[asyncio.subprocess.Process]:
        self.folder.chmod(0o700)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.server.daemon_process",
            str(self.folder),
            *options,
            stdout=asyncio.subprocess.PIPE,
            cwd=ROOT,
        )
        try:
            assert process.stdout is not None
            assert (await process.stdout.readline()).startswith(b"ready ")
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    def client(self) -> Client:
        return Client(UnixSocket(self.path))


async def new_session(client: Client) -> RemoteSession:
    return client.session((await client.create(NewSession(workspace="/work"))).id)


@pytest.fixture
def daemon(tmp_path: Path) -> Daemon:
    return Daemon(tmp_path)


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_at_once_with_streams_open(daemon: Daemon, kind: signal.Signals) -> None:
    async with daemon.started("--patient") as process, daemon.client() as client:
        session = await new_session(client)
        async with session.events(0) as events, session.events(0) as others:
            await anext(events)
            await anext(others)
            process.send_signal(kind)
            assert await process.wait() == 0
    assert not os.path.exists(daemon.path)


async def test_a_signal_ends_it_at_once_with_a_reply_streaming(daemon: Daemon) -> None:
    async with daemon.started("--patient") as process, daemon.client() as client:
        session = await new_session(client)
        await session.submit(NewPrompt(id="p", text="talk"))
        async with session.follow() as following:
            async for happening in following:
                if isinstance(happening, Delta) or following.drafts.open:
                    break
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0
    async with (
        daemon.started(),
        daemon.client() as client,
    ):  # K6: it was settled before it left, with what had been said
        prompt = await client.session(session.id).prompt("p")
        assert (prompt.state, prompt.outcome, prompt.text) == ("settled", "interrupted", "word")


async def test_a2_a_kill_right_after_the_acknowledgement_loses_nothing(daemon: Daemon) -> None:
    async with daemon.started() as process, daemon.client() as client:
        session = await new_session(client)
        await session.submit(NewPrompt(id="a", text="quick"))
        await session.submit(NewPrompt(id="b", text="quick"))
        process.kill()
        await process.wait()
    async with daemon.started(), daemon.client() as client:
        session = client.session(session.id)
        for prompt in ("a", "b"):
            assert (await session.prompt(prompt, wait=30)).state == "settled"
        assert (await session.prompt("b")).outcome == "completed"


async def test_a_waiting_client_is_told_when_it_leaves(daemon: Daemon) -> None:
    async with daemon.started() as process, daemon.client() as client:
        session = await new_session(client)
        accepted = await session.submit(NewPrompt(text="talk"))
        with pytest.raises(ExceptionGroup) as raised:
            async with asyncio.TaskGroup() as group:
                group.create_task(session.prompt(accepted.prompt, wait=60))
                async with session.follow() as following:  # when this has got something, the wait has arrived
                    await anext(following)
                process.terminate()
        assert raised.group_contains(errors.ShuttingDown)
        assert await process.wait() == 0


async def test_it_leaves_when_it_has_nothing_to_do(daemon: Daemon) -> None:
    async with daemon.started("--idle-exit=0.2") as process:
        assert await process.wait() == 0


async def test_it_stays_while_somebody_follows_or_a_run_goes_on(daemon: Daemon) -> None:
    """One or the other from its first moment on: between them it might leave."""
    async with daemon.started() as process, daemon.client() as client:
        session = await new_session(client)
        for prompt in ("a", "b"):
            await session.submit(NewPrompt(id=prompt, text="talk"))
        process.kill()
        await process.wait()
    async with daemon.started("--idle-exit=0.2") as process:
        await stays(process)
        async with daemon.client() as client, client.session(session.id).events(0) as events:
            await anext(events)
            session = client.session(session.id)
            assert (await session.cancel()).run
            for prompt in ("a", "b"):
                assert (await session.prompt(prompt, wait=60)).state in ("settled", "dropped")
            await stays(process)
        assert await process.wait() == 0


async def stays(process: asyncio.subprocess.Process) -> None:
    """For longer than one with nothing to do would."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.6):
            await process.wait()


async def test_shutdown_is_refused_while_a_run_is_active_unless_forced(daemon: Daemon) -> None:
    async with daemon.started() as process, daemon.client() as client:
        session = await new_session(client)
        await session.submit(NewPrompt(text="talk"))
        with pytest.raises(errors.Busy):
            await client.shutdown()
        assert (await client.shutdown(force=True)).pid == process.pid
        assert await process.wait() == 0


async def test_shutdown_waits_for_the_runs_as_long_as_it_is_told(daemon: Daemon) -> None:
    async with daemon.started() as process, daemon.client() as client, asyncio.TaskGroup() as group:
        session = await new_session(client)
        await session.submit(NewPrompt(text="talk"))
        leaving = group.create_task(client.shutdown(grace=30))
        async with client.watch() as changes:
            await anext(changes)
            await session.cancel()
        await leaving
        assert await process.wait() == 0


async def test_a_client_that_does_not_read_does_not_hold_it_up(daemon: Daemon) -> None:
    async with daemon.started() as process, daemon.client() as client:
        session = await new_session(client)
        _, writer = await asyncio.open_unix_connection(daemon.path, limit=1)
        writer.write(f"GET /v1/sessions/{session.id}/events HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await writer.drain()
        for n in range(40):
            await session.submit(NewPrompt(id=f"p{n}", text="quick" + " " * 60_000, delivery="queue"))
        process.terminate()
        async with asyncio.timeout(STUCK_SECONDS / 2):  # a follower of a server that stays is given up after that long
            assert await process.wait() == 0
        writer.close()
