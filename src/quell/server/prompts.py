"""Prompts: accept, look at, wait for; cancel; compact."""

from __future__ import annotations

import base64
import binascii
from decimal import Decimal

import msgspec

from quell.core import inputs as i
from quell.core.errors import InvalidRequest, NotFound, ShuttingDown
from quell.core.facts import Limits
from quell.core.messages import Attachment
from quell.core.pictures import WIDEST, recognise
from quell.core.session import PromptRecord, Session
from quell.core.transcript import Transcript
from quell.server.route import Call, first_of
from quell.wire import api

LARGEST_IMAGE = 5 * 1024 * 1024
"""Bytes of an attached one: what the strictest of the providers takes."""


async def submit(call: Call[api.Nothing, api.NewPrompt]) -> i.Accepted:
    """Accept a prompt: when this answers, it is on disk and will run."""
    body = call.body
    key = call.idempotency_key
    if key is not None and body.id is not None and key != body.id:
        raise InvalidRequest(
            "The header Idempotency-Key and the field `id` name two different prompts; send one of them."
        )
    submission = i.Submit(
        prompt=body.id or (api.new_id() if key is None else _checked_key(key)),
        text=body.text,
        attachments=tuple(_attachment(attachment) for attachment in body.attachments),
        delivery=body.delivery,
        limits=Limits(
            turns=body.limits.turns,
            cost=None if body.limits.cost is None else Decimal(body.limits.cost),
            seconds=body.limits.seconds,
        ),
        allow=body.allow,
        mode=body.mode,
        on_ask=body.on_ask,
    )
    return await call.apply(submission, body.environment or None)


def _checked_key(key: str) -> str:
    """A header comes unchecked; what it holds has to be fit for an id."""
    try:
        return msgspec.convert(key, api.Id)
    except msgspec.ValidationError:
        raise InvalidRequest(
            "The header Idempotency-Key is no id: letters, digits, `.`, `_` and `-`, 128 at most."
        ) from None


def _attachment(sent: api.NewAttachment) -> Attachment:
    if sent.encoding == "base64":
        try:
            content = base64.b64decode(sent.content, validate=True)
        except (binascii.Error, ValueError) as error:
            raise InvalidRequest(f"The attachment {sent.name} is not valid base64: {error}.") from None
        if sent.mime_type.startswith("image/"):
            _check_image(sent, content)
    return Attachment(name=sent.name, content=sent.content, mime_type=sent.mime_type, encoding=sent.encoding)


def _check_image(sent: api.NewAttachment, content: bytes) -> None:
    """A provider would refuse it, and with it every later request of the session, of which it would be a part."""
    found = recognise(content)
    if found is None or found.media_type != sent.mime_type:
        what = "not a PNG, JPEG, GIF or WebP image" if found is None else f"a {found.kind} image"
        raise InvalidRequest(f"The attachment {sent.name} is called {sent.mime_type}, but it is {what}.")
    if found.size is None:
        raise InvalidRequest(f"The attachment {sent.name} is a {found.kind} image that is cut off or damaged.")
    if len(content) > LARGEST_IMAGE or max(found.size) > WIDEST:
        width, height = found.size
        raise InvalidRequest(
            f"The attachment {sent.name} is an image of {width}×{height} pixels and {len(content):,} bytes; providers take"
            f" {WIDEST} pixels a side and {LARGEST_IMAGE:,} bytes. Send a smaller one."
        )


async def progress(call: Call[api.WaitQuery, api.Nothing]) -> api.Prompt:
    """What has become of a prompt; with `wait`, answered at its end, or when the time is up."""
    session, prompt = call.session, call.path["prompt"]
    found = _prompt(await call.engine.state(session), await call.engine.transcript(session), prompt)
    if call.query.wait and found.state not in ("settled", "dropped"):
        wait = call.engine.wait(session, prompt, call.query.wait)
        await first_of(wait, call.site.stopping.wait(), call.gone())
        if call.site.stopping.is_set():
            raise ShuttingDown("The server is shutting down. Ask the next one: the prompt is on disk.")
        found = _prompt(await call.engine.state(session), await call.engine.transcript(session), prompt)
    return found


def _prompt(session: Session, transcript: Transcript, prompt: str) -> api.Prompt:
    record = session.prompts.get(prompt)
    if record is None:
        raise NotFound(f"There is no prompt {prompt} in this session.")
    if record.run is None:
        return api.Prompt(prompt=prompt, state="dropped" if record.dropped else "queued")
    settlement = session.runs.get(record.run)
    text = transcript.last_text(record.run)
    if settlement is None:
        return api.Prompt(prompt=prompt, state=_active(session, record, prompt), run=record.run, text=text)
    return api.Prompt(
        prompt=prompt,
        state="settled",
        run=record.run,
        outcome=settlement.outcome,
        stop_reason=settlement.stop_reason,
        text=text,
        error=settlement.detail,
    )


def _active(session: Session, record: PromptRecord, prompt: str) -> api.PromptState:
    run = session.run
    return "joined" if run is not None and run.id == record.run and prompt in run.joined else "running"


async def cancel(call: Call[api.Nothing, api.Cancellation]) -> i.Covered:
    """Cancel; the answer names what is covered and has not settled yet, and is empty when all was idle."""
    body = call.body
    request = i.Cancel(scope=body.scope, prompt=body.prompt, run=body.run, upto=body.upto)
    return await call.apply(request)


async def compact(call: Call[api.Nothing, api.Nothing]) -> i.Accepted:
    """Replace the conversation so far by a summary, in a run of its own."""
    return await call.apply(i.Compact(entry=api.new_id()))
