"""Provider-neutral messages: what a transcript is made of and what is sent to a model.

Rules: every value is frozen and tagged; text is `str` (code points); identifiers are ours and opaque. How a message looks on
a provider's wire is the business of `llm`; how facts become messages is the business of `core.transcript`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, Literal

from msgspec import Struct, field

LONGEST_RESULT = 30_000
"""Characters of what a command or a tool server has to say that the model gets: the first half and the last."""

_UNPRINTABLE = re.compile("[\0\ud800-\udfff]")

StopReason = Literal[
    "end_turn",  # the model said all it had to say
    "tool_use",  # the model asked for tools: the run goes on
    "max_tokens",  # the reply was cut at the model's output limit
    "refusal",  # the provider's safety filter ended the reply
    "cancelled",  # somebody cancelled the run
    "interrupted",  # the process died, or was shut down, in the middle
    "error",  # the model could not be reached or answered nonsense
    "max_turn_requests",  # the run's turn limit
    "budget",  # the run's cost limit
    "time_limit",  # the run's time limit
    "loop",  # the same calls with the same results, again and again
    "rejected",  # a person rejected a tool call
    "permission",  # calls were denied, not by a person, and the model gave up after that
    "hook",  # a hook of the user's said so
]
"""Why an assistant message, or a run, ended. The first five words and `max_turn_requests` are ACP's."""

ToolKind = Literal["read", "edit", "delete", "move", "search", "execute", "think", "fetch", "other"]
"""What a tool does, in ACP's words."""

ResultStatus = Literal[
    "completed",  # the tool did what was asked
    "failed",  # the tool says why not
    "denied",  # a rule, a mode or a person did not allow it; it never started
    "cancelled",  # stopped, or never started, because the run (or the sub-agent that did it) was cancelled
    "interrupted",  # never started, because the process died first
    "unknown",  # started, and the process died: nobody knows what it did
]


class Attachment(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A file that came with a prompt. `content` is text, or base64 where `encoding` says so."""

    name: str
    content: str
    mime_type: str = "text/plain"
    encoding: Literal["text", "base64"] = "text"

    @property
    def is_text(self) -> bool:
        return self.encoding == "text"


class Image(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A picture that a tool's result shows. Its bytes are in the session's folder, under their hash: `core.images`."""

    name: str
    media_type: str
    sha256: str
    size: int
    width: int = 0
    height: int = 0


class Text(Struct, frozen=True, tag="text", tag_field="type"):
    text: str


class Reasoning(Struct, frozen=True, tag="reasoning", tag_field="type", omit_defaults=True):
    """What the model thought aloud. Only a part with a signature may be sent back, and only to the provider that signed it."""

    text: str
    signature: str | None = None
    provider: str | None = None
    id: str | None = None
    redacted: bool = False


class ToolCall(Struct, frozen=True, tag="tool_call", tag_field="type", omit_defaults=True):
    """What the model asked for. `input` is the JSON text as the model wrote it, valid or not.

    `id` is ours (`call_id`) and is the one sent back; the provider's own is forgotten, because some providers reuse theirs.
    """

    id: str
    name: str
    input: str
    signature: str | None = None
    provider: str | None = None


Part = Text | Reasoning | ToolCall


def said(parts: Iterable[Part]) -> str:
    """Their text, without thoughts and calls."""
    return "".join(part.text for part in parts if isinstance(part, Text))


class Usage(Struct, frozen=True, omit_defaults=True):
    """Tokens of one reply, or of many added up. `input` counts what was neither read from nor written to a cache."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input + other.input,
            self.output + other.output,
            self.cache_read + other.cache_read,
            self.cache_write + other.cache_write,
            self.reasoning + other.reasoning,
        )

    @property
    def context(self) -> int:
        """Tokens that the conversation takes in the model's window after this reply."""
        return self.input + self.cache_read + self.cache_write + self.output


class Spent(Struct, frozen=True, omit_defaults=True):
    """Tokens, and USD as far as prices are known."""

    usage: Usage = Usage()
    cost: Decimal = Decimal(0)

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.usage + other.usage, self.cost + other.cost)


class Reply(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One whole answer of a model: the parts in order, why it stopped, and what it cost (USD; None when no price is known)."""

    parts: tuple[Part, ...] = ()
    stop_reason: StopReason = "end_turn"
    usage: Usage = Usage()
    cost: Decimal | None = None
    model: str = ""

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        return tuple(part for part in self.parts if isinstance(part, ToolCall))


class ToolResult(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the model is told about a call, and, in `metadata`, what a screen may show of it (a diff, counts, an exit status)."""

    text: str
    status: ResultStatus = "completed"
    metadata: dict[str, Any] = {}
    images: tuple[Image, ...] = ()


def printable(text: str) -> str:
    """What a tool has found, as a transcript can hold it: without NUL, cut characters and file names that are not text."""
    return _UNPRINTABLE.sub("\ufffd", text)


class UserMessage(Struct, frozen=True, kw_only=True, tag="user", tag_field="role", omit_defaults=True):
    """`noted`: no prompt, but what the session was told, such as that a job has ended."""

    id: str
    text: str
    attachments: tuple[Attachment, ...] = ()
    noted: bool = False


class AssistantMessage(Struct, frozen=True, kw_only=True, tag="assistant", tag_field="role", omit_defaults=True):
    id: str
    parts: tuple[Part, ...] = ()
    stop_reason: StopReason = "end_turn"
    model: str = ""
    error: str | None = None


class ToolMessage(Struct, frozen=True, kw_only=True, tag="tool", tag_field="role", omit_defaults=True):
    """The result of one call, named by `call`."""

    call: str
    name: str
    result: ToolResult


class SummaryMessage(Struct, frozen=True, kw_only=True, tag="summary", tag_field="role", omit_defaults=True):
    """What a compaction left of everything before it."""

    id: str
    text: str


Message = UserMessage | AssistantMessage | ToolMessage | SummaryMessage


class ToolSpec(Struct, frozen=True):
    """What a model is told about a tool; `schema` is the JSON Schema of its input. `attended`: only where a person can answer."""

    name: str
    description: str
    schema: dict[str, Any]
    attended: bool = False


class Memo(Struct, eq=False):
    """What a model has made of the messages of a session, and finds again with the next request. It goes when the session is closed."""

    made: object = None


class ModelRequest(Struct, frozen=True, kw_only=True):
    """Everything that one sample sends: built from the transcript, acceptable to every provider.

    `message` is the id of the assistant message that the reply will be; its calls are named after it. What `memo` holds must make no
    difference to what is sent. `vision`: the model can be shown images; of results it gets those of the calls in `images`, and a line in
    the place of the others. `purpose` and `sub_agent` (it is asked on behalf of another agent) are not sent: whoever plays a model
    answers by them.
    """

    message: str
    system: str
    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...] = ()
    vision: bool = False
    images: Mapping[str, tuple[bytes, ...]] = {}
    sub_agent: bool = False
    max_tokens: int | None = None
    purpose: Literal["turn", "summary", "title"] = "turn"
    memo: Memo = field(default_factory=Memo)


DeltaKind = Literal["text", "reasoning", "tool_input"]


class PartDelta(Struct, frozen=True):
    """More of a part while it streams. `part` numbers the parts of the reply from 0; `text` is what to append.

    A `tool_input` delta names its call and tool; the first one of a call may be empty.
    """

    part: int
    kind: DeltaKind
    text: str
    call: str | None = None
    name: str | None = None


def call_id(message: str, index: int) -> str:
    """The id of the `index`-th tool call (from 0) of an assistant message. Letters, digits and `-` only: Anthropic asks for it."""
    return f"{message}-c{index}"


def prompt_is_empty(text: str, attachments: tuple[Attachment, ...]) -> bool:
    """Nothing to ask: only white space, and no text file that could be the question."""
    return not text.strip() and not any(attachment.is_text and attachment.content for attachment in attachments)


def headline(text: str, width: int = 60) -> str:
    """The first line that says something, cut to `width` code points: what a session is called until it gets a title."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return line if len(line) <= width else line[: width - 1].rstrip() + "…"
