"""A transcript as Markdown, for people to read: what was asked, said and done, with long outputs cut."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import assert_never

from quell.core.messages import (
    AssistantMessage,
    Message,
    Reasoning,
    SummaryMessage,
    Text,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from quell.core.session import Summary

OUTPUT_LINES = 40
"""Lines of a tool's output that are shown."""


def to_markdown(session: Summary, messages: Iterable[Message]) -> Iterator[bytes]:
    """In pieces: a long session is written while it is sent."""
    yield f"# {session.title or 'Session ' + session.id}\n".encode()
    yield f"\nSession `{session.id}` in `{session.workspace}`, {session.created} – {session.updated}, model `{session.model}`.\n".encode()
    for message in messages:
        for part in _message(message):
            yield f"\n{part}\n".encode()


def _message(message: Message) -> Iterator[str]:
    match message:
        case UserMessage():
            yield "## User"
            yield message.text
            for attachment in message.attachments:
                yield f"Attached: `{attachment.name}` ({attachment.mime_type})"
        case AssistantMessage():
            yield "## Assistant"
            yield from (_part(part) for part in message.parts)
            if message.error is not None:
                yield f"*Failed: {message.error}*"
            elif message.stop_reason not in ("end_turn", "tool_use"):
                yield f"*Stopped: {message.stop_reason}*"
        case ToolMessage():
            yield f"**{message.name}: {message.result.status}**"
            yield _fenced(message.result.text)
        case SummaryMessage():
            yield "## Summary of what came before"
            yield message.text
        case _:
            assert_never(message)


def _part(part: Text | Reasoning | ToolCall) -> str:
    match part:
        case Text():
            return part.text
        case Reasoning():
            return "\n".join(f"> {line}" for line in part.text.splitlines()) or "> *(not shown)*"
        case ToolCall():
            return f"**{part.name}**\n\n{_fenced(part.input, 'json')}"
        case _:
            assert_never(part)


def _fenced(text: str, language: str = "") -> str:
    """In a fence that is longer than any in the text."""
    lines = text.splitlines()
    if len(lines) > OUTPUT_LINES:
        lines = [*lines[:OUTPUT_LINES], f"… {len(lines) - OUTPUT_LINES} more lines"]
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", text)), default=0))
    return "\n".join([fence + language, *lines, fence])
