"""When a path leads nowhere: what the model may have meant."""

from __future__ import annotations

import difflib
import os

from quell.core.ports import Place, Workspace

_SUGGESTED = 3


async def not_found(workspace: Workspace, where: Place) -> str:
    """The sentence for a missing file, with up to three names that are there."""
    names = await _beside(workspace, where.path) or await _elsewhere(workspace, where)
    if not names:
        return f"There is no file {where.shown}."
    return f"There is no file {where.shown}. Did you mean one of these?\n" + "\n".join(names)


async def _beside(workspace: Workspace, path: str) -> list[str]:
    folder, name = os.path.split(path)
    try:
        listing = await workspace.walk(folder, depth=1, ignore=(), limit=2000)
    except OSError:
        return []
    names = [os.path.basename(entry.path) for entry in listing.entries]
    lowered = {each.lower(): each for each in names}
    stem = os.path.splitext(name)[0].lower()
    near = [lowered[each] for each in difflib.get_close_matches(name.lower(), lowered, n=_SUGGESTED, cutoff=0.7)]
    near += [each for each in names if len(stem) > 2 and stem in each.lower() and each not in near]
    return [workspace.place(os.path.join(folder, each)).shown for each in near[:_SUGGESTED]]


async def _elsewhere(workspace: Workspace, where: Place) -> list[str]:
    name = os.path.basename(where.path)
    if not where.inside or not name:
        return []
    escaped = "".join(f"[{each}]" if each in "*?{[" else each for each in name)
    try:
        found = await workspace.find(workspace.root, f"**/{escaped}", limit=_SUGGESTED)
    except (OSError, ValueError):
        return []
    return [workspace.place(entry.path).shown for entry in found.entries]
