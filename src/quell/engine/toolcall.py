"""One tool call: may it run (`check`), and doing it (`execute`).

Whatever happens is a result for the model: input that cannot be understood, a denial with what would allow it, a failure, a stop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

from msgspec.structs import replace

from quell.core import inputs as i
from quell.core.hooks import Hooked, HookReport
from quell.core.messages import AssistantMessage, Spent, ToolCall, ToolResult
from quell.core.permissions import Verdict, headless_reason, parse_rule
from quell.core.permissions import check as judge
from quell.core.ports import PreparedCall, ToolContext
from quell.core.session import Check, Execute, Session
from quell.engine import hooking, keeping
from quell.engine.delegate import Child
from quell.engine.options import Ports
from quell.engine.scene import Means, Scene

NOBODY = "Nobody is there to answer. Decide it yourself, and say in your answer what you assumed."


async def check(effect: Check, scene: Scene, means: Means) -> i.Input:
    """What the user's hooks, the rules and the mode, as they are now, say to the call."""
    session, ports = scene.ledger.session, means.ports
    workspace, tools = ports.open_workspace(session), ports.tools(session)
    call = _call(scene, effect.call)
    prepared = tools.prepare(call, workspace)
    if isinstance(prepared, ToolResult):
        return i.CallReturned(run=effect.run, call=effect.call, result=prepared)
    named = replace(call, name=prepared.access.tool)  # as it is called, however the model has written that
    hooked = await hooking.before(named, session, means)
    if hooked is not None and hooked.input is not None:
        prepared = tools.prepare(replace(call, input=hooked.input), workspace)
        if isinstance(prepared, ToolResult):
            result = replace(prepared, text=f"{prepared.text} [{hooking.CHANGED} {hooked.input}]")
            return i.CallReturned(run=effect.run, call=effect.call, result=result, hooked=hooked)
    return replace(_judged(effect, scene.ledger.session, prepared, hooked or Hooked(), ports), hooked=hooked)


def _judged(
    effect: Check, session: Session, prepared: PreparedCall, hooked: Hooked, ports: Ports
) -> i.CallAllowed | i.CallNeedsAnswer | i.CallAsks | i.CallReturned:
    """A hook may deny what is allowed, ask about it, and allow what would be asked about; it never opens what is denied, nor mode `plan`."""
    run = session.run
    allowed = tuple(parse_rule(text, "run") for text in run.entry.allow) if run is not None else ()
    verdict = judge(prepared.access, (*ports.rules(session.workspace), *session.rules, *allowed), session.mode_now)
    if verdict.answer != "deny" and (hooked.halts or hooked.decision == "deny"):
        return _denied(effect, hooking.denial(hooked), hooked.by("deny"))
    if verdict.answer == "ask" and hooked.decision == "allow" and session.mode_now != "plan":
        verdict = replace(verdict, answer="allow")
    elif verdict.answer == "allow" and hooked.decision == "ask":
        verdict = Verdict("ask", f"Asked for by {hooked.because('ask')}.")
    match verdict.answer:
        case "allow" if prepared.questions:
            if run is None or run.entry.on_ask == "deny":
                return _denied(effect, NOBODY)
            return i.CallAsks(
                run=effect.run,
                call=effect.call,
                title=prepared.access.title,
                questions=prepared.questions,
                reason=prepared.reason,
            )
        case "allow":
            return i.CallAllowed(
                run=effect.run, call=effect.call, concurrent=prepared.concurrent, changes=_changes(prepared, ports)
            )
        case "ask" if run is not None and run.entry.on_ask == "wait":
            return i.CallNeedsAnswer(
                run=effect.run,
                call=effect.call,
                tool=prepared.access.tool,
                title=prepared.access.title,
                reason=verdict.reason,
                always=verdict.always,
                concurrent=prepared.concurrent,
                changes=_changes(prepared, ports),
            )
        case "ask" if hooked.decision == "ask":
            reason = f"Denied, because nobody is there to be asked. {verdict.reason}"
            return _denied(effect, reason, hooked.by("ask"))
        case "ask":
            return _denied(effect, headless_reason(prepared.access, verdict))
        case "deny":
            return _denied(effect, verdict.reason)


def _changes(call: PreparedCall, ports: Ports) -> bool:
    """Whether it may change files, so that they have to be kept first."""
    if ports.checkpoints is None or call.concurrent or call.kind in ("read", "search", "think"):
        return False
    access = call.access
    reads = bool(access.commands) and all(command.read_only for command in access.commands) and not access.opaque
    return bool(access.paths) or not (reads or call.kind == "fetch")


def _denied(effect: Check, reason: str, hooks: Sequence[HookReport] = ()) -> i.CallReturned:
    """`hooks` are those that it is denied for: no rule would allow it."""
    metadata = {"hooks": [hook.name for hook in hooks]} if hooks else {}
    result = ToolResult(text=reason, status="denied", metadata=metadata)
    return i.CallReturned(run=effect.run, call=effect.call, result=result)


async def execute(effect: Execute, scene: Scene, means: Means, child: Child | None) -> i.Input:
    """Run the call to its end. When it is stopped, the session is told what it had printed by then."""
    session, ports, redactor = scene.ledger.session, means.ports, means.redactor
    workspace = ports.open_workspace(session)
    call = _call(scene, effect.call)
    prepared = ports.tools(session).prepare(call, workspace)
    if isinstance(prepared, ToolResult):
        return i.CallReturned(run=effect.run, call=effect.call, result=prepared)
    access = prepared.access
    output = scene.streams.print(effect.call)
    printing = redactor.stream(output.emit)
    context = ToolContext(
        session=scene.ledger.id,
        call=effect.call,
        workspace=workspace,
        environment=means.environment,
        seen=scene.ledger.transcript.seen,
        output=printing.feed,
        todos=scene.ledger.transcript.todos,
        note=lambda text: scene.post(i.Note(text=redactor.text(text))),
        hide=redactor.text,
        delegate=child,
        read_only=session.mode_now == "plan",
        describe=partial(ports.describe, session, means.environment),
        vision=ports.models.sees(session.model),
    )
    try:
        if ports.checkpoints is not None and access.paths and _changes(prepared, ports):
            await keeping.touch(session, ports.checkpoints(), access.paths)
        result = await prepared.run(context)
    except asyncio.CancelledError:
        printing.close()
        scene.post(_returned(effect, _stopped(output.text), child))
        raise
    printing.close()
    returned = _returned(effect, hooking.told(redactor.result(result), session, effect.call), child)
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        return returned  # what it had done by then; nothing more is started
    named = replace(call, name=access.tool)
    async with asyncio.TaskGroup() as group:
        told = group.create_task(hooking.after(named, returned.result, session, means))
        try:
            await asyncio.wait((told,))
        except asyncio.CancelledError:
            scene.post(returned)  # it is true all the same, and does not wait until the hooks have stopped
            raise
    hooked = told.result()
    if hooked is None:
        return returned
    return replace(returned, result=hooking.with_context(returned.result, hooked), hooked=hooked)


def _returned(effect: Execute, result: ToolResult, child: Child | None) -> i.CallReturned:
    spent = child.spent if child is not None else Spent()
    return i.CallReturned(run=effect.run, call=effect.call, result=result, spent=spent)


def _stopped(output: str) -> ToolResult:
    printed = f" It had printed:\n{output}" if output else ""
    text = f"Stopped before it was finished: the run was cancelled. It may have done part of its work.{printed}"
    return ToolResult(text=text, status="cancelled")


def _call(scene: Scene, id: str) -> ToolCall:
    """The call as the model wrote it, in one of the last messages, with the input that hooks have put in its place."""
    input = hooking.found(scene.ledger.session, id).input
    for message in reversed(scene.ledger.transcript.messages):
        if isinstance(message, AssistantMessage):
            for part in message.parts:
                if isinstance(part, ToolCall) and part.id == id:
                    return part if input is None else replace(part, input=input)
    raise LookupError(f"call {id} is in no message of the transcript")
