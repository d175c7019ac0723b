"""Decisions on what waits: accept, cancel, and the edits of the queue (contract A, C, Q, K7)."""

from __future__ import annotations

from typing import Literal

from quell.core import facts as f
from quell.core import inputs as i
from quell.core.errors import Conflict, EmptyPrompt, InvalidRequest, NotWaiting, QueueFull, ShuttingDown
from quell.core.messages import headline, prompt_is_empty
from quell.core.session import Entry, Session
from quell.core.step import Step


def submit(step: Step, input: i.Submit) -> i.Accepted:
    """Accept a prompt; in an idle session its run starts in the same decision: no window for a cancel to fall into."""
    digest = input.digest()
    known = step.session.prompts.get(input.prompt)
    if known is not None:  # A3, before A1's rejections
        if known.digest != digest:
            raise Conflict(f"Prompt {input.prompt} was submitted before, with other content.")
        return _accepted(step, input.prompt)
    if input.shutting_down:
        raise ShuttingDown("The server is shutting down; nothing was accepted.")
    if prompt_is_empty(input.text, input.attachments):
        raise EmptyPrompt("The prompt is empty: write what is to be done, or attach a text file.")
    if len(step.session.waiting) >= input.queue_limit:
        count = len(step.session.waiting)
        said = "1 prompt is" if count == 1 else f"{count} prompts are"
        raise QueueFull(f"{said} waiting, which is the limit (`queue_limit`).")
    step.add(
        f.PromptAccepted(
            prompt=input.prompt,
            text=input.text,
            digest=digest,
            attachments=input.attachments,
            delivery=input.delivery,
            origin=input.origin,
            run=_run_to_join(step) if input.delivery == "steer" else None,
            limits=input.limits,
            allow=input.allow,
            mode=input.mode,
            on_ask=input.on_ask,
        )
    )
    step.start_next()
    if not step.session.title:
        step.add(f.SettingsChanged(title=headline(input.text) or input.attachments[0].name))
        if input.titled and input.origin == "user":
            step.add(f.TitleRequested(prompt=input.prompt))
    return _accepted(step, input.prompt)


def _run_to_join(step: Step) -> str | None:
    """I7: a steer belongs to the active run; with none, or one that is ending, it is a queued prompt."""
    run = step.session.run
    return run.id if run is not None and run.ending is None else None


def _accepted(step: Step, prompt: str) -> i.Accepted:
    record = step.session.prompts[prompt]
    return i.Accepted(prompt, record.seq, record.run)


def compact(step: Step, input: i.Compact) -> i.Accepted:
    """I8: a queue entry like a prompt; a second waiting one is absorbed."""
    if input.shutting_down:
        raise ShuttingDown("The server is shutting down; nothing was accepted.")
    waiting = next((entry for entry in step.session.waiting if entry.kind == "compaction"), None)
    if waiting is not None:
        return i.Accepted(waiting.id, waiting.seq, None)
    step.add(f.CompactionAccepted(entry=input.entry))
    seq = step.session.seq
    step.start_next()
    run = step.session.run
    return i.Accepted(input.entry, seq, run.id if run is not None and run.entry.id == input.entry else None)


def cancel(step: Step, input: i.Cancel) -> i.Covered:
    """C1-C4. What it covers is read off the present state, so nothing accepted later can be touched."""
    run = step.session.run
    if input.run is not None and (run is None or run.id != input.run):
        return i.Covered(step.session.seq)
    if input.prompt is not None:
        return _cancel_prompt(step, input.prompt, input.origin)
    covered = [entry for entry in step.session.waiting if input.upto is None or entry.seq <= input.upto]
    if run is not None and input.upto is not None and run.entry.seq > input.upto:
        run = None
    if input.scope == "active" and run is None:
        return i.Covered(step.session.seq)
    if run is not None:
        _end_run(step, input.origin)
    if input.scope == "all":
        _drop(step, covered, "cancelled")
        if step.session.parked and not step.session.waiting:
            step.add(f.QueueResumed(ended_by="cancelled"))
        affected = covered
    else:
        affected = [entry for entry in covered if not entry.parked]
        if affected or not step.session.parked:
            step.add(f.QueueParked(entries=tuple(entry.id for entry in affected), reason="cancelled"))
    return i.Covered(
        step.session.seq,
        run.id if run is not None else None,
        (*(run.prompts if run is not None else ()), *(entry.id for entry in affected if entry.kind == "prompt")),
    )


def _cancel_prompt(step: Step, prompt: str, origin: f.Origin) -> i.Covered:
    """Waiting: dropped. The run's own: the run is cancelled and the queue goes on. Joined or ended: nothing."""
    run = step.session.run
    entry = step.session.entry(prompt)
    if entry is not None:
        _drop(step, [entry], "cancelled")
        return i.Covered(step.session.seq, None, (prompt,))
    if run is not None and run.entry.id == prompt:
        _end_run(step, origin)
        return i.Covered(step.session.seq, run.id, run.prompts)
    return i.Covered(step.session.seq)


def _end_run(step: Step, origin: f.Origin) -> None:
    run = step.session.run
    if run is not None and (run.ending is None or run.ending.outcome != "cancelled"):
        step.add(f.RunEnding(run=run.id, outcome="cancelled", stop_reason="cancelled", origin=origin))


def _drop(step: Step, entries: list[Entry], reason: Literal["cancelled", "removed", "deleted"]) -> None:
    """C6: the fact keeps the text, so that a client can put it back into the editor."""
    for entry in entries:
        step.add(f.EntryDropped(entry=entry.id, reason=reason, text=entry.text))


def _waiting(step: Step, id: str) -> Entry:
    entry = step.session.entry(id)
    if entry is None:
        raise NotWaiting(f"{id} is not waiting: {_fate(step.session, id)}.")
    return entry


def _fate(session: Session, id: str) -> str:
    """What has become of an entry that does not wait, as far as the session remembers: all prompts, and what runs now."""
    record = session.prompts.get(id)
    if session.run is not None and session.run.entry.id == id:
        return "it has started"
    if record is None:
        return "there is no such entry, or it has ended"
    if record.dropped or record.run is None:
        return "it was dropped"
    settlement = session.runs.get(record.run)
    return "it has joined the active run" if settlement is None else f"its run has ended ({settlement.outcome})"


def edit(step: Step, input: i.Edit) -> None:
    entry = _waiting(step, input.entry)
    if entry.kind != "prompt":
        raise InvalidRequest(f"{entry.id} is not a prompt, so it has no text or delivery to edit.")
    if input.text is not None and prompt_is_empty(input.text, entry.attachments):
        raise EmptyPrompt("The prompt would be empty; drop it instead.")
    text = None if input.text == entry.text else input.text
    run = _run_to_join(step) if input.delivery == "steer" else None
    delivery = None if run == entry.run else input.delivery
    if text is not None or delivery is not None:
        step.add(f.EntryEdited(entry=entry.id, text=text, delivery=delivery, run=run if delivery else None))


def move(step: Step, input: i.Move) -> None:
    entry = _waiting(step, input.entry)
    if input.before == entry.id:
        raise InvalidRequest("An entry cannot go before itself.")
    if input.before is not None:
        _waiting(step, input.before)
    order = [other.id for other in step.session.waiting]
    follower = order[order.index(entry.id) + 1 :][:1]
    if follower != ([] if input.before is None else [input.before]):
        step.add(f.EntryMoved(entry=entry.id, before=input.before))


def drop(step: Step, input: i.Drop) -> None:
    _drop(step, [*step.session.waiting] if input.entry is None else [_waiting(step, input.entry)], "removed")


def promote(step: Step, input: i.Promote) -> None:
    """Q2: that entry is next, the rest stays as it was; with `interrupt` the active run ends in the same decision."""
    entry = _waiting(step, input.entry)
    if step.session.waiting[0] is not entry or entry.parked or entry.run is not None:
        step.add(f.EntryPromoted(entry=entry.id))
    if input.interrupt:
        _end_run(step, "user")
    step.start_next()


def resume(step: Step, input: i.Resume) -> None:
    """Q3: only a user releases what a user parked."""
    if input.origin == "user" and step.session.parked:
        step.add(f.QueueResumed())
        step.start_next()


def delete(step: Step) -> None:
    """K7: cancels everything in it; what is due after settlement is to forget it."""
    step.add(f.DeletionStarted(session=step.session.id))
    _end_run(step, "user")
    _drop(step, [*step.session.waiting], "deleted")
