"""What the model is told of the sandbox that a command ran in, and what the command is told.

How a sandbox is made is the workspace's business; whether a command may leave it is judged before, like every call.
"""

from __future__ import annotations

import re

from msgspec.structs import replace

from quell.core.messages import ToolResult
from quell.core.ports import Sandbox, ToolContext

_CLEAR = "Read-only file system"
_UNCLEAR = "Permission denied|Operation not permitted|Device or resource busy|no new privileges|[Cc]annot open display"
_NETWORK = (
    "Could not resolve|Network is unreachable|[Nn]ame resolution|[Nn]ame or service not known|No address associated"
    "|ENOTFOUND|EAI_AGAIN|ENETUNREACH|no such host|dial tcp|[Ff]ailed to lookup address"
)

_REACH = {
    "workspace": "It can write in the workspace and in /tmp, and read the rest but for places that hold secrets",
    "read-only": "It can write in /tmp, nowhere else, and read the rest but for places that hold secrets",
    "strict": "It sees the workspace and /tmp, which it can write to, the system's programs, and an empty home",
}


def of(context: ToolContext) -> Sandbox:
    """The sandbox of a call's command."""
    sandbox = context.workspace.sandbox
    if context.read_only and sandbox.mode == "workspace":
        return replace(sandbox, mode="read-only")
    return sandbox


def environment(sandbox: Sandbox) -> dict[str, str]:
    """What is different for a command in it: other folders for temporary files may not exist there."""
    return {} if sandbox.mode == "off" else {"TMPDIR": "/tmp", "QUELL_SANDBOX": sandbox.mode}  # noqa: S108  # reason: the sandbox's own


def explained(result: ToolResult, sandbox: Sandbox) -> ToolResult:
    """The result of a command, with what the sandbox has to do with it."""
    if sandbox.mode == "off":
        return result
    text, metadata = result.text, {**result.metadata, "sandbox": sandbox.mode}
    if _is_suspect(result, sandbox):
        network = "has network access" if sandbox.network else "has no network"
        text += (
            f"\nThe command ran in a sandbox, which may be why something was refused. {_REACH[sandbox.mode]}; it {network};"
            " .git/config, .git/hooks and other files that make programs run are read-only. If it has to reach further, run it again"
            " with `outside_sandbox`, for which the user may be asked."
        )
        metadata["sandbox_suspected"] = True
    return replace(result, text=text, metadata=metadata)


def _is_suspect(result: ToolResult, sandbox: Sandbox) -> bool:
    """In a pipeline a failure may not show in the status: then only errors count that hardly anything else prints."""
    errors = [_CLEAR] if sandbox.network else [_CLEAR, _NETWORK]
    if result.metadata.get("exit") != 0:
        errors.append(_UNCLEAR)
    return re.search("|".join(errors), result.text) is not None
