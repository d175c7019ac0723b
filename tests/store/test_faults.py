"""The journal that fails as planned."""

import asyncio

import pytest

from quell.core.errors import StaleWriter, StorageRefused
from quell.store.memory import MemoryJournal
from quell.testing.faults import FaultyJournal, Hold, LoseAnswer, Refuse
from quell.testing.journals import Author


async def test_the_nth_append_is_refused_and_nothing_is_written() -> None:
    journal = FaultyJournal(MemoryJournal(), {2: Refuse("the disk is full")})
    author = await Author(journal).create()
    with pytest.raises(StorageRefused, match=r"Append 2 .*the disk is full"):
        await author.prompt()
    assert len(await journal.read("s1")) == 1
    await author.prompt()
    assert len(await journal.read("s1")) == 3


async def test_always_lasts_until_it_has_passed() -> None:
    journal = FaultyJournal(MemoryJournal())
    author = await Author(journal).create()
    journal.always = Refuse()
    for _ in range(3):
        with pytest.raises(StorageRefused):
            await author.prompt()
    journal.always = None
    await author.prompt()
    assert journal.appends == 5


async def test_a_lost_answer_was_written() -> None:
    journal = FaultyJournal(MemoryJournal(), {2: LoseAnswer()})
    author = await Author(journal).create()
    with pytest.raises(StorageRefused, match="answer was lost"):
        await author.prompt()
    assert len(await journal.read("s1")) == 3
    with pytest.raises(StaleWriter):
        await author.prompt()


@pytest.mark.parametrize(("hold", "meanwhile"), [(Hold(), 1), (Hold("before"), 3)], ids=["after", "before"])
async def test_a_held_append_goes_on_when_released(hold: Hold, meanwhile: int) -> None:
    journal = FaultyJournal(MemoryJournal(), {2: hold})
    author = await Author(journal).create()
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(author.prompt())
        await journal.until_held(2)
        assert len(await journal.read("s1")) == meanwhile
        assert not task.done()
        await journal.release()
    assert len(await journal.read("s1")) == 3


@pytest.mark.parametrize("hold", [Hold(), Hold("before")], ids=["after", "before"])
async def test_a_held_append_that_is_cancelled_is_written(hold: Hold) -> None:
    journal = FaultyJournal(MemoryJournal(), {2: hold})
    author = await Author(journal).create()
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(author.prompt())
        await journal.until_held()
        task.cancel()
    assert task.cancelled()
    assert len(await journal.read("s1")) == 3
