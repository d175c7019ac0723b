"""Is the model going round in circles? A pure look at the last turns of a run.

A turn's signature is what was asked for and what came of it: names, inputs and results of its calls. More than `REPEATS` equal ones
among the last `WINDOW` turns are a loop: it would go on for ever, and cost for ever (contract I9).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from quell.core.messages import AssistantMessage, Message, ToolCall, ToolMessage, UserMessage

WINDOW = 10
REPEATS = 5

Signature = tuple[tuple[str, str, str], ...]


def is_looping(messages: Sequence[Message]) -> bool:
    """Whether the turns since the last prompt repeat themselves. Turns without calls do not count."""
    counts = Counter(_signatures(messages))
    return any(count > REPEATS for count in counts.values())


def _signatures(messages: Sequence[Message]) -> list[Signature]:
    """Of the last turns, the latest first."""
    found: list[Signature] = []
    results: dict[str, str] = {}
    for message in reversed(messages):
        match message:
            case UserMessage():
                break
            case ToolMessage():
                results[message.call] = message.result.text
            case AssistantMessage():
                calls = [part for part in message.parts if isinstance(part, ToolCall)]
                if calls:
                    found.append(tuple((call.name, call.input, results.get(call.id, "")) for call in calls))
            case _:
                pass
        if len(found) == WINDOW:
            break
    return found
