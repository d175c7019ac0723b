"""`bash`: a line of shell, run to its end, or on behind the call as a job.

The command cannot ask anybody anything: its input is closed, pagers and editors are off. What it may do is judged before, from what
`reach` says of the line; what it has started ends with it.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping
from functools import partial
from typing import Annotated

from msgspec import Meta, Struct
from msgspec.structs import replace

from quell.core.messages import ToolResult
from quell.core.ports import Place, Process, ProcessEnd, Sandbox, ToolContext, Workspace
from quell.tools import gitsafe, sandboxed
from quell.tools.jobs import MOST, Job, Jobs
from quell.tools.output import Output
from quell.tools.tool import Call, Options, Refused, explain, place

_LONGEST = 600
_FAILS_AT_ONCE = 1.0
"""Seconds in which a command that cannot work in the background fails."""
_SHELLS = ("/bin/bash", "bash", "/bin/sh")

_FORCED: Mapping[str, str] = {
    "TERM": "dumb",
    "NO_COLOR": "1",
    "PAGER": "cat",
    "GIT_PAGER": "cat",
    "MANPAGER": "cat",
    "SYSTEMD_PAGER": "cat",
    "EDITOR": "false",
    "VISUAL": "false",
    "GIT_EDITOR": "false",
    "GIT_SEQUENCE_EDITOR": "false",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_MERGE_AUTOEDIT": "no",
    "DEBIAN_FRONTEND": "noninteractive",
    "PIP_NO_INPUT": "1",
    "PYTHONUNBUFFERED": "1",
    "QUELL": "1",
    "AGENT": "quell",
    "AI_AGENT": "quell",
}
"""So that nothing waits for a person who is not there, and programs can tell who runs them."""

_DROPPED = frozenset(
    {
        "BASHOPTS",
        "BASH_ENV",
        "CDPATH",
        "ENV",
        "GIT_ASKPASS",
        "PROMPT_COMMAND",
        "PS4",
        "SHELLOPTS",
        "SSH_ASKPASS",
        "SUDO_ASKPASS",
    }
)
"""A start-up file, or an option of the shell, could give other meanings to what was judged; a dialogue would wait."""


class Bash(Struct, frozen=True, forbid_unknown_fields=True):
    command: Annotated[str, Meta(description="The command line, for bash.")]
    description: Annotated[str, Meta(description="What it does, in five to ten words, for the person who watches.")] = (
        ""
    )
    working_dir: Annotated[str, Meta(description="Where to run it; the workspace if left out.")] = "."
    run_in_background: Annotated[bool, Meta(description="Do not wait for its end: it becomes a job.")] = False
    auto_background_after: Annotated[
        int, Meta(ge=1, le=_LONGEST, description="Seconds after which it becomes a background job by itself.")
    ] = 60
    timeout: Annotated[
        int,
        Meta(ge=0, description=f"Stop it after so many seconds, at most {_LONGEST}, instead of letting it go on."),
    ] = 0
    outside_sandbox: Annotated[
        bool, Meta(description="Run it outside of the sandbox, if it failed because of that. The user may be asked.")
    ] = False


def prepare_bash(asked: Bash, workspace: Workspace, options: Options) -> Call:
    if not asked.command.strip():
        raise Refused("The command is empty.")
    if "\0" in asked.command:
        raise Refused("The command has a NUL character in it, which no command can have.")
    where = place(workspace, asked.working_dir or ".")
    from quell.tools.reach import access  # what takes lines of shell apart: 7 ms that only a first command should pay

    reached = access(asked.command, where, workspace, options.own)
    careful = gitsafe.line(asked.command, reached)
    if workspace.sandbox.mode != "off":
        title = (
            reached.title.replace("Run ", "Run outside of the sandbox: ", 1) if asked.outside_sandbox else reached.title
        )
        reached = replace(reached, title=title, sandboxed=not asked.outside_sandbox)
    return Call("execute", reached, partial(_bash, careful, asked, where, options))


async def _bash(command: str, asked: Bash, where: Place, options: Options, context: ToolContext) -> ToolResult:
    if options.jobs.running(context.session) >= MOST:
        raise Refused(f"{MOST} background jobs are running, which is the limit. End one with `job_kill` first.")
    kept = context.workspace.kept
    output = Output(context.output, os.path.join(kept, f"{context.call}.txt") if kept else "")
    sandbox = Sandbox() if asked.outside_sandbox else sandboxed.of(context)
    environment = _environment(context.environment, options) | sandboxed.environment(sandbox)
    try:
        process = _start(command, where, environment, output, context, sandbox)
        end = await _ended(process, _patience(asked))
    except FileNotFoundError:
        raise Refused(f"The command was not run: there is no folder {where.shown}, or no shell.") from None
    except OSError as error:
        raise Refused(f"The command was not run: {explain(error)}.") from None
    if end is None and asked.timeout:
        end = await process.stop("timeout")
    if end is None:
        return _in_background(asked, process, output, options.jobs, context)
    output.close()
    return sandboxed.explained(_result(end, output.text().rstrip(), asked.timeout), sandbox)


async def _ended(process: Process, patience: float) -> ProcessEnd | None:
    """How it ended, or was ended because the run is cancelled; None while it goes on."""
    try:
        return await process.wait(patience)
    except asyncio.CancelledError:
        return await process.stop("cancelled")


def _patience(asked: Bash) -> float:
    """Seconds that the call waits for the end."""
    if asked.timeout:
        return min(asked.timeout, _LONGEST)
    return _FAILS_AT_ONCE if asked.run_in_background else asked.auto_background_after


def _start(
    command: str, where: Place, environment: Mapping[str, str], output: Output, context: ToolContext, sandbox: Sandbox
) -> Process:
    for program in _SHELLS:
        try:
            return context.workspace.start(
                [program, "-c", command],
                directory=where.path,
                environment=environment,
                output=output.take,
                sandbox=sandbox,
            )
        except FileNotFoundError as error:
            if error.filename != program:
                raise
    raise FileNotFoundError


def _in_background(asked: Bash, process: Process, output: Output, jobs: Jobs, context: ToolContext) -> ToolResult:
    """The command is a job from now on. Its id is the call's, whose name nobody else has."""
    output.hide()
    job = Job(context, asked.command, asked.description, process, output)
    jobs.add(context.session, job)
    why = "" if asked.run_in_background else f" after {asked.auto_background_after} s"
    told = (
        f"The command goes on in the background{why}, as job {job.id}. You will be told when it ends;"
        " `job_output` shows what it has printed, `job_kill` ends it."
    )
    text = output.text().rstrip()
    return ToolResult(text=f"{text}\n{told}" if text else told, metadata={"job": job.id, "running": True})


def _result(end: ProcessEnd, printed: str, timeout: int) -> ToolResult:
    text = "\n".join(part for part in (printed, *_notes(end, timeout)) if part)
    metadata = {"exit": end.status, "signal": end.signal, "stopped": end.stopped}
    match end.stopped:
        case "cancelled":
            return ToolResult(text=text, status="cancelled", metadata=metadata)
        case "timeout":
            return ToolResult(text=text, status="failed", metadata=metadata)
        case None:
            return ToolResult(text=text or "no output", metadata=metadata)


def _environment(given: Mapping[str, str], options: Options) -> dict[str, str]:
    kept = {name: value for name, value in given.items() if name not in options.hidden and name not in _DROPPED}
    return {"PATH": os.defpath, **kept, **_FORCED, **gitsafe.settings(given.get("GIT_CONFIG_COUNT", ""))}


def _notes(end: ProcessEnd, timeout: int) -> list[str]:
    notes: list[str] = []
    if end.stopped == "timeout":
        notes.append(
            f"The command was stopped after {timeout} s, its time limit; what it printed until then is above."
            f" Give it more time with `timeout` (at most {_LONGEST}), or do it in smaller steps."
        )
    elif end.stopped == "cancelled":
        notes.append("The command was stopped because the run was cancelled; what it printed until then is above.")
    elif end.signal is not None:
        notes.append(f"Ended by signal {end.signal} ({_signal_name(end.signal)})")
    elif end.status:
        notes.append(f"Exit code {end.status}")
    if end.leftover:
        names = ", ".join(dict.fromkeys(end.leftover))
        notes.append(f"Background processes were still running and were ended with the command: {names}.")
    if end.unkillable:
        numbers = ", ".join(str(number) for number in end.unkillable)
        notes.append(f"These processes could not be killed and may still be running: {numbers}.")
    return notes


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"
