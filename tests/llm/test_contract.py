"""What every `LanguageModel` does, whatever is behind it: two protocols over HTTP, and a script."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

import pytest

from quell.core.errors import RETRYABLE
from quell.core.messages import Part, PartDelta, Reasoning, Text, ToolCall, Usage
from quell.llm.script import parse_script
from quell.llm.scripted import ScriptedModel
from quell.testing.providers import Stream
from tests.llm.asking import Asked, asking, request

Kind = Literal["openai", "anthropic", "scripted"]
kinds = pytest.mark.parametrize("kind", ["openai", "anthropic", "scripted"])

TEXT = "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich 🏖️ 日本語"


@asynccontextmanager
async def saying(kind: Kind, *parts: Part, chunk: int | None = None, usage: Usage = Usage()) -> AsyncIterator[Asked]:
    if kind == "scripted":
        yield Asked(ScriptedModel("scripted:test", parse_script(script(parts, chunk, usage), "test")))
    else:
        async with asking(kind, Stream(parts=parts, chunk=chunk, usage=usage)) as (asked, _):
            yield asked


def script(parts: tuple[Part, ...], chunk: int | None, usage: Usage) -> str:
    lines = [f"chunk = {chunk}"] if chunk else []
    lines += ["[[reply]]", f"usage = {{ input = {usage.input}, output = {usage.output} }}"]
    for part in parts:
        lines.append("[[reply.step]]")
        match part:
            case Text():
                lines.append(f"text = {json.dumps(part.text, ensure_ascii=False)}")
            case Reasoning():
                lines.append(f"reasoning = {json.dumps(part.text)}")
            case ToolCall():
                lines += [f'tool = "{part.name}"', f"input = {json.dumps(part.input)}"]
    return "\n".join(lines)


def joined(deltas: list[PartDelta]) -> dict[int, str]:
    """What a follower has put together for each part."""
    texts: dict[int, str] = {}
    for delta in deltas:
        texts[delta.part] = texts.get(delta.part, "") + delta.text
    return texts


@kinds
@pytest.mark.parametrize("chunk", [1, 7, None])
async def test_text_arrives_in_pieces_that_add_up_to_the_reply(kind: Kind, chunk: int | None) -> None:
    async with saying(kind, Text(TEXT), chunk=chunk) as asked:
        reply = await asked.ask()
    assert reply.parts == (Text(TEXT),)
    assert reply.stop_reason == "end_turn"
    assert joined(asked.deltas) == {0: TEXT}
    assert len(asked.deltas) == (1 if chunk is None else -(-len(TEXT) // chunk))


@kinds
async def test_parts_are_numbered_in_order_and_calls_have_our_ids(kind: Kind) -> None:
    parts = (
        Reasoning("Let me see."),
        Text("I look."),
        ToolCall("theirs", "look", '{"path": "a.py"}'),
        ToolCall("theirs", "look", '{"path": "b.py"}'),  # some providers give the same id twice
    )
    async with saying(kind, *parts, chunk=5) as asked:
        reply = await asked.ask()
    assert [type(part) for part in reply.parts] == [Reasoning, Text, ToolCall, ToolCall]
    assert [(call.id, call.name, call.input) for call in reply.calls] == [
        ("m1-c0", "look", '{"path": "a.py"}'),
        ("m1-c1", "look", '{"path": "b.py"}'),
    ]
    assert reply.stop_reason == "tool_use"
    assert joined(asked.deltas) == {0: "Let me see.", 1: "I look.", 2: '{"path": "a.py"}', 3: '{"path": "b.py"}'}
    named = {delta.part: (delta.kind, delta.call, delta.name) for delta in asked.deltas}
    assert named == {
        0: ("reasoning", None, None),
        1: ("text", None, None),
        2: ("tool_input", "m1-c0", "look"),
        3: ("tool_input", "m1-c1", "look"),
    }


@kinds
@pytest.mark.parametrize("written", ["", "{}", '{"path": ', "not json at all", '["a list"]'])
async def test_a_tools_input_is_kept_as_it_was_written(kind: Kind, written: str) -> None:
    async with saying(kind, ToolCall("theirs", "look", written)) as asked:
        reply = await asked.ask()
    assert [call.input for call in reply.calls] == [written]


@kinds
async def test_usage_is_told(kind: Kind) -> None:
    async with saying(kind, Text("Hi"), usage=Usage(input=100, output=20)) as asked:
        reply = await asked.ask()
    assert reply.usage == Usage(input=100, output=20)


@kinds
async def test_a_request_that_is_cancelled_raises_nothing_else(kind: Kind) -> None:
    begun = asyncio.Event()
    async with saying(kind, Text("on and on " * 100_000), chunk=10) as asked:

        async def run() -> None:
            await asked.model.sample(request(), lambda _: begun.set())

        async with asyncio.TaskGroup() as group:
            task = group.create_task(run())
            await begun.wait()
            task.cancel()
    assert task.cancelled()


@kinds
async def test_a_model_answers_many_at_once(kind: Kind) -> None:
    async with saying(kind, Text(TEXT), chunk=3) as asked, asyncio.TaskGroup() as group:
        tasks = [group.create_task(asked.model.sample(request(), lambda _: None)) for _ in range(20)]
    assert {task.result().parts for task in tasks} == {(Text(TEXT),)}


@kinds
async def test_a_failure_has_a_code_and_words(kind: Kind) -> None:
    if kind == "scripted":
        asked = Asked(ScriptedModel("scripted:x", parse_script('[[reply]]\nstep = [{ fail = "overloaded" }]', "x")))
        failed = await asked.fail()
    else:
        async with asking(kind, Stream(parts=(Text(TEXT),), chunk=3, fault="truncate", after=8)) as (asked, _):
            failed = await asked.fail()
    assert failed.reason in RETRYABLE
    assert str(failed) == failed.detail != ""
