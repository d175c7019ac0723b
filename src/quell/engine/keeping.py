"""Checkpoints of a session: keeping its folders as they are, having files as they were, and forgetting what was kept."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from msgspec.structs import replace

from quell.core import inputs as i
from quell.core.checkpoints import CheckpointRefused, Checkpoints
from quell.core.session import Keep, Restore, Session
from quell.engine.options import Ports

log = logging.getLogger(__name__)


def folders(session: Session) -> tuple[str, ...]:
    return (session.workspace, *session.extra)


async def keep(effect: Keep, session: Session, ports: Ports) -> i.Kept:
    """A run does not fail because its files cannot be kept."""
    kept = i.Kept(run=effect.run, after=effect.after)
    if ports.checkpoints is None:
        return replace(kept, problem="there are no checkpoints here")
    try:
        return replace(kept, snapshot=await ports.checkpoints().keep(session.id, folders(session)))
    except CheckpointRefused as refusal:
        return replace(kept, problem=str(refusal))


async def touch(session: Session, checkpoints: Checkpoints, paths: Sequence[str]) -> None:
    """What a tool writes is kept also where the workspace's snapshots do not look. That it cannot be is no reason not to work."""
    try:
        await checkpoints.touch(session.id, folders(session), paths)
    except CheckpointRefused as refusal:
        log.warning("session %s: %s will not be had back: %s", session.id, ", ".join(paths), refusal)


def leaves(session: Session) -> bool:
    """Whether the workspace was kept before the run's first change: then what the run leaves is kept, too."""
    kept = None if session.run is None else session.checkpoints.get(session.run.id)
    return kept is not None and bool(kept.before)


async def left(session: Session, ports: Ports, seconds: float | None = None) -> str:
    """The snapshot of what the run that is about to end has left, if there is one from before it. In time, or not at all."""
    if ports.checkpoints is None or not leaves(session):
        return ""
    try:
        async with asyncio.timeout(seconds):
            return await ports.checkpoints().keep(session.id, folders(session))
    except (CheckpointRefused, TimeoutError):
        return ""


async def restore(effect: Restore, session: Session, ports: Ports) -> i.Restored:
    restored = i.Restored(revert=effect.revert)
    if ports.checkpoints is None:
        return replace(restored, problem="there are no checkpoints here")
    try:
        left = await ports.checkpoints().restore(session.id, folders(session), effect.source, effect.target)
    except CheckpointRefused as refusal:
        return replace(restored, problem=str(refusal))
    return replace(restored, left=tuple(left))


async def forget(session: Session, ports: Ports) -> None:
    """What cannot be removed only takes space: it does not keep a session from being deleted."""
    if ports.checkpoints is not None:
        try:
            await ports.checkpoints().forget(session.id, folders(session))
        except CheckpointRefused as refusal:
            log.warning("session %s: its checkpoints were not removed: %s", session.id, refusal)
