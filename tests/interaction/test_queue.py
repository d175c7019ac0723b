"""The queue: contract Q1–Q3."""

from __future__ import annotations

from pathlib import Path

import pytest

from quell.client.client import QueueEdit
from quell.core import facts as f
from quell.core import inputs as i
from quell.core.errors import NotWaiting
from tests.interaction.conversation import Chat, Place, Talk, question, settlements


async def waiting(talk: Talk, *texts: str) -> Chat:
    """A chat with a run in progress, and these behind it; the texts are their ids as well."""
    chat = await talk.chat()
    await chat.says("running", id="running")
    for text in texts:
        await chat.says(text, id=text)
    return chat


async def test_q1_it_lists_what_waits_in_order(tmp_path: Path) -> None:
    async with Place(tmp_path).life() as talk:
        chat = await waiting(talk, "a", "b")
        await chat.says("c", id="c", delivery="steer")
        queue = await chat.queue()
        assert [(item.id, item.text, item.delivery) for item in queue.items] == [
            ("a", "a", "queue"),
            ("b", "b", "queue"),
            ("c", "c", "steer"),
        ]
        assert queue.items == tuple((await chat.view()).view.queue)


async def test_q1_edits_are_durable(tmp_path: Path) -> None:
    place = Place(tmp_path)
    async with place.life(dies=True) as talk:
        chat = await waiting(talk, "a", "b", "c", "d")
        await chat.edit("a", QueueEdit(before=None))
        await chat.edit("c", QueueEdit(before="b", text="c, edited"))
        await chat.drop("d")
        assert await chat.waiting() == ["c, edited", "b", "a"]
    async with place.life() as talk:
        chat = talk.again(chat)
        for text in ("running", "c, edited", "b", "a"):
            asked = await talk.asked()
            assert question(asked) == text
            asked.reply()
        assert (await chat.ended("d")).state == "dropped"


async def test_q1_a_change_of_delivery_makes_it_join(tmp_path: Path) -> None:
    async with Place(tmp_path).life() as talk:
        chat = await waiting(talk, "a", "b")
        await chat.edit("b", QueueEdit(delivery="steer"))
        await talk.answers()
        asked = await talk.asked()
        assert question(asked) == "b"
        asked.reply()
        await talk.answers()
        assert (await chat.ended("b")).run == (await chat.ended("running")).run
        assert (await chat.ended("a")).run != (await chat.ended("b")).run


async def test_q1_what_has_started_is_not_waiting_and_nothing_is_written(tmp_path: Path) -> None:
    async with Place(tmp_path).life() as talk:
        chat = await waiting(talk, "a")
        before = (await chat.show()).seq
        for id in ("running", "never-was"):
            for request in (
                chat.edit(id, QueueEdit(text="x")),
                chat.edit(id, QueueEdit(before=None)),
                chat.drop(id),
                chat.promote(id),
            ):
                with pytest.raises(NotWaiting):
                    await request
        assert (await chat.show()).seq == before


async def test_q1_what_does_not_wait_says_where_it_is(tmp_path: Path) -> None:
    async with Place(tmp_path).life() as talk:
        chat = await waiting(talk, "a", "b")
        await chat.drop("a")
        await chat.edit("b", QueueEdit(delivery="steer"))
        for id, fate in (("running", "it has started"), ("a", "it was dropped"), ("never-was", "no such entry")):
            with pytest.raises(NotWaiting, match=fate):
                await chat.drop(id)
        await talk.answers()
        asked = await talk.asked()
        with pytest.raises(NotWaiting, match="it has joined the active run"):
            await chat.promote("b")
        asked.reply()
        await chat.rests()
        with pytest.raises(NotWaiting, match=r"its run has ended \(completed\)"):
            await chat.edit("b", QueueEdit(text="x"))


async def test_q2_a_stop_parks_the_queue_also_while_it_is_empty(tmp_path: Path) -> None:
    async with Place(tmp_path).life() as talk:
        chat = await waiting(talk)
        await chat.stops(scope="active")
        await chat.rests()
        queue = await chat.queue()
        assert (queue.parked, queue.items) == (True, ())
        assert (await chat.show()).parked


async def test_q2_a_new_prompt_runs_and_what_is_parked_stays_until_it_is_resumed(tmp_path: Path) -> None:
    place = Place(tmp_path)
    async with place.life() as talk:
        chat = await waiting(talk, "a", "b")
        await talk.asked()
        await chat.stops(scope="active")
        await chat.says("no, do this", id="this")
        asked = await talk.asked()
        assert question(asked) == "no, do this"
        asked.reply()
        await chat.ended("this")
        await chat.rests()
        assert await chat.waiting() == ["a", "b"]
    async with place.life() as talk:  # K2: a parked queue stays parked
        chat = talk.again(chat)
        assert (await chat.queue()).parked
        assert talk.nothing_asked
        await chat.resume()
        for text in ("a", "b"):
            asked = await talk.asked()
            assert question(asked) == text
            asked.reply()
        await chat.rests()
        assert not (await chat.queue()).parked


async def test_q2_promoting_a_parked_entry_starts_it_alone(tmp_path: Path) -> None:
    async with Place(tmp_path).life() as talk:
        chat = await waiting(talk, "a", "b", "c")
        await talk.asked()
        await chat.stops(scope="active")
        await chat.rests()
        await chat.promote("b")
        asked = await talk.asked()
        assert question(asked) == "b"
        asked.reply()
        await chat.rests()
        assert await chat.waiting() == ["a", "c"]
        assert (await chat.queue()).parked


async def test_q2_promoting_with_interrupt_is_one_decision(tmp_path: Path) -> None:
    async with Place(tmp_path).life() as talk:
        chat = await waiting(talk, "a", "b")
        asked = await talk.asked()
        appends = talk.journal.appends
        await chat.promote("b", interrupt=True)
        await asked.closed.wait()
        facts = await chat.facts()
        position = next(n for n, fact in enumerate(facts) if isinstance(fact, f.EntryPromoted))
        assert isinstance(facts[position + 1], f.RunEnding)
        for text in ("b", "a"):
            asked = await talk.asked()
            assert question(asked) == text
            asked.reply()
        await chat.rests()
        assert settlements(await chat.facts()) == ["cancelled", "completed", "completed"]
        assert not (await chat.queue()).parked
        assert talk.journal.appends == appends + 4  # the promotion, and three settlements


async def test_q3_only_a_user_resumes_a_parked_queue(tmp_path: Path) -> None:
    async with Place(tmp_path).life() as talk:
        chat = await waiting(talk, "a")
        await talk.asked()
        await chat.stops(scope="active")
        await chat.rests()
        before = (await chat.show()).seq
        origins: tuple[f.Origin, ...] = ("system", "recovery", "parent")
        for origin in origins:  # no client can say this: whoever works in the engine can
            await talk.play.engine.apply(chat.id, i.Resume(origin=origin))
        assert (await chat.show()).seq == before
        assert (await chat.resume()).applied
        await talk.answers()
        assert (await chat.ended("a")).outcome == "completed"
