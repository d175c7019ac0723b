"""What lies between the bytes of an answer and pydantic-ai."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable

import pytest
from openai._streaming import SSEDecoder
from pydantic_ai._utils import PeekableAsyncStream, Unset

from quell.llm.streams import Event, Events, Straight

STREAMS = {
    "chat completions": b'data: {"a": "\xc3\xa4"}\n\ndata: [DONE]\n\n',
    "messages": b'event: ping\ndata: {}\n\nevent: delta\ndata: {"b": 1}\n\n',
    "line ends of Windows": b"event: one\r\ndata: 1\r\n\r\ndata: 2\r\n\r\n",
    "line ends of old": b"data: 1\r\rdata: 2\r\r",
    "several lines": b"data: 1\ndata:2\ndata\n\n",
    "comments, ids, unknown fields": b": still here\n\nid: 7\nretry: 10\nstrange: yes\ndata: 1\n\n",
    "no end": b'data: 1\n\ndata: {"c": 2}',
}


async def pieces(of: Iterable[bytes]) -> AsyncIterator[bytes]:
    for piece in of:
        yield piece


@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS.keys())
async def test_events_are_those_that_the_sdk_reads_wherever_they_are_cut(stream: bytes) -> None:
    theirs = [(e.event, e.data) async for e in SSEDecoder().aiter_bytes(pieces([stream])) if e.data]
    for cut in range(len(stream) + 1):
        ours = [(e.event, e.data) async for e in Events().aiter_bytes(pieces([stream[:cut], stream[cut:]]))]
        assert ours == theirs


def test_what_is_not_json_raises_what_the_sdk_expects() -> None:
    assert Event(None, b"[1, NaN]").json() != [], "JSON as Python has it is taken, too"
    with pytest.raises(json.JSONDecodeError):
        Event(None, b'{"oops": ').json()
    with pytest.raises(UnicodeDecodeError):
        Event(None, b'"\xff"').json()


async def straight(length: int) -> Straight[int, AsyncIterator[int]]:
    async def items() -> AsyncIterator[int]:
        for item in range(length):
            yield item

    peeked = PeekableAsyncStream[int, AsyncIterator[int]](items())
    first = await peeked.peek()
    assert isinstance(first, Unset) is (length == 0)
    return Straight(peeked)


@pytest.mark.parametrize("length", [0, 1, 5])
async def test_what_was_looked_at_is_read_first_and_nothing_twice(length: int) -> None:
    stream = await straight(length)
    assert [item async for item in stream] == list(range(length))
    assert [item async for item in stream] == []


async def test_what_is_there_is_read_without_a_turn_of_the_loop() -> None:
    stream = await straight(100)
    await anext(stream)
    turns: list[int] = []
    asyncio.get_running_loop().call_soon(turns.append, 1)
    assert [item async for item in stream] == list(range(1, 100))
    assert not turns
