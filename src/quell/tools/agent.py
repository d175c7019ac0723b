"""`agent`: a task for a sub-agent, which works beside its parent and may only read.

How it is run is the business of the port `Delegate`; here the end of one, of whatever role, is put into words for the model.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated

from msgspec import Meta, Struct

from quell.core.access import Access
from quell.core.errors import QuellError
from quell.core.messages import ResultStatus, ToolResult, headline
from quell.core.ports import Delegation, Task, ToolContext, Workspace
from quell.tools.tool import Call, Options, Refused

_STOPPED = {
    "max_tokens": "its answer was cut at the model's longest",
    "refusal": "the provider's safety filter ended its answer",
    "max_turn_requests": "it reached the limit of turns of this run",
    "budget": "it reached the limit of cost of this run",
    "loop": "it was doing the same thing again and again",
    "hook": "a hook of the user's stopped it",
    "permission": "it was not allowed to do what it needed",
}


class Agent(Struct, frozen=True, forbid_unknown_fields=True):
    prompt: Annotated[str, Meta(description="The task: all that is known, what to find out, and what to answer with.")]


def prepare_agent(asked: Agent, workspace: Workspace, options: Options) -> Call:
    del workspace, options
    if not asked.prompt.strip():
        raise Refused("The prompt is empty. Say what the sub-agent is to find out.")
    access = Access(tool="agent", kind="think", title=f"Ask a sub-agent: {headline(asked.prompt)}")
    return Call("think", access, partial(delegated, Task(asked.prompt)), concurrent=True)


async def delegated(task: Task, context: ToolContext) -> ToolResult:
    if context.delegate is None:
        raise Refused("A sub-agent has no sub-agents. Do it yourself.")
    try:
        end = await context.delegate.run(task)
    except QuellError as error:
        raise Refused(f"The sub-agent could not be started: {error}") from None
    status, text = _told(end)
    return ToolResult(text=text, status=status, metadata={"session": end.session, "outcome": end.outcome})


def _told(end: Delegation) -> tuple[ResultStatus, str]:
    match end.outcome:
        case "completed" if end.text and end.stop_reason == "end_turn":
            return "completed", end.text
        case "completed" if end.stop_reason == "end_turn":
            return "failed", "The sub-agent ended without an answer. Ask more precisely, or do it yourself."
        case "completed":
            why = _STOPPED.get(end.stop_reason, end.stop_reason)
            return "completed" if end.text else "failed", _after(end, f"The sub-agent was not finished: {why}.")
        case "cancelled":
            how = "deleted" if end.deleted else "stopped"
            told = f"The user {how} this sub-agent before it was finished. Go on without it; do not start it again."
            return "cancelled", _after(end, told)
        case "interrupted":
            return "failed", _after(end, "The sub-agent was interrupted, and does not go on.")
        case "failed":
            return "failed", _after(end, f"The sub-agent failed: {end.detail or 'no reason was given'}")


def _after(end: Delegation, told: str) -> str:
    return f"{told}\n\nThe last that it had said:\n\n{end.text}" if end.text else told
