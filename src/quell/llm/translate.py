"""Our messages as pydantic-ai's, which its models put into each provider's form.

Rules: what is sent follows from the request and the provider alone. Calls carry our ids. Reasoning goes back only to
the provider that gave it. Tool results stand in the order of their calls. Whatever the model wrote as a tool's input
goes out as an object, because providers refuse anything else.
"""

from __future__ import annotations

import base64
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import takewhile
from operator import is_
from typing import assert_never

import msgspec
from msgspec import Struct
from pydantic_ai import messages as p
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.tools import ToolDefinition
from pydantic_ai.usage import RequestUsage

from quell.core.images import with_images
from quell.core.messages import (
    AssistantMessage,
    Attachment,
    Message,
    ModelRequest,
    Part,
    Reasoning,
    SummaryMessage,
    Text,
    ToolCall,
    ToolMessage,
    ToolSpec,
    UserMessage,
)

# Not sent to anybody; given so that they are not made anew for each of two thousand messages.
_UNCOUNTED = RequestUsage()
_WHENEVER = datetime.fromtimestamp(0, UTC)

_Said = UserMessage | SummaryMessage | ToolMessage
_Turn = tuple[AssistantMessage] | list[_Said]

BLIND = "The model in use is not known to see images; for one that does, `vision = true` in the settings says so."
SUMMARY = "What follows is a summary of the conversation so far, which is no longer available in full.\n\n"


def parameters(system: str, tools: Sequence[ToolSpec]) -> ModelRequestParameters:
    """The system prompt and the tools."""
    return ModelRequestParameters(
        function_tools=[
            # Not strict: strict schemas are rewritten, and ours are meant as they are.
            ToolDefinition(
                name=tool.name, description=tool.description, parameters_json_schema=tool.schema, strict=False
            )
            for tool in tools
        ],
        instruction_parts=[p.InstructionPart(content=system)] if system else [],
    )


class Translation:
    """One conversation in the words of one model. It keeps what it made of the last request: the next one mostly goes on from there.

    Messages are frozen, and a session's stay the same objects: they are known by their identity. `provider` is our name of who is
    asked. With `marks`, failed results are marked as such and hold their images, which otherwise follow as the user's; and the message
    before the last is marked for the prompt cache: it ended the request before this one.
    """

    def __init__(self, model: Model, provider: str, *, marks: bool) -> None:
        self.model = model
        self._provider = provider
        self._marks = marks
        self._messages: Sequence[Message] = ()
        self._starts: list[int] = []  # of each turn: which message is its first
        self._made: list[p.ModelMessage] = []
        self._sight = Sight()

    def history(self, request: ModelRequest) -> list[p.ModelMessage]:
        messages, sight = request.messages, Sight.of(request)
        if sight != self._sight:  # what was translated shows other images
            self._starts.clear()
            self._made.clear()
            self._messages, self._sight = (), sight
        position = self._go_back(messages)
        for turn in _turns(messages[position:]):
            self._starts.append(position)
            self._made.append(self._message(turn, request.images))
            position += len(turn)
        self._messages = messages
        sent = [made for made in self._made if made.parts]
        asked = [place for place, made in enumerate(sent) if isinstance(made, p.ModelRequest)]
        if self._marks and len(asked) > 1:
            last = sent[asked[-2]]
            assert isinstance(last, p.ModelRequest), "found above"
            sent[asked[-2]] = replace(last, parts=[*last.parts, p.UserPromptPart(content=[p.CachePoint()])])
        return sent

    def _go_back(self, messages: Sequence[Message]) -> int:
        """Forget what does not stand at the beginning of these messages; returns how many are translated.

        That is up to the last answer that they have in common with the last request: what was said after it may have become more.
        """
        same = sum(1 for _ in takewhile(bool, map(is_, self._messages, messages)))
        kept = max(bisect_left(self._starts, same) - 1, 0)
        while kept and isinstance(self._made[kept], p.ModelRequest):
            kept -= 1
        position = self._starts[kept] if kept else 0
        del self._starts[kept:], self._made[kept:]
        self._messages = messages[:position]  # should one of the others not be translatable, nothing is known of them
        return position

    def _message(self, turn: _Turn, images: Mapping[str, tuple[bytes, ...]]) -> p.ModelMessage:
        if isinstance(turn, list):
            return p.ModelRequest(parts=list(self._request_parts(turn, images)))
        (ours,), system = turn, self.model.system
        parts = [part for each in ours.parts if (part := _response_part(each, self._provider, system)) is not None]
        return p.ModelResponse(parts=parts, provider_name=system, usage=_UNCOUNTED, timestamp=_WHENEVER)

    def _request_parts(
        self, turn: list[_Said], images: Mapping[str, tuple[bytes, ...]]
    ) -> Iterator[p.ModelRequestPart]:
        """Where results are text alone, their images come after the last of them: nothing else may stand between results."""
        behind: list[p.UserContent] = []
        for message in turn:
            if isinstance(message, ToolMessage):
                shown = list(_pictures(message, images.get(message.call, ())))
                yield self._result(message, shown if self._marks else [])
                if shown and not self._marks:
                    behind += [
                        f"[From {message.name}: {', '.join(image.name for image in message.result.images)}]",
                        *shown,
                    ]
                continue
            if behind:
                yield p.UserPromptPart(content=behind, timestamp=_WHENEVER)
                behind = []
            yield _user_part(message, vision=self._sight.vision)
        if behind:
            yield p.UserPromptPart(content=behind, timestamp=_WHENEVER)

    def _result(self, message: ToolMessage, shown: list[p.BinaryContent]) -> p.ToolReturnPart:
        lines = [message.result.text]
        if message.call in self._sight.hidden:
            lines += [self._sight.instead(image.name) for image in message.result.images]
        text = "\n".join(filter(None, lines)) or "(no output)"  # an empty result is refused by some
        return p.ToolReturnPart(
            tool_name=message.name,
            content=[text, *shown] if shown else text,
            tool_call_id=message.call,
            timestamp=_WHENEVER,
            outcome="failed" if self._marks and message.result.status != "completed" else "success",
        )


class Sight(Struct, frozen=True):
    """What a model sees of a conversation's images: with `vision`, all but those in the results of the `hidden` calls."""

    vision: bool = False
    hidden: frozenset[str] = frozenset()

    @classmethod
    def of(cls, request: ModelRequest) -> Sight:
        calls = {message.call for message in with_images(request.messages)}
        return cls(request.vision, frozenset(calls - request.images.keys()))

    def instead(self, name: str) -> str:
        why = "View it again, if it is needed." if self.vision else BLIND
        return f"[{name} is not shown here. {why}]"


def _turns(messages: Sequence[Message]) -> Iterator[_Turn]:
    """Assistant messages, and between them all that the user and the tools say, results first and in call order."""
    group: list[_Said] = []
    order: dict[str, int] = {}
    for message in messages:
        if isinstance(message, AssistantMessage):
            if group:
                yield _in_order(group, order)
            yield (message,)
            calls = [part.id for part in message.parts if isinstance(part, ToolCall)]
            group, order = [], {call: number for number, call in enumerate(calls)} if calls else {}
        else:
            group.append(message)
    if group:
        yield _in_order(group, order)


def _in_order(group: list[_Said], order: dict[str, int]) -> list[_Said]:
    if len(group) == 1:
        return group
    last = len(order)
    return sorted(group, key=lambda said: order.get(said.call, last) if isinstance(said, ToolMessage) else last)


def _pictures(message: ToolMessage, found: tuple[bytes, ...]) -> Iterator[p.BinaryContent]:
    for image, content in zip(message.result.images, found, strict=False):  # of a hidden result none are found
        yield p.BinaryContent(data=content, media_type=image.media_type)


def _user_part(message: UserMessage | SummaryMessage, *, vision: bool) -> p.UserPromptPart:
    text = _prompt(message, vision=vision) if isinstance(message, UserMessage) else SUMMARY + message.text
    return p.UserPromptPart(content=text, timestamp=_WHENEVER)


def _prompt(message: UserMessage, *, vision: bool) -> str | list[p.UserContent]:
    """The prompt, preceded by what is attached to it."""
    if not message.attachments:
        return message.text
    content = [_attached(attachment, vision=vision) for attachment in message.attachments]
    return [*content, message.text] if message.text.strip() else content


def _attached(attachment: Attachment, *, vision: bool) -> p.UserContent:
    if attachment.mime_type.startswith("image/") and not attachment.is_text and not vision:
        return f"[{attachment.name}, an image, was attached, but is not shown here. {BLIND}]"
    if attachment.is_text:
        name = attachment.name.replace('"', "'").replace("\n", " ")
        return f'<attachment name="{name}">\n{attachment.content}\n</attachment>'
    return p.BinaryContent(data=base64.b64decode(attachment.content), media_type=attachment.mime_type)


def _response_part(part: Part, provider: str, system: str) -> p.ModelResponsePart | None:
    match part:
        case Text():
            return p.TextPart(content=part.text) if part.text else None
        case Reasoning():
            if part.signature is None or part.provider != provider:
                return None
            # pydantic-ai knows redacted reasoning, and the field that unsigned reasoning came in, by the part's id.
            return p.ThinkingPart(content=part.text, id=part.id, signature=part.signature or None, provider_name=system)
        case ToolCall():
            signed = part.signature is not None and part.provider == provider
            return p.ToolCallPart(
                tool_name=part.name,
                args=object_text(part.input),
                tool_call_id=part.id,
                provider_name=system if signed else None,
                provider_details={"extra_content": msgspec.json.decode(part.signature or "null")} if signed else None,
            )
        case _:
            assert_never(part)


def object_text(text: str) -> str:
    """A tool's input as the text of a JSON object: as the model wrote it, or, if that is none, wrapped in one."""
    if not text.strip():
        return "{}"
    try:
        is_object = isinstance(msgspec.json.decode(text), dict)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        is_object = False
    return text if is_object else msgspec.json.encode({"not_understood": text}).decode()
