"""`agent`: how the end of a sub-agent is put for the model."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from quell.core.errors import QuellError, StorageRefused
from quell.core.messages import ToolCall, ToolResult
from quell.core.permissions import check
from quell.core.ports import Delegation, Task
from quell.tools import SUB_AGENTS, Tools
from quell.tools.table import TOOLS
from tests.tools.conftest import Hands

END = Delegation(session="s-c", outcome="completed", stop_reason="end_turn", text="In parse.py.")


class Played:
    """The port `Delegate`: ends as it is told to."""

    def __init__(self, end: Delegation | QuellError) -> None:
        self.tasks: list[Task] = []
        self._end = end

    async def run(self, task: Task) -> Delegation:
        self.tasks.append(task)
        if isinstance(self._end, QuellError):
            raise self._end
        return self._end


def prepare(hands: Hands, **input: Any) -> Any:
    return Tools().prepare(ToolCall("c", "agent", msgspec.json.encode(input).decode()), hands.workspace)


async def run(hands: Hands, end: Delegation | QuellError) -> ToolResult:
    delegate = Played(end)
    result = await prepare(hands, prompt="find it").run(replace(hands.context(), delegate=delegate))
    assert delegate.tasks == [Task("find it")]
    assert isinstance(result, ToolResult)
    return result


@pytest.mark.parametrize(
    ("end", "status", "said"),
    [
        ({}, "completed", "In parse.py."),
        ({"text": ""}, "failed", "without an answer"),
        ({"stop_reason": "budget"}, "completed", "it reached the limit of cost"),
        ({"stop_reason": "loop", "text": ""}, "failed", "the same thing again"),
        ({"outcome": "cancelled", "stop_reason": "cancelled"}, "cancelled", "The user stopped this sub-agent"),
        (
            {"outcome": "cancelled", "stop_reason": "cancelled", "deleted": True},
            "cancelled",
            "The user deleted this sub-agent",
        ),
        ({"outcome": "interrupted", "stop_reason": "interrupted"}, "failed", "was interrupted"),
        ({"outcome": "failed", "stop_reason": "error", "detail": "No credit."}, "failed", "No credit."),
    ],
)
async def test_every_end_is_a_result(hands: Hands, end: dict[str, Any], status: str, said: str) -> None:
    result = await run(hands, replace(END, **end))
    assert result.status == status
    assert said in result.text
    assert (END.text in result.text) == (end.get("text") is None)
    assert result.metadata == {"session": "s-c", "outcome": end.get("outcome", "completed")}


async def test_what_cannot_be_started_is_a_result(hands: Hands) -> None:
    result = await run(hands, StorageRefused("The disk is full."))
    assert (result.status, result.text) == ("failed", "The sub-agent could not be started: The disk is full.")


async def test_without_a_delegate_it_is_refused(hands: Hands) -> None:
    result = await prepare(hands, prompt="find it").run(hands.context())
    assert result.status == "failed"
    assert "has no sub-agents" in result.text


def test_an_empty_task_is_refused(hands: Hands) -> None:
    refused = prepare(hands, prompt=" ")
    assert isinstance(refused, ToolResult)
    assert "The prompt is empty" in refused.text


@pytest.mark.parametrize("mode", ["ask", "edits", "auto", "plan", "yolo"])
def test_it_needs_no_permission_and_runs_beside_others(hands: Hands, mode: Any) -> None:
    call = prepare(hands, prompt="find it")
    assert call.concurrent
    assert check(call.access, (), mode).answer == "allow"


def test_a_sub_agent_has_the_tools_that_change_nothing_and_commands() -> None:
    web = {"agentic_fetch", "download", "fetch", "web_fetch", "web_search"}
    of_a_person = {"question", "quell_info", "quell_logs", "todos", "lsp_restart"}
    assert set(SUB_AGENTS["agent"]) == set(TOOLS) - {"agent", "edit", "multiedit", "write"} - web - of_a_person
    assert set(SUB_AGENTS["web"]) == {"glob", "grep", "view", "web_fetch", "web_search"}
