"""`write`: a whole file, new or in place of an old one."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from msgspec import Meta, Struct

from quell.core.messages import ToolResult
from quell.core.ports import Place, ToolContext, Workspace
from quell.tools import files
from quell.tools.contents import Contents
from quell.tools.language import diagnosed
from quell.tools.tool import Call, Options, Refused, place, touches


class Write(Struct, frozen=True, forbid_unknown_fields=True):
    file_path: Annotated[str, Meta(description="The file, relative to the workspace or absolute.")]
    content: Annotated[str, Meta(description="The whole content.")]


def prepare_write(asked: Write, workspace: Workspace, options: Options) -> Call:
    where = place(workspace, asked.file_path)
    access = touches("write", "edit", f"Write {where.shown}", where, workspace)
    return Call("edit", access, diagnosed(partial(_write, asked, where, options.contents), where, options))


async def _write(asked: Write, where: Place, contents: Contents, context: ToolContext) -> ToolResult:
    if not await files.exists(context, where):
        content = await files.create(context, where, asked.content, contents)
        return files.done(where, "", content, asked.content, f"Created {where.shown}.")
    file = await files.known(context, where, contents)
    text = asked.content.replace("\r\n", "\n") if file.document.crlf else asked.content
    if text == file.document.text:
        raise Refused(f"{where.shown} has exactly this content already; nothing was written.")
    # The document makes the line endings; where the file mixes them, each of the new lines gets the commoner one.
    after = text.replace("\n", "\r\n") if file.document.windows else text
    content = await files.save(context, file, after, contents)
    return files.done(where, file.document.raw, content, after, f"Wrote {where.shown}.")
