"""The races of the run contract that no cancel is in; the others are in `test_races_of_cancel`.

Each docstring names the lines that it is about, and the change to the code that makes the test fail.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from quell.client.client import Client, QueueEdit, UnixSocket
from quell.core import facts as f
from quell.core import inputs as i
from quell.core.errors import NotFound, NotWaiting, QuellError, SessionNotFound, Stale
from tests.interaction.conversation import (
    Chat,
    Place,
    facts_of,
    facts_upto,
    meanwhile,
    question,
    settlements,
)


async def test_race_steer_after_the_last_turn(tmp_path: Path) -> None:
    """I7. It was accepted before the last reply was recorded. Fails when a steer does not keep its run from settling."""
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        one = await chat.says("one")
        asked = await talk.asked()
        number = talk.journal.hold_next()
        async with meanwhile(chat.steers("and this")) as (steering,):
            await talk.journal.until_held(number)
            asked.say("that was all")
            asked.reply()
            await talk.waits_behind(chat)
            await talk.journal.release(number)
        asked = await talk.asked()
        assert question(asked) == "and this"
        asked.reply()
        ended = await chat.ended(steering.result())
        assert (ended.run, ended.outcome) == (one.run, "completed")
        assert settlements(await chat.facts()) == ["completed"]


async def test_race_steer_after_the_last_turn_was_settled(tmp_path: Path) -> None:
    """I7. It was accepted after: a prompt of its own. Fails when a steer may belong to a run that is no more."""
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        one = await chat.says("one")
        asked = await talk.asked()
        number = talk.journal.hold_next()
        asked.reply()
        await talk.journal.until_held(number)
        async with meanwhile(chat.steers("and this")) as (steering,):
            await talk.waits_behind(chat)
            await talk.journal.release(number)
        await talk.answers()
        ended = await chat.ended(steering.result())
        assert ended.outcome == "completed"
        assert ended.run != one.run
        assert not [fact for fact in await chat.facts() if isinstance(fact, f.SteerJoined)]


async def test_race_steer_to_a_run_that_dies_with_an_older_prompt_waiting(tmp_path: Path) -> None:
    """I3, I7. Fails when a steer that did not join goes before what was accepted earlier, or is lost."""
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        one = await chat.says("one")
        asked = await talk.asked()
        await chat.says("older")
        steer = await chat.steers("steer")
        await chat.says("newer")
        asked.fail("invalid_request", "no")
        for text in ("older", "steer", "newer"):
            asked = await talk.asked()
            assert question(asked) == text
            asked.reply()
        await chat.rests()
        assert (await chat.ended(one)).outcome == "failed"
        assert (await chat.ended(steer)).outcome == "completed"
        assert settlements(await chat.facts()) == ["failed", "completed", "completed", "completed"]


async def test_race_prompt_while_a_cancelled_run_unwinds(tmp_path: Path) -> None:
    """I2, I7, C2. Fails when a run may start beside one that is ending, or a steer may join one."""
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        one = await chat.says("one")
        touched = await talk.calls()
        stuck = asyncio.Event()
        touched.hold(stuck)
        await chat.stops()
        two = await chat.says("two")
        three = await chat.steers("three")
        assert (two.run, three.run) == (None, None)
        assert [item.delivery for item in (await chat.queue()).items] == ["queue", "queue"]
        assert talk.nothing_asked
        stuck.set()
        for text in ("two", "three"):
            asked = await talk.asked()
            assert question(asked) == text
            asked.reply()
        await chat.rests()
        assert (await chat.ended(one)).outcome == "cancelled"
        assert settlements(await chat.facts()) == ["cancelled", "completed", "completed"]


async def test_race_queue_behind_a_provider_error(tmp_path: Path) -> None:
    """I6. Fails when the queue is burnt on a failure that would meet every prompt."""
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        one = await chat.says("one")
        asked = await talk.asked()
        two = await chat.says("two")
        number = talk.journal.hold_next()
        asked.fail("unauthorized", "the key is wrong")
        await talk.journal.until_held(number)
        async with meanwhile(chat.says("three")) as (saying,):
            await talk.waits_behind(chat)
            await talk.journal.release(number)
        assert (await chat.ended(one)).error == "the key is wrong"
        asked = await talk.asked()
        assert question(asked) == "three"  # submitted after the failure was decided: somebody tries again
        asked.reply()
        assert (await chat.ended(saying.result())).outcome == "completed"
        queue = await chat.queue()
        assert (queue.parked, [item.id for item in queue.items]) == (True, [two.prompt])
        await chat.resume()
        await talk.answers()
        assert (await chat.ended(two)).outcome == "completed"


async def test_race_newer_prompt_against_older_queued_ones_at_a_run_s_end(tmp_path: Path) -> None:
    """I2, I3. Fails when another than the oldest is started."""
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        await chat.says("one")
        asked = await talk.asked()
        await chat.says("two")
        await chat.says("three")
        number = talk.journal.hold_next()
        asked.reply()
        await talk.journal.until_held(number)
        async with meanwhile(chat.says("newer")):
            await talk.waits_behind(chat)
            await talk.journal.release(number)
        for text in ("two", "three", "newer"):
            asked = await talk.asked()
            assert question(asked) == text
            assert talk.nothing_asked
            asked.reply()
        await chat.rests()


async def test_race_two_compactions_at_once(tmp_path: Path) -> None:
    """I8. Fails when a second waiting compaction is not absorbed."""
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        await chat.says("one")
        asked = await talk.asked()
        async with talk.another_client(chat) as other, meanwhile(chat.compact(), other.compact()) as both:
            pass
        assert both[0].result().prompt == both[1].result().prompt
        assert [item.kind for item in (await chat.queue()).items] == ["compaction"]
        asked.reply()
        await talk.answers("the summary")
        await chat.rests()
        assert len([fact for fact in await chat.facts() if isinstance(fact, f.Compacted)]) == 1
        assert talk.nothing_asked


async def test_race_retry_of_the_same_submission(tmp_path: Path) -> None:
    """A3, I1. Fails when a known id is accepted again."""
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        number = talk.journal.hold_next()
        async with (
            talk.another_client(chat) as other,
            meanwhile(chat.says("once", id="p"), other.says("once", id="p"), chat.says("once", id="p")) as all,
        ):
            await talk.journal.until_held(number)
            await talk.waits_behind(chat, 2)
            await talk.journal.release(number)
        assert len({saying.result() for saying in all}) == 1
        await talk.answers()
        assert (await chat.ended("p")).outcome == "completed"
        assert len([fact for fact in await chat.facts() if isinstance(fact, f.PromptAccepted)]) == 1
        assert talk.nothing_asked


async def test_race_answer_to_another_request(tmp_path: Path) -> None:
    """T6. An answer that was meant for an earlier request. Fails when an answer is taken for whatever is open."""
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        await chat.says("go outside")
        first = await talk.wants(chat)
        await chat.stops()
        await chat.rests()
        await chat.says("go outside again")
        second = await talk.wants(chat)
        assert second != first
        with pytest.raises(Stale):
            await chat.answer(first, "allow_always")
        with pytest.raises(NotFound):
            await chat.answer("r1-1-1-c0-ask", "allow_always")
        assert [request.id for request in (await chat.requests()).items] == [second]
        await chat.answer(second, "reject_once")
        await chat.rests()


@pytest.mark.parametrize("what", ["edit", "deliver", "reorder", "drop", "promote", "interrupt"])
async def test_race_edit_reorder_and_promote_against_start(tmp_path: Path, what: str) -> None:
    """Q1. Fails when an entry that has started is still found."""
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        await chat.says("one")
        asked = await talk.asked()
        two = (await chat.says("two")).prompt
        three = (await chat.says("three")).prompt
        change: Callable[[], Awaitable[i.Noted]] = {
            "edit": lambda: chat.edit(two, QueueEdit(text="edited")),
            "deliver": lambda: chat.edit(two, QueueEdit(delivery="steer")),
            "reorder": lambda: chat.edit(three, QueueEdit(before=two)),
            "drop": lambda: chat.drop(two),
            "promote": lambda: chat.promote(two),
            "interrupt": lambda: chat.promote(two, interrupt=True),
        }[what]
        number = talk.journal.hold_next()
        asked.reply()
        await talk.journal.until_held(number)
        async with meanwhile(refused(change())) as (changing,):
            await talk.waits_behind(chat)
            await talk.journal.release(number)
        assert changing.result() is NotWaiting
        for text in ("two", "three"):
            asked = await talk.asked()
            assert question(asked) == text
            asked.reply()
        await chat.rests()
        assert settlements(await chat.facts()) == ["completed"] * 3


async def refused(request: Awaitable[object]) -> type[BaseException] | None:
    """The kind of error that a request is refused with."""
    try:
        await request
    except QuellError as error:
        return type(error)
    return None


async def test_race_deletion_against_start(tmp_path: Path) -> None:
    """K7, I1. Fails when a deletion leaves what has just started alone."""
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        await chat.says("one")
        asked = await talk.asked()
        two = await chat.says("two")
        async with chat.events(0) as pieces:
            await anext(pieces)
            number = talk.journal.hold_next()
            asked.reply()
            await talk.journal.until_held(number)
            async with meanwhile(chat.delete()), meanwhile(refused(chat.prompt(two.prompt, wait=30))):
                await talk.waits_behind(chat)
                await talk.journal.release(number)
            rest = [piece async for piece in pieces]
        assert rest[-1].startswith(b"event: deleted") or b"\nevent: deleted" in rest[-1]
        while not talk.nothing_asked:
            assert (await talk.asked()).closed.is_set()
        with pytest.raises(SessionNotFound):
            await chat.says("three")


async def test_race_poster_disconnecting(tmp_path: Path) -> None:
    """A4. It leaves while its prompt is being written. Fails when a request is given up with its connection, waiting or not."""
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        number = talk.journal.hold_next()
        async with Client(UnixSocket(talk.path)) as poster, meanwhile(Chat(poster, chat.id).says("a", id="a")) as (a,):
            await talk.journal.until_held(number)
            async with meanwhile(Chat(poster, chat.id).says("b", id="b")) as (b,):
                await talk.waits_behind(chat)
                a.cancel()
                b.cancel()
        for _ in range(3):
            await talk.client.health()  # the server has seen that it is gone
        await talk.journal.release(number)
        for text in ("a", "b"):
            asked = await talk.asked()
            assert question(asked) == text
            asked.reply()
        assert (await chat.ended("b")).outcome == "completed"


async def test_race_subscriber_joining_in_a_burst(tmp_path: Path) -> None:
    """E1, E3. The journal grows, and the model talks, while it is being replayed.

    Fails when what was replayed is sent again.
    """
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        accepted = await chat.says("hello")
        asked = await talk.asked()
        asked.say("some ")
        for n in range(20):
            await chat.says(f"more {n}")
        talk.journal.gate.clear()
        read = len(talk.journal.read_sessions)
        async with chat.events(0) as pieces:
            while len(talk.journal.read_sessions) == read:
                await talk.client.health()
            asked.say("text")
            for n in range(20):
                await chat.says(f"in the burst {n}")
            end = (await chat.show()).seq
            talk.journal.gate.set()
            stream = facts_of(pieces)
            found = await facts_upto(stream, end)
            await chat.says("after the burst")
            found += await facts_upto(stream, end + 1)
            assert [recorded.seq for recorded in found] == [*range(1, end + 2)]
        async with chat.follow() as following:
            while not following.drafts.open:
                await anext(following)
            assert [draft.text for draft in following.drafts.open.values()] == ["some text"]
        await chat.stops()
        assert (await chat.ended(accepted)).outcome == "cancelled"
