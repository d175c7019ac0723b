"""Cancel: contract C1–C10, where the order of events needs no help. The races are in `test_races_of_cancel`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from quell.client.client import SessionChange
from quell.core import facts as f
from quell.core import inputs as i
from quell.core.errors import StorageRefused
from quell.core.messages import Usage
from quell.engine import Options
from quell.testing.faults import Refuse
from tests.cli.command import Home
from tests.interaction.conversation import Place, last_reply, meanwhile, results, settlements


@pytest.fixture
def home() -> Iterator[Home]:
    home = Home()
    yield home
    home.close()


@pytest.mark.parametrize("scope", ["all", "active"])
async def test_c1_idle_is_a_no_op_and_never_an_effect_on_the_next_prompt(
    tmp_path: Path, scope: Literal["all", "active"]
) -> None:
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        for _ in range(2):
            assert await chat.stops(scope=scope) == i.Covered((await chat.show()).seq)
            accepted = await chat.says("hello")
            await talk.answers()
            assert (await chat.ended(accepted)).outcome == "completed"
        assert not (await chat.queue()).parked


async def test_c2_all_covers_what_was_accepted_before_and_nothing_later(tmp_path: Path) -> None:
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        one = await chat.says("one")
        touched = await talk.calls()
        stuck = asyncio.Event()
        touched.hold(stuck)
        two = await chat.says("two")
        steer = await chat.steers("steer")
        covered = await chat.stops()
        assert (covered.run, covered.prompts) == (one.run, (one.prompt, two.prompt, steer.prompt))
        later = await chat.says("later")
        stuck.set()
        await talk.answers()
        assert (await chat.ended(one)).outcome == "cancelled"
        assert {(await chat.ended(two)).state, (await chat.ended(steer)).state} == {"dropped"}
        assert (await chat.ended(later)).outcome == "completed"


async def test_c2_on_an_idle_session_it_drops_the_parked_queue(tmp_path: Path) -> None:
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        await chat.says("one")
        await talk.asked()
        two = await chat.says("two")
        await chat.stops(scope="active")
        await chat.rests()
        assert (await chat.stops()).prompts == (two.prompt,)
        queue = await chat.queue()
        assert (queue.parked, queue.items) == (False, ())


async def test_c2_run_and_upto_say_what_is_meant(tmp_path: Path) -> None:
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        one = await chat.says("one")
        await talk.asked()
        two = await chat.says("two")
        three = await chat.says("three")
        before = (await chat.show()).seq
        assert await chat.stops(run="r999") == i.Covered(before)
        assert await chat.stops(run="r999", scope="active", upto=before) == i.Covered(before)
        covered = await chat.stops(run=one.run, upto=two.seq)
        assert covered.prompts == (one.prompt, two.prompt)
        await talk.answers()
        assert (await chat.ended(three)).outcome == "completed"


async def test_c3_active_parks_what_waits_steers_as_queued_prompts(tmp_path: Path) -> None:
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        one = await chat.says("one")
        await talk.asked()
        await chat.steers("steer")
        await chat.says("two")
        await chat.stops(scope="active")
        assert (await chat.ended(one)).outcome == "cancelled"
        queue = await chat.queue()
        assert queue.parked
        assert [(item.text, item.delivery, item.parked) for item in queue.items] == [
            ("steer", "queue", True),
            ("two", "queue", True),
        ]
        assert not (await chat.show()).busy
        assert talk.nothing_asked


async def test_c4_a_repeat_covers_what_was_accepted_since(tmp_path: Path) -> None:
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        one = await chat.says("one")
        touched = await talk.calls()
        stuck = asyncio.Event()
        touched.hold(stuck)
        await chat.stops()
        two = await chat.says("two")
        again = await chat.stops()
        assert (again.run, again.prompts) == (one.run, (one.prompt, two.prompt))
        stuck.set()
        assert (await chat.ended(two)).state == "dropped"
        assert await chat.stops() == i.Covered((await chat.show()).seq)


async def test_c6_what_is_dropped_reaches_no_model_and_its_fact_keeps_the_text(tmp_path: Path) -> None:
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        await chat.says("one")
        await talk.asked()
        await chat.says("two")
        three = await chat.says("three")
        await chat.stops(prompt=three.prompt)
        await chat.stops()
        await chat.rests()
        last = await chat.says("last")
        asked = await talk.asked()
        assert "two" not in repr(asked.request)
        assert "three" not in repr(asked.request)
        asked.reply()
        await chat.ended(last)
        assert await chat.asked_prompts() == ["one", "last"]
        dropped = [(fact.text, fact.reason) for fact in await chat.facts() if isinstance(fact, f.EntryDropped)]
        assert dropped == [("three", "cancelled"), ("two", "cancelled")]


async def test_c7_it_settles_in_time_whatever_hangs(tmp_path: Path) -> None:
    """With the grace that users have: of the five seconds it leaves half a one for the rest."""
    assert Options().unwind_grace <= 4.5
    async with Place(tmp_path).life(Options()) as talk:
        chat = await talk.chat()
        accepted = await chat.says("one")
        touched = await talk.calls()
        stuck = asyncio.Event()
        touched.hold(stuck)
        touched.output("42 lines\n")
        await chat.stops()
        assert (await chat.ended(accepted)).outcome == "cancelled"
        assert [status for _, status in results(await chat.said())] == ["cancelled"]
        stuck.set()


async def test_c7_a_reply_that_really_finished_is_recorded_with_its_usage(tmp_path: Path) -> None:
    """It had arrived when the cancel was decided, and waited its turn behind it."""
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        accepted = await chat.says("hello")
        asked = await talk.asked()
        asked.say("all of it")
        number = talk.journal.hold_next()
        async with meanwhile(chat.change(SessionChange(title="something else"))):
            await talk.journal.until_held(number)
            async with meanwhile(chat.stops()):
                await talk.waits_behind(chat)
                asked.reply(usage=Usage(input=100, output=7))
                await talk.waits_behind(chat, 2)
                await talk.journal.release(number)
        assert (await chat.ended(accepted)).outcome == "cancelled"
        assert last_reply(await chat.said()) == ("all of it", "end_turn")
        assert (await chat.show()).usage == Usage(input=100, output=7)


async def test_c7_the_provider_is_let_go_while_the_cancel_is_being_recorded(tmp_path: Path) -> None:
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        accepted = await chat.says("hello")
        asked = await talk.asked()
        asked.say("half of it")
        number = talk.journal.hold_next()
        async with meanwhile(chat.stops()):
            await talk.journal.until_held(number)
            await asked.closed.wait()
            await talk.journal.release(number)
        assert (await chat.ended(accepted)).outcome == "cancelled"
        assert last_reply(await chat.said()) == ("half of it", "cancelled")
        assert talk.nothing_asked


async def test_c7_a_tool_goes_on_until_its_cancel_is_recorded(tmp_path: Path) -> None:
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        accepted = await chat.says("touch it")
        touched = await talk.calls()
        number = talk.journal.hold_next()
        async with meanwhile(chat.stops()):
            await talk.journal.until_held(number)
            await chat.show()
            assert not touched.stopped.is_set()
            await talk.journal.release(number)
        assert (await chat.ended(accepted)).outcome == "cancelled"
        assert touched.stopped.is_set()


async def test_c8_with_a_permission_request_open(tmp_path: Path) -> None:
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        accepted = await chat.says("go outside")
        await talk.wants(chat)
        await chat.stops()
        assert (await chat.ended(accepted)).outcome == "cancelled"
        assert [status for _, status in results(await chat.said())] == ["cancelled"]


async def test_c9_it_is_nobody_s_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        accepted = await chat.says("one")
        await talk.calls()
        await chat.stops()
        ended = await chat.ended(accepted)
        assert (ended.outcome, ended.error) == ("cancelled", None)
        assert not [fact for fact in await chat.facts() if isinstance(fact, f.SampleFailed)]
    assert [record.getMessage() for record in caplog.records if record.levelno > logging.INFO] == []


def test_c9_only_the_waiting_command_says_so(home: Home) -> None:
    """It exits 130, whoever has cancelled; the one that has cancelled exits 0, and the log is silent."""
    with home.start("run", "--model", home.model, "for ever").process as process:
        assert process.stdout is not None
        process.stdout.read(1)
        cancelled = home.quell("cancel")
        process.stdout.read()
        assert process.wait() == 130
        assert process.stderr is not None
        assert b"Traceback" not in process.stderr.read()
    assert cancelled.status == 0, cancelled
    log = (home.data / "logs" / "daemon.log").read_text()
    assert "ERROR" not in log
    assert "WARNING" not in log


async def test_c10_a_settlement_is_written_even_when_its_writer_is_told_to_end(tmp_path: Path) -> None:
    place = Place(tmp_path)
    async with place.life() as talk:
        chat = await talk.chat()
        accepted = await chat.says("hello")
        asked = await talk.asked()
        number = talk.journal.hold_next()
        asked.say("all done")
        asked.reply()
        await talk.journal.until_held(number)
        async with meanwhile(talk.play.engine.shutdown()) as (leaving,):
            while not talk.play.engine.shutting_down:
                await talk.client.health()
            assert not leaving.done()
            await talk.journal.release(number)
    async with place.life() as talk:
        chat = talk.again(chat)
        assert (await chat.ended(accepted)).outcome == "completed"
        assert settlements(await chat.facts()) == ["completed"]


async def test_k5_a_cancel_that_cannot_be_written_stops_the_work_first(tmp_path: Path) -> None:
    """It is recorded as soon as it can be."""
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        accepted = await chat.says("hello")
        asked = await talk.asked()
        talk.journal.plan[talk.journal.appends + 1] = Refuse()
        with pytest.raises(StorageRefused):
            await chat.stops()
        await asked.closed.wait()
        assert (await chat.ended(accepted)).outcome == "cancelled"
