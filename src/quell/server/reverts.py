"""Going back to before a message, files and conversation, and undoing that."""

from __future__ import annotations

from quell.engine import reverting
from quell.server.route import Call
from quell.wire import api


async def revert(call: Call[api.Nothing, api.Revert]) -> api.Reverted:
    """Back to before a message: the conversation, and the files that the agent has changed since."""
    body = call.body
    return _told(await reverting.revert(call.engine, call.session, body.to, force=body.force, preview=body.dry_run))


async def unrevert(call: Call[api.Nothing, api.Unrevert]) -> api.Reverted:
    """Undo the last revert. It can be undone until the next run begins."""
    body = call.body
    return _told(await reverting.revert(call.engine, call.session, None, force=body.force, preview=body.dry_run))


def _told(outcome: reverting.Outcome) -> api.Reverted:
    return api.Reverted(
        to=outcome.to,
        seq=outcome.seq,
        done=outcome.done,
        text=outcome.text,
        attachments=outcome.attachments,
        files=outcome.plan.changes,
        left=outcome.left,
        notes=outcome.plan.notes,
        problem=outcome.problem or None,
    )
