"""Images in the results of tools: where their bytes are kept, and which of them a model is shown.

A fact only names an image: its bytes are a file of the session's own folder, called after their hash. What stands in the place of an
image that is not sent is for `llm` to write; reading and copying the files is the engine's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from quell.core.messages import Image, Message, ToolMessage

MOST = 20
"""Images of results in one request. Anthropic accepts larger ones no longer when there are more, other providers fewer than a hundred."""
STEP = 10
"""How many older ones go when there are too many: what is sent changes at its beginning, and the provider's cache is of no use then."""


def image_of(name: str, content: bytes, media_type: str, size: tuple[int, int]) -> Image:
    """What names it from now on."""
    width, height = size
    sha256 = hashlib.sha256(content).hexdigest()
    return Image(name=name, media_type=media_type, sha256=sha256, size=len(content), width=width, height=height)


def image_path(kept: str, image: Image) -> str:
    """Where the bytes are, in what a workspace has `kept` for a session."""
    return f"{kept}/images/{image.sha256}"


def with_images(messages: Iterable[Message]) -> list[ToolMessage]:
    """The results that have images, oldest first."""
    return [message for message in messages if isinstance(message, ToolMessage) and message.result.images]


def shown_of(messages: Iterable[Message]) -> list[ToolMessage]:
    """Those whose images are sent: all, or the newest of many."""
    results = with_images(messages)
    too_many = sum(len(message.result.images) for message in results) - MOST
    left_out = 0
    while left_out < -(-too_many // STEP) * STEP:
        left_out += len(results.pop(0).result.images)
    return results
