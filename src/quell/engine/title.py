"""Asks a model what to call a session: the small one, and when that fails the one that works.

It is no part of a run: nobody waits for it, and no run fails with it. Until it answers, and when it does not, a session is called
after the first line of its first prompt.
"""

from __future__ import annotations

import asyncio
import logging
import re

from quell.core import inputs as i
from quell.core.errors import InvalidRequest, ModelFailed
from quell.core.messages import ModelRequest, Reply, Usage, UserMessage, headline, said
from quell.core.session import Title
from quell.engine.scene import Means, Scene

log = logging.getLogger(__name__)

PATIENCE = 60.0
"""Seconds that a model may take for a title."""
SHOWN = 4_000
"""Code points of the prompt that it gets to see."""

_THOUGHTS = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.DOTALL)
_MARKS = " \t\"'“”‘’«»`*_#.:"


async def title(effect: Title, scene: Scene, means: Means) -> i.TitleFound:
    """What it found, and what that cost."""
    session, text = scene.ledger.session, _text(scene, effect.prompt)[:SHOWN]
    if not text.strip():
        return i.TitleFound(prompt=effect.prompt, attempt=effect.attempt)
    request = ModelRequest(
        message=f"{effect.prompt}-title",
        system=means.ports.title_prompt,
        messages=(UserMessage(id=effect.prompt, text=text),),
        purpose="title",
    )
    found, usage, cost = None, Usage(), None
    for spec in dict.fromkeys(filter(None, (session.small_model, session.model))):
        try:
            async with asyncio.timeout(PATIENCE):
                reply = await (await means.ports.models.open(spec, means.environment)).sample(request, lambda _: None)
        except (ModelFailed, InvalidRequest, TimeoutError) as failure:
            log.info("session %s: %s gave no title: %s", session.id, spec, str(failure) or "it took too long")
            continue
        found, usage = clean(reply), usage + reply.usage
        cost = cost if reply.cost is None else (cost or 0) + reply.cost
        if found is not None:
            break
    return i.TitleFound(prompt=effect.prompt, attempt=effect.attempt, title=found, usage=usage, cost=cost)


def clean(reply: Reply) -> str | None:
    """The one line that was asked for, without what models like to put around it."""
    return headline(headline(_THOUGHTS.sub("", said(reply.parts)), SHOWN).removeprefix("Title:").strip(_MARKS)) or None


def _text(scene: Scene, prompt: str) -> str:
    """The prompt, wherever it is; one that was dropped says nothing."""
    entry = scene.ledger.session.entry(prompt)
    if entry is not None:
        return entry.text
    messages = scene.ledger.transcript.messages
    return next((each.text for each in messages if isinstance(each, UserMessage) and each.id == prompt), "")
