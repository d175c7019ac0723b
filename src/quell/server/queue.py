"""The queue: what waits, and how users rearrange it."""

from __future__ import annotations

from msgspec import UNSET

from quell.core import inputs as i
from quell.core.session import Entry
from quell.core.view import QueueItem
from quell.server.route import Call
from quell.wire import api


async def show(call: Call[api.Nothing, api.Nothing]) -> api.Queue:
    """What waits, in the order in which it will run."""
    session = await call.engine.state(call.session)
    return api.Queue(session.parked, tuple(_item(entry) for entry in session.waiting))


def _item(entry: Entry) -> QueueItem:
    return QueueItem(
        id=entry.id,
        kind=entry.kind,
        text=entry.text,
        delivery=entry.delivery,
        accepted=entry.accepted,
        parked=entry.parked,
        attachments=[attachment.name for attachment in entry.attachments],
    )


async def edit(call: Call[api.Nothing, api.QueueEdit]) -> i.Noted:
    """Change a waiting entry: its text, how it is delivered, its place."""
    body, entry = call.body, call.path["prompt"]
    noted = i.Noted((await call.engine.state(call.session)).seq, False)
    if body.text is not UNSET or body.delivery is not UNSET or body.before is UNSET:
        edit = i.Edit(
            entry=entry,
            text=None if body.text is UNSET else body.text,
            delivery=None if body.delivery is UNSET else body.delivery,
        )
        noted = await call.apply(edit)
    if body.before is not UNSET:
        moved = await call.apply(i.Move(entry=entry, before=body.before))
        noted = i.Noted(moved.seq, noted.applied or moved.applied)
    return noted


async def drop(call: Call[api.Nothing, api.Nothing]) -> i.Noted:
    """Drop one waiting entry: it never reaches a model."""
    return await call.apply(i.Drop(entry=call.path["prompt"]))


async def drop_all(call: Call[api.Nothing, api.Nothing]) -> i.Noted:
    """Drop everything that waits; the active run goes on."""
    return await call.apply(i.Drop())


async def promote(call: Call[api.Nothing, api.Promotion]) -> i.Noted:
    """Start a waiting entry next."""
    return await call.apply(i.Promote(entry=call.path["prompt"], interrupt=call.body.interrupt))


async def resume(call: Call[api.Nothing, api.Nothing]) -> i.Noted:
    """Release a parked queue, in order."""
    return await call.apply(i.Resume())
