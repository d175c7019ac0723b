"""What lies between the bytes of a streamed answer and pydantic-ai, where the libraries do more than one reader of one stream needs.

Each chunk of each answer passes here, so this is where a crowd of sessions spends its processor time. What is made of the chunks stays
the libraries' own business.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterable, AsyncIterator
from typing import TypeVar

import msgspec
from msgspec import Struct
from pydantic_ai._utils import PeekableAsyncStream, Unset

from quell.wire.sse import Decoder

T = TypeVar("T")
S = TypeVar("S", bound=AsyncIterable[object])


class Event(Struct, frozen=True):
    """An event as the SDKs read it: theirs has these names."""

    event: str | None
    content: bytes

    @property
    def data(self) -> str:
        return self.content.decode()

    def json(self) -> object:
        """Raises what the SDKs' own raises, for what is not JSON."""
        try:
            return msgspec.json.decode(self.content)
        except msgspec.DecodeError:
            return json.loads(self.content)


class Events:
    """In the place of the SDKs' decoder of event streams."""

    async def aiter_bytes(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[Event]:
        decoder = Decoder()
        async for chunk in chunks:
            for frame in decoder.feed(chunk):
                yield Event(None if frame.kind == "message" else frame.kind, frame.content)


class Straight(PeekableAsyncStream[T, S]):
    """The rest of a stream whose first item was looked at.

    pydantic-ai takes a lock and opens a cancel scope for each item, lest others read the stream, or close it, at the same time: that is a
    turn of the event loop for each. Ours has one reader, which is cancelled itself.
    """

    def __init__(self, peeked: PeekableAsyncStream[T, S]) -> None:
        super().__init__(peeked.source)
        self._source_iter, self._buffer, self._exhausted = peeked._source_iter, peeked._buffer, peeked._exhausted

    async def __anext__(self) -> T:
        if self._exhausted or self._source_iter is None or not isinstance(self._buffer, Unset):
            return await super().__anext__()
        return await anext(self._source_iter)
