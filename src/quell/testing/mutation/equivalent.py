"""Mutants that nothing can catch, and why: whoever looks at the session from outside sees the same."""

from __future__ import annotations

ORDER = "the order of facts of one decision, of which none looks at the other"
TYPE = "said for the type checker: it always holds there"
WORDS = "the words of the refusal differ, its code does not"
COPY = "an equal copy of an entry"
SUM = "nothing is added to the sums"
FULL = "nothing is sampled while the window is full, so a full window is never replied to"

EQUIVALENT: dict[str, str] = {
    "decide_queue.submit: swap with the next: step.start_next()": ORDER,
    "decide_queue.compact: drop part 1 of and: return i.Accepted(input.entry, seq, run.id if run is not None and run.entry.id == input.entry else None)": TYPE,
    "decide_queue._cancel_prompt: swap with the next: if entry is not None:": "an entry waits or runs, never both (I1)",
    "decide_queue.cancel: swap with the next: if run is not None:": ORDER,
    'decide_run.answer: leave out: raise Stale(f"Request {input.request} was answered before: {given.option}.")': WORDS,
    'decide_run.answer_questions: leave out: raise Stale(f"Request {input.request} was answered before.")': WORDS,
    "decide_run._awaiting: drop part 1 of or: if run is None or call is None:": TYPE,
    "evolve._accepted: forget origin: origin=fact.origin, (2)": "a compaction is asked for by a user, which is the default",
    "evolve._sample_failed: drop part 2 of and: if fact.retry_at is not None and not isinstance(phase, Calling):": TYPE,
    "evolve._run_settled: always: waiting=tuple(replace(entry, run=None) if entry.run else entry for entry in session.waiting),": COPY,
    "decide_run.restarted: swap with the next: if run is not None:": ORDER,
    "evolve._spend: leave out: if usage == Usage() and not cost:": SUM,
    "evolve._spend: leave out: return session": SUM,
    "evolve._spend: never: if usage == Usage() and not cost:": SUM,
    "session._due_calls: leave out: continue": "nothing follows it in the loop",
    "session._due_run: swap with the next: if run.entry.limits.seconds is not None:": "the order of effects that are due, which is none",
    "session.due: turn the order round: return (*_due_run(session), *title, *keep)": "the order of effects that are due, which is none",
    "step.Step.settle: swap with the next: self.add(f.RunSettled(run=run.id, outcome=outcome, stop_reason=stop_reason, failure=failure, detail=detail))": ORDER,
    "step.Step.add: swap with the next: self.session = evolve(self.session, recorded)": "neither looks at the other",
    "evolve._kept: swap with the next: if left is not None:": "what two runs have kept does not look at each other",
    "evolve._queue_edited: swap with the next: if fact.text is not None:": "the text and the delivery of an entry do not look at each other",
    'decide_queue.cancel: swap with the next: if input.scope == "active" and run is None:': "only one of the two applies",
    "decide_queue.move: swap with the next: if input.before == entry.id:": "an entry that waits is found to wait",
    "decide_queue.move: swap with the next: if input.before is not None:": "a refusal, and the order of what waits, which is only looked at afterwards",
    "decide_queue.promote: swap with the next: if step.session.waiting[0] is not entry or entry.parked or entry.run is not None:": ORDER,
    "decide_queue.promote: swap with the next: if input.interrupt:": ORDER,
    "decide_queue.delete: swap with the next: step.add(f.DeletionStarted(session=step.session.id))": ORDER,
    'decide_queue.delete: swap with the next: _end_run(step, "user")': ORDER,
    "decide_queue.submit: swap with the next: step.add(f.SettingsChanged(title=headline(input.text) or input.attachments[0].name))": ORDER,
    "decide_run.restarted: swap with the next: _ask_again_for_a_title(step)": ORDER,
    "decide_run.answer_questions: swap with the next: check(call.questions, input.answers)": "a refusal leaves nothing of what was decided before it",
    "decide_run.answer_questions: swap with the next: if not call.questions:": WORDS,
    'evolve._replied: drop part 2 of or: crowded=fact.crowded or (session.crowded and fact.reply.stop_reason in ("cancelled", "interrupted")),': FULL,
    'evolve._replied: drop part 2 of and: crowded=fact.crowded or (session.crowded and fact.reply.stop_reason in ("cancelled", "interrupted")),': FULL,
    'evolve._replied: In becomes NotIn: crowded=fact.crowded or (session.crowded and fact.reply.stop_reason in ("cancelled", "interrupted")),': FULL,
}
"""By the mutant's name. One that is caught after all, or that is no more, is an error."""
