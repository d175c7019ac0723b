"""What must hold of what users ask for: accept, cancel, the edits of the queue, answers, deletion (contract A, C, Q, T6, K7).

Written from the contract, in terms of the ledger: what a request has to change, and that it changes nothing else.
"""

from __future__ import annotations

from msgspec.structs import replace

from quell.core import facts as f
from quell.core import inputs as i
from quell.core.permissions import Rule
from quell.testing.exploration.ledger import Item, Ledger
from quell.testing.exploration.worlds import NOW, Taken


def of_request(taken: Taken, input: i.Input) -> None:
    """One request."""
    before = taken.before.ledger
    if before.deleting:
        again = isinstance(input, i.Delete)
        assert taken.refused == (None if again else "session_not_found"), "K7: asked of a session that is being deleted"
        assert not taken.records, "K7: decided in a session that is being deleted"
        return
    match input:
        case i.Submit() | i.Compact():
            _of_submission(taken, input)
        case i.Cancel():
            _of_cancel(taken, input)
        case i.Edit() | i.Move() | i.Drop() | i.Promote() | i.Resume():
            _of_edit(taken, input)
        case i.Delete():
            _of_deletion(taken)
        case i.Answer():
            _of_answer(taken, input)
        case i.AnswerQuestions():
            _of_answers(taken, input)
        case i.Change():
            _of_change(taken, input)
        case i.Revert():
            _of_revert(taken, input)
        case _:
            raise AssertionError(f"no law for {input}")


def _of_revert(taken: Taken, input: i.Revert) -> None:
    """K8: refused while busy, and where somebody's work would be lost; else files go first."""
    before, facts = taken.before, [recorded.fact for recorded in taken.records]
    ledger = before.ledger
    to = input.to if input.to is not None else ledger.reverted[-1][0] if ledger.undoable else None
    joined = (
        input.to is not None
        and before.session.prompts.get(input.to) is not None
        and before.session.prompts[input.to].joined
    )
    known = input.to is None or input.to in ledger.conversation
    refused: str | None
    if before.session.busy:
        refused = "busy"
    elif to is None or not (known or joined):
        refused = "not_found"
    elif joined:
        refused = "invalid_request"
    elif input.upto != ledger.seq:
        refused = "conflict"
    else:
        refused = "edited" if input.edited and not input.force else None
    assert taken.refused == refused, f"K8: refused with {taken.refused}, and should be with {refused}"
    if refused is not None or to is None:
        return
    first, end = facts[0], [type(fact) for fact in facts[1:]]
    assert isinstance(first, f.RevertStarted), "K8: what is to be done is recorded first"
    said = (first.to, first.source, first.target, first.undo)
    assert said == (to, input.source, input.target, input.to is None), "K8: as it was found out"
    done = f.RevertUndone if input.to is None else f.Reverted
    assert end == ([] if input.target else [done]), "K8: the conversation goes back when the files have"


def _runs_now(before: Ledger, items: tuple[Item, ...]) -> tuple[tuple[Item, ...], Item | None]:
    """What of these waits and what runs, once a decision is over: in a session without a run the first that may start does."""
    if before.run is not None:
        return items, before.run.item
    if before.reverting is not None:  # K8: it waits until the files are what they were
        return items, None
    first = next((item for item in items if not item.parked), None)
    return tuple(item for item in items if item is not first), first


def _expect(taken: Taken, items: tuple[Item, ...], line: str) -> None:
    """Where a process has ended and none has begun, nothing has to start."""
    after, before = taken.after.ledger, taken.before.ledger
    stopped = before.run is None and any(not item.parked for item in before.waiting)
    waiting, running = (items, None) if stopped and after.run is None else _runs_now(before, items)
    assert after.waiting == waiting, f"{line}: {after.waiting} wait, and should be {waiting}"
    assert (after.run.item if after.run else None) == running, f"{line}: {running} should run"


# Accept


def _of_submission(taken: Taken, input: i.Submit | i.Compact) -> None:
    """A2, I4, I7: it waits last, or runs at once; the answer says where it is."""
    before, after, answer = taken.before.ledger, taken.after.ledger, taken.reaction
    assert isinstance(answer, i.Accepted), "A2: it is answered as accepted"
    compacting = next((item for item in before.waiting if item.kind == "compaction"), None)
    if isinstance(input, i.Compact) and compacting is not None:
        assert not taken.records, "I8: a second waiting compaction"
        assert (answer.prompt, answer.seq, answer.run) == (compacting.id, compacting.seq, None), "I8: absorbed"
        return
    seq = before.seq + 1
    if isinstance(input, i.Submit):
        steer = input.delivery == "steer" and before.run is not None and before.run.ending is None
        item = Item(
            input.prompt, "prompt", seq, input.prompt, input.text, steer, limits=input.limits, origin=input.origin
        )
        accepted = taken.records[0].fact
        assert isinstance(accepted, f.PromptAccepted), "A2: accepted first"
        kept = (
            accepted.delivery,
            accepted.attachments,
            accepted.origin,
            accepted.allow,
            accepted.mode,
            accepted.on_ask,
        )
        given = (input.delivery, input.attachments, input.origin, input.allow, input.mode, input.on_ask)
        assert kept == given, "A2: accepted as it was sent"
        session = taken.after.session
        entry = session.entry(item.id) or (session.run.entry if session.run else None)
        assert entry is not None, "A2: it is nowhere"
        kept = (input.delivery, entry.attachments, entry.origin, entry.allow, entry.mode, entry.on_ask)
        assert kept == given, "A2: it waits, or runs, as it was sent"
        asked = [r.fact for r in taken.records if isinstance(r.fact, f.TitleRequested)]
        wanted = input.titled and input.origin == "user" and not taken.before.session.title
        assert asked == [f.TitleRequested(prompt=item.id)] * wanted, "a model is asked for a title, once"
        assert entry.accepted == NOW, "Q1: when it was accepted"
        assert session.title == (taken.before.session.title or input.text), "a session is called after its first prompt"
    else:
        item = Item(input.entry, "compaction", seq, input.entry)
    _expect(taken, (*before.waiting, item), "A2, I3")
    runs = after.run is not None and after.run.item.id == item.id
    assert (answer.prompt, answer.seq) == (item.id, seq), "A2: the answer names it"
    assert answer.run == (after.run.run if after.run and runs else None), "A2: the answer says what runs"
    assert after.parked == before.parked, "Q2: a new prompt leaves what is parked parked"


# Cancel


def _of_cancel(taken: Taken, input: i.Cancel) -> None:
    before, answer = taken.before.ledger, taken.reaction
    run = before.run
    assert isinstance(answer, i.Covered), "C1: a cancel is answered with what it covers"
    assert answer.seq == taken.after.ledger.seq, "C2: the answer is of that moment"
    if input.run is not None and (run is None or run.run != input.run):
        assert not taken.records, "C2: another run was meant"
        assert (answer.run, answer.prompts) == (None, ()), "C2: another run was meant"
    elif input.prompt is not None:
        _of_one_prompt(taken, input.prompt, answer)
    else:
        _of_scope(taken, input, answer)


def _of_one_prompt(taken: Taken, prompt: str, answer: i.Covered) -> None:
    """Waiting: dropped. The run's own: the run is cancelled and the queue goes on. Joined or ended: nothing."""
    before, after = taken.before.ledger, taken.after.ledger
    waits = prompt in [item.id for item in before.waiting]
    own = before.run is not None and before.run.item.id == prompt
    _expect(taken, tuple(item for item in before.waiting if item.id != prompt), "C2") if waits else None
    assert after.parked == before.parked, "C2: a cancel of one prompt parks, or releases"
    if waits:
        assert (answer.run, answer.prompts) == (None, (prompt,)), "C2: the answer says what it covers"
        assert taken.after.ledger.run == before.run, "C2: the run goes on"
    elif own:
        assert before.run is not None
        assert (answer.run, answer.prompts) == (before.run.run, before.run.prompts), "C2: the answer"
        _of_ending(taken, "user", covered=True)
        assert after.waiting == before.waiting, "C2: the queue goes on"
    else:
        assert not taken.records, "C2: joined or ended, and something is decided"
        assert (answer.run, answer.prompts) == (None, ()), "C2: the answer"


def _of_scope(taken: Taken, input: i.Cancel, answer: i.Covered) -> None:
    """C1-C4: everything accepted up to then, nothing else."""
    before, after, run = taken.before.ledger, taken.after.ledger, taken.before.ledger.run
    upto = before.seq if input.upto is None else input.upto
    covers_run = run is not None and run.item.seq <= upto
    covered = tuple(item for item in before.waiting if item.seq <= upto)
    others = tuple(item for item in before.waiting if item.seq > upto)
    _of_ending(taken, input.origin, covered=covers_run)
    if input.scope == "all":
        assert after.waiting == others, "C2: covered and not dropped, or dropped and not covered"
        assert after.parked == (before.parked and bool(others)), "C2: it ends parking"
        affected = covered
    elif covers_run:
        affected = tuple(item for item in covered if not item.parked)
        parked = tuple(replace(item, parked=True, steer=False) if item in affected else item for item in before.waiting)
        assert after.waiting == parked, "C3: it parks what waits, and nothing else"
        assert after.parked, "C3: it is parked and says so, also while empty"
    else:
        affected = ()
        assert not taken.records, "C3: no run that it covers"
    reasons = {r.fact.reason for r in taken.records if isinstance(r.fact, f.EntryDropped | f.QueueParked)}
    assert reasons <= {"cancelled"}, "C6: the fact says why"
    ended = [r.fact.ended_by for r in taken.records if isinstance(r.fact, f.QueueResumed)]
    assert ended == (["cancelled"] if before.parked and not after.parked else []), "C2: it says what ended parking"
    prompts = (*(run.prompts if run and covers_run else ()), *(item.id for item in affected if item.kind == "prompt"))
    said = (answer.run, answer.prompts)
    assert said == (run.run if run and covers_run else None, prompts), f"C2: it covers {prompts}, and answers {said}"


def _of_ending(taken: Taken, origin: f.Origin, *, covered: bool) -> None:
    """A run that is covered ends as cancelled, now, whatever it was doing or ending with; and no other run does."""
    before, after = taken.before.ledger.run, taken.after.ledger.run
    ended = [recorded.fact for recorded in taken.records if isinstance(recorded.fact, f.RunEnding)]
    assert (before is None) == (after is None), "C7: a run that was cancelled has to stop first"
    if covered and before is not None and after is not None:
        assert after.ending == ("cancelled", "cancelled"), "I9: a cancelled run ends otherwise"
        was = before.ending is not None and before.ending[0] == "cancelled"
        assert len(ended) == (not was), "C4: cancelled again"
        assert all(fact.origin == origin for fact in ended), "who cancelled"
    else:
        assert not ended, "C2: a run that was not meant is cancelled"


# The queue


def _of_edit(taken: Taken, input: i.Edit | i.Move | i.Drop | i.Promote | i.Resume) -> None:
    """Q1, Q2: the entry, the whole entry, and nothing but the entry."""
    before, after = taken.before.ledger, taken.after.ledger
    assert taken.refused is None, f"Q1: refused of what waits: {taken.refused}"
    if isinstance(input, i.Resume):
        _expect(taken, tuple(replace(item, parked=False) for item in before.waiting), "Q2")
        assert not after.parked, "Q2: resumed, and parked"
        assert [r.fact for r in taken.records][:1] == [f.QueueResumed()], "Q2: says who"
        return
    if isinstance(input, i.Drop) and input.entry is None:
        assert not after.waiting, "Q1: dropped, and waiting"
        return
    item = before.item(str(input.entry))
    rest = tuple(other for other in before.waiting if other is not item)
    match input:
        case i.Edit():
            joins = input.delivery == "steer" and before.run is not None and before.run.ending is None
            steer = item.steer if input.delivery is None else joins
            new = replace(item, text=item.text if input.text is None else input.text, steer=steer)
            edited = tuple(new if other is item else other for other in before.waiting)
            assert after.waiting == edited, f"Q1: edited, and is {after.waiting}"
            assert (new == item) == (not taken.records), "an edit that changes nothing decides something"
        case i.Move(before=other):
            at = len(rest) if other is None else rest.index(before.item(other))
            assert after.waiting == (*rest[:at], item, *rest[at:]), "Q1: in another order"
            assert (after.waiting == before.waiting) == (not taken.records), "a move to where it is decides something"
        case i.Drop():
            assert after.waiting == rest, "Q1: it is gone, and nothing else is"
            assert [r.fact.reason for r in taken.records if isinstance(r.fact, f.EntryDropped)] == ["removed"], (
                "C6: why"
            )
        case i.Promote():
            _expect(taken, (replace(item, parked=False, steer=False), *rest), "Q2")
            _of_ending(taken, "user", covered=input.interrupt and before.run is not None) if before.run else None
            same = before.waiting[0] == replace(item, parked=False, steer=False)
            said = any(isinstance(r.fact, f.EntryPromoted) for r in taken.records)
            assert said != same, "a promotion of what is next decides something"
    assert after.parked == before.parked, "Q2: an edit parks, or releases"


def _of_deletion(taken: Taken) -> None:
    """K7: everything in it is cancelled, and it is forgotten when that has settled."""
    after = taken.after.ledger
    assert after.deleting, "K7: deleted"
    assert not after.waiting, "K7: something waits"
    _of_ending(taken, "user", covered=taken.before.ledger.run is not None)
    reasons = {r.fact.reason for r in taken.records if isinstance(r.fact, f.EntryDropped)}
    assert reasons <= {"deleted"}, "C6: the fact says why"


def _of_answer(taken: Taken, input: i.Answer) -> None:
    """T6: allowed: it starts, nothing else. Rejected: a result, and the model goes on only with a note. Always: a rule."""
    facts = [recorded.fact for recorded in taken.records]
    answered = facts[0]
    assert isinstance(answered, f.PermissionAnswered), "T6: the answer is recorded"
    said = (answered.request, answered.option, answered.note)
    assert said == (input.request, input.option, input.note), "T6: as it was given"
    calls = {call.request: call for call in taken.before.session.awaiting}
    call = calls[input.request]
    session = taken.after.session
    assert session.requests[input.request] == answered, "T6: an answer that is not remembered can be given twice"
    always = input.option in ("allow_always", "reject_always")
    rule = Rule("allow" if input.option == "allow_always" else "deny", str(call.always), "session")
    assert answered.rule == (call.always if always else None), "T6: a rule that nobody asked for, or none"
    known = taken.before.session.rules
    assert session.rules == ((*known, rule) if always and rule not in known else known), "T6: another rule"
    if input.option in ("allow_once", "allow_always"):
        started = f.CallStarted(run=answered.run, call=call.id, concurrent=call.concurrent, changes=call.changes)
        assert facts[1:] == [started], "T6: allowed"
        return
    finished = facts[1]
    assert isinstance(finished, f.CallFinished), "I5: a call that was rejected has a result"
    assert (finished.call, finished.result.status) == (call.id, "denied"), "I5: a call that was rejected"
    told = finished.result.text.removeprefix("The user rejected this call").strip(":. ")
    assert told == (input.note or ""), "the model is told why"
    if input.note is None:
        ending = f.RunEnding(run=answered.run, outcome="completed", stop_reason="rejected")
        assert facts[2:] == [ending], "I9: the person has the word"
    else:
        assert not any(isinstance(fact, f.RunEnding) for fact in facts), "the model goes on with a note"
        _goes_on(taken)


def _of_answers(taken: Taken, input: i.AnswerQuestions) -> None:
    """T6: what is answered is the call's result, and the turn goes on."""
    facts = [recorded.fact for recorded in taken.records]
    answered, finished = facts[:2]
    assert isinstance(answered, f.QuestionsAnswered), "T6: the answer is recorded"
    assert (answered.request, answered.answers) == (input.request, input.answers), "T6: as it was given"
    assert taken.after.session.requests[input.request] == answered, (
        "T6: an answer that is not remembered can be given twice"
    )
    assert isinstance(finished, f.CallFinished), "I5: a call that was answered has a result"
    assert (finished.call, finished.result.status) == (answered.call, "completed"), "I5: its own result"
    _goes_on(taken)


def _goes_on(taken: Taken) -> None:
    """When all calls have their results, and not before, the turn is over."""
    before = taken.before.ledger.run
    assert before is not None
    left = [id for id, status in before.calls if status != "done"]
    over = any(isinstance(r.fact, f.TurnStarted | f.CompactionStarted | f.RunSettled) for r in taken.records)
    assert over == (len(left) == 1), "I5: the turn is over when every call has its result"


def _of_change(taken: Taken, input: i.Change) -> None:
    """K8: what is given is changed, the rest is as before."""
    before, after = taken.before.session, taken.after.session
    for name in ("title", "model", "small_model", "mode", "extra"):
        given, was, now = getattr(input, name), getattr(before, name), getattr(after, name)
        assert now == (was if given is None else given), f"K8: {name} is {now}"
    assert after.titling is None or input.title is None, "K8: a title that was given is looked for"
    assert after.waiting == before.waiting, "K8: a change of settings touches the queue"
