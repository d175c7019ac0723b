"""The to-do list that a model keeps of its work: written whole by the tool `todos`, shown by screens, kept across compactions.

The list travels in the metadata of the tool's result, so that it is a fact like everything else: `todos_of` is the one reading of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
from msgspec import Struct

TodoStatus = Literal["pending", "in_progress", "completed"]


class Todo(Struct, frozen=True, omit_defaults=True):
    """`active_form` says what is being done while it is in progress: "Running the tests"."""

    content: str
    status: TodoStatus = "pending"
    active_form: str = ""


def todos_of(metadata: Mapping[str, Any], before: tuple[Todo, ...]) -> tuple[Todo, ...]:
    """The list after a tool's result: what is written in `metadata["todos"]`, or as it was."""
    return msgspec.convert(metadata["todos"], tuple[Todo, ...]) if "todos" in metadata else before


def reminder(todos: Sequence[Todo]) -> str:
    """What a summary of the conversation is followed by, so that the list outlives it; empty without one."""
    if not todos:
        return ""
    lines = "\n".join(f"- [{todo.status}] {todo.content}" for todo in todos)
    return f"\n\nThe to-do list, as it stands:\n{lines}"
