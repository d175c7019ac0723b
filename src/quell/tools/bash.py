"""`bash`: a line of shell, run to its end.

The command cannot ask anybody anything: its input is closed, pagers and editors are off. What it may do is judged before, from what
`reach` says of the line; what it has started ends with it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from functools import partial
from typing import Annotated

from msgspec import Meta, Struct

from quell.core.messages import ToolResult
from quell.core.ports import Place, ProcessEnd, ToolContext, Workspace
from quell.tools.output import Output
from quell.tools.reach import access
from quell.tools.tool import Call, Options, Refused, explain, place

_LONGEST = 600
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

_GIT = (("safe.bareRepository", "explicit"), ("core.fsmonitor", "false"))
"""A repository may hold another one as plain files, whose configuration runs a program when git merely looks around there."""

_DROPPED = frozenset({"BASH_ENV", "ENV", "PROMPT_COMMAND", "SSH_ASKPASS", "GIT_ASKPASS", "SUDO_ASKPASS"})
"""A start-up file could give other meanings to the commands that were judged; a dialogue would wait."""


class Bash(Struct, frozen=True, forbid_unknown_fields=True):
    command: Annotated[str, Meta(description="The command line, for bash.")]
    description: Annotated[str, Meta(description="What it does, in five to ten words, for the person who watches.")] = (
        ""
    )
    working_dir: Annotated[str, Meta(description="Where to run it; the workspace if left out.")] = "."
    timeout: Annotated[int, Meta(ge=1, description=f"Seconds after which it is stopped, at most {_LONGEST}.")] = 120


def prepare_bash(asked: Bash, workspace: Workspace, options: Options) -> Call:
    if not asked.command.strip():
        raise Refused("The command is empty.")
    if "\0" in asked.command:
        raise Refused("The command has a NUL character in it, which no command can have.")
    where = place(workspace, asked.working_dir or ".")
    return Call("execute", access(asked.command, where, workspace), partial(_bash, asked, where, options))


async def _bash(asked: Bash, where: Place, options: Options, context: ToolContext) -> ToolResult:
    output = Output(context.output)
    timeout = min(asked.timeout, _LONGEST)
    try:
        end = await _run(asked.command, where, _environment(context.environment, options), output, timeout, context)
    except FileNotFoundError:
        raise Refused(f"The command was not run: there is no folder {where.shown}, or no shell.") from None
    except OSError as error:
        raise Refused(f"The command was not run: {explain(error)}.") from None
    finally:
        output.close()
    text = "\n".join(part for part in (output.text().rstrip(), *_notes(end, timeout)) if part)
    metadata = {"exit": end.status, "signal": end.signal, "stopped": end.stopped}
    match end.stopped:
        case "cancelled":
            return ToolResult(text=text, status="cancelled", metadata=metadata)
        case "timeout":
            return ToolResult(text=text, status="failed", metadata=metadata)
        case None:
            return ToolResult(text=text or "no output", metadata=metadata)


async def _run(
    command: str, where: Place, environment: Mapping[str, str], output: Output, timeout: float, context: ToolContext
) -> ProcessEnd:
    for program in _SHELLS:
        try:
            return await context.workspace.run(
                [program, "-c", command],
                directory=where.path,
                environment=environment,
                output=output.take,
                timeout=timeout,
            )
        except FileNotFoundError as error:
            if error.filename != program:
                raise
    raise FileNotFoundError


def _environment(given: Mapping[str, str], options: Options) -> dict[str, str]:
    kept = {name: value for name, value in given.items() if name not in options.hidden and name not in _DROPPED}
    return {"PATH": os.defpath, **kept, **_FORCED, **_git_settings(given.get("GIT_CONFIG_COUNT", ""))}


def _git_settings(present: str) -> dict[str, str]:
    """Ours, after those that the environment has already."""
    first = int(present) if present.isdecimal() else 0
    settings = {"GIT_CONFIG_COUNT": str(first + len(_GIT))}
    for number, (key, value) in enumerate(_GIT, start=first):
        settings[f"GIT_CONFIG_KEY_{number}"] = key
        settings[f"GIT_CONFIG_VALUE_{number}"] = value
    return settings


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
