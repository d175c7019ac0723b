"""kill -9 between any two transactions, and between a transaction and what is due after it: contract K1, K3, I1–I5.

One story, in which most things happen, is told once for every append that it makes. In each telling the process dies at another append,
once before it is on disk and once right after; the next process dies as well, a little later; the third one comes to rest, and its
journal is audited.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from quell.core.errors import Stale, StorageRefused, Unavailable
from quell.core.messages import ToolMessage
from quell.engine import Options
from tests.interaction.audit import audit
from tests.interaction.conversation import Chat, Place, Talk, question

OPTIONS = Options(unwind_grace=1.0, stop_grace=0.2)
LENGTH = 18
"""Appends that the story makes at least, after the one that creates its session."""


async def plays(talk: Talk, executed: list[str]) -> None:
    """Model and tool: what is asked for first wants a tool outside, the rest is answered."""
    async with asyncio.TaskGroup() as group:
        group.create_task(_touches(talk, executed))
        while True:
            asked = await talk.asked()
            asked.say("well, ")
            if question(asked).startswith("touch") and not isinstance(asked.request.messages[-1], ToolMessage):
                asked.call("touch", outside=True)
                asked.call("touch")
            asked.reply()


async def _touches(talk: Talk, executed: list[str]) -> None:
    while True:
        touched = await talk.touched()
        executed.append(touched.context.call)
        touched.finish()


async def tell(chat: Chat, acknowledged: list[str]) -> None:
    """The story: a call that is asked for, a steer, a queue, a compaction, a stop of each kind."""
    acknowledged.append((await chat.says("touch it", id="a")).prompt)
    view = await chat.until(lambda view: view.requests)
    acknowledged.append((await chat.says("and this", id="b", delivery="steer")).prompt)
    acknowledged.append((await chat.says("then that", id="c")).prompt)
    await chat.answer(view.requests[0].id, "allow_once")
    await chat.compact()
    await chat.rests()
    acknowledged.append((await chat.says("touch it again", id="d")).prompt)
    acknowledged.append((await chat.says("never", id="e")).prompt)
    await chat.until(lambda view: view.requests)
    await chat.stops(scope="active")
    acknowledged.append((await chat.says("no, this", id="f")).prompt)
    await chat.rests()
    await chat.resume()
    await chat.rests()


async def lives(place: Place, chat: Chat | None, die_at: int | None, written: bool, told: Told) -> Chat | None:
    """One life of the process, from whatever the last one left, to its death or to rest."""
    async with place.life(OPTIONS, dies=die_at is not None) as talk:
        if chat is None:
            chat = await talk.chat()
        chat = talk.again(chat)
        if die_at is not None:
            talk.journal.die_at(talk.journal.appends + die_at, written=written)
        async with asyncio.TaskGroup() as group:
            playing = group.create_task(plays(talk, told.executed))
            telling = group.create_task(_goes_on(chat, told))
            dying = group.create_task(talk.journal.dead.wait())
            await asyncio.wait((telling, dying), return_when=asyncio.FIRST_COMPLETED)
            told.died += dying.done()
            for task in (playing, telling, dying):
                task.cancel()
    return chat


class Told:
    """What was promised and done, over all lives."""

    def __init__(self) -> None:
        self.acknowledged: list[str] = []
        self.executed: list[str] = []
        self.begun = False
        self.died = 0


async def _goes_on(chat: Chat, told: Told) -> None:
    """In the first life the story is told; in the later ones whatever is left comes to rest."""
    try:
        if not told.begun:
            told.begun = True
            await tell(chat, told.acknowledged)
        else:
            await _to_rest(chat)
    except (StorageRefused, Unavailable):
        await asyncio.Event().wait()  # the process has died; the life ends with it


async def _to_rest(chat: Chat) -> None:
    """Answer whatever is asked, until nothing goes on."""
    while (view := await chat.until(lambda view: not view.busy or view.requests)).requests:
        with contextlib.suppress(Stale):  # its call has ended with the last life
            await chat.answer(view.requests[0].id, "reject_once")


@pytest.mark.parametrize("written", [False, True], ids=["before it is on disk", "before what is due"])
async def test_race_crash_between_any_two_transactions_and_between_append_and_effect(
    tmp_path: Path, written: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """K1, K2, K3, A2, I1, I2, I3, I5. Fails when a restart leaves a call without a result, or runs a prompt twice."""
    limit = asyncio.Semaphore(8)
    stories: list[Told] = []

    async def story(number: int) -> None:
        folder = tmp_path / str(number)
        folder.mkdir()
        place, told = Place(folder), Told()
        async with limit:
            chat = await lives(place, None, number, written, told)
            chat = await lives(place, chat, 1 + number % 3, not written, told)
            chat = await lives(place, chat, None, written, told)
            async with place.life(OPTIONS) as talk:
                assert chat is not None
                records = await talk.again(chat).records()
        session = audit(records)
        assert not session.busy, number
        assert set(told.acknowledged) <= set(session.prompts), "A2: an acknowledged prompt is lost"
        assert len(set(told.executed)) == len(told.executed), "K3: a call was started twice"
        stories.append(told)

    async with asyncio.TaskGroup() as group:
        for number in range(1, LENGTH + 1):
            group.create_task(story(number))
    assert all(told.died for told in stories), "the story is shorter than it says"
    caplog.clear()  # a client cancelled just when its unix socket has something to read: anyio's reader is told twice
