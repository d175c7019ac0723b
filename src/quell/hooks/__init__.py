"""Hooks: commands of the user's own that are asked about a model's calls, told what came of them, and told of the end of a run.

The protocol is the one that users of such tools know: JSON on standard input, a few variables, an exit status, JSON on standard output
(docs/guide/hooks.md). Whoever is asked is asked at the same time as the others; a stop ends the whole process tree of each. Configuring
hooks is the business of `app`; what follows from what they say, of the engine.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal

import msgspec
from msgspec import Struct

from quell.core.hooks import HookAnswer, Hooked, HookEvent, HookPlace, RunEnd, parsed, together
from quell.core.messages import ResultStatus, ToolCall
from quell.core.ports import ProcessEnd
from quell.core.programs import Program, Programs
from quell.hooks.answer import Said, answer, failure

__all__ = ["CommandHooks", "Hook"]

log = logging.getLogger(__name__)

BEHIND = 8
"""Hooks that may run behind settled runs at the same time; more are not started."""

_LONGEST_VARIABLE = 100_000
"""Bytes. The kernel starts nothing with one of 128 KiB."""

_SHELL = "/bin/bash" if os.path.exists("/bin/bash") else "/bin/sh"


class Hook(Struct, frozen=True, kw_only=True):
    """`matcher` is for the whole name of a tool, in any case; None: every tool. `on_failure` says something of `PreToolUse` only."""

    event: HookEvent | Literal["Stop"]
    name: str
    command: str
    matcher: re.Pattern[str] | None = None
    timeout: float = 30.0
    on_failure: Literal["deny", "ignore"] = "deny"

    def fits(self, tool: str) -> bool:
        return self.matcher is None or self.matcher.fullmatch(tool) is not None


class CommandHooks:
    """The port `Hooks`. `hidden` are the variables that no hook gets to see, such as providers' keys; `behind` is where those are that run
    behind settled runs, which `close` ends."""

    def __init__(
        self,
        hooks: Sequence[Hook],
        programs: Programs,
        hidden: Collection[str] = (),
        behind: set[Program] | None = None,
    ) -> None:
        self._hooks = tuple(hooks)
        self._programs = programs
        self._hidden = frozenset(hidden)
        self._behind = set() if behind is None else behind

    async def before(self, call: ToolCall, place: HookPlace, environment: Mapping[str, str]) -> Hooked | None:
        return await self._ask("PreToolUse", call, {}, place, environment)

    async def after(
        self, call: ToolCall, status: ResultStatus, text: str, place: HookPlace, environment: Mapping[str, str]
    ) -> Hooked | None:
        return await self._ask(
            "PostToolUse", call, {"tool_response": {"status": status, "text": text}}, place, environment
        )

    async def _ask(
        self,
        event: HookEvent,
        call: ToolCall,
        more: Mapping[str, Any],
        place: HookPlace,
        environment: Mapping[str, str],
    ) -> Hooked | None:
        hooks = [hook for hook in self._hooks if hook.event == event and hook.fits(call.name)]
        if not hooks:
            return None
        input = parsed(call.input)
        told = {**_told(event, place), "tool_name": call.name, "tool_input": input, "tool_use_id": call.id, **more}
        variables = {"TOOL_NAME": call.name}
        for name, key in (("COMMAND", "command"), ("FILE_PATH", "file_path")):
            if isinstance(input.get(key), str):
                variables[f"TOOL_INPUT_{name}"] = input[key]
        variables = self._variables(event, place, environment, variables)
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(self._run(hook, told, place, variables)) for hook in hooks]
        return together(event, [task.result() for task in asked], call.input)

    async def _run(
        self, hook: Hook, told: Mapping[str, Any], place: HookPlace, variables: Mapping[str, str]
    ) -> HookAnswer:
        said = Said()
        blocks = hook.event == "PreToolUse" and hook.on_failure == "deny"
        try:
            program = self._start(hook, told, place, variables, said)
            try:
                end = await program.wait(hook.timeout) or await program.stop("timeout")
            except asyncio.CancelledError:
                await program.stop("cancelled")
                raise
        except OSError as error:
            return failure(hook.name, f"it could not be started: {error.strerror or error}", blocks=blocks)
        if end.stopped == "timeout":
            return failure(hook.name, f"it did not answer within {hook.timeout:g} s", blocks=blocks)
        return answer(hook.name, end, said, blocks=blocks, asked=hook.event == "PreToolUse")

    def settled(self, end: RunEnd, place: HookPlace, environment: Mapping[str, str]) -> None:
        told = {
            **_told("Stop", place),
            "run": end.run,
            "outcome": end.outcome,
            "stop_reason": end.stop_reason,
            "last_assistant_message": end.text,
            "stop_hook_active": False,
        }
        variables = self._variables("Stop", place, environment, {"OUTCOME": end.outcome})
        for hook in self._hooks:
            if hook.event == "Stop":
                self._start_behind(hook, told, place, variables)

    def _start_behind(
        self, hook: Hook, told: Mapping[str, Any], place: HookPlace, variables: Mapping[str, str]
    ) -> None:
        if len(self._behind) >= BEHIND:
            log.warning("the hook %s was not run: %d hooks still run behind earlier runs", hook.name, BEHIND)
            return
        said = Said()
        try:
            program = self._start(hook, told, place, variables, said)
        except OSError as error:
            log.warning("the hook %s could not be started: %s", hook.name, error)
            return
        self._behind.add(program)
        timer = asyncio.get_running_loop().call_later(hook.timeout, program.begin_stop, "timeout")

        def ended() -> None:
            self._behind.discard(program)
            timer.cancel()
            if problem := _problem(hook, program, said):
                log.warning("the hook %s failed: %s", hook.name, problem)

        program.when_ended(ended)

    async def close(self) -> None:
        await end(self._behind)

    def _start(
        self, hook: Hook, told: Mapping[str, Any], place: HookPlace, variables: Mapping[str, str], said: Said
    ) -> Program:
        return self._programs.start(
            [_SHELL, "-c", hook.command],
            directory=place.workspace,
            environment=variables,
            output=said.output,
            errors=said.errors,
            input=msgspec.json.encode(told),
        )

    def _variables(
        self, event: str, place: HookPlace, environment: Mapping[str, str], more: Mapping[str, str]
    ) -> dict[str, str]:
        """The client's environment without keys, and what simple hooks need of the event."""
        own = {
            "EVENT": event,
            "SESSION_ID": place.session,
            "CWD": place.workspace,
            "PROJECT_DIR": place.workspace,
            **{
                name: value for name, value in more.items() if len(value) < _LONGEST_VARIABLE // 4 and "\0" not in value
            },
        }
        given = {name: value for name, value in environment.items() if name not in self._hidden}
        return {"PATH": os.defpath, **given, **{f"QUELL_{name}": value for name, value in own.items()}}


async def end(behind: Collection[Program]) -> None:
    """Stop what still runs behind, and wait until nothing of it is left."""
    programs = [*behind]
    for program in programs:
        program.begin_stop("cancelled")
    for program in programs:
        with suppress(OSError):
            await program.wait()


def _told(event: str, place: HookPlace) -> dict[str, Any]:
    told = {
        "event": event,
        "hook_event_name": event,
        "session_id": place.session,
        "cwd": place.workspace,
        "permission_mode": place.mode,
    }
    return told if place.parent is None else {**told, "parent_session_id": place.parent}


def _problem(hook: Hook, program: Program, said: Said) -> str:
    """What went wrong with one that nobody waits for."""
    try:
        end = program.end or ProcessEnd(status=None)
    except OSError as error:
        return f"it could not be started: {error.strerror or error}"
    if end.stopped == "timeout":
        return f"it did not end within {hook.timeout:g} s"
    return answer(hook.name, end, said, blocks=False, asked=False).report.reason
