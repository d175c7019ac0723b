"""`todos`: the model's list of what there is to do, written whole each time. It is in the result's metadata (`core.todos`)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from quell.core.access import Access
from quell.core.messages import ToolResult
from quell.core.ports import ToolContext, Workspace
from quell.core.todos import Todo, TodoStatus
from quell.tools.tool import Call, Options, Refused

_MOST = 100


class Item(Struct, frozen=True, forbid_unknown_fields=True):
    content: Annotated[str, Meta(max_length=1_000, description="What is to be done: `Run the tests`.")]
    status: TodoStatus
    active_form: Annotated[str, Meta(max_length=1_000, description="What is being done: `Running the tests`.")] = ""


class Todos(Struct, frozen=True, forbid_unknown_fields=True):
    todos: Annotated[tuple[Item, ...], Meta(description="The whole list, in order; it replaces the one before.")]


def prepare_todos(asked: Todos, workspace: Workspace, options: Options) -> Call:
    del workspace, options
    if len(asked.todos) > _MOST:
        raise Refused(f"There are {len(asked.todos)} items; keep the list to {_MOST}.")
    if any(not item.content.strip() for item in asked.todos):
        raise Refused("An item has no content.")
    todos = tuple(Todo(item.content.strip(), item.status, item.active_form.strip()) for item in asked.todos)
    access = Access(tool="todos", kind="think", title="Update the to-do list")
    return Call("think", access, partial(_todos, todos))


async def _todos(todos: Sequence[Todo], context: ToolContext) -> ToolResult:
    before = {todo.content: todo.status for todo in context.todos}

    def just(status: TodoStatus) -> list[str]:
        return [t.content for t in todos if t.status == status and before.get(t.content) != status]

    counts = ", ".join(
        f"{sum(todo.status == status for todo in todos)} {status.replace('_', ' ')}"
        for status in ("completed", "in_progress", "pending")
    )
    return ToolResult(
        text=f"The list is as you sent it: {counts}." if todos else "The list is empty now.",
        metadata={
            "todos": msgspec.to_builtins(todos),
            "just_started": just("in_progress"),
            "just_completed": just("completed"),
        },
    )
