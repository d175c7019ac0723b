"""Explores the session machine exhaustively: every order in which users, effects and crashes can reach it, at a stated size.

A world has a budget of what users and crashes may still do. From each state, every such move and every outcome of everything that is
due is tried; the invariants of contract.md are checked after each. Nothing is simulated: `decide`, `evolve` and `due` are the real ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from msgspec import Struct
from msgspec.structs import replace

from quell.core import facts as f
from quell.core import inputs as i
from quell.core.decide import decide
from quell.core.errors import QuellError
from quell.core.messages import Reply, Text, ToolCall, ToolResult, call_id
from quell.core.session import (
    Calling,
    Check,
    Compact,
    Compacting,
    Effect,
    Erase,
    Execute,
    Expire,
    Sample,
    Sampling,
    Session,
    Title,
    Unwind,
    due,
    message_id,
)

NOW = "2026-01-01T00:00:00.000Z"
CREATE = i.Create(session="s", workspace="/w", model="m")


class Budget(Struct, frozen=True):
    """How much of each may still happen. `submits` are the deliveries of the prompts to come, in order."""

    submits: tuple[f.Delivery, ...] = ("queue", "steer")
    cancels: int = 1
    edits: int = 0
    compactions: int = 0
    calls: int = 1
    failures: int = 1
    restarts: int = 1
    deletions: int = 0


class World(Struct, frozen=True):
    """A state, and what may still happen to it."""

    session: Session
    budget: Budget


class Move(Struct, frozen=True):
    """An input, and the budget after it."""

    input: i.Input
    budget: Budget


class Taken(Struct, frozen=True):
    """A move that was made: what it decided, or what it was refused with."""

    before: World
    move: Move
    records: tuple[f.Recorded, ...]
    after: World
    refused: str | None = None


class Violation(AssertionError):
    """An invariant does not hold; the message tells the story that led there."""


def start() -> Session:
    """A session that was just created."""
    return decide(Session(), CREATE, NOW).session


def explore(budget: Budget, watch: Callable[[Taken], None] | None = None, limit: int = 1_000_000) -> int:
    """Visit every reachable world; `watch` sees every move. Returns how many worlds there are. Raises `Violation`."""
    first = World(start(), budget)
    came: dict[World, Taken | None] = {first: None}
    frontier = [first]
    while frontier:
        world = frontier.pop()
        for move in moves(world):
            taken = take(world, move)
            if watch is not None:
                watch(taken)
            try:
                check(taken)
            except AssertionError as error:
                raise Violation(f"{error}\n{_story(came, taken)}") from None
            if taken.after not in came:
                came[taken.after] = taken
                frontier.append(taken.after)
                if len(came) > limit:
                    raise Violation(f"more than {limit} worlds: the size is larger than stated")
    return len(came)


def take(world: World, move: Move) -> Taken:
    """Make one move."""
    try:
        decision = decide(world.session, move.input, NOW)
    except QuellError as refusal:
        return Taken(world, move, (), World(world.session, move.budget), refusal.code)
    return Taken(world, move, decision.records, World(decision.session, move.budget))


# What can happen


def moves(world: World) -> Iterator[Move]:
    """Everything that can happen next: users, outcomes, crashes."""
    session, budget = world.session, world.budget
    yield from _requests(session, budget)
    for effect in due(session):
        yield from _outcomes(effect, session, budget)
    if budget.restarts:
        after = replace(budget, restarts=budget.restarts - 1)
        fragment = Reply(parts=(Text("half"),)) if _samples(session) else None
        for reply in {None, fragment}:
            for stopping in (False, True):
                yield Move(i.Restarted(reply=reply, stopping=stopping, resume_interrupted=True), after)
        yield Move(i.Restarted(park=True), after)
    elif session.run is None and session.busy:
        yield Move(i.Restarted(), budget)  # what a shutdown left waiting goes on with the next start


def _samples(session: Session) -> bool:
    return session.run is not None and isinstance(session.run.phase, Sampling)


def _requests(session: Session, budget: Budget) -> Iterator[Move]:
    if budget.submits:
        delivery, *rest = budget.submits
        prompt = f"p{len(rest)}"
        yield Move(i.Submit(prompt=prompt, text=prompt, delivery=delivery), replace(budget, submits=tuple(rest)))
    if budget.cancels:
        after = replace(budget, cancels=budget.cancels - 1)
        run = session.run
        yield Move(i.Cancel(scope="all"), after)
        yield Move(i.Cancel(scope="active"), after)
        yield Move(i.Cancel(scope="all", run="another"), after)
        yield Move(i.Cancel(scope="all", upto=run.entry.seq if run else 1), after)
        for prompt in session.prompts:
            yield Move(i.Cancel(prompt=prompt), after)
    if budget.compactions:
        yield Move(i.Compact(entry="compaction"), replace(budget, compactions=budget.compactions - 1))
    if budget.deletions:
        yield Move(i.Delete(), replace(budget, deletions=budget.deletions - 1))
    if budget.edits:
        after = replace(budget, edits=budget.edits - 1)
        for entry in session.waiting:
            yield Move(i.Edit(entry=entry.id, text="other"), after)
            yield Move(i.Edit(entry=entry.id, delivery="steer"), after)
            yield Move(i.Edit(entry=entry.id, delivery="queue"), after)
            yield Move(i.Move(entry=entry.id), after)
            yield Move(i.Drop(entry=entry.id), after)
            yield Move(i.Promote(entry=entry.id), after)
            yield Move(i.Promote(entry=entry.id, interrupt=True), after)
    if session.parked:
        yield Move(i.Resume(), budget)
    for call in session.awaiting:
        assert call.request is not None, "an asked call has a request"
        for option, note in (("allow_once", None), ("reject_once", None), ("reject_always", "not so")):
            yield Move(i.Answer(request=call.request, option=option, note=note), budget)  # type: ignore[arg-type]  # literals


def _outcomes(effect: Effect, session: Session, budget: Budget) -> Iterator[Move]:
    match effect:
        case Sample():
            yield Move(i.Looping(run=effect.run), budget)
            yield from _sampled(effect, budget)
        case Compact():
            named = {"run": effect.run, "turn": effect.turn, "attempt": effect.attempt}
            yield Move(i.CompactionDone(**named, upto=effect.upto, summary="summary"), budget)  # type: ignore[arg-type]  # as named
            yield from _failures(effect, budget)
        case Check(run, call):
            yield Move(i.CallAllowed(run=run, call=call), budget)
            yield Move(i.CallAllowed(run=run, call=call, concurrent=True), budget)
            yield Move(i.CallNeedsAnswer(run=run, call=call, tool="t", title="t", reason="r", always="t"), budget)
            yield Move(i.CallReturned(run=run, call=call, result=ToolResult(text="no", status="denied")), budget)
        case Execute(run, call):
            yield Move(i.CallReturned(run=run, call=call, result=ToolResult(text="done")), budget)
        case Title(prompt, attempt):
            yield Move(i.TitleFound(prompt=prompt, attempt=attempt, title="title"), budget)
            yield Move(i.TitleFound(prompt=prompt, attempt=attempt), budget)
        case Expire(run):
            yield Move(i.TimeUp(run=run), budget)
        case Unwind(run):
            yield Move(i.Unwound(run=run), budget)
            yield Move(i.Unwound(run=run, reply=Reply(parts=(Text("half"),))), budget)
            yield from _late(session, budget)
        case Erase():
            pass


def _late(session: Session, budget: Budget) -> Iterator[Move]:
    """What really finishes while a run unwinds."""
    run = session.run
    if run is not None and isinstance(run.phase, Sampling):
        yield from _sampled(Sample(run.id, run.turn, run.attempt), budget)
    elif run is not None and isinstance(run.phase, Calling):
        for call in run.phase.calls:
            if call.status == "started":
                yield Move(i.CallReturned(run=run.id, call=call.id, result=ToolResult(text="late")), budget)


def _sampled(effect: Sample, budget: Budget) -> Iterator[Move]:
    named = {"run": effect.run, "turn": effect.turn, "attempt": effect.attempt}
    message = message_id(effect.run, effect.turn, effect.attempt)
    yield Move(i.SampleReplied(**named, reply=Reply(parts=(Text("done"),))), budget)  # type: ignore[arg-type]  # as named
    for count in range(1, budget.calls + 1):
        calls = tuple(ToolCall(call_id(message, n), "tool", "{}") for n in range(count))
        after = replace(budget, calls=budget.calls - count)
        for crowded in (False, True):
            reply = Reply(parts=calls, stop_reason="tool_use")
            yield Move(i.SampleReplied(**named, reply=reply, crowded=crowded), after)  # type: ignore[arg-type]  # as named
    yield from _failures(effect, budget)


def _failures(effect: Sample | Compact, budget: Budget) -> Iterator[Move]:
    if budget.failures:
        after = replace(budget, failures=budget.failures - 1)
        named = {"run": effect.run, "turn": effect.turn, "attempt": effect.attempt, "detail": "why"}
        yield Move(i.SampleFailed(**named, failure="unreachable", retry_at=NOW), after)  # type: ignore[arg-type]  # as named
        yield Move(i.SampleFailed(**named, failure="unreachable"), after)  # type: ignore[arg-type]  # as named
        yield Move(i.SampleFailed(**named, failure="invalid_request"), after)  # type: ignore[arg-type]  # as named
        yield Move(i.SampleFailed(**named, failure="context_overflow"), after)  # type: ignore[arg-type]  # as named


# What must hold


def check(taken: Taken) -> None:
    """The invariants after a move. Raises `AssertionError`, naming the line of contract.md."""
    before, session = taken.before.session, taken.after.session
    _check_ledger(session)
    _check_starts(before, taken.records)
    stopping = isinstance(taken.move.input, i.Restarted) and taken.move.input.stopping
    stopped = stopping or (before.busy and before.run is None)
    if session.run is None and not stopped and not session.deleting:
        assert all(entry.parked for entry in session.waiting), "I4: an entry waits that nothing will start"
    if session.run is not None:
        assert due(session) or session.awaiting, "progress: a run with nothing due and nobody to wait for"
    if isinstance(taken.move.input, i.Report) and not isinstance(taken.move.input, i.Restarted):
        again = decide(session, taken.move.input, NOW).records
        assert not again, f"an outcome that was recorded decides nothing: {again}"
    if before.run is not None and before.run.ending is not None:
        for recorded in taken.records:
            if isinstance(recorded.fact, f.RunSettled):
                assert recorded.fact.outcome == before.run.ending.outcome, "I9: it settles as it was to end"


def _check_ledger(session: Session) -> None:
    """I1: every accepted prompt is in exactly one place."""
    for prompt, record in session.prompts.items():
        waits = session.entry(prompt) is not None
        runs = session.run is not None and prompt in session.run.prompts
        ended = record.dropped or (record.run is not None and record.run in session.runs)
        assert waits + runs + ended == 1, f"I1: {prompt} waits {waits}, runs {runs}, ended {ended}"
    for entry in session.waiting:
        if entry.run is not None:
            assert session.run is not None, "I7: a steer waits for a run that is not there"
            assert entry.run == session.run.id, "I7: a steer waits for another run"


def _check_starts(before: Session, records: Iterable[f.Recorded]) -> None:
    """I2: at most one run; I5: a call has one result, and is not started twice."""
    active = before.run.id if before.run else None
    calls: dict[str, str] = {}
    if before.run and isinstance(before.run.phase, Calling):
        calls = {call.id: call.status for call in before.run.phase.calls}
    for recorded in records:
        match recorded.fact:
            case f.RunStarted(run=run):
                assert active is None, "I2: a second run"
                active = run
            case f.RunSettled(run=run):
                assert active == run, "I2: a run settles that is not active"
                assert all(status == "done" for status in calls.values()), "I5: a call without a result"
                active, calls = None, {}
            case f.Replied(reply=reply):
                calls = {call.id: "new" for call in reply.calls}
            case f.CallStarted(call=call):
                assert calls[call] in ("new", "asked"), "K3: a call is started twice"
                assert before.run is None or before.run.ending is None, "C7: a cancelled run starts a call"
                calls[call] = "started"
            case f.CallFinished(call=call):
                assert calls[call] != "done", "I5: a second result"
                calls[call] = "done"
            case _:
                pass


def phase(session: Session) -> str:
    """The class of a state, as the documentation's table names it."""
    run = session.run
    if not session.id:
        return "not created"
    if session.deleting:
        return "deleting"
    if run is None:
        if any(not entry.parked for entry in session.waiting):
            return "stopped"
        return "parked" if session.waiting else "idle"
    if run.ending is not None:
        return "ending"
    match run.phase:
        case Sampling(not_before=None):
            return "sampling"
        case Sampling():
            return "backing off"
        case Compacting():
            return "compacting"
        case Calling():
            return "awaiting" if session.awaiting and not due(session) else "calling"


def _story(came: dict[World, Taken | None], last: Taken) -> str:
    steps = [last]
    while (taken := came[steps[-1].before]) is not None:
        steps.append(taken)
    lines = []
    for taken in reversed(steps):
        lines.append(f"  {taken.move.input}")
        lines.extend(f"    -> {recorded.fact}" for recorded in taken.records)
    return "\n".join(lines)
