"""F2: a session is opened from its newest snapshot and the facts after it, and is the same as without; the facts decide."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

import pytest
from msgspec.structs import replace

from quell.core import facts as f
from quell.core import inputs as i
from quell.core.evolve import fold
from quell.core.ports import Snapshot
from quell.core.transcript import Transcript
from quell.core.view import View, apply
from quell.engine import Event, Options, ledger
from quell.store.memory import MemoryJournal
from quell.testing.harness import Play, played
from quell.testing.simulation import draw, simulate
from quell.wire import snapshots
from tests.golden import story


class ReadJournal(MemoryJournal):
    """Counts the facts that were read."""

    read_facts = 0

    async def read(self, session: str, after: int = 0, limit: int | None = None) -> Sequence[f.Recorded]:
        found = await super().read(session, after, limit)
        self.read_facts += len(found)
        return found


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "SNAPSHOT_FACTS", 5)


async def batch(events: AsyncIterator[list[Event]]) -> list[f.Recorded]:
    return [event for event in await anext(events) if isinstance(event, f.Recorded)]


def folded(records: Sequence[f.Recorded]) -> View:
    view = View()
    for recorded in records:
        apply(view, recorded)
    return view


async def grown(play: Play, journal: MemoryJournal, prompts: int = 8) -> str:
    """A session with some runs and calls, something that waits, and a snapshot from which it has gone on."""
    session = await play.session()
    for number in range(prompts):
        await play.submit(session, f"prompt {number}")
        asked = await play.asked()
        if number % 2:
            asked.say("I touch it.")
            asked.call("touch")
            asked.reply()
            (await play.touched()).finish()
            asked = await play.asked()
        asked.say(f"answer {number}")
        asked.reply()
        await play.idle(session)
    await play.submit(session, "parked")
    await play.asked()
    await play.submit(session, "waits")
    await play.cancel(session, scope="active")
    await play.idle(session)
    while (kept := await journal.snapshot(session)) is None or kept.seq < 20:
        await play.engine.apply(session, i.Change(title=f"title {len(await journal.read(session))}"))
    await play.engine.apply(session, i.Change(title="after the snapshot"))
    return session


async def test_f2_a_session_that_is_opened_from_a_snapshot_is_the_fold_of_its_facts() -> None:
    journal = ReadJournal()
    async with played(journal) as play:
        session = await grown(play, journal)
    records = await journal.read(session)
    journal.read_facts = 0
    async with played(journal) as play:
        assert await play.engine.state(session) == fold(records)
        assert (await play.engine.transcript(session)).state == Transcript(records).state
        assert await play.engine.view(session) == (len(records), folded(records))
        assert journal.read_facts < len(records)
        await play.engine.apply(session, i.Resume())
        (await play.asked()).reply()
        assert (await play.settled(session)).outcome == "completed"
    records = await journal.read(session)
    async with played(journal) as play:
        assert await play.engine.state(session) == fold(records)


SPOILT: dict[str, Callable[[Snapshot], Snapshot]] = {
    "of other code": lambda snapshot: replace(snapshot, version="0" * 64),
    "of no known code": lambda snapshot: replace(snapshot, version=""),
    "garbled": lambda snapshot: replace(snapshot, state=b"\xff" + snapshot.state, view=b"\xff" + snapshot.view),
    "cut": lambda snapshot: replace(snapshot, state=snapshot.state[:-9], view=snapshot.view[:-9]),
    "ahead of the facts": lambda snapshot: replace(snapshot, seq=snapshot.seq + 1000),
    "of another history": lambda snapshot: replace(snapshot, at="2026-01-01T00:00:00.000Z"),
}


@pytest.mark.parametrize("kind", SPOILT)
async def test_f2_a_snapshot_that_does_not_fit_is_ignored(kind: str) -> None:
    journal = MemoryJournal()
    async with played(journal) as play:
        session = await grown(play, journal)
    kept = await journal.snapshot(session)
    assert kept is not None
    await journal.save_snapshot(session, SPOILT[kind](kept))
    records = await journal.read(session)
    async with played(journal) as play:
        assert await play.engine.state(session) == fold(records)
        assert (await play.engine.transcript(session)).state == Transcript(records).state
        assert await play.engine.view(session) == (len(records), folded(records))


async def test_f2_who_follows_a_session_that_is_opened_anew_sees_every_fact_once() -> None:
    """The actor was closed as idle, and another process went on; what the snapshot holds is published to nobody. Fails when followers are not sent back to the journal."""
    journal = MemoryJournal()
    async with played(journal, Options(idle_actors=1, idle_seconds=0.0)) as play:
        session = await grown(play, journal)
        async with play.engine.follow(session, 0) as events, asyncio.TaskGroup() as group:
            seen = await batch(events)
            live = group.create_task(batch(events))
            await asyncio.sleep(0)  # it has read all there is, and waits
            await play.engine.apply(session, i.Change(title="live"))
            seen += await live
            other = await play.session()
            assert play.engine._actors.find(session) is None, "it was not closed"
            journal.seem_dead()
            async with played(journal.beside()) as elsewhere:  # it owns, and keeps snapshots
                while (kept := await journal.snapshot(session)) is None or kept.seq <= seen[-1].seq:
                    title = f"title {len(await journal.read(session))}"
                    await elsewhere.engine.apply(session, i.Change(title=title))
            await play.engine.apply(session, i.Change(title="seven"))
            end = (await play.engine.state(session)).seq
            while len(seen) < end:
                seen += await batch(events)
            assert other != session
        assert seen == list(await journal.read(session))


def test_f2_a_snapshot_at_any_fact_of_a_session_in_which_everything_happens_comes_back() -> None:
    records = story.records()
    transcript, view, session = Transcript(), View(), fold(())
    for recorded in records:
        session = fold((recorded,), session)
        transcript.add(recorded)
        apply(view, recorded)
        kept = snapshots.snapshot(session, snapshots.encode(session, transcript), view)
        found = snapshots.state(kept)
        assert found is not None
        assert found[0] == session
        assert found[1].state == transcript.state
        assert snapshots.view(kept) == view


@pytest.mark.parametrize("seed", range(3))
def test_f2_k1_the_simulation_keeps_the_contract_with_snapshots_of_every_few_facts(seed: int) -> None:
    report = simulate(draw(1000 + seed), None)
    assert not report.wrong
