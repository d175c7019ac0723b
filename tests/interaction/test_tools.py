"""Tools under cancel: contract T1, T3, T6, with real commands, files and processes; and K1 on the real server.

The server is `quell serve` as users have it, with a scripted model.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from quell.client.client import NewPrompt
from quell.core import facts as f
from quell.core.errors import Stale, StorageRefused
from quell.core.messages import UserMessage
from quell.core.view import CallItem, NoticeItem
from quell.store.sqlite import SqliteJournal
from tests.cli.command import Home, until
from tests.interaction.audit import audit
from tests.interaction.conversation import Chat, Place, meanwhile, results
from tests.interaction.process import Server

CONTENT = {letter: letter * 3_000_000 for letter in "AB"}

SCRIPT = """
[[when]]
prompt = "run a tree"
[[when.reply]]
step = [{ tool = "bash", input = { command = "setsid sleep 1000 & trap '' TERM; sleep 1001 & echo planted; wait; sleep 1002" } }]
[[when.reply]]
step = [{ text = "It ended." }]

[[when]]
prompt = "serve"
[[when.reply]]
step = [{ tool = "bash", input = { command = "echo ready; sleep 1000", run_in_background = true } }]
[[when.reply]]
step = [{ text = "It runs." }]

[[when]]
prompt = "a short job"
[[when.reply]]
step = [{ tool = "bash", input = { command = "while [ ! -e go ]; do sleep 0.01; done; exit 4", auto_background_after = 1 } }]
[[when.reply]]
step = [{ text = "It runs." }]

[[when]]
prompt = "write"
[[when.reply]]
step = [{ tool = "write", input = { file_path = "big.txt", content = "%s" } }]
[[when.reply]]
step = [{ tool = "write", input = { file_path = "big.txt", content = "%s" } }]

[[when]]
prompt = "look"
[[when.reply]]
step = [{ tool = "view", input = { file_path = "shared.txt" } }]
[[when.reply]]
step = [{ text = "I see." }]

[[when]]
prompt = "one"
[[when.reply]]
step = [{ tool = "edit", input = { file_path = "shared.txt", old_string = "one", new_string = "ONE" } }]
[[when.reply]]
step = [{ text = "Done." }]

[[when]]
prompt = "two"
[[when.reply]]
step = [{ tool = "edit", input = { file_path = "shared.txt", old_string = "two", new_string = "TWO" } }]
[[when.reply]]
step = [{ tool = "view", input = { file_path = "shared.txt" } }]
[[when.reply]]
step = [{ tool = "edit", input = { file_path = "shared.txt", old_string = "two", new_string = "TWO" } }]
[[when.reply]]
step = [{ text = "Done." }]
"""


@pytest.fixture
def server() -> Iterator[Server]:
    home = Home()
    yield Server(home, SCRIPT % (CONTENT["A"], CONTENT["B"]))
    home.close()


async def planted(chat: Chat) -> None:
    """The command has started all that it starts."""
    await chat.says("run a tree", id="p")
    async with chat.follow() as following:
        while not any(d.kind == "output" and "planted" in d.text for d in following.drafts.open.values()):
            await anext(following)


async def test_t1_c7_a_cancel_ends_the_whole_process_tree(server: Server) -> None:
    async with server.life() as (client, _):
        chat = await server.chat(client)
        await planted(chat)
        while len(server.sleepers()) < 2:  # noqa: ASYNC110  # of other processes there is no event to wait for
            await asyncio.sleep(0.005)
        await chat.stops()
        assert (await chat.ended("p")).outcome == "cancelled"
        assert server.sleepers() == []
        text, status = results(await chat.said())[0]
        assert status == "cancelled"
        assert "planted" in text


async def test_t1_k1_kill_9_of_the_server_ends_its_commands_and_loses_nothing(server: Server) -> None:
    async with server.life() as (client, process):
        chat = await server.chat(client)
        await planted(chat)
        process.kill()
        await process.wait()
    await asyncio.to_thread(until, lambda: not server.sleepers())
    async with server.life() as (client, _):
        chat = Chat(client, chat.id)
        assert (await chat.ended("p")).outcome == "interrupted"
        assert [status for _, status in results(await chat.said())] == ["unknown"]
        audit(await chat.records())


async def test_t2_a_job_survives_its_run_and_ends_with_its_session(server: Server) -> None:
    async with server.life() as (client, _):
        chat = await server.chat(client)
        assert (await chat.ended(await chat.says("serve"))).outcome == "completed"
        while not (job := (await chat.jobs()).items[0]).printed:
            pass  # the call has ended after a second, however far the command is
        assert (job.running, job.printed) == (True, "ready\n")
        assert server.sleepers()  # more than one where there is a sandbox around it
        await chat.stops()
        assert (await chat.jobs()).items[0].running  # a cancel is of runs
        await chat.delete()
        await asyncio.to_thread(until, lambda: not server.sleepers())


async def test_t2_k6_a_job_keeps_the_server_and_ends_with_it(server: Server) -> None:
    async with server.life() as (client, process):
        chat = await server.chat(client)
        await chat.ended(await chat.says("serve"))
        assert (await client.health()).busy
        ended = await chat.end_job((await chat.jobs()).items[0].id)
        assert (ended.running, ended.signal) == (False, signal.SIGTERM)
        assert not (await client.health()).busy
        await chat.ended(await chat.says("serve"))
        process.terminate()
        assert await process.wait() == 0
    assert not server.sleepers()


async def test_t2_the_end_of_a_job_is_a_fact_and_the_next_turn_is_told(server: Server) -> None:
    async with server.life() as (client, _):
        chat = await server.chat(client)
        await chat.ended(await chat.says("a short job"))
        (server.home.workspace / "go").touch()
        view = await chat.until(lambda view: any(isinstance(i, NoticeItem) and i.kind == "noted" for i in view.items))
        assert [job.status for job in (await chat.jobs()).items] == [4]
        assert not view.busy
        await chat.ended(await chat.says("serve"))
        told = [m.text for m in await chat.said() if isinstance(m, UserMessage) and m.text.startswith("[")]
        assert len(told) == 1
        assert "has ended: exit code 4" in told[0]
        audit(await chat.records())


async def test_of_two_sessions_on_one_file_neither_undoes_the_other(server: Server) -> None:
    """And the one that comes late is told what the other did."""
    file = server.home.workspace / "shared.txt"
    file.write_text("one\ntwo\n")
    async with server.life() as (client, _):
        mine, yours = await server.chat(client), await server.chat(client)
        for chat in (mine, yours):
            assert (await chat.ended(await chat.says("look"))).outcome == "completed"
        assert (await mine.ended(await mine.says("one"))).outcome == "completed"
        assert (await yours.ended(await yours.says("two"))).outcome == "completed"
        refused = results(await yours.said())[1]
        assert refused[1] == "failed"
        assert "What changed:" in refused[0]
        assert "\n-one\n+ONE\n" in refused[0]
        assert results(await yours.said())[3][1] == "completed"
    assert file.read_text() == "ONE\nTWO\n"


async def test_t3_k1_a_file_is_as_before_or_as_after_however_often_the_server_is_killed(server: Server) -> None:
    """Killed as soon as a call is known to have started: somewhere in the middle of its work."""
    file = server.home.workspace / "big.txt"
    chat = ""
    for n in range(3):
        async with server.life() as (client, process):
            talk = Chat(client, chat) if chat else await server.chat(client)
            chat = talk.id
            async with talk.follow() as following:
                await talk.submit(NewPrompt(text="write", id=f"p{n}"))
                while not any(isinstance(i, CallItem) and i.run == run(following.view) for i in following.view.items):
                    await anext(following)
                process.send_signal(signal.SIGKILL)
                await process.wait()
            assert not file.exists() or file.read_text() in CONTENT.values()
    async with server.life() as (client, _):
        talk = Chat(client, chat)
        for n in range(3):
            assert (await talk.ended(f"p{n}")).state == "settled"
        audit(await talk.records())


def run(view: object) -> str | None:
    """The id of the run in progress."""
    active = getattr(view, "run", None)
    return None if active is None else active.id


async def test_race_owner_paused_and_resumed(server: Server) -> None:
    """I10, E1. While the owner is stopped nobody else can own; woken, it goes on as if nothing had been.

    Fails when the lock on the database can be shared.
    """
    async with server.life() as (client, process):
        chat = await server.chat(client)
        await planted(chat)
        process.send_signal(signal.SIGSTOP)
        async with meanwhile(chat.stops()) as (stopping,):
            with pytest.raises(StorageRefused):
                SqliteJournal.open(server.home.data / "quell.db")
            process.send_signal(signal.SIGCONT)
        assert stopping.result().prompts == ("p",)
        assert (await chat.ended("p")).outcome == "cancelled"
        audit(await chat.records())


async def test_t6_a_request_is_answered_by_its_id_once_and_withdrawn_for_everybody(tmp_path: Path) -> None:
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        one = await chat.says("go outside")
        request = await talk.wants(chat)
        async with talk.another_client(chat) as other:
            assert [item.id for item in (await other.requests()).items] == [request]
            async with other.follow() as following:
                assert [item.id for item in following.view.requests] == [request]
                first = await chat.answer(request, "allow_once")
                while following.view.requests:
                    await anext(following)
            assert first.applied
            await chat.answer(request, "allow_once")  # the same again gets the same reply
            with pytest.raises(Stale):
                await other.answer(request, "reject_once")
        (await talk.touched()).finish()
        await talk.answers()
        assert (await chat.ended(one)).outcome == "completed"
        assert len([fact for fact in await chat.facts() if isinstance(fact, f.PermissionAnswered)]) == 1
