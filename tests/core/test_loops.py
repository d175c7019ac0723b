"""Loop detection: what is one, and what is not."""

from __future__ import annotations

import pytest

from quell.core.loops import is_looping
from quell.core.messages import AssistantMessage, Message, Text, ToolCall, ToolMessage, ToolResult, UserMessage


def conversation(*turns: str) -> list[Message]:
    """Each turn is `input=result`, or a text without a call."""
    messages: list[Message] = [UserMessage(id="p", text="go")]
    for number, turn in enumerate(turns):
        input, called, result = turn.partition("=")
        parts = (ToolCall(f"c{number}", "bash", input),) if called else (Text(turn),)
        messages.append(AssistantMessage(id=f"m{number}", parts=parts))
        if called:
            messages.append(ToolMessage(call=f"c{number}", name="bash", result=ToolResult(text=result)))
    return messages


@pytest.mark.parametrize(
    ("turns", "looping"),
    [
        ((), False),
        (("a=1",) * 5, False),
        (("a=1",) * 6, True),
        (("a=1", "a=2", "a=3", "a=4", "a=5", "a=6", "a=7"), False),
        (("a=1", "b=1") * 5, False),
        (("a=1", "a=1", "b=1") * 3, True),
        (("a=1",) * 6 + tuple(f"b={n}" for n in range(5)), False),
        (("a=1", "b=1", "a=1", "c=1", "a=1", "d=1", "a=1", "a=1", "e=1", "a=1"), True),
        (("hello",) * 20, False),
    ],
)
def test_more_than_five_equal_turns_of_the_last_ten_are_a_loop(turns: tuple[str, ...], looping: bool) -> None:
    assert is_looping(conversation(*turns)) is looping


def test_a_new_prompt_begins_anew() -> None:
    assert not is_looping([*conversation(*("a=1",) * 5), *conversation("a=1", "a=1")])
