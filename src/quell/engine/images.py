"""The bytes of images in results: read for a request, copied for a fork. One that is gone is not sent, and nothing fails for it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from msgspec.structs import replace

from quell.core import facts as f
from quell.core.errors import InvalidRequest
from quell.core.images import image_path, shown_of
from quell.core.messages import Message
from quell.core.ports import Workspace
from quell.core.session import Session
from quell.engine.options import Ports


async def read(messages: Iterable[Message], workspace: Workspace) -> dict[str, tuple[bytes, ...]]:
    """Those that a request with these messages shows, by the calls whose results they are in."""
    found: dict[str, tuple[bytes, ...]] = {}
    for message in shown_of(messages):
        with contextlib.suppress(OSError):
            paths = [image_path(workspace.kept, image) for image in message.result.images]
            found[message.call] = tuple([await workspace.read(path) for path in paths])
    return found


async def inherit(records: Iterable[f.Recorded], ports: Ports, source: Session, session: str) -> None:
    """Give a session that begins with these facts of `source` the images in them, to keep whatever becomes of that one."""
    finished = [recorded.fact for recorded in records if isinstance(recorded.fact, f.CallFinished)]
    images = {image.sha256: image for fact in finished for image in fact.result.images}
    if not images:
        return
    with contextlib.suppress(InvalidRequest):  # the folder is gone: neither of the two can go on
        theirs, ours = ports.open_workspace(source), ports.open_workspace(replace(source, id=session))
        for image in images.values():
            with contextlib.suppress(OSError):
                content = await theirs.read(image_path(theirs.kept, image))
                await ours.write(image_path(ours.kept, image), content, replaces=None)
