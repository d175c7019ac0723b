"""Images in what is sent: each protocol has its own place for them, and a text stands in the place of those that are not."""

from __future__ import annotations

import base64
import json
from typing import Any

from msgspec.structs import replace

from quell.core.images import MOST, STEP, shown_of
from quell.core.messages import (
    AssistantMessage,
    Attachment,
    Image,
    Memo,
    Message,
    Text,
    ToolCall,
    ToolMessage,
    ToolResult,
    UserMessage,
)
from quell.llm import ProviderModels, ProviderOptions
from quell.llm.options import ModelOptions
from quell.testing.protocols import complaint
from tests.core.drawing import jpeg, png
from tests.llm.asking import NAMES, asking, request
from tests.llm.test_adapter import dialects

PNG, JPEG = png(), jpeg()


def seen(call: str, name: str, media_type: str) -> ToolMessage:
    image = Image(name=name, media_type=media_type, sha256="0" * 64, size=1, width=2, height=1)
    return ToolMessage(call=call, name="look", result=ToolResult(text=f"{name}: an image.", images=(image,)))


HISTORY: tuple[Message, ...] = (
    UserMessage(id="u1", text="Look at both."),
    AssistantMessage(
        id="m1", parts=tuple(ToolCall(f"m1-c{n}", "look", "{}") for n in range(3)), stop_reason="tool_use"
    ),
    seen("m1-c0", "a.png", "image/png"),
    ToolMessage(call="m1-c1", name="look", result=ToolResult(text="text")),
    seen("m1-c2", "b.jpg", "image/jpeg"),
    UserMessage(id="u2", text="Well?"),
)
IMAGES = {"m1-c0": (PNG,), "m1-c2": (JPEG,)}


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


async def test_chat_completions_show_images_after_the_results_which_are_text() -> None:
    async with asking("openai") as (asked, server):
        await asked.model.sample(request(*HISTORY, images=IMAGES), lambda _: None)
    _, _, _, first, second, third, shown, steer = server.requests[0].body["messages"]
    assert [result["content"] for result in (first, second, third)] == ["a.png: an image.", "text", "b.jpg: an image."]
    assert shown["role"] == "user"
    one, picture, two, photo = shown["content"]
    assert (one["text"], two["text"]) == ("[From look: a.png]", "[From look: b.jpg]")
    assert picture["image_url"]["url"] == f"data:image/png;base64,{encoded(PNG)}"
    assert photo["image_url"]["url"] == f"data:image/jpeg;base64,{encoded(JPEG)}"
    assert steer == {"role": "user", "content": "Well?"}


async def test_messages_show_images_in_the_results() -> None:
    async with asking("anthropic") as (asked, server):
        await asked.model.sample(request(*HISTORY, images=IMAGES), lambda _: None)
    first, second, third, steer = server.requests[0].body["messages"][-1]["content"]
    assert first["tool_use_id"] == "m1-c0"
    assert first["content"] == [
        {"type": "text", "text": "a.png: an image."},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": encoded(PNG)}},
    ]
    assert "image" not in str(second["content"])
    assert third["content"][1]["source"]["media_type"] == "image/jpeg"
    assert steer["text"] == "Well?"


@dialects
async def test_a_text_stands_in_the_place_of_what_is_gone_or_cannot_be_seen(dialect: Any) -> None:
    async with asking(dialect) as (asked, server):
        for vision, images in ((True, {"m1-c2": (JPEG,)}), (True, {}), (False, {})):
            await asked.model.sample(request(*HISTORY, vision=vision, images=images), lambda _: None)
    one, none, blind = (json.dumps(asked.body, ensure_ascii=False) for asked in server.requests)
    assert encoded(PNG) not in one
    assert encoded(JPEG) in one
    assert "[a.png is not shown here. View it again, if it is needed.]" in one
    assert "b.jpg is not shown" not in one
    assert none.count("is not shown here. View it again") == 2
    assert blind.count("is not shown here. The model in use is not known to see images") == 2
    assert "base64" not in none + blind


@dialects
async def test_what_was_kept_of_an_earlier_request_does_not_show_other_images(dialect: Any) -> None:
    """A file that is removed, a model that loses its sight: what is sent follows from the request alone."""
    kept = Memo()
    async with asking(dialect) as (asked, server):
        for vision, images in ((True, IMAGES), (True, {}), (True, IMAGES), (False, {}), (True, {"m1-c0": (PNG,)})):
            for memo in (kept, Memo()):
                sent = replace(request(*HISTORY, vision=vision, images=images), memo=memo)
                await asked.model.sample(sent, lambda _: None)
            again, anew = (json.dumps(asked.body) for asked in server.requests[-2:])
            assert again == anew


@dialects
async def test_what_was_attached_is_shown_to_models_that_see(dialect: Any) -> None:
    picture = Attachment(name="dot.png", content=encoded(PNG), mime_type="image/png", encoding="base64")
    prompt = UserMessage(id="u1", text="What is it?", attachments=(picture,))
    async with asking(dialect) as (asked, server):
        for vision in (True, False):
            await asked.model.sample(request(prompt, vision=vision), lambda _: None)
    seeing, blind = (json.dumps(asked.body) for asked in server.requests)
    assert encoded(PNG) in seeing
    assert encoded(PNG) not in blind
    assert "[dot.png, an image, was attached, but is not shown here." in blind


def test_of_many_images_the_newest_are_shown_and_the_others_go_in_steps() -> None:
    results = [seen(f"c{n}", "a.png", "image/png") for n in range(MOST + STEP + 1)]
    firsts = [int(shown_of(results[:count])[0].call[1:]) for count in range(1, len(results) + 1)]
    assert firsts == [0] * MOST + [STEP] * STEP + [2 * STEP]
    assert shown_of([UserMessage(id="u", text="?"), AssistantMessage(id="m", parts=(Text("."),))]) == []


def test_what_is_known_of_a_model_s_sight() -> None:
    chosen = {"claude-opus-5": ModelOptions(vision=False), "mine": ModelOptions(vision=True)}
    models = ProviderModels([ProviderOptions(name="anthropic", models=chosen)])
    assert models.sees(f"openai/{NAMES['openai']}")
    assert models.sees("anthropic/mine")
    assert models.sees("openrouter/anthropic/claude-opus-4.5")
    for blind in ("anthropic/claude-opus-5", "openai/o3-mini", "deepseek/deepseek-v3.2", "nobody/nothing", "", "x"):
        assert not models.sees(blind), blind
    known = {row.spec: row.vision for row in models.known({})}
    assert known["anthropic/mine"]
    assert not known["anthropic/claude-opus-5"]


async def test_the_loopback_servers_refuse_what_providers_refuse() -> None:
    call = {"id": "c0", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    asks = {"role": "assistant", "content": None, "tool_calls": [call]}
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{encoded(PNG)}"}}
    answer = {"role": "tool", "tool_call_id": "c0", "content": "ok"}
    broken = {"type": "image_url", "image_url": {"url": "data:image/png;base64,…"}}
    svg = {"type": "image_url", "image_url": {"url": "data:image/svg+xml;base64,aGk="}}
    for messages in (
        [asks],
        [asks, {"role": "user", "content": "?"}, answer],
        [answer],
        [asks, {**answer, "content": [picture]}],
        [{"role": "assistant", "content": [picture]}],
        [{"role": "user", "content": [broken]}],
        [{"role": "user", "content": [svg]}],
    ):
        assert complaint("openai", {"messages": messages}), messages
    assert complaint("openai", {"messages": [asks, answer, {"role": "user", "content": [picture]}]}) is None
    use = {"role": "assistant", "content": [{"type": "tool_use", "id": "c0", "name": "look", "input": {}}]}
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": encoded(PNG)}}
    result = {"type": "tool_result", "tool_use_id": "c0", "content": [image]}
    text = {"type": "text", "text": "?"}
    for messages in (
        [use],
        [use, {"role": "user", "content": "?"}],
        [use, {"role": "user", "content": [text, result]}],
        [{"role": "user", "content": [result]}],
        [{"role": "assistant", "content": [image]}],
        [use, {"role": "user", "content": [{**result, "content": [{**image, "source": svg_source()}]}]}],
        [{"role": "user", "content": [{"type": "text", "text": ""}]}],
    ):
        assert complaint("anthropic", {"messages": messages}), messages
    assert complaint("anthropic", {"messages": [use, {"role": "user", "content": [result, text]}]}) is None
    async with asking("anthropic") as (asked, _):
        failed = await asked.fail(HISTORY[0], HISTORY[2])
    assert failed.reason == "invalid_request"


def svg_source() -> dict[str, str]:
    return {"type": "base64", "media_type": "image/svg+xml", "data": "aGk="}
