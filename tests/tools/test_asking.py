"""`question` and `todos`: what they take, and what they say."""

import json

import pytest

from quell.core.messages import ToolCall, ToolResult
from quell.core.questions import Choice, Question
from quell.core.todos import todos_of
from quell.tools import Tools
from tests.tools.conftest import Hands


def test_a_question_is_prepared_and_never_run(hands: Hands) -> None:
    choices = [{"label": "Red"}, {"id": "b", "label": "Blue", "description": "like the sky"}]
    asked = {"questions": [{"type": "multi_choice", "question": "Which colours?", "choices": choices}]}
    call = hands.tools.prepare(
        ToolCall("c", "question", json.dumps(asked | {"confirm_title": "Colours"})), hands.workspace
    )
    assert not isinstance(call, ToolResult)
    assert call.access.title == "Colours"
    assert call.questions == (
        Question(
            type="multi_choice",
            question="Which colours?",
            choices=(Choice("Red", "Red"), Choice("b", "Blue", "like the sky")),
        ),
    )


@pytest.mark.parametrize(
    ("questions", "says"),
    [
        ([], "0 questions"),
        ([{"type": "yes_no", "question": "?"}] * 6, "6 questions"),
        ([{"type": "yes_no", "question": " "}], "Question 1 is empty"),
        ([{"type": "yes_no", "question": "?", "choices": [{"label": "x"}]}], "no choices"),
        ([{"type": "single_choice", "question": "?", "choices": [{"label": "x"}]}], "1 choices"),
        ([{"type": "single_choice", "question": "?", "choices": [{"label": "x"}] * 2}], "same id"),
        ([{"type": "free_text", "question": "x" * 601}], "600"),
        ([{"type": "essay", "question": "?"}], "essay"),
    ],
)
def test_a_question_that_nobody_could_answer_is_refused(hands: Hands, questions: object, says: str) -> None:
    result = hands.tools.prepare(ToolCall("c", "question", json.dumps({"questions": questions})), hands.workspace)
    assert isinstance(result, ToolResult)
    assert says in result.text


def test_only_a_question_needs_somebody() -> None:
    assert [spec.name for spec in Tools().specs() if spec.attended] == ["question"]


async def test_the_list_is_replaced_and_what_changed_is_told(hands: Hands) -> None:
    first = [{"content": "Read", "status": "in_progress"}, {"content": "Write", "status": "pending"}]
    result = await hands.use("todos", todos=first)
    assert result.text == "The list is as you sent it: 0 completed, 1 in progress, 1 pending."
    assert result.metadata["just_started"] == ["Read"]
    hands.todos = todos_of(result.metadata, ())
    second = [
        {"content": "Read", "status": "completed"},
        {"content": "Write", "status": "in_progress", "active_form": "Writing"},
    ]
    result = await hands.use("todos", todos=second)
    assert result.metadata["just_started"] == ["Write"]
    assert result.metadata["just_completed"] == ["Read"]
    assert [todo.active_form for todo in todos_of(result.metadata, ())] == ["", "Writing"]
    assert (await hands.use("todos", todos=[])).text == "The list is empty now."
    assert "no content" in (await hands.use("todos", todos=[{"content": "", "status": "pending"}])).text
