"""The client when the server is not there, or its answer gets lost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from quell.client.client import Client, NewPrompt, NewSession, UnixSocket, refusal
from quell.core import errors
from tests.server.serving import serving


@asynccontextmanager
async def losing_the_first_answer(path: str, target: str) -> AsyncIterator[list[bytes]]:
    """Passes a socket on; of the first connection the request gets through and the answer does not. Yields the lost answers."""
    lost: list[bytes] = []

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        above, below = await asyncio.open_unix_connection(target)
        while not writer.is_closing() and (request := await reader.read(1 << 16)):
            below.write(request)
            answer = await above.read(1 << 16)
            if lost:
                writer.write(answer)
            else:
                lost.append(answer)
                writer.close()
        below.close()
        writer.close()

    server = await asyncio.start_unix_server(connection, path)
    try:
        yield lost
    finally:
        server.close()


async def test_a3_a_submission_whose_answer_was_lost_is_made_again_and_accepted_once(tmp_path: Path) -> None:
    async with serving(tmp_path) as s:
        session = await s.session()
        path = str(tmp_path / "lossy")
        async with losing_the_first_answer(path, s.path) as lost, Client(UnixSocket(path)) as client:
            accepted = await client.session(session.id).submit(NewPrompt(text="hello"))
        assert b" 202 " in lost[0]
        state = await s.play.engine.state(session.id)
        assert [*state.prompts.keys()] == [accepted.prompt]


async def test_what_may_not_be_done_twice_is_not_tried_twice(tmp_path: Path) -> None:
    async with serving(tmp_path) as s:
        path = str(tmp_path / "lossy")
        async with losing_the_first_answer(path, s.path) as lost, Client(UnixSocket(path)) as client:
            with pytest.raises(errors.Unavailable):
                await client.create(NewSession(workspace="/work"))
        assert b" 201 " in lost[0]
        assert len((await s.client.sessions()).items) == 1


async def test_no_server_is_unavailable_and_names_the_place(tmp_path: Path) -> None:
    path = str(tmp_path / "nobody")
    async with Client(UnixSocket(path), patience=0.0) as client:
        with pytest.raises(errors.Unavailable, match=path):
            await client.health()


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (409, b'{"title":"","status":409,"detail":"d","code":"stale"}', errors.Stale),
        (404, b'{"title":"","status":404,"detail":"d","code":"session_not_found","more":1}', errors.SessionNotFound),
        (413, b'{"title":"","status":413,"detail":"d","code":"too_large"}', errors.InvalidRequest),
        (500, b'{"title":"","status":500,"detail":"d","code":"internal"}', errors.QuellError),
        (502, b"<html>", errors.QuellError),
    ],
)
def test_a_refusal_is_the_error_that_it_was(status: int, body: bytes, kind: type[errors.QuellError]) -> None:
    assert type(refusal(status, body)) is kind


def test_every_error_with_a_status_comes_back_as_itself() -> None:
    for code in errors.STATUS:
        error = refusal(409, b'{"title":"","status":409,"detail":"d","code":"%b"}' % code.encode())
        assert error.code == code
