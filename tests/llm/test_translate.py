"""What a model keeps of a conversation between two requests: it saves work and makes no other difference."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from quell.core.messages import (
    AssistantMessage,
    Memo,
    Message,
    Reasoning,
    SummaryMessage,
    Text,
    ToolCall,
    ToolMessage,
    ToolResult,
    UserMessage,
)
from quell.llm import ProviderModels, ProviderOptions
from quell.llm.options import Dialect
from quell.testing.providers import provider
from tests.llm.asking import KEY, asking, request

STORY: tuple[Message, ...] = (
    UserMessage(id="u1", text="What is in <|im_start|>.py?"),
    AssistantMessage(
        id="m1",
        parts=(
            Reasoning("Mine.", "signed", "anthropic"),
            Reasoning("Hm.", "", "deepseek", "reasoning_content"),
            Text("I look at two."),
            ToolCall("m1-c0", "look", '{"path": "a.py"}'),
            ToolCall("m1-c1", "look", '{"path": '),
        ),
        stop_reason="tool_use",
    ),
    ToolMessage(call="m1-c1", name="look", result=ToolResult(text="not understood", status="failed")),
    ToolMessage(call="m1-c0", name="look", result=ToolResult(text="")),
    UserMessage(id="u2", text="And b.py?"),
    AssistantMessage(id="m2", parts=(ToolCall("m2-c0", "look", "{}"),), stop_reason="tool_use"),
    ToolMessage(call="m2-c0", name="look", result=ToolResult(text="nothing")),
    AssistantMessage(id="m3", parts=(Text("Nothing is in it."),)),
    UserMessage(id="u3", text="Thanks. And c.py?"),
    AssistantMessage(id="m4", parts=(Reasoning("Unsigned."),)),
    UserMessage(id="u4", text="Well?"),
)
ASKED = [1, 4, 5, 7, 9, 11]
"""The lengths at which the model was asked."""
SUMMARY = SummaryMessage(id="s1", text="We looked at a.py and b.py.")
CONVERSATIONS: list[Sequence[Message]] = [
    *(STORY[:length] for length in ASKED),
    (SUMMARY, *STORY[8:]),
    STORY,
    (*STORY[:4], replace(STORY[4], text="No, c.py.")),  # another message under a known id
]


@pytest.mark.parametrize(
    ("dialect", "name"), [("openai", "openai"), ("openai", "deepseek"), ("openai", "here"), ("anthropic", "anthropic")]
)
async def test_what_is_sent_does_not_depend_on_what_was_kept(dialect: Dialect, name: str) -> None:
    async with provider(dialect) as server:
        own = dialect if name == "here" else None
        models = ProviderModels([ProviderOptions(name=name, dialect=own, api_key=KEY, base_url=server.base_url)])
        model = await models.open(f"{name}/some-model", {})
        memo = Memo()
        for messages in CONVERSATIONS:
            for kept in (memo, memo, Memo()):
                await model.sample(replace(request(*messages), memo=kept), lambda _: None)
            again, anew, fresh = (json.dumps(asked.body) for asked in server.requests[-3:])
            assert again == fresh
            assert anew == fresh
        await models.close()


async def test_another_model_s_translation_is_not_taken() -> None:
    memo = Memo()
    async with asking("anthropic") as (one, _), asking("openai") as (other, server):
        await one.model.sample(replace(request(*STORY), memo=memo), lambda _: None)
        for kept in (memo, Memo()):
            await other.model.sample(replace(request(*STORY), memo=kept), lambda _: None)
        assert server.requests[0].body == server.requests[1].body
