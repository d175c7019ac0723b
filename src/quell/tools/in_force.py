"""`quell_info`: what holds in this session, so that a model can explain it and need not guess.

What there is to say, without secrets, comes with the context; here it is laid out.
"""

from __future__ import annotations

from msgspec import Struct

from quell.core.access import Access
from quell.core.messages import ToolResult
from quell.core.ports import ToolContext, Workspace
from quell.tools.tool import Call, Options


class InForce(Struct, frozen=True, forbid_unknown_fields=True):
    pass


def prepare_quell_info(asked: InForce, workspace: Workspace, options: Options) -> Call:
    del asked, workspace, options
    access = Access(tool="quell_info", kind="read", title="Look at the configuration in force")
    return Call("read", access, _quell_info, concurrent=True)


async def _quell_info(context: ToolContext) -> ToolResult:
    topics = [f"{topic.title}:\n" + "\n".join(f"- {line}" for line in topic.lines) for topic in context.describe()]
    return ToolResult(text="\n\n".join(topics) or "Nothing is known about this session's configuration.")
