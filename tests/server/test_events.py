"""The event stream as it is sent: contract E1–E4, read byte by byte."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from quell.client.client import Cancellation, NewPrompt, RemoteSession
from quell.core import errors
from quell.core import facts as f
from quell.core.events import Deleted, Delta, DraftPart, Reset
from quell.wire import sse
from tests.server.serving import Serving, serving

Sent = f.Recorded | sse.Ephemeral | None


async def values(pieces: AsyncIterator[bytes]) -> AsyncIterator[Sent]:
    decoder = sse.Decoder()
    async for piece in pieces:
        for frame in decoder.feed(piece):
            yield sse.parse(frame)


async def facts_upto(session: RemoteSession, after: int, upto: int) -> list[f.Recorded]:
    found: list[f.Recorded] = []
    async with session.events(after) as pieces:
        async for value in values(pieces):
            if isinstance(value, f.Recorded):
                found.append(value)
                if value.seq >= upto:
                    break
    return found


async def talked(s: Serving, prompts: int) -> RemoteSession:
    session = await s.session()
    for n in range(prompts):
        accepted = await session.submit(NewPrompt(text=f"question {n}"))
        asked = await s.play.asked()
        asked.say(f"answer {n}")
        asked.reply()
        await session.prompt(accepted.prompt, wait=30)
    return session


async def test_e1_the_stream_is_the_journal_from_any_place(tmp_path: Path) -> None:
    async with serving(tmp_path) as s:
        session = await talked(s, 3)
        end = (await session.show()).seq
        whole = await facts_upto(session, 0, end)
        assert [recorded.seq for recorded in whole] == [*range(1, end + 1)]
        for after in range(end):
            assert await facts_upto(session, after, end) == whole[after:]


async def test_e1_last_event_id_is_preferred_to_the_query(tmp_path: Path) -> None:
    async with serving(tmp_path) as s:
        session = await talked(s, 1)
        path = f"/v1/sessions/{session.id}/events?after=0"
        async with s.client.stream(path, {"last-event-id": "3"}) as pieces:
            first = await anext(values(pieces))
            assert isinstance(first, f.Recorded)
            assert first.seq == 4


@pytest.mark.parametrize("id", ["x", "-1", "1.5", "9" * 20])
async def test_a_last_event_id_that_is_none_is_refused(tmp_path: Path, id: str) -> None:
    async with serving(tmp_path) as s:
        session = await s.session()
        with pytest.raises(errors.InvalidRequest):
            async with s.client.stream(f"/v1/sessions/{session.id}/events", {"last-event-id": id}):
                pass


async def test_an_unknown_session_has_no_stream(tmp_path: Path) -> None:
    async with serving(tmp_path) as s:
        with pytest.raises(errors.SessionNotFound):
            async with s.client.session("nope").events(0):
                pass


async def test_e1_beyond_the_end_is_a_reset(tmp_path: Path) -> None:
    async with serving(tmp_path) as s:
        session = await s.session()
        async with session.events(999) as pieces:
            assert [value async for value in values(pieces)] == [Reset(1)]


async def test_e2_e3_who_joins_late_gets_the_text_so_far_then_deltas(tmp_path: Path) -> None:
    async with serving(tmp_path) as s:
        session = await s.session()
        await session.submit(NewPrompt(text="talk"))
        asked = await s.play.asked()
        asked.say("für ")
        asked.say("alle ")
        async with session.events(0) as pieces:
            live = values(pieces)
            replay = [value async for value in _until(live, DraftPart)]
            assert replay[-1] == DraftPart(asked.request.message, 0, "text", "für alle ")
            assert all(isinstance(value, f.Recorded) for value in replay[:-1])
            asked.say("und ")
            asked.say("keinen")
            assert await anext(live) == Delta(asked.request.message, 0, "text", 9, "und ")
            assert await anext(live) == Delta(asked.request.message, 0, "text", 13, "keinen")


async def _until(live: AsyncIterator[Sent], kind: type) -> AsyncIterator[Sent]:
    async for value in live:
        yield value
        if isinstance(value, kind):
            return


async def test_e3_who_joins_late_sees_open_requests(tmp_path: Path) -> None:
    async with serving(tmp_path) as s:
        session = await s.session()
        await session.submit(NewPrompt(text="touch"))
        asked = await s.play.asked()
        asked.call(outside=True)
        asked.reply()
        async with session.events(0) as pieces:
            async for value in values(pieces):
                if isinstance(value, f.Recorded) and isinstance(value.fact, f.PermissionRequested):
                    break
        assert len((await session.view()).view.requests) == 1


async def test_e4_a_slow_client_loses_its_buffer_but_no_fact(tmp_path: Path) -> None:
    async with serving(tmp_path) as s:
        session = await s.session()
        reader, writer = await asyncio.open_unix_connection(s.path, limit=1)
        writer.write(f"GET /v1/sessions/{session.id}/events HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await reader.readexactly(1)  # it is connected; from here on it does not read
        for n in range(30):
            accepted = await session.submit(NewPrompt(text=f"question {n}"))
            asked = await s.play.asked()
            for _ in range(100):
                asked.say("x" * 200)
            asked.reply()
            await session.prompt(accepted.prompt, wait=30)
        end = (await session.show()).seq
        seqs = [int(line[4:]) async for line in _lines(reader, f"id: {end}".encode()) if line.startswith(b"id: ")]
        assert seqs == [*range(1, end + 1)]
        writer.close()


async def _lines(reader: asyncio.StreamReader, last: bytes) -> AsyncIterator[bytes]:
    rest = b""
    while last not in rest.split(b"\n")[:-1]:
        piece = await reader.read(1 << 16)
        assert piece
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield line
            if line == last:
                return


async def test_k7_a_deleted_session_ends_its_streams(tmp_path: Path) -> None:
    async with serving(tmp_path) as s:
        session = await talked(s, 1)
        await session.submit(NewPrompt(text="still running"))
        async with session.events(0) as pieces:
            live = values(pieces)
            await anext(live)
            await session.delete()
            assert [value async for value in live][-1] == Deleted(session.id)


async def test_two_followers_see_the_same_in_the_same_order(tmp_path: Path) -> None:
    async with serving(tmp_path) as s:
        session = await s.session()
        async with asyncio.TaskGroup() as group:
            followers = [group.create_task(facts_upto(session, 0, 12)) for _ in range(3)]
            for n in range(4):
                await session.submit(NewPrompt(text=f"question {n}"))
            await session.cancel(Cancellation())
            for n in itertools.count():
                if (await session.show()).seq >= 12:
                    break
                await session.submit(NewPrompt(text=f"more {n}"))
        first = followers[0].result()
        assert all(follower.result() == first for follower in followers)


async def test_a_silent_stream_shows_that_it_is_alive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The client waits for three of them, on a machine that may be busy.
    monkeypatch.setattr(sse, "HEARTBEAT_SECONDS", 0.2)
    async with serving(tmp_path) as s:
        session = await s.session()
        async with session.events(1) as pieces:
            assert [await anext(pieces) for _ in range(3)] == [sse.HEARTBEAT] * 3


async def test_followers_are_let_go_when_their_client_goes(tmp_path: Path) -> None:
    async with serving(tmp_path) as s:
        session = await s.session()
        async with session.events(0) as pieces:
            await anext(pieces)
            assert s.play.engine.followers == 1
        while s.play.engine.followers:
            await s.client.health()
