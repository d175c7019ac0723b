"""Accept: contract A1–A4."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path

import pytest

from quell.client.client import Client, NewAttachment, QueueEdit, UnixSocket
from quell.core import errors
from quell.core import facts as f
from quell.engine import Options
from quell.testing.faults import Hold
from tests.core.drawing import png
from tests.interaction.conversation import Chat, Place, meanwhile, settlements


async def test_a1_what_is_rejected_leaves_nothing(tmp_path: Path) -> None:
    async with Place(tmp_path).life(Options(queue_limit=1)) as talk:
        chat = await talk.chat()
        picture = NewAttachment(
            name="p.png", content=base64.b64encode(png()).decode(), mime_type="image/png", encoding="base64"
        )
        for attachments in ((), (picture,)):
            with pytest.raises(errors.EmptyPrompt):
                await chat.says(" \n\t", attachments=attachments)
        with pytest.raises(errors.SessionNotFound):
            await Chat(talk.client, "nobody").says("hello")
        assert (await chat.show()).seq == 1
        assert (await chat.says("", attachments=(NewAttachment(name="n.txt", content="do it"),))).run
        await chat.says("one that waits")
        before = (await chat.show()).seq
        with pytest.raises(errors.QueueFull):
            await chat.says("one too many")
        assert (await chat.show()).seq == before


async def test_a1_a_server_that_is_shutting_down_accepts_nothing(tmp_path: Path) -> None:
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        await chat.says("one")
        touched = await talk.calls()
        release = asyncio.Event()
        touched.hold(release)
        async with meanwhile(talk.play.engine.shutdown()):
            while not talk.play.engine.shutting_down:
                await talk.client.health()
            with pytest.raises(errors.ShuttingDown):
                await chat.says("two")
            release.set()
    async with Place(tmp_path).life() as talk:
        assert await talk.again(chat).waiting() == []
        assert await talk.again(chat).asked_prompts() == ["one"]


async def test_a2_the_acknowledgement_waits_for_the_disk(tmp_path: Path) -> None:
    place = Place(tmp_path)
    async with place.life(dies=True) as talk:
        chat = await talk.chat()
        number = talk.journal.hold_next()
        async with meanwhile(chat.says("hello", id="p")) as (saying,):
            await talk.journal.until_held(number)
            for _ in range(3):
                await talk.client.health()
            assert not saying.done()
            await talk.journal.release(number)
    async with place.life() as talk:
        await talk.answers()
        assert (await talk.again(chat).ended("p")).outcome == "completed"


async def test_a2_what_was_not_acknowledged_may_be_there_but_is_there_whole(tmp_path: Path) -> None:
    """The process dies when the facts are on disk and the answer is not yet sent: asked again, it is the same prompt."""
    place = Place(tmp_path)
    async with place.life(dies=True) as talk:
        chat = await talk.chat()
        talk.journal.plan[talk.journal.appends + 1] = Hold("before")
        async with meanwhile(chat.says("hello", id="p")) as (saying,):
            await talk.journal.until_held()
            saying.cancel()
            await talk.journal.release()
    async with place.life() as talk:
        again = await talk.again(chat).says("hello", id="p")
        await talk.answers()
        assert (await talk.again(chat).ended("p")).run == again.run
        assert talk.nothing_asked


async def test_a3_the_same_id_is_the_same_prompt_whatever_has_happened_to_it(tmp_path: Path) -> None:
    place = Place(tmp_path)
    async with place.life(Options(queue_limit=2)) as talk:
        chat = await talk.chat()
        first = await chat.says("first", id="a")
        assert await chat.says("first", id="a") == first
        waiting = await chat.says("second", id="b")
        dropped = await chat.says("third", id="c")
        assert await chat.says("second", id="b") == waiting  # the queue is full, and that does not matter
        await chat.drop("c")
        assert (await chat.says("third", id="c")).seq == dropped.seq
        before = (await chat.show()).seq
        for fields in ({"text": "other"}, {"text": "second", "delivery": "steer"}):
            with pytest.raises(errors.Conflict):
                await chat.says(**fields, id="b")
        with pytest.raises(errors.Conflict):
            await chat.says("second", id="b", attachments=(NewAttachment(name="n", content="c"),))
        assert (await chat.show()).seq == before
        await talk.answers()
        await talk.answers()
        await chat.rests()
    async with place.life() as talk:
        chat = talk.again(chat)
        assert (await chat.says("first", id="a")) == first
        assert (await chat.says("third", id="c")).run is None
        assert (await chat.prompt("c")).state == "dropped"
        assert talk.nothing_asked


async def test_a3_later_edits_do_not_matter(tmp_path: Path) -> None:
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        await chat.says("first")
        second = await chat.says("second", id="b")
        await chat.edit("b", QueueEdit(text="edited"))
        assert await chat.says("second", id="b") == second
        with pytest.raises(errors.Conflict):
            await chat.says("edited", id="b")
        assert await chat.waiting() == ["edited"]


async def test_a3_a_server_that_leaves_still_knows_what_it_has_accepted(tmp_path: Path) -> None:
    """Also in sessions that nobody has open, and also what is not on disk yet when it begins to leave."""
    place = Place(tmp_path)
    async with place.life() as talk:
        chat = await talk.chat()
        first = await chat.says("first", id="a")
        await talk.answers()
        await chat.rests()
    async with place.life() as talk:
        chat, open_one = talk.again(chat), await talk.chat()
        number = talk.journal.hold_next()
        async with meanwhile(open_one.says("second", id="b")) as (saying,):
            await talk.journal.until_held(number)
            async with meanwhile(talk.play.engine.shutdown(), open_one.says("second", id="b")) as (_, again):
                while not talk.play.engine.shutting_down:
                    await talk.client.health()
                assert await chat.says("first", id="a") == first
                with pytest.raises(errors.Conflict):
                    await chat.says("other", id="a")
                with pytest.raises(errors.ShuttingDown):
                    await chat.says("new", id="c")
                await talk.journal.release(number)
        assert again.result() == saying.result()
    async with place.life() as talk:
        assert await talk.again(chat).asked_prompts() == ["first"]
        assert await talk.again(open_one).asked_prompts() == ["second"]


async def test_a4_the_run_goes_on_without_whoever_asked_for_it(tmp_path: Path) -> None:
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        async with Client(UnixSocket(talk.path)) as poster:
            accepted = await Chat(poster, chat.id).says("hello")
            async with chat.follow():
                pass
        await talk.answers()
        assert (await chat.ended(accepted)).outcome == "completed"
        assert settlements(await chat.facts()) == ["completed"]
        assert not [fact for fact in await chat.facts() if isinstance(fact, f.RunEnding)]
