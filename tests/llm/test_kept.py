"""What goes out again as it was written: the request is the same, byte for byte, and only its end is made anew."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from quell.core.errors import ModelFailed
from quell.core.messages import (
    AssistantMessage,
    Attachment,
    Image,
    Memo,
    Message,
    ModelRequest,
    Part,
    Reasoning,
    SummaryMessage,
    Text,
    ToolCall,
    ToolMessage,
    ToolResult,
    UserMessage,
)
from quell.core.ports import LanguageModel
from quell.llm.loading import MODULES
from quell.llm.options import ModelOptions, ProviderOptions
from quell.llm.providers import access, with_options
from quell.llm.rehearsal import DialectModule
from quell.llm.translate import Translation
from tests.core.drawing import png
from tests.llm.asking import request

PICTURE = Image(name="a.png", media_type="image/png", sha256="0" * 64, size=1, width=2, height=1)
TEXTS = ("Look.", "<|im_start|>system", 'é "\\ \u2028', "{}", " ")
INPUTS = ("{}", '{"path": "a.py"}', '{"cache_control": "\\u003c|im_end|\\u003e"}', '{"path": ', "")
CALLS = 4
WAYS = ("signed", "unsigned", "foreign", "redacted")

MODELS = (
    ("openai", "gpt-6.1-sol"),
    ("openai", "o1-mini"),
    ("deepseek", "deepseek-chat"),
    ("here", "any"),
    ("anthropic", "claude-opus-5"),
)


class Wire:
    """A model whose requests go nowhere but here."""

    def __init__(self, provider: str, name: str) -> None:
        own = ProviderOptions(
            name=provider,
            dialect="openai" if provider == "here" else None,
            base_url="http://127.0.0.1:1/v1",
            api_key="none",
            sends_reasoning=provider != "openai",
        )
        chosen = with_options((own,))[provider]
        module = cast("DialectModule", importlib.import_module(MODULES[chosen.dialect]))

        def answer(asked: httpx2.Request) -> httpx2.Response:
            self.sent = asked.content
            return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=module.REHEARSAL)

        self.sent = b""
        self.provider = provider
        self._connection = module.connect(access(chosen, {}, {}), httpx2.MockTransport(answer))
        self.model: LanguageModel = self._connection.model(name, ModelOptions(), None)

    async def ask(self, asked: ModelRequest) -> bytes:
        """The body, or why there is none."""
        try:
            await self.model.sample(asked, lambda _: None)
        except ModelFailed as failed:
            return str(failed).encode()
        return self.sent


@dataclass
class Conversation:
    """What may become of one between two requests. It is not always one that a transcript would send: nothing relies on that."""

    provider: str
    messages: tuple[Message, ...] = ()
    hidden: set[str] = field(default_factory=set)
    vision: bool = True
    number: int = 0

    def prompt(self, draw: Callable[[int], int]) -> None:
        self._add(UserMessage(id=self._id("u"), text=TEXTS[draw(len(TEXTS) - 1)]))

    def answer(self, draw: Callable[[int], int]) -> None:
        """With results for most of its calls, in any order."""
        id = self._id("m")
        calls = [ToolCall(f"{id}-c{place}", "look", INPUTS[draw(len(INPUTS))]) for place in range(draw(CALLS))]
        thoughts = [self._thought(draw) for _ in range(draw(3))]
        said = [Text(TEXTS[draw(len(TEXTS) - 1)])] * (draw(2) if calls else 1)
        parts: tuple[Part, ...] = (*thoughts, *said, *calls)
        self._add(AssistantMessage(id=id, parts=parts))
        for call in reversed(calls) if draw(2) else calls:
            result = ToolResult(text="", images=(PICTURE,) * (draw(4) // 3))
            self._add(
                ToolMessage(call=call.id, name="look", result=replace(result, status="failed") if draw(2) else result)
            )

    def think(self, draw: Callable[[int], int]) -> None:
        """An answer that says nothing, which a transcript leaves out."""
        self._add(AssistantMessage(id=self._id("m"), parts=(self._thought(draw),)))

    def revert(self, draw: Callable[[int], int]) -> None:
        self.messages = self.messages[: draw(len(self.messages) + 1)]

    def compact(self, draw: Callable[[int], int]) -> None:
        summary = SummaryMessage(id=self._id("s"), text="So far, so good.")
        self.messages = (summary, *self.messages[draw(len(self.messages) + 1) :])

    def reword(self, draw: Callable[[int], int]) -> None:
        """Another message under a known id."""
        place = draw(len(self.messages) + 1)
        for message in self.messages[place : place + 1]:
            if isinstance(message, UserMessage):
                self.messages = (*self.messages[:place], replace(message, text="No."), *self.messages[place + 1 :])

    def hide(self, draw: Callable[[int], int]) -> None:
        self.hidden |= {message.call for message in self.messages[: draw(9)] if isinstance(message, ToolMessage)}
        self.vision = draw(5) > 0

    def again(self, draw: Callable[[int], int]) -> None:
        """Nothing: it failed, say, and is asked once more."""

    def request(self, memo: Memo) -> ModelRequest:
        images = {
            message.call: (png(),)
            for message in self.messages
            if self.vision and isinstance(message, ToolMessage) and message.result.images
        }
        shown = {call: content for call, content in images.items() if call not in self.hidden}
        return replace(request(*self.messages, vision=self.vision, images=shown), memo=memo)

    def _thought(self, draw: Callable[[int], int]) -> Reasoning:
        match WAYS[draw(len(WAYS))]:
            case "signed":
                return Reasoning("Hm.", "signed", self.provider)
            case "redacted":
                return Reasoning("", "signed", self.provider, "redacted_thinking", redacted=True)
            case "unsigned":
                return Reasoning("Hm.", "", self.provider, ("reasoning_content", "reasoning", "content")[draw(3)])
            case _:
                return Reasoning("Hm.", "signed", "elsewhere")

    def _add(self, message: Message) -> None:
        self.messages += (message,)

    def _id(self, kind: str) -> str:
        self.number += 1
        return f"{kind}{self.number}"


Step = Callable[[Conversation, Callable[[int], int]], None]
USUAL: tuple[Step, ...] = (Conversation.prompt, Conversation.answer, Conversation.answer)
STEPS: tuple[Step, ...] = (
    *USUAL,
    *USUAL,
    Conversation.think,
    Conversation.revert,
    Conversation.compact,
    Conversation.reword,
    Conversation.hide,
    Conversation.again,
)


@pytest.mark.parametrize(("provider", "name"), MODELS)
@settings(max_examples=30)
@given(data=st.data())
def test_what_is_sent_is_what_all_messages_at_once_would_come_to(provider: str, name: str, data: st.DataObject) -> None:
    def draw(below: int) -> int:
        return data.draw(st.integers(0, below - 1))

    async def converse() -> None:
        wire, memo, talk = Wire(provider, name), Memo(), Conversation(provider)
        for step in [Conversation.prompt, *data.draw(st.lists(st.sampled_from(STEPS), min_size=3, max_size=12))]:
            step(talk, draw)
            assert await wire.ask(talk.request(memo)) == await wire.ask(talk.request(Memo()))

    asyncio.run(converse())


@pytest.mark.parametrize(("provider", "name"), [each for each in MODELS if each[1] != "o1-mini"])
async def test_only_the_end_of_a_conversation_is_made_anew(provider: str, name: str) -> None:
    wire, memo, talk = Wire(provider, name), Memo(), Conversation(provider)
    talk.prompt(_first)
    for _ in range(20):
        await wire.ask(talk.request(memo))
        talk.answer(lambda below: 1 if below == CALLS else 0)
    asked = talk.request(memo)
    made = [
        len(_translation(memo).continuation(replace(asked, messages=asked.messages[:end])).messages) for end in (41, 31)
    ]
    assert max(made) <= 4, made


async def test_what_cannot_be_told_apart_in_the_request_is_not_kept() -> None:
    """Unsigned reasoning goes out as the user's, so that of two answers in a row come three, and of one without words none."""
    unsigned = Reasoning("Hm.", "", "anthropic", "thinking")
    talk = Conversation("anthropic")
    talk.messages = (
        UserMessage(id="u1", text="Look."),
        AssistantMessage(id="m1", parts=(Text("First."),)),
        AssistantMessage(id="m2", parts=(unsigned, Text("Second."))),
        UserMessage(id="u2", text="Well?"),
        AssistantMessage(id="m3", parts=(unsigned,)),
        UserMessage(id="u3", text="And?"),
    )
    wire, memo = Wire("anthropic", "claude-opus-5"), Memo()
    for _ in range(3):
        assert await wire.ask(talk.request(memo)) == await wire.ask(talk.request(Memo()))
        talk.answer(_first)
        talk.prompt(_first)


async def test_a_request_that_is_overtaken_leaves_nothing() -> None:
    wire, memo, talk = Wire("openai", "gpt-6.1-sol"), Memo(), Conversation("openai")
    for _ in range(3):
        talk.prompt(_first)
        await wire.ask(talk.request(memo))
        talk.answer(_first)
    late = _translation(memo).continuation(talk.request(memo))
    talk.prompt(_first)
    for _ in range(2):
        assert await wire.ask(talk.request(memo)) == await wire.ask(talk.request(Memo()))
        late.whole([{"role": "user", "content": ""}, {"role": "assistant", "content": ""}] * 2)


async def test_a_request_that_cannot_be_made_leaves_nothing() -> None:
    wire, memo, talk = Wire("openai", "gpt-6.1-sol"), Memo(), Conversation("openai")
    begun = UserMessage(id="u0", text="Look.")
    broken = Attachment(name="a.png", mime_type="image/png", content="x", encoding="base64")

    def answered(word: str, *last: Message) -> tuple[Message, ...]:
        answer = AssistantMessage(id="m", parts=(Text(word),))
        return (begun, answer, UserMessage(id="u", text=word), answer, *last)

    talk.messages = kept = answered("Yes.", begun)
    await wire.ask(talk.request(memo))
    talk.messages = answered("No.", UserMessage(id="u1", text="", attachments=(broken,)))
    with pytest.raises(ValueError, match="base64"):
        await wire.ask(talk.request(memo))
    talk.messages = kept
    assert await wire.ask(talk.request(memo)) == await wire.ask(talk.request(Memo()))


def _first(_: int) -> int:
    return 0


def _translation(memo: Memo) -> Translation:
    assert isinstance(memo.made, Translation)
    return memo.made
