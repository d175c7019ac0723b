"""The programs of your own that `quell doctor` looks at: hooks, language servers and tool servers.

The server says which there are for a folder, and how those stand that it has started. What a session from this terminal would find is looked
for here, at this moment: its programs, and the variables that settings name.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator

from quell.cli.finding import Finding
from quell.client.oneshot import Json

_SHELL = "/bin/bash" if os.path.exists("/bin/bash") else "/bin/sh"
_OFF = "off, by the settings"


def programs(status: Json, folder: str) -> Iterator[Finding]:
    for hook in status.items("hooks"):
        yield _hook(hook, folder)
    for server in status.items("lsp"):
        yield _language_server(server, folder)
    for server in status.items("mcp"):
        yield _tool_server(server, folder)


def _hook(hook: Json, folder: str) -> Finding:
    matcher, program = hook.text("matcher"), hook.text("program")
    told = f"{hook.text('event')}: {hook.text('name')}{matcher and f', for {matcher}'}"
    if not program or _known_to_shell(program, folder):
        return Finding("ok", "hook", told)
    follows = "every call that it is for is denied" if hook.flag("denies") else "it fails each time"
    return Finding(
        "bad",
        "hook",
        f"{told}: `{program}` is not found",
        f"Install it, or mend its `command`: until then {follows}",
    )


def _language_server(server: Json, folder: str) -> Finding:
    name, state, program = f"lsp {server.text('name')}", server.text("state"), server.text("program")
    match state:
        case "disabled":
            return Finding("note", name, _OFF)
        case "ended":
            found = f"failed when it was last needed: {server.text('problem')}"
            return Finding(
                "bad", name, found, "Mend it, or: disabled = true. The next file of its kind starts it again"
            )
        case "stopped" if not _is_there(program, folder):
            return Finding("bad", name, f"`{program}` is not found", "Install it, or: disabled = true")
        case "stopped":
            return Finding("ok", name, f"is started with the first file of its kind ({_ends(server)})")
        case _:
            return Finding("ok", name, f"{'runs' if state == 'ready' else 'is starting'} in {server.text('folder')}")


def _ends(server: Json) -> str:
    return ", ".join(server.texts("filetypes"))


def _tool_server(server: Json, folder: str) -> Finding:
    name, state, program = f"mcp {server.text('name')}", server.text("state"), server.text("program")
    tools = f"{server.number('tools')} tools"
    match state:
        case "disabled":
            return Finding("note", name, _OFF)
        case "failed":
            found = f"failed when it was last started: {server.text('problem')}"
            return Finding("bad", name, found, "Mend it, or: disabled = true. The next prompt starts it again")
        case "connected":
            found = f"{'was there when it was last asked' if server.flag('remote') else 'connected'}, {tools}"
            if "problem" in server:
                return Finding("note", name, f"{found}, but {server.text('problem')}", "Mend that list")
            return Finding("ok", name, found)
        case "stopped":
            return _not_started(name, server, program, folder)
        case _:
            return Finding("ok", name, state)


def _not_started(name: str, server: Json, program: str, folder: str) -> Finding:
    missing = [variable for variable in server.texts("variables") if not os.environ.get(variable)]
    if missing:
        unset = ", ".join(f"${variable}" for variable in missing)
        mend = f"export {missing[0]}=…, where you start sessions; or say in the settings what it is otherwise: ${{{missing[0]}:-…}}"
        return Finding(
            "bad", name, f"{unset} {'is' if len(missing) == 1 else 'are'} not set, which its settings name", mend
        )
    if program and not _is_there(program, folder):
        return Finding("bad", name, f"`{program}` is not found", "Install it, or: disabled = true")
    return Finding("ok", name, "is started when a session needs it")


def _is_there(program: str, folder: str) -> bool:
    path = os.path.expanduser(program)
    return shutil.which(os.path.join(folder, path) if os.sep in path else path) is not None


def _known_to_shell(word: str, folder: str) -> bool:
    """As a program, or as a word of its own."""
    asked = [_SHELL, "-c", 'command -v -- "$1"', _SHELL, os.path.expanduser(word)]
    done = subprocess.run(asked, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return done.returncode == 0
