"""Our messages as pydantic-ai's, which its models put into each provider's form.

Rules: what is sent follows from the request and the provider alone. Calls carry our ids. Reasoning goes back only to
the provider that gave it. Tool results stand in the order of their calls. Whatever the model wrote as a tool's input
goes out as an object, because providers refuse anything else.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
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
from quell.llm.kept import Apart, Continuation, Piece

# Not sent to anybody; given so that they are not made anew for each of two thousand messages.
_UNCOUNTED = RequestUsage()
_WHENEVER = datetime.fromtimestamp(0, UTC)

_Said = UserMessage | SummaryMessage | ToolMessage
_Turn = tuple[AssistantMessage] | list[_Said]
_Made = tuple[int, p.ModelMessage]
"""A turn, and which message is its first."""

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
    """One conversation in the words of one model. It keeps what was made of the last request: the next one mostly goes on from there.

    Messages are frozen, and a session's stay the same objects: they are known by their identity. `provider` is our name of who is
    asked. With `marks`, failed results are marked as such and hold their images, which otherwise follow as the user's; and the message
    before the last is marked for the prompt cache: it ended the request before this one.
    """

    def __init__(self, model: Model, provider: str, *, marks: bool, apart: Apart) -> None:
        self.model = model
        self._provider = provider
        self._marks = marks
        self._apart = apart
        self._messages: Sequence[Message] = ()
        self._sight = Sight()
        self._pieces: list[Piece] = []
        self._made: list[_Made] = []  # of the messages after those

    def continuation(self, request: ModelRequest) -> Continuation:
        messages, sight = request.messages, Sight.of(request)
        same = [*map(is_, self._messages, messages), False].index(False) if sight == self._sight else 0
        # Should one of the others not be translatable, nothing is known of them.
        self._messages, self._sight = messages[:same], sight
        self._go_back(same)
        sent = self._translate(messages, request.images)
        # A mark goes to the last but one that is asked: it is made anew, and so is what comes after it.
        while self._pieces and sum(isinstance(made, p.ModelRequest) for _, made in sent) < 2:
            self._go_back(self._pieces[-1].end - 1)
            sent = self._translate(messages, request.images)
        if self._pieces and self._apart == "without_reasoning" and any(_reasoning(made) for _, made in sent):
            self._go_back(0)
            sent = self._translate(messages, request.images)
        self._messages = messages
        return self._continuing(messages, sent)

    def _continuing(self, messages: Sequence[Message], sent: list[_Made]) -> Continuation:
        asked = [place for place, (_, made) in enumerate(sent) if isinstance(made, p.ModelRequest)]
        made = [each for _, each in sent]
        if self._marks and len(asked) > 1:
            last = made[asked[-2]]
            assert isinstance(last, p.ModelRequest), "found above"
            made[asked[-2]] = replace(last, parts=[*last.parts, p.UserPromptPart(content=[p.CachePoint()])])
        pieces, pairs = tuple(self._pieces), list(_answered(sent)) if self._may_keep(sent) else []
        if self._apart == "reasoning_known" and (
            known := next(filter(None, (each.reasoning for each in pieces)), None)
        ):
            made.insert(0, p.ModelResponse(parts=[known]))  # which says nothing, and so is not sent

        def keep(written: list[bytes]) -> None:
            if self._messages is messages:  # and not those of a later request
                new = map(Piece, (end for end, _ in pairs), written, (reasoning for _, reasoning in pairs))
                self._pieces = [*pieces, *new]
                self._made.clear()

        return Continuation(made, pieces, len(pairs), keep)

    @property
    def _start(self) -> int:
        """The first message that is in no piece."""
        return self._pieces[-1].end if self._pieces else 0

    def _may_keep(self, sent: list[_Made]) -> bool:
        """Whether it can be told from what is sent where each of them ends: an answer of reasoning alone may be nothing there."""
        answers = [made for _, made in sent if isinstance(made, p.ModelResponse)]
        if self._apart == "never" or (self._apart == "without_reasoning" and any(map(_reasoning, answers))):
            return False
        return all(any(not isinstance(part, p.ThinkingPart) for part in answer.parts) for answer in answers)

    def _go_back(self, same: int) -> None:
        """Forget what does not come of so many messages at the beginning.

        Of what is not written yet, that is all after the last answer: what was said then may have become more.
        """
        while self._pieces and self._pieces[-1].end > same:
            self._pieces.pop()
        while self._made and not (isinstance(self._made[-1][1], p.ModelResponse) and self._made[-1][0] < same):
            self._made.pop()

    def _translate(self, messages: Sequence[Message], images: Mapping[str, tuple[bytes, ...]]) -> list[_Made]:
        """All that is in no piece, but for what comes to nothing."""
        start = self._start
        # The last answer again, for the order of its calls.
        position = self._made.pop()[0] if self._made else max(start - 1, 0)
        for turn in _turns(messages[position:]):
            self._made.append((position, self._message(turn, images)))
            position += len(turn)
        return [made for made in self._made if made[0] >= start and made[1].parts]

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


def _answered(sent: Sequence[_Made]) -> Iterator[tuple[int, p.ThinkingPart | None]]:
    """Where an answer is followed by something else, and the first reasoning since the last such place."""
    reasoning: p.ThinkingPart | None = None
    for (_, one), (place, other) in pairwise(sent):
        reasoning = reasoning or _reasoning(one)
        if isinstance(one, p.ModelResponse) and isinstance(other, p.ModelRequest):
            yield place, reasoning
            reasoning = None


def _reasoning(made: p.ModelMessage) -> p.ThinkingPart | None:
    return next((part for part in made.parts if isinstance(part, p.ThinkingPart)), None)


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
