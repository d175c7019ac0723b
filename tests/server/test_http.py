"""What HTTP itself is refused for, byte by byte; and clients that go away."""

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from quell.client.client import NewPrompt
from quell.server.asgi import BodyLimits
from quell.server.daemon import Options
from tests.server.serving import Serving, serving


class Wire:
    """A raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, text: str, body: bytes = b"", *, length: int | None = None) -> None:
        size = len(body) if length is None else length
        self.writer.write(f"{text} HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n".encode() + body)

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        return int(head[0].split()[1]), headers, await self.reader.readexactly(int(headers.get("content-length", 0)))

    async def problem(self) -> tuple[int, str]:
        status, headers, body = await self.answer()
        assert headers["content-type"] == "application/problem+json"
        problem = json.loads(body)
        assert {"type", "title", "status", "detail", "code"} <= problem.keys()
        assert problem["status"] == status
        return status, problem["code"]


@asynccontextmanager
async def wire(s: Serving) -> AsyncIterator[Wire]:
    reader, writer = await asyncio.open_unix_connection(s.path)
    try:
        yield Wire(reader, writer)
    finally:
        writer.close()


@pytest.mark.parametrize(
    "sent", [b"Dear server\r\n\r\n", b"x" * 200_000, b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"]
)
async def test_what_is_no_http_is_a_problem_as_well(tmp_path: Path, sent: bytes) -> None:
    async with serving(tmp_path) as s, wire(s) as w:
        w.writer.write(sent)
        assert await w.problem() == (400, "invalid_http")
        assert await w.reader.read() == b""


async def test_a_protocol_that_is_wanted_instead_is_not_missed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(tmp_path) as s, wire(s) as w:
        w.writer.write(b"GET /v1/health HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        assert (await w.answer())[0] == 200
    assert "pip install" not in caplog.text


@pytest.mark.parametrize(
    ("line", "status", "code"),
    [
        ("GET /", 404, "not_found"),
        ("GET /v1/sessions//view", 404, "not_found"),
        ("GET /v1/sessions/nope", 404, "session_not_found"),
        ("GET /v1/sessions/a%2Fb/view", 404, "session_not_found"),
        ("PUT /v1/sessions", 405, "method_not_allowed"),
        ("DELETE /v1/health", 405, "method_not_allowed"),
        ("GET /v1/sessions?limit=0", 422, "invalid_request"),
        ("GET /v1/sessions?limit=many", 422, "invalid_request"),
        ("GET /v1/sessions?limi=5", 422, "invalid_request"),
        ("GET /v1/sessions?q=a&q=b", 422, "invalid_request"),
        ("GET /v1/health?x=1", 422, "invalid_request"),
    ],
)
async def test_a_request_that_makes_no_sense(tmp_path: Path, line: str, status: int, code: str) -> None:
    async with serving(tmp_path) as s, wire(s) as w:
        w.send(line)
        assert await w.problem() == (status, code)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
        b'{"text": 5}',
        b'{"text": "x", "txet": 1}',
        b'{"text": "x", "limits": {"turn": 1}}',
        b'{"text": "x", "attachments": [{"name": "a", "content": "", "mime": "x"}]}',
        b'{"text": "x", "delivery": "now"}',
        b'{"text": "\\ud800"}',
        b"[" * 100_000,
    ],
)
async def test_a_body_that_makes_no_sense(tmp_path: Path, body: bytes) -> None:
    async with serving(tmp_path) as s, wire(s) as w:
        session = await s.session()
        w.send(f"POST /v1/sessions/{session.id}/prompts", body)
        assert await w.problem() == (422, "invalid_request")
        assert (await session.show()).seq == 1


async def test_what_may_be_done_is_named_where_a_method_is_not(tmp_path: Path) -> None:
    async with serving(tmp_path) as s, wire(s) as w:
        w.send("PUT /v1/sessions")
        _, headers, _ = await w.answer()
        assert headers["allow"] == "GET, POST"


LITTLE = Options(version="1.2.3", limits=BodyLimits(size=1000))
HASTY = Options(version="1.2.3", limits=BodyLimits(pause=0.05))


async def test_a_body_may_be_as_large_as_the_limit_and_no_larger(tmp_path: Path) -> None:
    async with serving(tmp_path, options=LITTLE) as s, wire(s) as w:
        session = await s.session()
        path = f"POST /v1/sessions/{session.id}/prompts"
        frame = len(b'{"text":""}')
        w.send(path, b'{"text":"%b"}' % (b"x" * (1000 - frame)))
        assert (await w.answer())[0] == 202
        w.send(path, b'{"text":"%b"}' % (b"x" * (1001 - frame)))
        assert await w.problem() == (413, "too_large")
        w.send("GET /v1/health")  # the rest was thrown away, and the connection can still be used
        assert (await w.answer())[0] == 200


async def test_a_body_without_a_declared_length_is_limited_too(tmp_path: Path) -> None:
    async with serving(tmp_path, options=LITTLE) as s, wire(s) as w:
        w.writer.write(b"POST /v1/sessions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        w.writer.write(b"3e9\r\n" + b"x" * 1001 + b"\r\n")
        assert await w.problem() == (413, "too_large")


async def test_a_body_that_does_not_come_is_not_waited_for(tmp_path: Path) -> None:
    async with serving(tmp_path, options=HASTY) as s, wire(s) as w:
        w.send("POST /v1/sessions", b'{"work', length=100)
        assert await w.problem() == (408, "body_timeout")


async def test_a_client_that_goes_in_the_middle_of_its_body_is_forgotten(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(tmp_path) as s:
        async with wire(s) as w:
            w.send("POST /v1/sessions", b'{"work', length=100)
            await w.writer.drain()
        assert (await s.client.health()).version == "1.2.3"
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a4_a_poster_that_disconnects_does_not_take_its_prompt_along(tmp_path: Path) -> None:
    async with serving(tmp_path) as s:
        session = await s.session()
        async with wire(s) as w:
            w.send(f"POST /v1/sessions/{session.id}/prompts", b'{"id":"p","text":"hello"}')
            await w.writer.drain()
        (await s.play.asked()).reply()
        assert (await session.prompt("p", wait=30)).outcome == "completed"


async def test_requests_may_be_pipelined(tmp_path: Path) -> None:
    async with serving(tmp_path) as s, wire(s) as w:
        for _ in range(3):
            w.send("GET /v1/health")
        assert [(await w.answer())[0] for _ in range(3)] == [200, 200, 200]


@pytest.mark.parametrize("key", ["mine", "a.b-c_d"])
async def test_an_idempotency_key_is_the_prompts_id(tmp_path: Path, key: str) -> None:
    async with serving(tmp_path) as s, wire(s) as w:
        session = await s.session()
        body = b'{"text":"hello"}'
        head = f"POST /v1/sessions/{session.id}/prompts HTTP/1.1\r\nHost: x\r\nIdempotency-Key: {key}\r\n"
        for _ in range(2):
            w.writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            status, _, answer = await w.answer()
            assert (status, json.loads(answer)["prompt"]) == (202, key)
        assert len((await session.queue()).items) == 0


@pytest.mark.parametrize("key", ["a/b", "ä", ".", "x" * 129, "a b"])
async def test_an_idempotency_key_that_is_no_id_is_refused(tmp_path: Path, key: str) -> None:
    async with serving(tmp_path) as s, wire(s) as w:
        session = await s.session()
        head = f"POST /v1/sessions/{session.id}/prompts HTTP/1.1\r\nHost: x\r\nIdempotency-Key: {key}\r\n"
        w.writer.write(f"{head}Content-Length: 12\r\n\r\n".encode() + b'{"text":"x"}')
        assert await w.problem() == (422, "invalid_request")


async def test_a_bug_is_answered_with_an_id_and_the_log_has_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(tmp_path) as s, wire(s) as w:
        session = await s.session()
        await session.submit(NewPrompt(text="hello", environment={"SECRET_KEY": "hunter2"}))
        s.play.engine.transcript = None  # type: ignore[method-assign,assignment]  # the bug
        w.send(f"GET /v1/sessions/{session.id}/messages")
        status, headers, body = await w.answer()
        problem = json.loads(body)
        assert (status, problem["code"], headers["content-type"]) == (500, "internal", "application/problem+json")
        assert "Traceback" not in problem["detail"]
        assert "NoneType" not in problem["detail"]
    assert problem["instance"] in caplog.text
    assert "NoneType" in caplog.text
    assert "hunter2" not in caplog.text


async def test_environments_are_told_to_nobody(tmp_path: Path) -> None:
    async with serving(tmp_path) as s:
        session = await s.session()
        await session.submit(NewPrompt(text="hello", environment={"SECRET_KEY": "hunter2"}))
        assert (s.play.engine.environment(session.id))["SECRET_KEY"] == "hunter2"
        told = [await s.client.fetch("GET", f"/v1/sessions/{session.id}{path}") for path in ("", "/view", "/export")]
        assert not any(b"hunter2" in answer for answer in told)


async def test_an_answer_comes_in_one_piece(tmp_path: Path) -> None:
    """One call of the kernel, and a client that is woken once."""
    loop = asyncio.get_running_loop()
    async with serving(tmp_path) as s:
        with socket.socket(socket.AF_UNIX) as line:
            line.setblocking(False)
            await loop.sock_connect(line, s.path)
            for _ in range(2):
                await loop.sock_sendall(line, b"GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n")
                head, _, body = (await loop.sock_recv(line, 65536)).partition(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 200 ")
                assert json.loads(body)["version"] == "1.2.3"


async def test_an_answer_without_a_body_comes_as_well(tmp_path: Path) -> None:
    async with serving(tmp_path) as s, wire(s) as w:
        w.send("HEAD /v1/health")
        head = await w.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 405 ")
        w.send("GET /v1/health")
        assert (await w.answer())[0] == 200


async def test_who_waits_to_be_told_to_go_on_is_told_at_once(tmp_path: Path) -> None:
    async with serving(tmp_path) as s, wire(s) as w:
        body = b'{"workspace": "/work"}'
        head = f"POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
        w.writer.write(head.encode())
        assert (await w.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        w.writer.write(body)
        assert (await w.answer())[0] == 201
