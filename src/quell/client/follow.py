"""Following a session: what it looks like now, and everything that happens in it, without gap or repeat.

    async with session.follow() as following:       # following.view is a snapshot
        async for happening in following:           # each one is folded into following.view and following.drafts first
            …

Rules (contract E1–E4): the stream is the journal from `seq` on. A lost connection, a silent one and a restarted server are the same:
the stream is opened again behind the last fact, after a pause that grows from 50 ms to 2 s. Drafts are what the open parts hold; a delta
that does not fit at the end of its draft is dropped and the stream opened again, which sends the drafts anew. A `reset`, or a fact out of
order, begins with a new snapshot. Facts that only a newer server knows are skipped.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from types import TracebackType
from typing import Protocol, assert_never

from msgspec import Struct

from quell.core import facts as f
from quell.core.errors import SessionNotFound, Unavailable
from quell.core.events import OUTPUT_KEPT, Deleted, Delta, DraftPart, PartKind, Reset
from quell.core.session import Summary
from quell.core.view import View, apply
from quell.wire.api import Snapshot
from quell.wire.facts import UnknownFact
from quell.wire.sse import Decoder, Frame, parse

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0


class Began(Struct, frozen=True):
    """`view` is a new snapshot: what was shown before is to be drawn anew."""

    seq: int


class Lost(Struct, frozen=True):
    """The connection is lost and will be made again; what streamed is forgotten, and comes back as drafts."""

    reason: str


class Found(Struct, frozen=True):
    """The connection is there again."""


class Source(Protocol):
    """The session that is followed, as `client.client.RemoteSession` is one."""

    id: str

    def events(self, after: int) -> AbstractAsyncContextManager[AsyncIterator[bytes]]: ...

    async def view(self, *, tail: int) -> Snapshot: ...


Happening = f.Recorded | Delta | DraftPart | Deleted | Began | Lost | Found


class Draft:
    """An open part: its text so far."""

    def __init__(self, part: DraftPart | Delta) -> None:
        self.message = part.message
        self.kind: PartKind = part.kind
        self.call = part.call
        self.name = part.name
        self.length = part.start if isinstance(part, DraftPart) else part.offset
        self._pieces: list[str] = []
        self.add(part.text)

    @property
    def text(self) -> str:
        self._pieces[:] = ["".join(self._pieces)]
        return self._pieces[0]

    def add(self, text: str) -> None:
        self._pieces.append(text)
        self.length += len(text)

    def extend(self, delta: Delta) -> None:
        """Of output only the end is kept; `length` counts all of it."""
        self.add(delta.text)
        if self.kind == "output" and sum(map(len, self._pieces)) > 2 * OUTPUT_KEPT:
            self._pieces[:] = [self.text[-OUTPUT_KEPT:]]


class Drafts:
    """The open parts, by message, part and call. Empty whenever a stream begins."""

    def __init__(self) -> None:
        self.open: dict[tuple[str, int, str | None], Draft] = {}

    def draft(self, part: DraftPart) -> None:
        self.open[part.message, part.part, part.call] = Draft(part)

    def delta(self, delta: Delta) -> bool:
        """Whether it fits."""
        key = (delta.message, delta.part, delta.call)
        draft = self.open.get(key)
        if draft is None and delta.offset == 0:
            self.open[key] = Draft(delta)
        elif draft is not None and delta.offset == draft.length:
            draft.extend(delta)
        else:
            return False
        return True

    def close(self, fact: f.AnyFact) -> None:
        """What is recorded is no draft any more."""
        match fact:
            case f.Replied() | f.SampleFailed():
                self._keep(lambda draft: draft.message != fact.message or draft.kind == "output")
            case f.CallFinished():
                self._keep(lambda draft: draft.call != fact.call)
            case f.RunSettled() | f.RunRecovered():
                self.open.clear()
            case _:
                pass

    def _keep(self, wanted: Callable[[Draft], bool]) -> None:
        self.open = {key: draft for key, draft in self.open.items() if wanted(draft)}


class _Stream:
    """One connection to the event stream, as frames."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()
        self._pieces: AsyncIterator[bytes] | None = None
        self._decoder = Decoder()

    @property
    def is_open(self) -> bool:
        return self._pieces is not None

    async def open(self, session: Source, after: int) -> None:
        self._decoder = Decoder()
        self._pieces = await self._stack.enter_async_context(session.events(after))

    async def read(self) -> list[Frame]:
        """The next frames, if there are whole ones. Raises `Unavailable` at the end."""
        assert self._pieces is not None, "only an open stream is read"
        piece = await anext(self._pieces, None)
        if piece is None:
            raise Unavailable("The server has ended the stream.")
        return self._decoder.feed(piece)

    async def close(self) -> None:
        self._pieces = None
        stack, self._stack = self._stack, AsyncExitStack()
        await stack.aclose()


class Following:
    """An iterator of what happens, and what it has come to: `view` (after the fact `seq`), `drafts`, `more` (older items).

    It ends after `Deleted`. Raises `SessionNotFound` on entering, and whatever else the server refuses that waiting does not mend.
    """

    def __init__(self, session: Source, *, tail: int = 200) -> None:
        self.view = View()
        self.seq = 0
        self.more: int | None = None
        self.drafts = Drafts()
        self._session = session
        self._tail = tail
        self._stream = _Stream()
        self._frames: deque[Frame] = deque()
        self._pause = 0.0
        self._lost = False
        self._ended = False

    async def __aenter__(self) -> Following:
        await self._snapshot()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stream.close()

    def __aiter__(self) -> AsyncIterator[Happening]:
        return self

    async def __anext__(self) -> Happening:
        """Cancelled, it loses no fact: the next call goes on behind the last one."""
        while not self._ended:
            try:
                happening = await self._step()
            except Unavailable as error:
                await self._drop_stream()
                happening = None if self._lost else Lost(str(error))
                self._lost = True
            except SessionNotFound:  # it was deleted while the connection was lost
                happening = await self._deleted(Deleted(self._session.id))
            except asyncio.CancelledError:
                await self._drop_stream()  # it may have been in the middle of something
                raise
            if happening is not None:
                return happening
        raise StopAsyncIteration

    async def _step(self) -> Happening | None:
        """One thing: a frame that is there, or a connection, or a read."""
        if self._frames:
            return await self._take(self._frames.popleft())
        if self._stream.is_open:
            self._frames.extend(await self._stream.read())
            return None
        await asyncio.sleep(self._pause)
        self._pause = min(max(self._pause * 2, FIRST_PAUSE), LONGEST_PAUSE)
        await self._stream.open(self._session, self.seq)
        found, self._lost = self._lost, False
        return Found() if found else None

    async def _take(self, frame: Frame) -> Happening | None:
        try:
            value = parse(frame)
        except UnknownFact:
            return await self._anew()  # the newer server has folded it
        match value:
            case f.Recorded():
                return await self._fold(value)
            case Delta():
                if not self.drafts.delta(value):
                    await self._drop_stream()
                    return None
                self._pause = 0.0
                return value
            case DraftPart():
                self.drafts.draft(value)
                return value
            case Reset():
                return await self._anew()
            case Deleted():
                return await self._deleted(value)
            case Summary() | None:
                return None
            case _:
                assert_never(value)

    async def _fold(self, recorded: f.Recorded) -> Happening | None:
        if recorded.seq <= self.seq:
            return None  # of before the snapshot
        if recorded.seq != self.seq + 1:
            return await self._anew()
        if self.more is not None and isinstance(recorded.fact, f.Reverted | f.RevertUndone):
            return await self._anew()  # it reaches to what came before our window, and was not shown to us
        apply(self.view, recorded)
        self.drafts.close(recorded.fact)
        self.seq = recorded.seq
        self._pause = 0.0
        return recorded

    async def _anew(self) -> Began:
        """From a snapshot, and with a stream that begins behind it: one that is older tells of drafts that are none any more."""
        await self._drop_stream()
        return await self._snapshot()

    async def _snapshot(self) -> Began:
        snapshot = await self._session.view(tail=self._tail)
        self.view, self.seq, self.more = snapshot.view, snapshot.seq, snapshot.more
        return Began(self.seq)

    async def _deleted(self, event: Deleted) -> Deleted:
        self._ended = self.view.deleted = True
        await self._drop_stream()
        return event

    async def _drop_stream(self) -> None:
        """What streamed comes back as drafts when it is opened again."""
        self._frames.clear()
        self.drafts = Drafts()
        await self._stream.close()
