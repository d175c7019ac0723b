"""What goes to a provider and what comes back, over real connections to servers that speak the two protocols."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import sys
from decimal import Decimal
from typing import Any

import pytest

from quell.core.errors import ModelFailed
from quell.core.messages import (
    AssistantMessage,
    Attachment,
    Message,
    PartDelta,
    Reasoning,
    StopReason,
    SummaryMessage,
    Text,
    ToolCall,
    ToolMessage,
    ToolResult,
    Usage,
    UserMessage,
)
from quell.llm import ProviderModels, ProviderOptions
from quell.llm.options import Dialect, Effort, ModelOptions
from quell.testing.providers import Fault, HangUp, Mute, Refusal, Stream
from tests.llm.asking import KEY, NAMES, asking, request

dialects = pytest.mark.parametrize("dialect", ["openai", "anthropic"])

HISTORY: tuple[Message, ...] = (
    UserMessage(
        id="u1",
        text="What is in a.py?",
        attachments=(
            Attachment(name='no"tes.txt', content="Read me."),
            Attachment(
                name="dot.png", content=base64.b64encode(b"png").decode(), mime_type="image/png", encoding="base64"
            ),
        ),
    ),
    AssistantMessage(
        id="m0",
        parts=(
            Reasoning("Mine.", "signed", "anthropic"),
            Reasoning("Somebody else's.", "signed too", "elsewhere"),
            Text("I look at two."),
            ToolCall("m0-c0", "look", '{"path": "a.py"}'),
            ToolCall("m0-c1", "look", '{"path": '),
        ),
        stop_reason="tool_use",
    ),
    ToolMessage(call="m0-c1", name="look", result=ToolResult(text="not understood", status="failed")),
    ToolMessage(call="m0-c0", name="look", result=ToolResult(text="")),
    UserMessage(id="u2", text="And b.py?"),
)


async def sent(dialect: Dialect, *messages: Message) -> dict[str, Any]:
    async with asking(dialect) as (asked, server):
        await asked.ask(*messages)
        return dict(server.requests[0].body)


# --- what is sent --------------------------------------------------------------------------------------------------


async def test_history_as_chat_completions() -> None:
    body = await sent("openai", *HISTORY)
    system, question, calls, first, second, steer = body["messages"]
    assert system == {"role": "system", "content": "Be brief."}
    assert [part["type"] for part in question["content"]] == ["text", "image_url", "text"]
    assert question["content"][0]["text"] == '<attachment name="no\'tes.txt">\nRead me.\n</attachment>'
    assert question["content"][1]["image_url"]["url"] == "data:image/png;base64,cG5n"
    assert question["content"][2]["text"] == "What is in a.py?"
    assert (calls["role"], calls["content"]) == ("assistant", "I look at two.")
    assert [(call["id"], json.loads(call["function"]["arguments"])) for call in calls["tool_calls"]] == [
        ("m0-c0", {"path": "a.py"}),
        ("m0-c1", {"not_understood": '{"path": '}),
    ]
    assert first == {"role": "tool", "tool_call_id": "m0-c0", "content": "(no output)"}
    assert second == {"role": "tool", "tool_call_id": "m0-c1", "content": "not understood"}
    assert steer == {"role": "user", "content": "And b.py?"}
    assert [tool["function"]["name"] for tool in body["tools"]] == ["look"]
    assert "strict" not in body["tools"][0]["function"]
    assert body["stream_options"] == {"include_usage": True}


async def test_history_as_messages() -> None:
    body = await sent("anthropic", *HISTORY)
    question, calls, results = body["messages"]
    assert body["system"] == [
        {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral", "ttl": "5m"}}
    ]
    assert [part["type"] for part in question["content"]] == ["text", "image", "text"]
    assert question["content"][1]["source"] == {"type": "base64", "media_type": "image/png", "data": "cG5n"}
    assert calls["content"] == [
        {"type": "thinking", "thinking": "Mine.", "signature": "signed"},
        {"type": "text", "text": "I look at two."},
        {"type": "tool_use", "id": "m0-c0", "name": "look", "input": {"path": "a.py"}},
        {"type": "tool_use", "id": "m0-c1", "name": "look", "input": {"not_understood": '{"path": '}},
    ]
    first, second, steer = results["content"]
    assert (first["tool_use_id"], first["is_error"]) == ("m0-c0", False)
    assert (second["tool_use_id"], second["is_error"]) == ("m0-c1", True)
    assert steer["text"] == "And b.py?"


async def test_cache_marks_are_on_system_tools_and_the_last_two_messages() -> None:
    body = await sent("anthropic", *HISTORY)
    question, calls, results = body["messages"]
    marked = {
        name: ["cache_control" in block for block in blocks]
        for name, blocks in {
            "system": body["system"],
            "tools": body["tools"],
            "question": question["content"],
            "calls": calls["content"],
            "results": results["content"],
        }.items()
    }
    assert marked == {
        "system": [True],
        "tools": [True],
        "question": [False, False, True],
        "calls": [False] * 4,
        "results": [False, False, True],
    }


@dialects
async def test_a_summary_goes_out_as_the_users(dialect: Dialect) -> None:
    body = await sent(
        dialect, SummaryMessage(id="s1", text="We fixed the parser."), UserMessage(id="u9", text="Go on.")
    )
    said = [message for message in body["messages"] if message["role"] != "system"]
    assert {message["role"] for message in said} == {"user"}
    assert "We fixed the parser." in str(said)
    assert "Go on." in str(said)


async def test_reasoning_that_a_provider_wants_back_goes_back_in_its_field() -> None:
    async with asking("openai", Stream(parts=(Reasoning("Hm."), ToolCall("x", "look", "{}")))) as (_, server):
        models = ProviderModels([ProviderOptions(name="deepseek", api_key=KEY, base_url=server.base_url)])
        model = await models.open("deepseek/deepseek-v4-pro", {})
        reply = await model.sample(request(), lambda _: None)
        said = AssistantMessage(id="m1", parts=reply.parts, stop_reason=reply.stop_reason)
        result = ToolMessage(call="m1-c0", name="look", result=ToolResult(text="ok"))
        await model.sample(request(UserMessage(id="u1", text="?"), said, result), lambda _: None)
        await models.close()
        assert reply.parts[0] == Reasoning("Hm.", "", "deepseek", "reasoning_content")
        assert server.requests[1].body["messages"][2]["reasoning_content"] == "Hm."


@dialects
async def test_a_signed_or_foreign_reasoning_survives_only_where_it_came_from(dialect: Dialect) -> None:
    foreign = AssistantMessage(id="m0", parts=(Reasoning("Secret thought.", "sig", "elsewhere"), Text("Hi.")))
    body = await sent(dialect, UserMessage(id="u1", text="Hi"), foreign, UserMessage(id="u2", text="Hi"))
    assert "Secret thought." not in str(body)


async def test_redacted_reasoning_comes_and_goes_as_it_is() -> None:
    part = Reasoning("", "opaque", redacted=True)
    async with asking("anthropic", Stream(parts=(part, Text("Hi.")))) as (asked, server):
        reply = await asked.ask()
        said = AssistantMessage(id="m1", parts=reply.parts)
        await asked.ask(UserMessage(id="u1", text="?"), said, UserMessage(id="u2", text="!"))
    assert reply.parts[0] == Reasoning("", "opaque", "anthropic", "redacted_thinking", redacted=True)
    assert server.requests[1].body["messages"][1]["content"][0] == {"type": "redacted_thinking", "data": "opaque"}


async def test_a_calls_signature_comes_and_goes_as_it_is() -> None:
    """Some makers sign tool calls in a field of their own and refuse those that come back without."""
    extra = '{"choices":[{"index":0,"finish_reason":null,"delta":{"tool_calls":[{"index":0,"id":"x","type":"function",'
    extra += '"function":{"name":"look","arguments":"{}"},"extra_content":{"google":{"thought_signature":"s"}}}]}}]}'
    finish = '{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}'
    signed = Stream(fault="garble", after=1, garbage=f"{extra}\n\ndata: {finish}\n\ndata: [DONE]")
    async with asking("openai", signed, Stream()) as (asked, server):
        reply = await asked.ask()
        said = AssistantMessage(id="m1", parts=reply.parts, stop_reason=reply.stop_reason)
        result = ToolMessage(call="m1-c0", name="look", result=ToolResult(text="ok"))
        await asked.ask(UserMessage(id="u1", text="?"), said, result)
    call = server.requests[1].body["messages"][2]["tool_calls"][0]
    assert call["extra_content"] == {"google": {"thought_signature": "s"}}


@pytest.mark.parametrize(("effort", "thinking"), [("high", "high"), (None, None)])
async def test_effort(effort: Effort | None, thinking: str | None) -> None:
    async with asking("openai", options=ModelOptions(effort=effort)) as (asked, server):
        await asked.ask()
    assert server.requests[0].body.get("reasoning_effort") == thinking
    async with asking("anthropic", options=ModelOptions(effort=effort)) as (asked, server):
        await asked.ask()
    assert server.requests[0].body.get("output_config", {}).get("effort") == thinking


@dialects
async def test_keys_headers_and_who_asks(dialect: Dialect) -> None:
    async with asking(dialect) as (asked, server):
        await asked.ask()
    headers = server.requests[0].headers
    assert headers["authorization"] == f"Bearer {KEY}"
    assert headers.get("x-api-key") == (KEY if dialect == "anthropic" else None)  # servers that copied it long ago
    assert headers["user-agent"].startswith("quell/")


@dialects
async def test_connections_are_used_again(dialect: Dialect) -> None:
    async with asking(dialect) as (asked, server):
        for _ in range(3):
            await asked.ask()
    assert len({asked.connection for asked in server.requests}) == 1


# --- what comes back -----------------------------------------------------------------------------------------------


@dialects
@pytest.mark.parametrize("split", [1, 2, 3, 50])
async def test_text_arrives_whole_however_it_is_cut(dialect: Dialect, split: int) -> None:
    text = "Grüße 🏖️ 日本語 " * 3
    async with asking(dialect, Stream(parts=(Text(text),), chunk=4, split=split)) as (asked, _):
        reply = await asked.ask()
    assert reply.parts == (Text(text),)
    assert "".join(delta.text for delta in asked.deltas) == text


@dialects
@pytest.mark.parametrize("said", ["end_turn", "max_tokens", "refusal"])
async def test_stop_reasons(dialect: Dialect, said: StopReason) -> None:
    async with asking(dialect, Stream(stop_reason=said)) as (asked, _):
        assert (await asked.ask()).stop_reason == said


@dialects
async def test_usage_and_cost(dialect: Dialect) -> None:
    counted = Usage(input=1000, output=200, cache_read=5000)
    async with asking(dialect, Stream(usage=counted)) as (asked, _):
        reply = await asked.ask()
    assert reply.usage == counted
    # gpt-5: 1.25 in, 10 out, 0.125 cached; claude-opus-5: 5 in, 25 out, 0.50 cached (dollars per million)
    assert reply.cost == (Decimal("0.003875") if dialect == "openai" else Decimal("0.0125"))
    assert reply.model == f"{dialect}/{NAMES[dialect]}"


@dialects
async def test_ones_own_prices_count_alone(dialect: Dialect) -> None:
    own = ModelOptions(input_price=Decimal(2), output_price=Decimal(3), cache_read_price=Decimal(1))
    async with asking(dialect, Stream(usage=Usage(input=1000, output=200, cache_read=5000)), options=own) as (asked, _):
        assert (await asked.ask()).cost == Decimal("0.0076")


@dialects
async def test_no_usage_no_cost(dialect: Dialect) -> None:
    async with asking(dialect, Stream(usage=Usage())) as (asked, _):
        reply = await asked.ask()
    assert (reply.usage, reply.cost) == (Usage(), None)


# --- what goes wrong -----------------------------------------------------------------------------------------------


@dialects
@pytest.mark.parametrize(
    ("fault", "reason"),
    [("truncate", "garbled"), ("half_close", "unreachable"), ("reset", "unreachable"), ("garble", "garbled")],
)
@pytest.mark.parametrize("after", [0, 1, 4, 6])
async def test_a_stream_that_breaks_is_a_failure(dialect: Dialect, fault: Fault, reason: str, after: int) -> None:
    async with asking(dialect, Stream(parts=(Text("abcdefgh"),), chunk=1, fault=fault, after=after)) as (asked, server):
        failed = await asked.fail()
    assert failed.reason == reason
    assert f"127.0.0.1:{server.port}" in failed.detail


@dialects
@pytest.mark.parametrize(
    "garbage",
    [
        "5", "null", "[]", '"words"', "{}", '{"choices": 3}', '{"choices": [3]}', '{"choices": [{"delta": 5}]}',
        '{"choices": [{"delta": {"tool_calls": 5}}]}', '{"type": "message_start", "message": 5}',
        '{"type": "content_block_start", "index": 0, "content_block": 5}',
        '{"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": 5}}',
        '{"type": "content_block_delta", "index": 7, "delta": {"type": "text_delta", "text": "x"}}',
        '{"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": "x"}}',
    ],
)  # fmt: skip
async def test_json_that_is_not_the_protocol_is_garbled(dialect: Dialect, garbage: str) -> None:
    async with asking(dialect, Stream(parts=(Text("ab"),), chunk=1, fault="garble", after=3, garbage=garbage)) as (
        a,
        _,
    ):
        assert (await a.fail()).reason == "garbled"
    assert all(isinstance(delta.text, str) for delta in a.deltas)


@dialects
async def test_what_was_streamed_before_a_failure_has_been_emitted(dialect: Dialect) -> None:
    async with asking(dialect, Stream(parts=(Text("abcdef"),), chunk=1, fault="half_close", after=6)) as (asked, _):
        await asked.fail()
    assert "abcdef".startswith("".join(delta.text for delta in asked.deltas))
    assert asked.deltas


OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
RATE = {"error": {"message": "Slow down", "type": "rate_limit_error", "code": "rate_limit_exceeded"}}


@dialects
@pytest.mark.parametrize(("error", "reason"), [(OVERLOADED, "overloaded"), (RATE, "rate_limit")])
@pytest.mark.parametrize("after", [0, 5])
async def test_an_error_in_the_stream_is_classified(
    dialect: Dialect, error: dict[str, Any], reason: str, after: int
) -> None:
    body = {"type": "error", **error}
    async with asking(dialect, Stream(parts=(Text("ab"),), chunk=1, fault="error", after=after, error=body)) as (
        asked,
        _,
    ):
        failed = await asked.fail()
    assert failed.reason == reason
    assert error["error"]["message"] in failed.detail


REFUSALS = [
    (401, {"error": {"message": f"Incorrect API key: {KEY}", "type": "x"}}, {}, "unauthorized", None),
    (403, {"error": {"message": "Not for you"}}, {}, "unauthorized", None),
    (402, {"error": {"message": "Pay first"}}, {}, "quota", None),
    (429, {"error": {"message": "Over.", "code": "insufficient_quota"}}, {"retry-after": "5"}, "quota", None),
    (429, {"error": {"message": "Slow."}}, {"retry-after": "7"}, "rate_limit", 7.0),
    (429, {"error": {"message": "Slow."}}, {"retry-after-ms": "1500"}, "rate_limit", 1.5),
    (404, {"error": {"message": "The model does not exist"}}, {}, "unknown_model", None),
    (400, {"error": {"message": "x", "code": "context_length_exceeded"}}, {}, "context_overflow", None),
    (400, {"error": {"message": "Bad temperature"}}, {}, "invalid_request", None),
    (409, {"error": {"message": "Conflict"}}, {"retry-after": "1"}, "overloaded", 1.0),
    (500, "oops", {}, "overloaded", None),
    (503, {"error": {"message": "Later"}}, {"retry-after": "3"}, "overloaded", 3.0),
    (529, OVERLOADED, {}, "overloaded", None),
    (200, "<html>a login page</html>", {}, "garbled", None),
    (204, "", {}, "garbled", None),
]


@dialects
@pytest.mark.parametrize(("status", "body", "headers", "reason", "wait"), REFUSALS)
async def test_refusals_are_classified(
    dialect: Dialect, status: int, body: Any, headers: dict[str, str], reason: str, wait: float | None
) -> None:
    async with asking(dialect, Refusal(status=status, body=body, headers=headers)) as (asked, server):
        failed = await asked.fail()
        assert len(server.requests) == 1, "retries are not made here"
    assert (failed.reason, failed.retry_after) == (reason, wait)
    assert KEY not in failed.detail
    assert f"127.0.0.1:{server.port}" in failed.detail
    if isinstance(body, dict) and status != 401:
        assert body["error"]["message"] in failed.detail


@dialects
async def test_a_page_instead_of_an_answer_points_at_the_address(dialect: Dialect) -> None:
    async with asking(dialect, Refusal(status=200, body="<html>a login page</html>")) as (asked, _):
        failed = await asked.fail()
    assert failed.detail.endswith("sent nothing that is an answer in its protocol — check the provider's base URL")


@dialects
async def test_nobody_listens(dialect: Dialect) -> None:
    with socket.socket() as taken:  # bound, and not listening: so nobody else has it either
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        models = ProviderModels([ProviderOptions(name="gone", dialect=dialect, base_url=f"http://127.0.0.1:{port}")])
        model = await models.open("gone/model", {})
        with pytest.raises(ModelFailed, match=f"127.0.0.1:{port} cannot be reached") as failed:
            await model.sample(request(), lambda _: None)
        await models.close()
    assert failed.value.reason == "unreachable"


@dialects
async def test_a_server_that_hangs_up(dialect: Dialect) -> None:
    async with asking(dialect, HangUp()) as (asked, _):
        assert (await asked.fail()).reason == "unreachable"


@dialects
@pytest.mark.parametrize("answer", [Mute(), Stream(fault="silence", after=0), Stream(fault="silence", after=4)])
async def test_total_silence_ends_after_the_idle_timeout(dialect: Dialect, answer: Mute | Stream) -> None:
    async with asking(dialect, answer, idle_timeout=0.1) as (asked, _):
        failed = await asked.fail()
    assert failed.reason == "unreachable"
    assert "no sign of life for 0.1 s" in failed.detail


@dialects
@pytest.mark.parametrize(
    "answer", [Mute(), Stream(fault="silence", after=0), Stream(chunk=1, fault="silence", after=5)]
)
async def test_cancelling_closes_the_connection(dialect: Dialect, answer: Mute | Stream) -> None:
    async with asking(dialect, answer) as (asked, server), asyncio.TaskGroup() as group:
        task = group.create_task(asked.ask())
        await server.arrivals.get()
        if isinstance(answer, Stream):
            for _ in range(answer.after):
                await server.sent.get()
        task.cancel()
        turns = 0
        while server.closings.empty():
            await asyncio.sleep(0.005)
            turns += 1
    assert task.cancelled()
    assert (
        turns < 100
    )  # benchmarks measure it; here it must not wait for anything, and who waits for half a second is seen


class _Looked:
    """Among those who find modules: notes what is looked for, and finds nothing."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        self.names.append(name)


@dialects
async def test_to_cancel_no_library_is_looked_for(dialect: Dialect, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is not there is looked for in every folder, each time: that was a third of the way to the settlement."""
    looked = _Looked()
    async with asking(dialect, Stream(chunk=1, fault="silence", after=5)) as (asked, _):
        async with asyncio.TaskGroup() as group:
            streams = asyncio.Event()
            task = group.create_task(asked.model.sample(request(), lambda _: streams.set()))
            await streams.wait()
            monkeypatch.setattr(sys, "meta_path", [looked, *sys.meta_path])
            task.cancel()
        assert task.cancelled()
        monkeypatch.undo()
    assert looked.names == []


@dialects
async def test_after_a_cancel_the_next_sample_works(dialect: Dialect) -> None:
    async with asking(dialect, Mute(), Stream()) as (asked, server):
        async with asyncio.TaskGroup() as group:
            task = group.create_task(asked.ask())
            await server.arrivals.get()
            task.cancel()
        assert (await asked.ask()).parts == (Text("Hello."),)


async def test_an_attachment_that_a_model_cannot_take_is_a_refused_request() -> None:
    sound = Attachment(name="a.ogg", content="AAAA", mime_type="video/mp4", encoding="base64")
    async with asking("openai") as (asked, _):
        failed = await asked.fail(UserMessage(id="u1", text="Listen", attachments=(sound,)))
    assert failed.reason == "invalid_request"


@dialects
async def test_many_parts_keep_their_numbers(dialect: Dialect) -> None:
    parts = tuple(ToolCall("same", "look", f'{{"path": "{number}"}}') for number in range(30))
    async with asking(dialect, Stream(parts=parts, chunk=3)) as (asked, _):
        reply = await asked.ask()
    texts: dict[str | None, list[PartDelta]] = {}
    for delta in asked.deltas:
        texts.setdefault(delta.call, []).append(delta)
    assert {call: "".join(delta.text for delta in deltas) for call, deltas in texts.items()} == {
        call.id: call.input for call in reply.calls
    }
    assert [call.input for call in reply.calls] == [part.input for part in parts]
