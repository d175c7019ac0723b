"""Questions of the model to a person (contract T6): durable, withdrawn with their call, answered once, from any client."""

from __future__ import annotations

from pathlib import Path

import pytest

from quell.core import facts as f
from quell.core.errors import InvalidRequest, Stale
from quell.core.questions import QuestionAnswer
from tests.interaction.audit import audit
from tests.interaction.conversation import Chat, Place, Talk, results

QUESTIONS = [
    {"type": "single_choice", "question": "Which?", "choices": [{"id": "a", "label": "A"}, {"id": "b", "label": "B"}]},
    {"type": "free_text", "question": "Why?"},
]
ANSWERS = (QuestionAnswer(choices=("b",), note="For now."), QuestionAnswer(text="It is smaller."))


async def asks(talk: Talk, chat: Chat) -> str:
    """The model has asked; the id of the request."""
    asked = await talk.asked()
    asked.call("touch", questions=QUESTIONS)
    asked.reply()
    view = await chat.until(lambda view: view.requests)
    assert [question.question for question in view.requests[0].questions] == ["Which?", "Why?"]
    return view.requests[0].id


async def test_t6_a_question_is_answered_from_any_client_once_and_the_answers_are_the_result(tmp_path: Path) -> None:
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        prompt = await chat.says("choose")
        request = await asks(talk, chat)
        async with talk.another_client(chat) as other:
            assert [item.id for item in (await other.requests()).items] == [request]
            with pytest.raises(InvalidRequest, match="2 questions"):
                await other.answer(request, ANSWERS[:1])
            with pytest.raises(InvalidRequest, match="no choice 'c'"):
                await other.answer(request, (QuestionAnswer(choices=("c",)), QuestionAnswer()))
            with pytest.raises(InvalidRequest, match="answers"):
                await other.answer(request, "allow_once")
            assert (await other.answer(request, ANSWERS)).applied
        assert not (await chat.answer(request, ANSWERS)).applied  # the same again gets the same reply
        with pytest.raises(Stale):
            await chat.answer(request, (QuestionAnswer(), QuestionAnswer()))
        await talk.answers()
        assert (await chat.ended(prompt)).outcome == "completed"
        said = "Q1: Which?\nChosen: b (B)\nNote: For now.\n\nQ2: Why?\nIt is smaller."
        assert results(await chat.said()) == [(said, "completed")]
        assert not (await chat.view()).view.requests
        audit(await chat.records())


async def test_t6_c8_a_cancel_withdraws_an_open_question(tmp_path: Path) -> None:
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        prompt = await chat.says("choose")
        request = await asks(talk, chat)
        await chat.stops()
        assert (await chat.ended(prompt)).outcome == "cancelled"
        assert not (await chat.requests()).items
        with pytest.raises(Stale):
            await chat.answer(request, ANSWERS)
        assert [status for _, status in results(await chat.said())] == ["cancelled"]
        audit(await chat.records())


async def test_t6_e3_an_open_question_is_seen_by_who_joins_late_and_interrupted_by_a_crash(tmp_path: Path) -> None:
    place = Place(tmp_path)
    async with place.life(dies=True) as talk:
        chat = await talk.chat()
        prompt = await chat.says("choose")
        request = await asks(talk, chat)
        async with talk.another_client(chat) as late, late.follow() as following:
            assert [item.id for item in following.view.requests] == [request]
    async with place.life() as talk:
        chat = talk.again(chat)
        assert (await chat.ended(prompt)).outcome == "interrupted"
        with pytest.raises(Stale):
            await chat.answer(request, ANSWERS)
        assert not [fact for fact in await chat.facts() if isinstance(fact, f.QuestionsAnswered)]


async def test_where_nobody_can_answer_nothing_waits(tmp_path: Path) -> None:
    """A headless run never hangs."""
    async with Place(tmp_path).life() as talk:
        chat = await talk.chat()
        prompt = await chat.says("choose", on_ask="deny")
        asked = await talk.asked()
        asked.call("touch", questions=QUESTIONS)
        asked.reply()
        await talk.answers()
        assert (await chat.ended(prompt)).outcome == "completed"
        text, status = results(await chat.said())[0]
        assert status == "denied"
        assert "Decide it yourself" in text
