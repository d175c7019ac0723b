"""`multiedit`: several edits of one file, in order, written once.

Edits that cannot be made are reported by their number; the others are made all the same. Each sees what the ones before it left.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated

from msgspec import Meta, Struct

from quell.core.messages import ToolResult
from quell.core.ports import Place, ToolContext, Workspace
from quell.tools import files
from quell.tools.contents import Contents
from quell.tools.language import diagnosed
from quell.tools.replace import NoMatch, locate
from quell.tools.text import Document, new_document
from quell.tools.tool import Call, Options, Refused, place, touches


class Replacement(Struct, frozen=True, forbid_unknown_fields=True):
    old_string: Annotated[str, Meta(description="The text to replace, exactly as in the file.")]
    new_string: Annotated[str, Meta(description="What to put there. Empty: delete the text.")]
    replace_all: Annotated[bool, Meta(description="Replace every occurrence instead of the only one.")] = False


class MultiEdit(Struct, frozen=True, forbid_unknown_fields=True):
    file_path: Annotated[str, Meta(description="The file, relative to the workspace or absolute.")]
    edits: Annotated[tuple[Replacement, ...], Meta(min_length=1, description="The edits, made one after the other.")]


class Failure(Struct, frozen=True):
    """`index` counts from 1."""

    index: int
    error: str


def prepare_multiedit(asked: MultiEdit, workspace: Workspace, options: Options) -> Call:
    where = place(workspace, asked.file_path)
    access = touches("multiedit", "edit", f"Edit {where.shown}", where, workspace)
    return Call("edit", access, diagnosed(partial(_multiedit, asked, where, options.contents), where, options))


async def _multiedit(asked: MultiEdit, where: Place, contents: Contents, context: ToolContext) -> ToolResult:
    creates = not asked.edits[0].old_string
    edits = asked.edits[1:] if creates else asked.edits
    file = None if creates else await files.known(context, where, contents)
    document = new_document().with_raw(asked.edits[0].new_string) if file is None else file.document
    before = "" if file is None else file.document.raw
    document, failures, notes = _apply(document, edits, len(asked.edits) - len(edits))
    made = len(asked.edits) - len(failures)
    if not made:
        raise Refused(f"{where.shown} was not changed: none of the edits could be made.\n" + _listed(failures))
    content = await (
        files.create(context, where, document.raw, contents)
        if file is None
        else files.save(context, file, document.raw, contents)
    )
    text = f"{'Created' if creates else 'Edited'} {where.shown}: {made} of {len(asked.edits)} edits made."
    result = files.done(where, before, content, document.raw, " ".join([text, *notes]))
    return ToolResult(
        text=f"{result.text}\n{_listed(failures)}".strip(),
        metadata={
            **result.metadata,
            "edits_applied": made,
            "edits_failed": [{"index": failure.index, "error": failure.error} for failure in failures],
        },
    )


def _apply(document: Document, edits: Sequence[Replacement], made: int) -> tuple[Document, list[Failure], list[str]]:
    failures: list[Failure] = []
    notes: list[str] = []
    for index, edit in enumerate(edits, made + 1):
        try:
            if not edit.old_string:
                raise NoMatch("old_string is empty; only the first edit may make a new file.")
            found = locate(document, edit.old_string, edit.new_string, everywhere=edit.replace_all)
        except NoMatch as problem:
            failures.append(Failure(index, str(problem)))
            continue
        document = document.with_raw(document.splice(found.changes))
        if found.note:
            notes.append(f"Edit {index}: {found.note}")
    return document, failures, notes


def _listed(failures: Sequence[Failure]) -> str:
    return "\n".join(f"Edit {failure.index} failed: {failure.error}" for failure in failures)
