"""What was written for the last request goes out again as it is: pydantic-ai is given only the messages at the end of a conversation.

It makes all of a request anew each time, and so does the encoder: 10 ms for two thousand messages, of which all but the last few were the
same the time before. Rules: the bytes are those that would come of all messages at once. So a piece ends with an answer, and is kept
as it looks without the marks for the provider's cache, which move on; and what cannot be told apart in the request is not kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Literal

import msgspec
from msgspec import Struct
from pydantic_ai.messages import ModelMessage, ThinkingPart

Apart = Literal["always", "reasoning_known", "without_reasoning", "never"]
"""When the end of a conversation is written in the same way without what comes before: always, when it is told that there was
reasoning, if there was none, or never."""

CONTINUATION = "continuation"
"""Where dialects find the `Continuation` among the parameters of a request."""

_INSTRUCTIONS = ("system", "developer")


class Piece(Struct, frozen=True):
    """Messages as they go out, with commas between them; `end` says up to which of ours, `reasoning` is the first that is in it."""

    end: int
    written: bytes
    reasoning: ThinkingPart | None


class Continuation(Struct, frozen=True, eq=False):
    """A request on its way: `messages` are for pydantic-ai to put into the provider's form, and the `pieces` come before them.

    `answered` is how often an answer is followed by something else, in these messages; `keep` is told how they were written up to each of
    these places.
    """

    messages: list[ModelMessage]
    pieces: Sequence[Piece]
    answered: int
    keep: Callable[[list[bytes]], None]

    def whole(self, mapped: Sequence[dict[str, Any]]) -> list[object]:
        """All messages of the request, from those that were made of ours: instructions stay the first."""
        first = next((place for place, each in enumerate(mapped) if each["role"] not in _INSTRUCTIONS), len(mapped))
        end = mapped[first:]
        answered = [
            place
            for place, (one, other) in enumerate(pairwise(end), 1)
            if one["role"] == "assistant" and other["role"] != "assistant"
        ]
        if len(answered) == self.answered:
            self.keep([_written([*map(_unmarked, end[a:b])]) for a, b in pairwise([0, *answered])])
        written = [piece.written for piece in self.pieces]
        if end:
            written.append(_written(end))
        return [*mapped[:first], msgspec.Raw(b",".join(written))] if written else [*mapped]


def encoded(parameters: dict[str, Any]) -> bytes:
    """The body of a request."""
    continuation = parameters.pop(CONTINUATION, None)
    if isinstance(continuation, Continuation):
        parameters["messages"] = continuation.whole(parameters["messages"])
    return msgspec.json.encode(parameters)


def _written(messages: Sequence[dict[str, Any]]) -> bytes:
    return msgspec.json.encode(messages)[1:-1]


def _unmarked(message: dict[str, Any]) -> dict[str, Any]:
    content = message["content"]
    if not isinstance(content, list) or not any("cache_control" in block for block in content):
        return message
    return {**message, "content": [{k: v for k, v in block.items() if k != "cache_control"} for block in content]}
