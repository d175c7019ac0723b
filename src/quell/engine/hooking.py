"""The user's hooks and a call: asking them before it runs, telling them what came of it, and what the model is told of it all.

They see the calls of sub-agents, too: a guard that a model could get around by giving the work to another would be none.
"""

from __future__ import annotations

from msgspec.structs import replace

from quell.core.hooks import Hooked, HookPlace, RunEnd
from quell.core.messages import ToolCall, ToolResult
from quell.core.redaction import Redactor
from quell.core.session import Call, Calling, Session
from quell.engine.environments import Environments
from quell.engine.ledger import Ledger
from quell.engine.options import Ports
from quell.engine.scene import Means

CHANGED = "A hook has changed the input of this call to"


async def before(call: ToolCall, session: Session, means: Means) -> Hooked | None:
    hooks = means.ports.hooks()
    if hooks is None:
        return None
    return _hidden(await hooks.before(call, _place(session), means.environment), means.redactor)


async def after(call: ToolCall, result: ToolResult, session: Session, means: Means) -> Hooked | None:
    """Of a call that did what was asked, or failed in it."""
    hooks = means.ports.hooks()
    if hooks is None or result.status not in ("completed", "failed"):
        return None
    said = await hooks.after(call, result.status, result.text, _place(session), means.environment)
    return _hidden(said, means.redactor)


def settled(ledger: Ledger, ports: Ports, environments: Environments) -> None:
    """The run that has ended last: hooks are told once, and no more of it if the process dies. Sub-agents' runs are part of another."""
    session = ledger.session
    hooks = ports.hooks() if session.parent is None and not session.deleting else None
    if hooks is not None and session.ended is not None:
        end = session.runs[session.ended]
        text = ledger.transcript.last_text(session.ended)
        hooks.settled(
            RunEnd(session.ended, end.outcome, end.stop_reason, text), _place(session), environments.of(session.id)
        )


def found(session: Session, id: str) -> Call:
    """The call, as the session has it now."""
    phase = session.run.phase if session.run is not None else None
    calls = phase.calls if isinstance(phase, Calling) else ()
    return next((call for call in calls if call.id == id), Call(id, ""))


def denial(hooked: Hooked) -> str:
    """Which hook, and why; for the model and for people."""
    what = "Stopped" if hooked.halts else "Denied"
    return f"{what} by {hooked.because('deny')}. Do not look for another way to the same end; say what it was for."


def told(result: ToolResult, session: Session, id: str) -> ToolResult:
    """With what the hooks that were asked before have for the model: it does not know of another input."""
    call = found(session, id)
    changed = "" if call.input is None else f"[{CHANGED} {call.input}]"
    return _with(result, changed, call.context)


def with_context(result: ToolResult, hooked: Hooked) -> ToolResult:
    """Nothing is undone by a hook that objects afterwards: the model is told."""
    objection = f"[Objected to by {hooked.because('deny')}]" if hooked.decision == "deny" or hooked.halts else ""
    return _with(result, hooked.context, objection)


def _with(result: ToolResult, *texts: str) -> ToolResult:
    return replace(result, text="\n\n".join(filter(None, (result.text, *texts))))


def _place(session: Session) -> HookPlace:
    return HookPlace(session.id, session.parent, session.workspace, session.mode_now)


def _hidden(said: Hooked | None, redactor: Redactor) -> Hooked | None:
    """What hooks say is recorded, and shown."""
    if said is None:
        return None
    hooks = tuple(replace(hook, reason=redactor.text(hook.reason)) for hook in said.hooks)
    input = None if said.input is None else redactor.text(said.input)
    return replace(said, hooks=hooks, input=input, context=redactor.text(said.context))
