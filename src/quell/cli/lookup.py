"""Finding sessions by what people type: an id, or the beginning of one."""

from __future__ import annotations

import os

from quell.cli.failure import wrong_usage
from quell.client.oneshot import Connection, Json, Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = 200
SHOWN = 8


def real_folder(path: str) -> str:
    """Where a folder really is, whether it exists or not: its sessions may have outlived it. Raises `CommandFailed`."""
    try:
        return os.path.realpath(path)
    except FileNotFoundError:  # the present folder itself
        raise wrong_usage("the present folder is gone: it was deleted or moved. Go to one that exists") from None


def find_session(connection: Connection, id: str) -> Json:
    """The session with this id, or the only one whose id begins so. Raises `CommandFailed` for none and for several."""
    if not id or not id.isascii() or not all(each.isalnum() or each in "-_." for each in id):
        raise wrong_usage(f"{id!r} is not the id of a session; `quell sessions list` shows them")
    try:
        return connection.request("GET", f"/v1/sessions/{id}")
    except Refused as refused:
        if refused.status != 404:
            raise
    found = [session for session in sessions(connection) if session.text("id").startswith(id)]
    match found:
        case [session]:
            return session
        case []:
            raise wrong_usage(f"there is no session {id}; `quell sessions list` shows those that exist")
        case _:
            names = "\n".join(f"  {each.text('id')}  {each.text('title')}" for each in found[:SHOWN])
            more = f"\n  … and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
            raise wrong_usage(f"{len(found)} sessions begin with {id}: give more of the id\n{names}{more}")


def sessions(connection: Connection, workspace: str | None = None, query: str = "", parent: str = "") -> Iterator[Json]:
    """Those of users, or the sub-agents of a `parent`, last updated first."""
    from urllib.parse import urlencode

    wanted: dict[str, str | int] = {"limit": PAGE}
    if workspace is not None:
        wanted["workspace"] = workspace
    if query:
        wanted["q"] = query
    if parent:
        wanted["parent"] = parent
    while True:
        page = connection.request("GET", f"/v1/sessions?{urlencode(wanted)}")
        yield from page.items("items")
        if "next" not in page:
            return
        wanted["cursor"] = page.text("next")
