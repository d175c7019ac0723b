"""`download`: what an address has, into a file. The file is there when all of it is, or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Annotated

from msgspec import Meta, Struct

from quell.core.messages import ToolResult
from quell.core.ports import Place, ToolContext, Workspace
from quell.core.web import Destination, Page
from quell.tools import files, web
from quell.tools.tool import Call, Options, Refused, place

_LONGEST = 600
CAP = 500 * 1024 * 1024
_STEP = 1024 * 1024


class Download(Struct, frozen=True, forbid_unknown_fields=True):
    url: Annotated[str, Meta(description="The whole address, with https:// or http://.")]
    file_path: Annotated[str, Meta(description="The file to make, relative to the workspace or absolute.")]
    timeout: Annotated[int, Meta(ge=1, description=f"Seconds after which it is given up, at most {_LONGEST}.")] = 300


def prepare_download(asked: Download, workspace: Workspace, options: Options) -> Call:
    where = web.destination(options, asked.url)
    file = place(workspace, asked.file_path)
    access = web.asks("download", f"Download {where.url} to {file.shown}", where, workspace, file)
    return Call("fetch", access, partial(_download, asked, where, file, options))


async def _download(
    asked: Download, where: Destination, file: Place, options: Options, context: ToolContext
) -> ToolResult:
    replaces = context.seen.get(file.path)
    if await files.exists(context, file) and replaces is None:
        raise Refused(
            f"{file.shown} exists already, and nothing was downloaded. Choose another name, or remove it first."
        )
    seconds = min(asked.timeout, _LONGEST)
    async with web.web(options).visit(where, seconds=seconds) as page:
        if not 200 <= page.status < 300:
            raise Refused(f"{page.url} answered with status {page.status} {page.reason}; nothing was downloaded.")
        if page.size is not None and page.size > CAP:
            raise Refused(_too_large(page, f"{page.size:,} bytes"))
        arriving = _Arriving(page, context.output)
        if not await context.workspace.save(file.path, arriving.pieces(), replaces=replaces):
            raise Refused(f"{file.shown} has changed, or has come to be, in the meantime; nothing was downloaded.")
    kind = f", {page.media_type}" if page.media_type else ""
    return ToolResult(
        text=f"Downloaded {page.url} to {file.shown} ({arriving.size:,} bytes{kind}).",
        metadata={
            "url": page.url,
            "path": file.path,
            "bytes": arriving.size,
            "media_type": page.media_type,
            "seen": {file.path: arriving.digest.hexdigest()},
        },
    )


class _Arriving:
    """Counts, hashes and tells of what passes."""

    def __init__(self, page: Page, show: Callable[[str], None]) -> None:
        self.size = 0
        self.digest = hashlib.sha256()
        self._page = page
        self._show = show

    async def pieces(self) -> AsyncIterator[bytes]:
        step = max(_STEP, (self._page.size or 0) // 20)
        told = step
        async for piece in self._page.pieces:
            self.size += len(piece)
            if self.size > CAP:
                raise Refused(_too_large(self._page, f"more than {CAP:,} bytes"))
            self.digest.update(piece)
            yield piece
            if self.size >= told:
                self._show(f"{self.size >> 20} MB{f' of {self._page.size >> 20} MB' if self._page.size else ''}\n")
                # What has no announced end is told of ever more rarely.
                told = self.size + step if self._page.size else 2 * self.size


def _too_large(page: Page, what: str) -> str:
    return f"{page.url} is too large ({what}; at most {CAP // 1024 // 1024} MB are downloaded). Nothing was written."
