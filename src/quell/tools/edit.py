"""`edit`: replace one piece of a text file by another."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from msgspec import Meta, Struct

from quell.core.messages import ToolResult
from quell.core.ports import Place, ToolContext, Workspace
from quell.tools import files
from quell.tools.contents import Contents
from quell.tools.language import diagnosed
from quell.tools.replace import NoMatch, locate
from quell.tools.tool import Call, Options, Refused, place, touches


class Edit(Struct, frozen=True, forbid_unknown_fields=True):
    file_path: Annotated[str, Meta(description="The file, relative to the workspace or absolute.")]
    old_string: Annotated[str, Meta(description="The text to replace, exactly as in the file. Empty: make a new file.")]
    new_string: Annotated[str, Meta(description="What to put there. Empty: delete the text.")]
    replace_all: Annotated[bool, Meta(description="Replace every occurrence instead of the only one.")] = False


def prepare_edit(asked: Edit, workspace: Workspace, options: Options) -> Call:
    where = place(workspace, asked.file_path)
    access = touches("edit", "edit", f"Edit {where.shown}", where, workspace)
    return Call("edit", access, diagnosed(partial(_edit, asked, where, options.contents), where, options))


async def _edit(asked: Edit, where: Place, contents: Contents, context: ToolContext) -> ToolResult:
    if not asked.old_string:
        return await _create(asked, where, contents, context)
    file = await files.known(context, where, contents)
    try:
        found = locate(file.document, asked.old_string, asked.new_string, everywhere=asked.replace_all)
    except NoMatch as problem:
        raise Refused(f"{where.shown} was not changed: {problem}") from None
    after = file.document.splice(found.changes)
    content = await files.save(context, file, after, contents)
    count = f"{len(found.changes)} places" if len(found.changes) > 1 else f"line {_line(file, found.changes[0].start)}"
    note = f" {found.note}" if found.note else ""
    return files.done(where, file.document.raw, content, after, f"Edited {where.shown}: {count}.{note}")


async def _create(asked: Edit, where: Place, contents: Contents, context: ToolContext) -> ToolResult:
    content = await files.create(context, where, asked.new_string, contents)
    return files.done(where, "", content, asked.new_string, f"Created {where.shown}.")


def _line(file: files.Known, position: int) -> int:
    return file.document.text.count("\n", 0, position) + 1
