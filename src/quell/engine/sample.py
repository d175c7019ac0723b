"""Asks the model once: for the next message of a run, or for the summary that a compaction leaves.

Deltas go to the followers at once; the actor keeps a draft of them on disk. When the task is cancelled the adapter closes the
connection to the provider, and what had arrived stays in `scene.streams`.
"""

from __future__ import annotations

from msgspec.structs import replace

from quell.core import inputs as i
from quell.core.errors import ModelFailed
from quell.core.loops import is_looping
from quell.core.messages import Message, ModelRequest, Reply, ToolMessage, UserMessage, said
from quell.core.session import Compact, Sample, Session, message_id
from quell.engine import images
from quell.engine.options import Ports
from quell.engine.scene import Means, Scene
from quell.wire import times

RESULT_SUMMED_UP = 8_000
"""Code points of a tool's result that a compaction sends."""


async def sample(effect: Sample, scene: Scene, means: Means) -> i.Input:
    """The next message of the run, or why there is none. Raises `InvalidRequest`."""
    session, ports = scene.ledger.session, means.ports
    if is_looping(scene.ledger.transcript.messages):
        return i.Looping(run=effect.run)
    live = scene.streams.begin(message_id(effect.run, effect.turn, effect.attempt), session.model)
    try:
        workspace = ports.open_workspace(session)
        if ports.equip is not None:
            for news in await ports.equip(session, means.environment, _answered(session)):
                scene.post(i.Note(text=news))
        messages = scene.ledger.transcript.to_send()
        vision = ports.models.sees(session.model)
        request = ModelRequest(
            message=live.message,
            system=await ports.system_prompt(session, workspace),
            messages=messages,
            vision=vision,
            images=await images.read(messages, workspace) if vision else {},
            tools=tuple(spec for spec in ports.tools(session).specs() if _answered(session) or not spec.attended),
            sub_agent=session.parent is not None,
            memo=scene.memo,
        )
        model = await ports.models.open(session.model, means.environment)
        reply = await model.sample(request, live.emit)
    except ModelFailed as failure:
        return _failed(effect, failure, live.fragment(), ports)
    return i.SampleReplied(
        run=effect.run,
        turn=effect.turn,
        attempt=effect.attempt,
        reply=reply,
        crowded=ports.is_crowded(reply.usage.context, model.window),
    )


async def compact(effect: Compact, scene: Scene, means: Means) -> i.Input:
    """A summary of the conversation so far. It streams to nobody: it is no message of the run."""
    session, ports = scene.ledger.session, means.ports
    message = message_id(effect.run, effect.turn, effect.attempt)
    request = ModelRequest(
        message=message,
        system=ports.compaction_prompt,
        messages=(
            *map(_shortened, scene.ledger.transcript.to_send(effect.upto)),
            UserMessage(id=message, text="Summarise the conversation so far, as your instructions say."),
        ),
        vision=ports.models.sees(session.model),  # of what was attached; the images of results have had their say
        tools=tuple(ports.tools(session).specs()),  # some providers refuse calls in a conversation without them
        purpose="summary",
    )
    try:
        model = await ports.models.open(session.model, means.environment)
        reply = await model.sample(request, lambda _: None)
        summary = said(reply.parts).strip()
        if not summary:
            raise ModelFailed("garbled", "The model answered the request for a summary with no text.")
    except ModelFailed as failure:
        return _failed(effect, failure, None, ports)
    return i.CompactionDone(
        run=effect.run,
        turn=effect.turn,
        attempt=effect.attempt,
        upto=effect.upto,
        summary=summary,
        usage=reply.usage,
        cost=reply.cost,
    )


def _answered(session: Session) -> bool:
    """Whether a person may be there to be asked something."""
    return session.run is not None and session.run.entry.on_ask == "wait"


def _shortened(message: Message) -> Message:
    """Without the middle of a long result: what no longer fits into the window has to fit once more, to be summed up."""
    if not isinstance(message, ToolMessage) or len(message.result.text) <= RESULT_SUMMED_UP:
        return message
    text, half = message.result.text, RESULT_SUMMED_UP // 2
    left_out = f"\n[… {len(text) - 2 * half} characters left out …]\n"
    return replace(message, result=replace(message.result, text=text[:half] + left_out + text[-half:]))


def _failed(effect: Sample | Compact, failure: ModelFailed, fragment: Reply | None, ports: Ports) -> i.SampleFailed:
    delay = ports.retry_delay(effect.attempt, failure)
    return i.SampleFailed(
        run=effect.run,
        turn=effect.turn,
        attempt=effect.attempt,
        failure=failure.reason,
        detail=failure.detail,
        reply=fragment if fragment is not None and fragment.parts else None,
        retry_at=None if delay is None else times.later(ports.clock.now(), delay),
        attempts=ports.retry_attempts(),
    )
