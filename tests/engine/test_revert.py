"""Checkpoints and reverts in the engine: what waits for what, what a crash leaves, and who does it. Files are a dict here."""

from __future__ import annotations

import asyncio

import pytest

from quell.core import facts as f
from quell.core import inputs as i
from quell.core.errors import Busy, Conflict, Edited, InvalidRequest, NotFound, SessionNotFound
from quell.core.messages import ToolMessage, UserMessage
from quell.core.session import Session
from quell.engine import Options
from quell.engine.reverting import revert
from quell.store.memory import MemoryJournal
from quell.testing.checkpoints import PlayedCheckpoints
from quell.testing.doorbells import Wire
from quell.testing.harness import Play, crashed, played

FILE = "/work/file"


async def writes(play: Play, disk: PlayedCheckpoints, session: str, text: str) -> str:
    """A run in which the file gets this content; the prompt's id."""
    prompt = (await play.submit(session, text)).prompt
    (asked := await play.asked()).call("touch")
    asked.reply()
    touched = await play.touched()
    disk.files[FILE] = text
    touched.finish()
    (await play.asked()).reply()
    assert (await play.settled(session)).outcome == "completed"
    return prompt


async def said(play: Play, session: str) -> list[str]:
    messages = (await play.engine.transcript(session)).messages
    return [message.text for message in messages if isinstance(message, UserMessage)]


def kept(facts: list[f.AnyFact]) -> list[tuple[str, bool]]:
    return [(fact.snapshot, fact.after) for fact in facts if isinstance(fact, f.WorkspaceKept)]


async def test_nothing_is_changed_before_the_workspace_was_kept() -> None:
    disk = PlayedCheckpoints()
    disk.held = asyncio.Event()
    async with played(checkpoints=disk) as play:
        session = await play.session()
        await play.submit(session, "one")
        (asked := await play.asked()).call("touch", kind="read")
        asked.call("touch")
        asked.call("touch")
        asked.reply()
        reads = await play.touched()  # what changes nothing waits for nothing
        assert not disk.waiting.is_set()
        reads.finish()
        await disk.waiting.wait()
        state = await play.engine.state(session)
        assert state.run is not None
        assert not state.checkpoints
        disk.held.set()
        (await play.touched()).finish()
        (await play.touched()).finish()  # the second one needs no other
        (await play.asked()).reply()
        await play.idle(session)
        assert [after for _, after in kept(await play.facts(session))] == [False, True]


async def test_c7_a_cancel_does_not_wait_for_a_checkpoint_and_says_what_was_not_begun() -> None:
    disk = PlayedCheckpoints()
    disk.held = asyncio.Event()
    async with played(options=Options(unwind_grace=3600.0), checkpoints=disk) as play:
        session = await play.session()
        await play.submit(session, "one")
        (asked := await play.asked()).call("touch")
        asked.reply()
        await disk.waiting.wait()
        await play.cancel(session)
        assert (await play.settled(session)).outcome == "cancelled"
        results = [m.result for m in (await play.engine.transcript(session)).messages if isinstance(m, ToolMessage)]
        assert [result.text for result in results] == ["Not started: the run was cancelled."]
        assert kept(await play.facts(session)) == []


async def test_k3_a_call_that_waited_for_its_checkpoint_was_not_begun() -> None:
    disk, journal = PlayedCheckpoints(), MemoryJournal()
    disk.held = asyncio.Event()
    async with crashed(journal, checkpoints=disk) as play:
        session = await play.session()
        await play.submit(session, "one")
        (asked := await play.asked()).call("touch")
        asked.reply()
        await disk.waiting.wait()
    async with played(journal, checkpoints=disk) as play:
        await play.idle(session)
        results = [m.result for m in (await play.engine.transcript(session)).messages if isinstance(m, ToolMessage)]
        assert [result.status for result in results] == ["interrupted"]


async def test_a_run_goes_on_without_a_checkpoint_and_a_revert_says_so() -> None:
    disk = PlayedCheckpoints()
    disk.refuses = "the disk is full"
    async with played(checkpoints=disk) as play:
        session = await play.session()
        prompt = await writes(play, disk, session, "one")
        facts = [fact for fact in await play.facts(session) if isinstance(fact, f.WorkspaceKept)]
        assert [fact.problem for fact in facts] == ["the disk is full"]
        done = await revert(play.engine, session, prompt)
        assert done.done
        assert disk.files == {FILE: "one"}


async def test_k8_files_go_back_first_and_come_back() -> None:
    disk = PlayedCheckpoints()
    disk.files["/work/mine"] = "mine"
    async with played(checkpoints=disk) as play:
        session = await play.session()
        await writes(play, disk, session, "one")
        second = await writes(play, disk, session, "two")
        await writes(play, disk, session, "three")
        done = await revert(play.engine, session, second)
        assert (done.text, disk.files[FILE]) == ("two", "one")
        assert await said(play, session) == ["one"]
        last = (await play.facts(session))[-2:]
        assert [type(fact) for fact in last] == [f.RevertStarted, f.Reverted]
        first = next(iter((await play.engine.transcript(session)).messages)).id  # type: ignore[union-attr]  # a user's
        await revert(play.engine, session, first)
        assert disk.files == {"/work/mine": "mine"}
        assert await said(play, session) == []
        for text, messages in (("one", ["one"]), ("three", ["one", "two", "three"])):  # each in its turn
            await revert(play.engine, session, None)
            assert disk.files[FILE] == text
            assert await said(play, session) == messages
        with pytest.raises(NotFound):
            await revert(play.engine, session, None)


async def test_k8_what_is_said_next_is_said_to_what_is_left() -> None:
    disk = PlayedCheckpoints()
    async with played(checkpoints=disk) as play:
        session = await play.session()
        await writes(play, disk, session, "one")
        second = await writes(play, disk, session, "two")
        await revert(play.engine, session, second)
        await play.submit(session, "instead")
        asked = await play.asked()
        assert [m.text for m in asked.request.messages if isinstance(m, UserMessage)] == ["one", "instead"]
        asked.reply()
        await play.idle(session)
        with pytest.raises(NotFound, match="nothing to undo"):
            await revert(play.engine, session, None)
        with pytest.raises(NotFound, match="reverted"):
            await revert(play.engine, session, second)
        _, view = await play.engine.view(session)
        assert view.reverted == []


async def test_k8_a_revert_while_busy_is_refused() -> None:
    async with played(checkpoints=PlayedCheckpoints()) as play:
        session = await play.session()
        prompt = (await play.submit(session, "one")).prompt
        asked = await play.asked()
        for to, preview in ((prompt, False), (None, False), (prompt, True)):
            with pytest.raises(Busy):
                await revert(play.engine, session, to, preview=preview)
        asked.reply()
        await play.idle(session)
        with pytest.raises(NotFound):
            await revert(play.engine, session, "another")
        with pytest.raises(SessionNotFound):
            await revert(play.engine, "another", prompt)


async def test_a_steer_is_no_place_to_go_back_to() -> None:
    async with played(checkpoints=PlayedCheckpoints()) as play:
        session = await play.session()
        await play.submit(session, "one")
        asked = await play.asked()
        steer = (await play.submit(session, "and", delivery="steer")).prompt
        asked.reply()
        (await play.asked()).reply()
        await play.idle(session)
        with pytest.raises(InvalidRequest, match="joined a run"):
            await revert(play.engine, session, steer)


async def test_k8_what_somebody_has_edited_is_overwritten_only_by_force_and_not_lost() -> None:
    disk = PlayedCheckpoints()
    async with played(checkpoints=disk) as play:
        session = await play.session()
        prompt = await writes(play, disk, session, "one")
        disk.files[FILE] = "mine"
        before = await play.facts(session)
        with pytest.raises(Edited, match="file"):
            await revert(play.engine, session, prompt)
        assert (await revert(play.engine, session, prompt, preview=True)).plan.edited == ("file",)
        assert await play.facts(session) == before
        await revert(play.engine, session, prompt, force=True)
        assert disk.files == {}
        disk.files[FILE] = "again"
        with pytest.raises(Edited):
            await revert(play.engine, session, None)
        disk.files.clear()
        await revert(play.engine, session, None)
        assert disk.files == {FILE: "mine"}


async def test_k8_a_prompt_waits_until_the_files_are_back() -> None:
    disk = PlayedCheckpoints()
    async with played(checkpoints=disk) as play:
        session = await play.session()
        prompt = await writes(play, disk, session, "one")
        disk.held = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            going = group.create_task(revert(play.engine, session, prompt))
            await disk.waiting.wait()
            assert (await play.submit(session, "two")).run is None
            assert (await play.engine.state(session)).busy
            with pytest.raises(Busy):
                await revert(play.engine, session, None)
            disk.held.set()
            asked = await play.asked()
            assert [m.text for m in asked.request.messages if isinstance(m, UserMessage)] == ["two"]
            asked.reply()
            assert (await going).done
        assert not disk.files


@pytest.mark.parametrize("undo", [False, True])
async def test_k8_k1_a_crash_in_the_middle_is_gone_on_from(undo: bool) -> None:
    """Before the first file, and after the last one: the fact that it is done is missing in either case."""
    for finished in (False, True):
        disk, journal = PlayedCheckpoints(), MemoryJournal()
        async with crashed(journal, checkpoints=disk) as play:
            session = await play.session()
            prompt = await writes(play, disk, session, "one")
            if undo:
                await revert(play.engine, session, prompt)
            disk.held = asyncio.Event()
            async with asyncio.TaskGroup() as group:
                going = group.create_task(revert(play.engine, session, None if undo else prompt))
                await disk.waiting.wait()
                going.cancel()
            assert [type(fact) for fact in await play.facts(session)][-1] is f.RevertStarted
        disk.held = None
        if finished:
            disk.files = {FILE: "one"} if undo else {}
        async with played(journal, checkpoints=disk) as play:
            await play.idle(session)
            assert disk.files == ({FILE: "one"} if undo else {})
            assert await said(play, session) == (["one"] if undo else [])
            assert isinstance((await play.facts(session))[-1], f.RevertUndone if undo else f.Reverted)


async def test_k8_what_changes_on_the_way_is_left_and_named() -> None:
    disk = PlayedCheckpoints()
    async with played(checkpoints=disk) as play:
        session = await play.session()
        prompt = await writes(play, disk, session, "one")
        disk.held = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            going = group.create_task(revert(play.engine, session, prompt))
            await disk.waiting.wait()
            disk.files[FILE] = "mine"
            disk.held.set()
            assert (await going).left == ("file",)
        assert disk.files == {FILE: "mine"}
        _, view = await play.engine.view(session)
        assert "but not file" in str(view.items[-1])


async def test_k8_files_that_cannot_be_had_back_do_not_hold_up_the_session() -> None:
    disk = PlayedCheckpoints()
    async with played(checkpoints=disk) as play:
        session = await play.session()
        prompt = await writes(play, disk, session, "one")
        disk.held = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            going = group.create_task(revert(play.engine, session, prompt))
            await disk.waiting.wait()
            disk.refuses = "the disk is gone"
            disk.held.set()
            done = await going
        assert (done.done, done.problem, disk.files) == (True, "the disk is gone", {FILE: "one"})


async def test_what_a_run_has_left_is_looked_at_later_if_it_could_not_be_in_time() -> None:
    """A run that failed, or that a crash has ended."""
    disk, journal = PlayedCheckpoints(), MemoryJournal()
    async with crashed(journal, checkpoints=disk) as play:
        session = await play.session()
        prompt = (await play.submit(session, "one")).prompt
        (asked := await play.asked()).call("touch")
        asked.reply()
        await play.touched()
        disk.files[FILE] = "half"
    async with played(journal, checkpoints=disk) as play:
        state = await play.until(session, lambda state: not state.busy and state.unkept is None)
        assert state.ended is not None
        assert state.checkpoints[state.ended].after
        disk.files[FILE] = "mine"
        with pytest.raises(Edited):
            await revert(play.engine, session, prompt)


async def test_k7_a_deletion_waits_for_the_files_and_drops_what_was_kept() -> None:
    disk = PlayedCheckpoints()
    async with played(checkpoints=disk) as play:
        session = await play.session()
        prompt = await writes(play, disk, session, "one")
        disk.held = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            going = group.create_task(revert(play.engine, session, prompt))
            await disk.waiting.wait()
            await play.engine.apply(session, i.Delete())
            disk.held.set()
            try:
                await going
            except SessionNotFound:
                pass  # whichever is told first
        await play.engine.closed(session)
        assert (disk.files, disk.forgotten) == ({}, [session])


async def test_k8_a_fork_begins_without_checkpoints_and_without_what_was_reverted() -> None:
    disk = PlayedCheckpoints()
    async with played(checkpoints=disk) as play:
        session = await play.session()
        await writes(play, disk, session, "one")
        second = await writes(play, disk, session, "two")
        await revert(play.engine, session, second)
        await play.engine.apply("fork", i.Fork(session="fork", source=session))
        assert await said(play, "fork") == ["one"]
        with pytest.raises(NotFound):
            await revert(play.engine, "fork", None)
        prompt = await writes(play, disk, "fork", "three")
        await revert(play.engine, "fork", prompt)
        assert disk.files == {FILE: "one"}
        await revert(play.engine, session, None)  # somebody else's work, that is none any more
        assert disk.files == {FILE: "two"}


async def test_it_is_planned_again_when_the_session_changes_meanwhile() -> None:
    disk = PlayedCheckpoints()
    async with played(checkpoints=disk) as play:
        session = await play.session()
        prompt = await writes(play, disk, session, "one")
        state: Session = await play.engine.state(session)
        await play.engine.apply(session, i.Change(title="another"))
        with pytest.raises(Conflict):
            await play.engine.apply(session, i.Revert(to=prompt, upto=state.seq))
        await revert(play.engine, session, prompt)
        assert disk.files == {}


async def test_without_checkpoints_the_conversation_goes_back_alone() -> None:
    async with played() as play:
        session = await play.session()
        disk = PlayedCheckpoints()
        prompt = await writes(play, disk, session, "one")
        assert kept(await play.facts(session)) == []
        done = await revert(play.engine, session, prompt)
        assert (done.done, done.plan.changes) == (True, ())
        assert await said(play, session) == []
        await revert(play.engine, session, None)
        assert await said(play, session) == ["one"]


async def test_i10_a_guest_plans_and_the_owner_restores() -> None:
    disk, wire, journal = PlayedCheckpoints(), Wire(), MemoryJournal()
    async with (
        played(journal, doorbell=wire.bell(), name="a-", checkpoints=disk) as owner,
        played(journal.beside(), doorbell=wire.bell(), name="b-", checkpoints=disk) as guest,
    ):
        session = await owner.session()
        prompt = await writes(owner, disk, session, "one")
        assert (await revert(guest.engine, session, prompt)).done
        assert disk.files == {}
        await revert(owner.engine, session, None)
        assert disk.files == {FILE: "one"}
        await guest.until(session, lambda state: not state.reverts)
        assert await said(guest, session) == ["one"]
