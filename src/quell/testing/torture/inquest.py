"""What must hold after a death, and what must hold at rest: journals, ledgers, files, against the run contract and against each other.

`learn` takes what clients have noted; `session` and `deleted` hold a journal against that. What runs in between is the business of `run`.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from pathlib import Path

import msgspec
from msgspec import Struct

from quell.core import facts as f
from quell.core import inputs as i
from quell.core.errors import QuellError
from quell.core.messages import ToolCall
from quell.core.session import Summary
from quell.core.view import View
from quell.testing.audit import CANCEL_SETTLES, Settled, Walk, audit, differs
from quell.testing.ghost import Cancelling, Ghost, Submission
from quell.testing.simulation.family import audit_child
from quell.testing.torture import ledger as l
from quell.testing.torture.script import DONE, FILES, executed
from quell.wire import api

TICK = 0.001
"""Seconds that are left out where the journal tells time."""

SLOWNESS = 30.0
"""Seconds that a busy machine may add to what is promised in seconds."""

NUMBER = re.compile(rf"echo (\d+) >> {re.escape(DONE)}")
SAID = ("worked", "allowed")
"""What a command says behind having written down its number."""


class Wait(Struct):
    """A wait that was answered."""

    session: str
    answer: api.Prompt


class Found(Struct):
    """What an inquest on one session has seen."""

    prompts: Counter[str]
    facts: int
    reverts: int


class Inquest:
    """`troubled` are the times when the daemon was dead or hindered; `deaths` those when it died, or was taken for dead: from, to."""

    def __init__(self) -> None:
        self.ghost = Ghost()
        self.troubled: list[tuple[float, float]] = []
        self.deaths: list[tuple[float, float]] = []
        self.held: list[l.Held] = []
        self.reached: dict[str, int] = {}
        self.told: dict[str, list[tuple[float, str]]] = {}
        self.wrong: list[str] = []
        self.answered = 0
        self._asked: dict[int, l.Asked] = {}
        self._cancels: dict[int, Cancelling] = {}
        self._waits: list[Wait] = []
        self._ending: set[str] = set()

    # What clients were told

    def learn(self, name: str, lines: Iterator[l.Line]) -> None:
        for line in lines:
            match line:
                case l.Asked():
                    self._ask(name, line)
                case l.Told():
                    self._tell(name, line)
                case l.Held():
                    self.held.append(line)
                case l.Reached(word=word):
                    self.reached[name] = word
                case l.Wrong(session=session, text=text):
                    self.wrong.append(f"{session}: {text} ({name})")

    def _ask(self, name: str, asked: l.Asked) -> None:
        self._asked[asked.number] = asked
        self._note(asked.session, asked.at, f"{name} asks: {asked.what}")
        at = math.floor(asked.at * 1000) / 1000  # as the journal tells time
        match asked.what:
            case l.Submitting(prompt=prompt, text=text):
                self.ghost.submissions.setdefault(prompt, Submission(asked.session, prompt, text, []))
            case l.Cancelling(cancellation=c):
                wanted = i.Cancel(scope=c.scope, run=c.run, upto=c.upto, prompt=c.prompt)
                self._cancels[asked.number] = Cancelling(asked.session, wanted, at)
                self.ghost.cancels.append(self._cancels[asked.number])
            case l.Interrupting():
                self._cancels[asked.number] = Cancelling(asked.session, i.Cancel(scope="active"), at)
                self.ghost.interrupts.append(self._cancels[asked.number])
            case l.Deleting():
                self.ghost.deleting.add(asked.session)
            case l.EndingJob(job=job):
                self._ending.add(job)
            case l.Waiting() | l.Doing():
                pass

    def _tell(self, name: str, told: l.Told) -> None:
        asked = self._asked.pop(told.number)
        answer = told.error or bytes(told.answer).decode()[:200]
        self._note(asked.session, told.at, f"{name} is told: {answer} ({type(asked.what).__name__})")
        if (cancel := self._cancels.pop(told.number, None)) is not None:
            cancel.ended = told.at
        if told.error == QuellError.code:
            self.wrong.append(f"{asked.session}: C9: a bug is the answer to {asked.what} ({name})")
        if told.error is not None:
            return
        self.answered += 1
        match asked.what:
            case l.Submitting(prompt=prompt):
                accepted = msgspec.json.decode(told.answer, type=i.Accepted)
                self.ghost.submissions[prompt].answers.append(accepted)
            case l.Cancelling() if cancel is not None:
                cancel.covered = msgspec.json.decode(told.answer, type=i.Covered)
            case l.Waiting():
                self._waits.append(Wait(asked.session, msgspec.json.decode(told.answer, type=api.Prompt)))
            case l.Deleting():
                self.ghost.deleted.add(asked.session)
            case _:
                pass

    def _note(self, session: str, at: float, what: str) -> None:
        self.told.setdefault(session, []).append((at, what))

    def forget(self, session: str) -> None:
        """It is gone, and that was seen to: what is known of it only takes time."""
        ghost = self.ghost
        ghost.submissions = {id: told for id, told in ghost.submissions.items() if told.session != session}
        ghost.cancels = [cancel for cancel in ghost.cancels if cancel.session != session]
        ghost.interrupts = [cancel for cancel in ghost.interrupts if cancel.session != session]
        self._waits = [wait for wait in self._waits if wait.session != session]
        self.told.pop(session, None)

    # What the journal says

    def session(
        self, row: Summary, records: Sequence[f.Recorded], *, resting: bool, final: bool
    ) -> tuple[list[str], Found]:
        """Everything that is wrong with one session, and what was seen."""
        executed = _executed(row.workspace)
        settled = Settled(
            session=row.id,
            records=records,
            row=row,
            landed=[_seconds(recorded.at) for recorded in records],
            troubled=self.troubled,
            final=final,
            resting=resting,
            settles=CANCEL_SETTLES + SLOWNESS,
        )
        walk = Walk()
        for recorded in records:
            for _ in walk.step(recorded):
                pass  # said by the audit
        asked = {f"{row.id}-{number}" for number in executed}
        wrong = [
            *audit(settled, self.ghost, asked),
            *_at_most_once(executed, walk, row.id),
            *_truly_done(records, executed),
            *self._interruptions(records),
            *self._true_answers(row.id, walk),
            *_whole_files(Path(row.workspace)),
        ]
        ends = Counter(
            walk.outcomes.get(place.run or "", "waiting") if place.dropped is None else "dropped"
            for place in walk.prompts.values()
        )
        return [f"{row.id}: {what}" for what in wrong], Found(ends, len(records), _reverts(records))

    def child(self, child: str, records: Sequence[f.Recorded], of_parent: Sequence[f.Recorded]) -> list[str]:
        """Everything that is wrong with a sub-agent at rest."""
        times = [_seconds(fact.at) for fact in records], [_seconds(fact.at) for fact in of_parent]
        return [f"{child}: {what}" for what in audit_child(child, records, of_parent, times, self.troubled)]

    def jobs(self, records: Sequence[f.Recorded], running: Collection[str], since: float) -> tuple[list[str], int]:
        """T2: what is wrong with those of a session, and how many run on. `since` is when the process began to own that has them."""
        begun = [
            recorded.fact.result.metadata["job"]
            for recorded in records
            if isinstance(recorded.fact, f.CallFinished) and "job" in recorded.fact.result.metadata
            if _seconds(recorded.at) > since
        ]
        kept = [job for job in begun if job not in self._ending]
        return [f"T2: job {job} runs no more, and nobody has ended it" for job in kept if job not in running], len(kept)

    def missing(self, rows: Sequence[Summary]) -> Iterator[str]:
        """A2: a prompt was acknowledged in a session that there is no more, and nobody wanted that."""
        there = {row.id for row in rows} | self.ghost.deleting
        for told in self.ghost.submissions.values():
            if told.answers and told.session not in there:
                yield f"A2: {told.prompt} was acknowledged, and there is no session {told.session}"

    def _interruptions(self, records: Sequence[f.Recorded]) -> Iterator[str]:
        """I9: a run is interrupted by a death of the daemon that does its work, and by nothing else."""
        started: dict[str, float] = {}
        for recorded in records:
            match recorded.fact:
                case f.RunStarted(run=run):
                    started[run] = _seconds(recorded.at)
                case f.RunSettled(run=run, outcome="interrupted"):
                    at = _seconds(recorded.at) + TICK
                    if not any(started[run] <= died and died_from <= at for died_from, died in self.deaths):
                        yield f"I9: {run} is interrupted, and the daemon has not died since it started"
                case _:
                    pass

    def _true_answers(self, session: str, walk: Walk) -> Iterator[str]:
        """I9: what a wait was answered is what the journal says."""
        for wait in self._waits:
            told = wait.answer
            if wait.session != session or told.state not in ("settled", "dropped"):
                continue
            place = walk.prompts.get(told.prompt)
            if place is None:
                yield f"A2: a wait was told of {told.prompt}, which is not in the journal"
            elif told.state == "dropped" and place.dropped is None:
                yield f"I9: a wait was told that {told.prompt} was dropped"
            elif told.state == "settled" and walk.outcomes.get(told.run or "") != told.outcome:
                yield f"I9: a wait was told that {told.run} is {told.outcome}: {walk.outcomes.get(told.run or '')}"


def compare(held: l.Held, view: View) -> str | None:
    """E1, E2: why a follower does not hold what the server shows."""
    assert held.view is not None, "only what is held is compared"
    wrong = differs(held.view, held.start, view)
    return None if wrong is None else f"E1: what a follower ({held.by}, from item {held.start}) holds as {wrong}"


def _reverts(records: Sequence[f.Recorded]) -> int:
    return sum(isinstance(recorded.fact, f.Reverted | f.RevertUndone) for recorded in records)


def _seconds(at: str) -> float:
    return datetime.fromisoformat(at).timestamp()


def _executed(workspace: str) -> Counter[int]:
    """The numbers that commands have written down."""
    try:
        lines = executed(workspace).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return Counter()
    return Counter(int(line) for line in lines if line.isdecimal())


def _at_most_once(executed: Counter[int], walk: Walk, session: str) -> Iterator[str]:
    for number, times in executed.items():
        if times > 1:
            yield f"K3: the command of prompt {number} was executed {times} times"
        if f"{session}-{number}" not in walk.prompts:
            yield f"K3: the command of prompt {number} was executed, and the journal does not know it"


def _truly_done(records: Sequence[f.Recorded], executed: Counter[int]) -> Iterator[str]:
    """A result that says that something was done is true."""
    commands: dict[str, str] = {}
    for recorded in records:
        match recorded.fact:
            case f.Replied(reply=reply):
                commands.update((part.id, part.input) for part in reply.parts if isinstance(part, ToolCall))
            case f.CallFinished(call=call, result=result) if result.status == "completed":
                found = NUMBER.search(commands.get(call, ""))
                said = any(word in result.text.splitlines() for word in SAID)
                if found is not None and said and not executed[int(found[1])]:
                    yield f"I5: {call} says that it has written down {found[1]}, and it is not there"
            case _:
                pass


def _whole_files(workspace: Path) -> Iterator[str]:
    """T3: a file is as one of its writers left it."""
    for name, versions in FILES.items():
        path = workspace / name
        if path.exists() and path.read_text(encoding="utf-8", errors="replace") not in versions.values():
            yield f"T3: {path} is none of its versions, and has {path.stat().st_size} bytes"
