"""The life of servers: shared, ended when nobody wants them, left alone when they fail; and those over HTTP."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import pytest
import uvicorn

from quell.core.ports import Toolset
from quell.mcp import McpServers, ServerOptions, Surroundings
from quell.mcp.answers import Called, ServerFailed
from quell.mcp.server import Server
from quell.mcp.stdio import LONGEST
from quell.tools import Tools
from quell.workspace.programs import LocalPrograms
from tests.adversarial.server import response, server, silence
from tests.cli.command import Home, until
from tests.mcp.kit import made

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "mcp.md"
RAW = Path(__file__).with_name("raw.py")


def raw(folder: Path, way: str, timeout: float = 120) -> ServerOptions:
    command = (sys.executable, "-S", str(RAW), str(folder), way, way)
    return ServerOptions(name=way, command=command, timeout=timeout)


def around() -> Surroundings:
    return Surroundings(LocalPrograms(), lambda text: text.replace("licence", "[hidden]"), frozenset({"HIDDEN"}))


@asynccontextmanager
async def alone(options: ServerOptions) -> AsyncIterator[tuple[Server, asyncio.TaskGroup]]:
    async with asyncio.TaskGroup() as group:
        one = Server(options, os.getcwd(), dict(os.environ), around())
        yield one, group
        await one.stop()


async def call(one: Server, group: asyncio.TaskGroup, tool: str = "echo", **arguments: object) -> Called:
    return await one.ask(group, lambda connection: connection.call(tool, arguments, lambda *progress: None))


async def test_the_server_of_the_guide_is_one(tmp_path: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "sums.py").write_text(example)
    options = ServerOptions(name="sums", command=(sys.executable, str(tmp_path / "sums.py")))
    async with alone(options) as (one, group):
        assert (await call(one, group, "add", a=2, b=3)).content[0].text == "5"
        assert [spec.name for spec in one.specs] == ["mcp_sums_add"]
        assert one.specs[0].description == "Adds two numbers."


async def test_one_that_drowns_us_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a slow machine it cannot send faster than it may, so here it may not go on at all."""
    monkeypatch.setattr("quell.mcp.stdio.RATE", 0)
    async with alone(raw(tmp_path, "drowning")) as (one, group):
        with pytest.raises(ServerFailed, match=f"It sent more than {LONGEST >> 20} MiB at once"):
            await call(one, group)
        assert one.state.state == "failed"


async def test_t5_a_call_that_takes_too_long_is_cancelled_and_failed(tmp_path: Path) -> None:
    async with alone(raw(tmp_path, "silent", timeout=0.01)) as (one, group):
        with pytest.raises(ServerFailed, match=r"not answered within 0\.01 s"):
            await call(one, group)
        await asyncio.to_thread(until, lambda: "notifications/cancelled" in (tmp_path / "silent").read_text())
        assert one.state.state == "connected"


async def test_failures_in_a_row_are_waited_after_and_what_was_said_is_clean(tmp_path: Path) -> None:
    async with alone(raw(tmp_path, "dying")) as (one, group):
        with pytest.raises(ServerFailed, match=r"with status 1\. Its last words:\nno \[hidden\]"):
            await call(one, group)
        begun = one.begun
        for _ in range(2):
            with pytest.raises(ServerFailed, match=r"no \[hidden\]"):
                await call(one, group)
        assert one.begun == begun, "it is left alone"


async def test_many_calls_start_it_once(tmp_path: Path) -> None:
    async with alone(raw(tmp_path, "good")) as (one, group):
        tasks = [group.create_task(call(one, group)) for _ in range(5)]
        await asyncio.wait(tasks)
        assert [task.result().content[0].text for task in tasks] == ["good: echo {}"] * 5
        assert (tmp_path / "good").read_text().count('"initialize"') == 1


async def test_sessions_of_a_folder_share_a_server_and_it_ends_when_none_has_it(tmp_path: Path) -> None:
    inner: Toolset = Tools(("view",))
    options, other = raw(tmp_path, "good"), raw(tmp_path, "good", timeout=7)
    async with asyncio.TaskGroup() as group:
        servers = McpServers(group, around())
        for session in ("a", "b"):
            assert await servers.equip(session, str(tmp_path), [options], dict(os.environ), attended=False) == []
            assert [spec.name for spec in servers.tools(session, inner).specs()] == ["view", "mcp_good_echo"]
        assert servers.tools("c", inner) is inner
        assert (tmp_path / "good").read_text().count('"initialize"') == 1
        assert servers.states(str(tmp_path), [options])[0].state == "connected"
        # Other settings are another server, and the one that nobody has is ended and forgotten.
        for session in ("a", "b"):
            await servers.equip(session, str(tmp_path), [other], dict(os.environ), attended=False)
        assert servers.states(str(tmp_path), [other])[0].state == "connected"
        await asyncio.to_thread(until, lambda: len(Home.processes_with(None, b"raw.py", tmp_path)) == 1)  # type: ignore[arg-type]  # it needs no home
        assert await servers.equip("a", str(tmp_path), [], {}, attended=False) == []
        assert servers.tools("a", inner) is inner
        await servers.close()
        assert servers.states(str(tmp_path), [other])[0].state == "stopped"


async def test_a_server_that_no_session_has_wanted_for_long_is_ended(tmp_path: Path) -> None:
    options = raw(tmp_path, "good")
    async with asyncio.TaskGroup() as group:
        servers = McpServers(group, around(), unused=0.2, patience=0.0)
        while servers.states(str(tmp_path), [options])[0].state != "connected":  # until then it is wanted all the time
            await servers.equip("a", str(tmp_path), [options], dict(os.environ), attended=True)
        while servers.states(str(tmp_path), [options])[0].state != "stopped":  # noqa: ASYNC110  # of its end there is no event
            await asyncio.sleep(0.01)
        await servers.close()


async def test_a_person_waits_a_moment_for_a_server_and_is_told(tmp_path: Path) -> None:
    async with asyncio.TaskGroup() as group:
        servers = McpServers(group, around(), patience=0.01)
        wanted = [raw(tmp_path, "mute")]
        told = await servers.equip("a", str(tmp_path), wanted, dict(os.environ), attended=True)
        assert told == ["The tool server `mute` is still starting. Its tools are there when it is ready."]
        assert await servers.equip("a", str(tmp_path), wanted, dict(os.environ), attended=True) == []
        await servers.close()


@asynccontextmanager
async def over_http(folder: Path, port: int = 0) -> AsyncIterator[tuple[ServerOptions, int]]:
    config = uvicorn.Config(made(folder).streamable_http_app(), port=port, log_config=None, timeout_graceful_shutdown=0)
    with config.bind_socket() as listening:
        host = uvicorn.Server(config)
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(host._serve([listening]))
            try:
                port = listening.getsockname()[1]
                yield ServerOptions(name="web", type="http", url=f"http://127.0.0.1:{port}/mcp"), port
            finally:
                host.should_exit = True
                await serving


async def test_t5_over_http_a_cancel_arrives_and_other_calls_go_on(tmp_path: Path) -> None:
    async with over_http(tmp_path) as (options, _), alone(options) as (one, group):
        assert (await call(one, group, "add", a=1, b=2)).content[0].text == "3"
        begun = asyncio.Event()
        hanging = group.create_task(
            one.ask(group, lambda connection: connection.call("hang", {}, lambda *progress: begun.set()))
        )
        await begun.wait()
        hanging.cancel()
        await asyncio.wait((hanging,))
        assert hanging.cancelled()
        assert (tmp_path / "cancelled").exists()
        assert (await call(one, group, "add", a=1, b=3)).content[0].text == "4"


async def test_over_http_this_machine_is_asked_without_a_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        proxy = f"http://127.0.0.1:{nobody.getsockname()[1]}"
    monkeypatch.setenv("HTTP_PROXY", proxy)
    async with over_http(tmp_path) as (options, _), alone(options) as (one, group):
        assert (await call(one, group, "add", a=1, b=2)).content[0].text == "3"


@pytest.mark.parametrize(("variable", "value"), [("ALL_PROXY", "gopher://x"), ("SSL_CERT_FILE", "/nowhere/ca.pem")])
async def test_over_http_what_the_environment_names_and_cannot_be_used_is_said(
    variable: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    async with over_http(tmp_path) as (options, _), alone(options) as (one, group):
        with pytest.raises(ServerFailed, match="A proxy or the certificates that the environment names"):
            await call(one, group, "add", a=1, b=2)


async def test_over_http_one_that_was_started_anew_is_found_again(tmp_path: Path) -> None:
    async with over_http(tmp_path) as (options, port):
        pass
    async with asyncio.TaskGroup() as group:
        one = Server(options, os.getcwd(), {}, around())
        async with over_http(tmp_path, port):
            await call(one, group, "add", a=1, b=2)
        async with over_http(tmp_path, port):
            with pytest.raises(ServerFailed):
                await call(one, group, "add", a=1, b=2)
            assert (await call(one, group, "add", a=1, b=2)).content[0].text == "3"
            await one.stop()


async def half(writer: asyncio.StreamWriter) -> None:
    """An event stream that begins and never goes on."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n: hello\n\n")
    await writer.drain()
    await asyncio.Event().wait()


@pytest.mark.parametrize("answer", [silence, half], ids=["silent", "half"])
@pytest.mark.parametrize("kind", ["http", "sse"])
async def test_c8_over_http_one_that_hangs_at_its_start_can_be_left(answer: object, kind: str) -> None:
    async with server({"/mcp": answer}) as hanging:  # type: ignore[dict-item]  # one of two functions
        options = ServerOptions(name="web", type=kind, url=hanging.url("/mcp"), start_timeout=60)  # type: ignore[arg-type]  # one of two
        async with alone(options) as (one, group):
            calling = group.create_task(call(one, group))
            await hanging.until(lambda: bool(hanging.heads))
            calling.cancel()
            await asyncio.wait((calling,))
            assert calling.cancelled()
            assert one.state.state == "starting"
        await hanging.until(lambda: hanging.open == 0)


async def test_what_is_no_server_says_so() -> None:
    async with (
        server({"/mcp": response(b"hello")}) as wrong,
        alone(ServerOptions(name="w", type="http", url=wrong.url("/mcp"))) as (one, group),
    ):
        with pytest.raises(ServerFailed, match="It says: Unexpected content type"):
            await call(one, group)


@pytest.mark.parametrize("kind", ["http", "sse"])
async def test_one_that_cannot_be_reached_is_named_and_its_password_is_not(kind: Literal["http", "sse"]) -> None:
    with socket.socket() as taken:  # bound, and not listening
        taken.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        options = ServerOptions(name="w", type=kind, url=f"http://me:s3cret@{place}/s3cret?key=s3cret")
        async with alone(options) as (one, group):
            with pytest.raises(ServerFailed) as failed:
                await call(one, group)
    assert str(failed.value).startswith(f"http://{place} cannot be reached: ")
    assert "s3cret" not in str(failed.value)


async def test_one_that_answers_with_an_error_is_named() -> None:
    async with (
        server({}) as wrong,
        alone(ServerOptions(name="w", type="sse", url=wrong.url("/mcp"))) as (one, group),
    ):
        with pytest.raises(ServerFailed, match=f"^{re.escape(wrong.url(''))} answers with HTTP status 404"):
            await call(one, group)
