"""Forks, as clients see them: contract K8."""

from __future__ import annotations

from pathlib import Path

import pytest

from quell.core import facts as f
from quell.core.errors import InvalidRequest, NotFound, SessionNotFound
from quell.core.messages import UserMessage
from tests.interaction.audit import check_sendable
from tests.interaction.conversation import Chat, Place, settlements


async def test_k8_a_fork_in_the_middle_of_a_run_is_idle_and_its_source_does_not_notice(tmp_path: Path) -> None:
    place = Place(tmp_path)
    async with place.life() as talk:
        chat = await talk.chat(title="Parser")
        one = await chat.says("one", id="one")
        touched = await talk.calls()
        await chat.says("two", id="two")
        before = (await chat.show()).seq
        made = await talk.client.fork(chat.id)
        fork = Chat(talk.client, made.id)
        assert (made.busy, made.queued, made.title, made.parent, made.seq) == (False, 0, "Parser", None, before + 1)
        assert (await chat.show()).seq == before
        with pytest.raises(NotFound):
            await fork.prompt("one")
        view = (await fork.view()).view
        assert [item.kind for item in view.items if hasattr(item, "kind")] == ["forked"]
        again = await fork.says("something else", id="one")  # ids are not inherited
        asked = await talk.asked()
        said = asked.request.messages
        check_sendable(said)
        assert [m.text for m in said if isinstance(m, UserMessage)] == ["one", "something else"]
        asked.say("else")
        asked.reply()
        assert (await fork.ended(again)).text == "else"
        touched.finish()
        await talk.answers()
        await talk.answers()
        assert (await chat.ended(one)).outcome == "completed"
        await chat.rests()
        assert settlements(await chat.facts()) == ["completed", "completed"]
    async with place.life() as talk:
        facts = await talk.again(fork).facts()
        assert settlements(facts) == ["completed"]
        assert [fact.source for fact in facts if isinstance(fact, f.Forked)] == [chat.id]
        assert talk.nothing_asked


async def test_k8_a_fork_may_begin_at_any_fact(tmp_path: Path) -> None:
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        for text in ("one", "two"):
            accepted = await chat.says(text)
            await talk.answers()
            await chat.ended(accepted)
        records = await chat.records()
        for recorded in records:
            fork = Chat(talk.client, (await talk.client.fork(chat.id, recorded.seq)).id)
            copied = await fork.records()
            assert [(each.seq, each.at) for each in copied[:-1]] == [
                (each.seq, each.at) for each in records[: recorded.seq]
            ]
        for at in (len(records) + 1, 2**53):
            with pytest.raises(InvalidRequest, match=f"has facts 1 to {len(records)}"):
                await talk.client.fork(chat.id, at)
        await chat.delete()
        with pytest.raises(SessionNotFound):
            await talk.client.fork(chat.id)
