"""What hooks say, and what several of them say together. A hook is a program of the user's, asked about a call before it runs or told of
what came of it.

How a hook is run, and what its output means, is the business of `quell.hooks`, behind the port `Hooks`; what follows from it, of
`engine.toolcall`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import msgspec
from msgspec import Struct

from quell.core.messages import ResultStatus, StopReason, ToolCall

HookEvent = Literal["PreToolUse", "PostToolUse"]
"""What hooks can say something to. `Stop`, of which they are only told, is none of these."""

HookDecision = Literal["none", "allow", "ask", "deny"]


class HookReport(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one hook said. `halt`: the run is to stop. `failed`: it said nothing that can be understood; `reason` is what was wrong."""

    name: str
    decision: HookDecision = "none"
    reason: str = ""
    halt: bool = False
    failed: bool = False


class Hooked(Struct, frozen=True, kw_only=True):
    """What the hooks of one event said together, in the order of their configuration.

    `input` is what the call's input becomes, as JSON; None: it stays. `context` is for the model.
    """

    event: HookEvent = "PreToolUse"
    hooks: tuple[HookReport, ...] = ()
    input: str | None = None
    context: str = ""

    @property
    def decision(self) -> HookDecision:
        """The strictest one."""
        return max((hook.decision for hook in self.hooks), key=_STRICTNESS.__getitem__, default="none")

    @property
    def halts(self) -> bool:
        return any(hook.halt for hook in self.hooks)

    def by(self, decision: HookDecision) -> tuple[HookReport, ...]:
        """Who said so. To stop the run is to deny."""
        return tuple(hook for hook in self.hooks if hook.decision == decision or (decision == "deny" and hook.halt))

    def because(self, decision: HookDecision) -> str:
        """Who said so, and why."""
        return "; ".join(f"the hook `{hook.name}`{hook.reason and f': {hook.reason}'}" for hook in self.by(decision))


_STRICTNESS: Mapping[HookDecision, int] = {"none": 0, "allow": 1, "ask": 2, "deny": 3}


class HookAnswer(Struct, frozen=True):
    """One hook's report, with what it has for the model and what it puts in place of members of the input."""

    report: HookReport
    context: str = ""
    input: Mapping[str, Any] | None = None


def together(event: HookEvent, answers: Sequence[HookAnswer], input: str) -> Hooked | None:
    """What hooks that were asked at the same time say together; None: nothing. Of two values for one member, the later one holds."""
    hooks = tuple(answer.report for answer in answers if answer.report != HookReport(name=answer.report.name))
    context = "\n".join(
        f"[From the user's hook `{answer.report.name}`] {answer.context}" for answer in answers if answer.context
    )
    changes: dict[str, Any] = {}
    for answer in answers:
        changes.update(answer.input or {})
    changed = _changed(input, changes) if changes else None
    if not hooks and not context and changed is None:
        return None
    return Hooked(event=event, hooks=hooks, input=changed, context=context)


def _changed(input: str, changes: Mapping[str, Any]) -> str | None:
    """None when it is what it was."""
    before = parsed(input)
    after = {**before, **changes}
    return None if after == before else msgspec.json.encode(after).decode()


def parsed(input: str) -> dict[str, Any]:
    """A call's input as tools read it, which forgive more than the standard: what they understand, a guard must see. Empty for what is none."""
    try:
        found = json.loads(input, strict=False) if input.strip() else {}
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


class HookPlace(Struct, frozen=True):
    """Where something happens: what hooks are told of the session."""

    session: str
    parent: str | None
    workspace: str
    mode: str


class RunEnd(Struct, frozen=True):
    """How a run has settled."""

    run: str
    outcome: str
    stop_reason: StopReason
    text: str = ""


class Hooks(Protocol):
    """The user's hooks, as they are configured now."""

    async def before(self, call: ToolCall, place: HookPlace, environment: Mapping[str, str]) -> Hooked | None:
        """Ask all that are for this call, at the same time; None: there is none, or nothing to say. One that fails is a report.

        Cancelled, it raises when nothing of what it started is left.
        """

    async def after(
        self, call: ToolCall, status: ResultStatus, text: str, place: HookPlace, environment: Mapping[str, str]
    ) -> Hooked | None:
        """Tell all that are for this call what came of it; otherwise as `before`."""

    def settled(self, end: RunEnd, place: HookPlace, environment: Mapping[str, str]) -> None:
        """Tell those who want to know it of the end of a run. Never waits, never raises."""
