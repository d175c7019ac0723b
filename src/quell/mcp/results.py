"""What a server answers, as a result for the model: text joined, pictures shown, everything with an end.

What is too long for the model is kept in the session's folder, as the outputs of commands are, and the result says where.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import os
from collections.abc import Callable, Sequence
from typing import Any

from quell.core.images import image_of, image_path
from quell.core.messages import LONGEST_RESULT, Image, ToolResult, printable
from quell.core.pictures import LARGEST, WIDEST, recognise
from quell.core.ports import ToolContext
from quell.mcp.answers import Block, Called, Contents, Read, Resource, Resources

MOST_IMAGES = 10
_EVERY = 0.05
_SAID = 300
_TOLD = 400


class Progress:
    """What a call says of its progress, for screens: now and then, a line at a time, and not without end."""

    def __init__(self, output: Callable[[str], None]) -> None:
        self._output = output
        self._next = 0.0
        self._lines = 0

    def take(self, done: float, total: float | None, message: str | None) -> None:
        now = asyncio.get_running_loop().time()
        if now < self._next or self._lines >= _TOLD:
            return
        self._next = now + _EVERY
        self._lines += 1
        share = f"{done:g}/{total:g}" if total else f"{done:g}"
        self._output(f"{share} {' '.join((message or '').split())[:_SAID]}".rstrip() + "\n")


async def of_call(called: Called, server: str, tool: str, context: ToolContext) -> ToolResult:
    texts: list[str] = []
    images: list[Image] = []
    for block in called.content:
        shown = await _shown(block, context, len(images))
        if isinstance(shown, Image):
            images.append(shown)
            shown = f"[{shown.media_type}, {shown.width}×{shown.height} pixels]"
        texts.append(shown)
    if called.structured is not None and not _is_told(called.structured, texts):
        texts.append(json.dumps(called.structured, ensure_ascii=False, indent=1))
    text = "\n".join(texts).strip()
    return ToolResult(
        text=await _capped(text, context) or ("It failed, and says nothing." if called.is_error else "no output"),
        status="failed" if called.is_error else "completed",
        metadata={"server": server, "tool": tool},
        images=tuple(images),
    )


async def of_contents(read: Read, context: ToolContext) -> ToolResult:
    return await of_call(
        Called(content=tuple(Block("resource", resource=each) for each in read.contents)), "", "", context
    )


async def of_text(text: str, context: ToolContext) -> ToolResult:
    return ToolResult(text=await _capped(text, context))


def listing(server: str, resources: Resources, templates: Resources | None) -> str:
    """The resources of a server, one a line."""
    lines = [_line(each, each.uri) for each in resources.resources]
    lines += [
        _line(each, f"{each.uri_template} (fill in what is in braces)")
        for each in (templates or Resources()).resource_templates
    ]
    more = "\n… and more." if resources.next_cursor is not None else ""
    return f"{server}:\n" + ("\n".join(lines) or "no resources") + more


def _line(resource: Resource, uri: str) -> str:
    about = ": ".join(" ".join(text.split()) for text in (resource.name, resource.description or "") if text)
    return f"- {uri} {about}"[:500].rstrip()


async def _shown(block: Block, context: ToolContext, images: int) -> str | Image:
    match block.type:
        case "text":
            return block.text
        case "image":
            return await _picture(block.data, block.mime_type, context, images)
        case "resource" if block.resource is not None:
            return await _contents(block.resource, context, images)
        case "resource_link":
            return f"[resource {block.uri}: {block.name}]"
        case _:
            return f"[{block.type or 'something'} of type {block.mime_type or 'unknown'}, which cannot be shown]"


async def _contents(contents: Contents, context: ToolContext, images: int) -> str | Image:
    if contents.text is not None:
        return contents.text
    return await _picture(contents.blob or "", contents.mime_type, context, images)


async def _picture(data: str, media_type: str | None, context: ToolContext, images: int) -> str | Image:
    """An image for the model, or what there is in words."""
    try:
        content = base64.b64decode(data, validate=False)
    except (binascii.Error, ValueError):
        return "[something that should have been base64, and is not]"
    what = f"{media_type or 'something'}, {len(content):,} bytes"
    picture = recognise(content)
    if picture is None or picture.size is None:
        return f"[{what}, which cannot be shown]"
    if not context.vision:
        return f"[an image: {what}. The model in use is not known to see images]"
    if len(content) > LARGEST or max(picture.size) > WIDEST or not context.workspace.kept or images >= MOST_IMAGES:
        return f"[an image: {what}. It is too large, or one too many, to be shown]"
    image = image_of("image", content, picture.media_type, picture.size)
    await context.workspace.write(
        image_path(context.workspace.kept, image), content, replaces=None
    )  # False: it is there already
    return image


def _is_told(structured: Any, texts: Sequence[str]) -> bool:
    """Servers say the same as text, for clients that know no structure; some SDKs wrap a plain value in `result`."""
    inner = structured.get("result") if isinstance(structured, dict) and structured.keys() == {"result"} else structured
    values = [_value(text) for text in texts]
    if isinstance(inner, list) and len(inner) == len(values) and all(map(_same, inner, values)):
        return True
    return any(_same(each, value) for each in (structured, inner) for value in values)


def _value(text: str) -> tuple[str, Any]:
    try:
        return text, json.loads(text)
    except (ValueError, RecursionError):
        return text, None


def _same(one: Any, told: tuple[str, Any]) -> bool:
    return one is not None and one in told


async def _capped(text: str, context: ToolContext) -> str:
    text = printable(text)
    if len(text) <= LONGEST_RESULT:
        return text
    first, last = text[: LONGEST_RESULT // 2], text[-LONGEST_RESULT // 2 :]
    first, last = first[: first.rfind("\n") + 1] or first, last[last.find("\n") + 1 :] or last
    where = ""
    if kept := context.workspace.kept:
        path = os.path.join(kept, f"{context.call}.txt")
        try:
            await context.workspace.write(path, context.hide(text).encode(), replaces=None)
            where = f"; all of it is in {path}, for `view` and `grep`"
        except OSError:
            pass  # the disk refuses it: it costs the file, not the result
    left_out = len(text) - len(first) - len(last)
    return f"{first.rstrip()}\n\n… [{left_out:,} characters left out{where}] …\n\n{last}"
