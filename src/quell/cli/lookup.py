"""Finding sessions, and what is in them, by what people type: an id, or the beginning of one."""

from __future__ import annotations

import os

from quell.cli.failure import wrong_usage
from quell.client.oneshot import Connection, Json, Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

PAGE = 200
SHOWN = 8


def real_folder(path: str) -> str:
    """Where a folder really is, whether it exists or not: its sessions may have outlived it. Raises `CommandFailed`."""
    try:
        return os.path.realpath(path)
    except FileNotFoundError:  # the present folder itself
        raise wrong_usage("the present folder is gone: it was deleted or moved. Go to one that exists") from None


def path_of(session: Json) -> str:
    """Where the server has it."""
    return f"/v1/sessions/{session.text('id')}"


def find_session(connection: Connection, id: str) -> Json:
    """The session with this id, or the only one whose id begins so. Raises `CommandFailed` for none and for several."""
    check_id(id, "a session; `quell sessions list` shows them")
    try:
        return connection.request("GET", f"/v1/sessions/{id}")
    except Refused as refused:
        if refused.status != 404:
            raise
    found = the_one(id, list(sessions(connection)), "sessions", lambda session: session.text("title"))
    if found is None:
        raise wrong_usage(f"there is no session {id}; `quell sessions list` shows those that exist")
    return found


def check_id(id: str, what: str) -> None:
    """An id goes into a path. Raises `CommandFailed` for what can be none; `what` says whose it would be."""
    if not id or not id.isascii() or not all(each.isalnum() or each in "-_." for each in id):
        raise wrong_usage(f"{id!r} is not the id of {what}")


def the_one(
    id: str, candidates: Sequence[Json], what: str, text: Callable[[Json], str], otherwise: str = ""
) -> Json | None:
    """The one with this id, or the only one whose id begins so; None when there is none. Raises `CommandFailed` for several, which says what
    can be given `otherwise`.
    """
    check_id(id, f"any of the {what}")
    found = [each for each in candidates if each.text("id") == id] or [
        each for each in candidates if each.text("id").startswith(id)
    ]
    if len(found) > 1:
        names = "\n".join(f"  {each.text('id')}  {text(each)}" for each in found[:SHOWN])
        more = f"\n  … and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise wrong_usage(f"{len(found)} {what} begin with {id}: give more of the id{otherwise}\n{names}{more}")
    return found[0] if found else None


def chosen_session(connection: Connection, id: str | None) -> Json:
    """The session that was named, or the last one of the present folder. Raises `CommandFailed`."""
    if id is not None:
        return find_session(connection, id)
    workspace = real_folder(".")
    found = last_session(connection, workspace)
    if found is None:
        raise wrong_usage(
            f"there is no session in {workspace}; `quell sessions list --all` shows those of other folders"
        )
    return found


def last_session(connection: Connection, workspace: str) -> Json | None:
    """The one that was used last; those of sub-agents are not the user's to go on with."""
    return next((session for session in sessions(connection, workspace) if "parent" not in session), None)


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
