"""Following a session across everything that can happen to a connection: contract E1–E4 from the client's side."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from quell.client.client import Client, NewPrompt, RemoteSession, UnixSocket
from quell.client.follow import Began, Following, Found, Happening, Lost
from quell.core import errors
from quell.core import facts as f
from quell.core.events import Deleted, Delta, DraftPart, PartKind, Reset
from quell.core.view import View
from quell.wire import sse
from quell.wire.api import Snapshot
from tests.server.serving import serving
from tests.server.test_daemon import Daemon, new_session

AT = "2026-11-02T09:30:00.000Z"


# With a stream that the test writes


class Written:
    """The `Source` of a follower: every stream is a list of pieces, and says from where on it was asked for."""

    id = "s"

    def __init__(self, *streams: list[bytes], snapshots: tuple[Snapshot, ...] = ()) -> None:
        self.asked: list[int] = []
        self._streams = list(streams)
        self._snapshots = list(snapshots)

    @asynccontextmanager
    async def events(self, after: int) -> AsyncIterator[AsyncIterator[bytes]]:
        self.asked.append(after)
        if not self._streams:
            raise errors.SessionNotFound("There is no such session.")
        yield _pieces(self._streams.pop(0))

    async def view(self, *, tail: int) -> Snapshot:
        return self._snapshots.pop(0) if self._snapshots else Snapshot(1, View(session="s"), None)


async def _pieces(pieces: list[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def fact(seq: int, title: str) -> bytes:
    return sse.fact(f.Recorded(seq, AT, f.SettingsChanged(title=title)))


def delta(offset: int, text: str, message: str = "m", kind: PartKind = "text") -> bytes:
    return sse.event("delta", Delta(message, 0, kind, offset, text))


def draft(text: str, message: str = "m") -> bytes:
    return sse.event("draft", DraftPart(message, 0, "text", text))


async def followed(source: Written) -> tuple[Following, list[Happening]]:
    async with Following(source) as following:
        return following, [happening async for happening in following]


async def test_facts_are_folded_once_and_asked_for_behind_the_last() -> None:
    source = Written([fact(1, "old"), fact(2, "two")], [fact(2, "two"), fact(3, "three")])
    following, happened = await followed(source)
    assert [happening.seq for happening in happened if isinstance(happening, f.Recorded)] == [2, 3]
    assert (following.view.title, following.seq) == ("three", 3)
    assert source.asked == [1, 2, 3]


async def test_losing_and_finding_the_connection_is_told_once_each() -> None:
    _, happened = await followed(Written([], [fact(2, "two")]))
    kinds = [type(happening) for happening in happened]
    assert kinds == [Lost, Found, f.Recorded, Lost, Deleted]


async def test_what_is_gone_when_it_comes_back_was_deleted() -> None:
    following, happened = await followed(Written([fact(2, "two")]))
    assert happened[-1] == Deleted("s")
    assert following.view.deleted


async def test_a_gap_begins_with_a_new_snapshot() -> None:
    snapshots = (Snapshot(1, View(), None), Snapshot(5, View(title="five"), None))
    following, happened = await followed(Written([fact(5, "five")], [fact(6, "six")], snapshots=snapshots))
    assert happened[0] == Began(5)
    assert (following.view.title, following.seq) == ("six", 6)


async def test_a_fact_that_only_a_newer_server_knows_begins_with_a_new_snapshot() -> None:
    unknown = b'id: 2\nevent: fact\ndata: {"seq":2,"at":"' + AT.encode() + b'","kind":"dreamt","v":1}\n\n'
    snapshots = (Snapshot(1, View(), None), Snapshot(2, View(title="two"), None))
    following, happened = await followed(Written([unknown], [fact(3, "three")], snapshots=snapshots))
    assert [type(happening) for happening in happened[:2]] == [Began, f.Recorded]
    assert following.view.title == "three"


async def test_e2_nothing_streams_any_more_that_a_new_snapshot_knows_the_end_of() -> None:
    """The stream that it was taken beside is older: it still tells of the text, and then of a fact that is folded already."""
    snapshots = (Snapshot(1, View(), None), Snapshot(6, View(), None))
    streams = [fact(3, "three"), delta(0, "hello"), fact(6, "six")], [fact(7, "seven")]
    following, happened = await followed(Written(*streams, snapshots=snapshots))
    assert happened[0] == Began(6)
    assert following.seq == 7
    assert not any(isinstance(happening, Delta) for happening in happened)


@pytest.mark.parametrize("kind", [f.Reverted, f.RevertUndone])
async def test_k8_a_window_is_looked_at_anew_when_the_conversation_went_back(
    kind: type[f.Reverted | f.RevertUndone],
) -> None:
    """How far, and what is to be done now, is to be read off what came before it."""
    snapshots = (Snapshot(8, View(), 40), Snapshot(9, View(title="went back"), 2))
    went = sse.fact(f.Recorded(9, AT, kind(to="p1")))
    following, happened = await followed(Written([went], [], snapshots=snapshots))
    assert happened[0] == Began(9)
    assert (following.view.title, following.more) == ("went back", 2)


async def test_a_reset_begins_with_a_new_snapshot() -> None:
    snapshots = (Snapshot(9, View(title="lost"), None), Snapshot(1, View(title="new"), None))
    source = Written([sse.event("reset", Reset(1))], [fact(2, "two")], snapshots=snapshots)
    following, happened = await followed(source)
    assert happened[0] == Began(1)
    assert source.asked[:2] == [9, 1]
    assert following.view.title == "two"


async def test_e2_a_delta_that_does_not_fit_is_dropped_and_the_draft_asked_for() -> None:
    source = Written([delta(0, "ab"), delta(5, "f")], [draft("abcdef"), delta(6, "g")])
    texts: list[str] = []
    async with Following(source) as following:
        async for happening in following:
            if isinstance(happening, Delta | DraftPart):
                texts.append(following.drafts.open["m", 0, None].text)
            if texts[-1:] == ["abcdefg"]:
                break
    assert texts == ["ab", "abcdef", "abcdefg"]
    assert source.asked == [1, 1]


async def test_e2_a_delta_of_a_message_that_is_not_open_is_dropped_and_the_draft_asked_for() -> None:
    source = Written([delta(3, "d")], [draft("abcd")])
    _, happened = await followed(source)
    assert happened[0] == DraftPart("m", 0, "text", "abcd")


async def test_offsets_count_code_points() -> None:
    _, happened = await followed(Written([delta(0, "a😀"), delta(2, "b")]))
    assert [type(happening) for happening in happened[:2]] == [Delta, Delta]


async def test_what_is_recorded_is_no_draft_any_more() -> None:
    from quell.core.messages import Reply

    replied = f.Replied(run="r", turn=1, attempt=1, message="m", reply=Reply())
    stream = [delta(0, "a"), delta(0, "b", message="n"), sse.fact(f.Recorded(2, AT, replied))]
    async with Following(Written(stream)) as following:
        async for happening in following:
            if isinstance(happening, f.Recorded):
                break
        assert {key[0] for key in following.drafts.open} == {"n"}


async def test_the_output_of_a_call_is_held_by_its_end() -> None:
    held_so_far = sse.event("draft", DraftPart("m", 0, "output", "x" * 1000, start=99_000))
    stream = [held_so_far, *(delta(100_000 + n * 1000, "x" * 1000, kind="output") for n in range(200))]
    async with Following(Written(stream)) as following:
        async for happening in following:
            assert isinstance(happening, DraftPart | Delta)
            if isinstance(happening, Delta) and happening.offset == 299_000:
                break
        (held,) = following.drafts.open.values()
        assert 30_000 <= len(held.text) <= 61_000


async def test_cancelled_in_the_middle_it_goes_on_behind_the_last_fact() -> None:
    class Silent(Written):
        @asynccontextmanager
        async def events(self, after: int) -> AsyncIterator[AsyncIterator[bytes]]:
            async with super().events(after) as pieces:
                yield _then_silence(pieces)

    source = Silent([fact(2, "two")], [fact(3, "three")])
    async with Following(source) as following:
        assert isinstance(await anext(following), f.Recorded)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await anext(following)
        assert isinstance(await anext(following), f.Recorded)
    assert (following.seq, source.asked) == (3, [1, 2])


async def _then_silence(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for piece in pieces:
        yield piece
    await asyncio.Event().wait()


# With a real server


class Cutter:
    """Passes a unix socket on, and cuts each connection after so many bytes of the server's."""

    def __init__(self, path: str, target: str, seed: int) -> None:
        self.path = path
        self.cuts = 0
        self._open: set[asyncio.StreamWriter] = set()
        self._target = target
        self._random = random.Random(seed)

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[None]:
        server = await asyncio.start_unix_server(self._connection, self.path)
        try:
            yield
        finally:
            server.close()
            while self._open:
                for writer in self._open:
                    writer.close()
                await asyncio.sleep(0)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        above, below = await asyncio.open_unix_connection(self._target)
        self._open |= {writer, below}
        try:
            async with asyncio.TaskGroup() as group:
                asking = group.create_task(self._pass(reader, below, None))
                await self._pass(above, writer, self._random.randrange(200, 2500))
                asking.cancel()
        finally:
            self.cuts += 1
            self._open -= {writer, below}
            below.close()
            writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, budget: int | None) -> None:
        while budget is None or budget > 0:
            try:
                piece = await reader.read(1024 if budget is None else min(1024, budget))
                if not piece:
                    return
                writer.write(piece)
                await writer.drain()
            except OSError:
                return
            budget = None if budget is None else budget - len(piece)


SAYINGS = ["für ", "alle ", "😀", "fälle", "\n"] * 4


@pytest.mark.parametrize("seed", range(5))
async def test_e1_nothing_is_lost_or_repeated_however_the_connection_is_cut(tmp_path: Path, seed: int) -> None:
    async with serving(tmp_path) as s:
        session = await s.session()
        cutter = Cutter(str(tmp_path / "cut"), s.path, seed)
        async with cutter(), Client(UnixSocket(cutter.path)) as client, asyncio.TaskGroup() as group:
            seen: list[f.Recorded] = []
            begun = asyncio.Event()
            following = group.create_task(_follow(client.session(session.id), begun, runs=8, seen=seen))
            await begun.wait()
            for n in range(8):
                accepted = await session.submit(NewPrompt(text=f"question {n}"))
                asked = await s.play.asked()
                for saying in SAYINGS:
                    asked.say(saying)
                    await s.client.health()  # gives the follower, and the cutter, time to do something
                asked.reply()
                await session.prompt(accepted.prompt, wait=30)
            view = await following
        assert cutter.cuts > 3
        snapshot = await session.view()
        assert [recorded.seq for recorded in seen] == [*range(2, snapshot.seq + 1)]
        assert view == snapshot.view


async def _follow(session: RemoteSession, begun: asyncio.Event, *, runs: int, seen: list[f.Recorded]) -> View:
    """Follow until so many runs have settled; whatever is drafted meanwhile has to be the beginning of what is said."""
    async with session.follow() as following:
        begun.set()
        async for happening in following:
            assert all("".join(SAYINGS).startswith(draft.text) for draft in following.drafts.open.values())
            if isinstance(happening, f.Recorded):
                seen.append(happening)
                runs -= isinstance(happening.fact, f.RunSettled)
                if not runs:
                    return following.view
    raise AssertionError("the stream ended")


async def test_a_killed_and_restarted_server_is_followed_on(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path)
    async with daemon.client() as client:
        seen: list[Happening] = []
        async with daemon.started() as process:
            session = await new_session(client)
            await session.submit(NewPrompt(text="talk"))
            async with session.follow() as following:
                async for happening in following:
                    seen.append(happening)
                    if following.drafts.open:
                        break
                process.kill()
                await process.wait()
                assert isinstance(await anext(following), Lost)
                async with daemon.started():
                    async for happening in following:
                        seen.append(happening)
                        if isinstance(happening, f.Recorded) and not following.view.busy:
                            break
                        if following.drafts.open:
                            await session.cancel()
                    snapshot = await session.view()
                    assert following.view == snapshot.view
                    seqs = [happening.seq for happening in seen if isinstance(happening, f.Recorded)]
                    assert seqs == sorted({*seqs})
                    assert seqs[-1] == snapshot.seq


async def test_a_session_that_is_not_there_cannot_be_followed(tmp_path: Path) -> None:
    async with serving(tmp_path) as s:
        with pytest.raises(errors.SessionNotFound):
            async with s.client.session("nope").follow():
                pass


async def test_deletion_ends_it(tmp_path: Path) -> None:
    async with serving(tmp_path) as s:
        session = await s.session()
        async with session.follow() as following:
            await session.delete()
            assert [happening async for happening in following][-1] == Deleted(session.id)
