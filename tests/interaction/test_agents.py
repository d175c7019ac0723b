"""Sub-agents as a client sees them: sessions like any other, listed apart (contract T4, K7)."""

from __future__ import annotations

from pathlib import Path

import pytest

from quell.core.errors import SessionNotFound
from quell.core.events import Deleted
from quell.core.session import Summary
from tests.interaction.conversation import Chat, Place, Talk, last_reply, results


async def asks_around(talk: Talk, chat: Chat, *tasks: str) -> list[Chat]:
    """The model starts a sub-agent for each task; they are asked next."""
    asked = await talk.asked()
    calls = [asked.call("agent", prompt=task) for task in tasks]
    asked.reply()
    return [Chat(talk.client, f"{chat.id}-{call}") for call in calls]


async def test_t4_a_client_lists_watches_and_follows_sub_agents(tmp_path: Path) -> None:
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        async with talk.client.watch(parent=chat.id) as changes, talk.client.watch() as others:
            accepted = await chat.says("go")
            (child,) = await asks_around(talk, chat, "find it")
            asked = await talk.asked()
            first = await anext(changes)
            assert isinstance(first, Summary)
            assert (first.id, first.parent, first.busy, first.title) == (child.id, chat.id, True, "find it")
            assert [row.id for row in (await talk.client.sessions(parent=chat.id)).items] == [child.id]
            assert [row.id for row in (await talk.client.sessions()).items] == [chat.id]
            asked.say("It is ")
            async with child.follow() as following:
                while [draft.text for draft in following.drafts.open.values()] != ["It is "]:
                    await anext(following)
            asked.say("here.")
            asked.reply()
            await talk.answers()
            assert (await chat.ended(accepted)).outcome == "completed"
            assert results(await chat.said()) == [("It is here.", "completed")]
            await chat.delete()
            async for change in changes:
                if change == Deleted(child.id):
                    break
            async for change in others:
                assert not isinstance(change, Summary) or change.id == chat.id
                if change == Deleted(chat.id):
                    break
        with pytest.raises(SessionNotFound):
            await child.show()


async def test_t4_a_client_cancels_one_sub_agent_and_the_run_goes_on(tmp_path: Path) -> None:
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        accepted = await chat.says("go")
        (child,) = await asks_around(talk, chat, "find it")
        (await talk.asked()).say("perhaps")
        assert (await child.stops()).prompts == ("task",)
        await talk.answers("without it, then")
        end = await chat.ended(accepted)
        assert (end.outcome, end.text) == ("completed", "without it, then")
        assert last_reply(await child.said()) == ("perhaps", "cancelled")


async def test_t4_c7_c9_a_client_cancels_a_run_and_its_sub_agents_have_settled_when_it_has(tmp_path: Path) -> None:
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        accepted = await chat.says("go")
        children = await asks_around(talk, chat, "one", "two")
        asked = [await talk.asked(), await talk.asked()]
        await chat.stops()
        assert (await chat.ended(accepted)).outcome == "cancelled"
        for child in children:
            assert not (await child.show()).busy
            assert last_reply(await child.said())[1] == "cancelled"
        assert all(each.closed.is_set() for each in asked)


async def test_t4_k1_a_crash_leaves_no_sub_agent_at_work(tmp_path: Path) -> None:
    place = Place(tmp_path)
    async with place.life(dies=True) as talk:
        chat = await talk.chat()
        await chat.says("go")
        (child,) = await asks_around(talk, chat, "find it")
        await talk.asked()
    async with place.life() as talk:
        parent, child = talk.again(chat), talk.again(child)
        assert (await parent.ended((await parent.facts())[1].prompt)).outcome == "interrupted"  # type: ignore[union-attr]  # it is accepted second
        assert (await child.ended("task")).outcome == "interrupted"
        assert talk.nothing_asked
