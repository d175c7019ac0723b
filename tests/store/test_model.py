"""Whatever is asked of both journals, in whatever order, they answer the same; one is also closed and opened."""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from quell.core import inputs as i
from quell.core.decide import decide
from quell.core.errors import StaleWriter
from quell.core.evolve import fold
from quell.core.messages import Reply, Text
from quell.core.ports import Draft, Journal, position
from quell.core.session import Session, summary
from quell.store.memory import MemoryJournal
from quell.store.sqlite import SqliteJournal
from quell.testing.journals import moment

T = TypeVar("T")

IDS = st.sampled_from(["a", "b", "c"])
TEXTS = st.sampled_from(["one", "TWO", "straße", "%", "x" * 70_000])
TIMES = st.integers(0, 20)


class Journals(RuleBasedStateMachine):
    """Every question goes to both. `known` is what a client of the journal would know; it may be behind."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.memory: Journal = MemoryJournal()
        self.disk: Journal = self.open()
        self.known: dict[str, Session] = {}

    def open(self) -> SqliteJournal:
        return SqliteJournal.open(Path(self.folder.name) / "journal.db")

    def both(self, ask: Callable[[Journal], Awaitable[T]]) -> T | None:
        """What both answer; None when both say that the writer is stale."""

        async def outcome(journal: Journal) -> T | None:
            try:
                return await ask(journal)
            except StaleWriter:
                return None

        answers = [self.runner.run(outcome(journal)) for journal in (self.memory, self.disk)]
        assert answers[0] == answers[1]
        return answers[0]

    def append(self, id: str, input: i.Input, at: int) -> None:
        """From what is known; when that is stale, only learn what there is."""
        session = self.known.get(id, Session())
        decision = decide(session, input, moment(at))
        if not decision.records:
            return

        async def append(journal: Journal) -> bool:
            await journal.append(id, session.seq, decision.records, summary(decision.session))
            return True

        if self.both(append):
            self.known[id] = decision.session

    @rule(id=IDS, title=TEXTS, at=TIMES)
    def create(self, id: str, title: str, at: int) -> None:
        """Also a second time, with nothing known of the first."""
        self.known.pop(id, None)
        self.append(id, i.Create(session=id, workspace=f"/{id}", title=title), at)

    @rule(id=IDS, text=TEXTS, at=TIMES)
    def submit(self, id: str, text: str, at: int) -> None:
        if id in self.known:
            self.append(id, i.Submit(prompt=f"p{self.known[id].seq}", text=text), at)

    @rule(id=IDS, at=TIMES)
    def reply(self, id: str, at: int) -> None:
        run = self.known[id].run if id in self.known else None
        if run is not None:
            self.append(
                id, i.SampleReplied(run=run.id, turn=run.turn, attempt=1, reply=Reply(parts=(Text("Hm."),))), at
            )

    @rule(id=IDS)
    def learn(self, id: str) -> None:
        facts = self.both(lambda journal: _listed(journal.read(id)))
        self.known[id] = fold(facts or ())
        if not facts:
            del self.known[id]

    @rule(id=IDS, run=st.integers(1, 4), text=TEXTS)
    def save_draft(self, id: str, run: int, text: str) -> None:
        draft = Draft(f"r{run * 3}-1-1", Reply(parts=(Text(text),)))
        self.both(lambda journal: journal.save_draft(id, draft))

    @rule(id=IDS)
    def delete(self, id: str) -> None:
        """What is known of it stays known: a late writer."""
        self.both(lambda journal: journal.delete(id))

    @rule()
    def open_again(self) -> None:
        self.runner.run(_done(self.disk.close()))
        self.disk = self.open()

    @rule(id=IDS, after=st.integers(0, 5), limit=st.none() | st.integers(0, 3))
    def read(self, id: str, after: int, limit: int | None) -> None:
        self.both(lambda journal: _listed(journal.read(id, after, limit)))

    @rule(workspace=st.none() | st.just("/a"), query=TEXTS | st.just(""), limit=st.integers(0, 3))
    def search(self, workspace: str | None, query: str, limit: int) -> None:
        self.both(lambda journal: _listed(journal.summaries(workspace=workspace, query=query, limit=limit)))

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def turn_the_page(self, data: st.DataObject) -> None:
        """After a row that may have moved, or gone, since."""
        session = self.known[data.draw(st.sampled_from(sorted(self.known)))]
        before = position(summary(session))
        self.both(lambda journal: _listed(journal.summaries(before=before)))

    @invariant()
    def rows_and_drafts_are_the_same(self) -> None:
        self.both(lambda journal: _listed(journal.summaries()))
        self.both(lambda journal: _listed(journal.busy()))
        for id in ("a", "b", "c"):
            self.compare(id)

    def compare(self, id: str) -> None:
        """And the row is the fold of the facts."""
        self.both(lambda journal: journal.draft(id))
        row = self.both(lambda journal: journal.summary(id))
        facts = self.both(lambda journal: _listed(journal.read(id)))
        assert row == (summary(fold(facts)) if facts else None)

    def teardown(self) -> None:
        self.runner.run(_done(self.disk.close()))
        self.runner.close()
        self.folder.cleanup()


async def _listed(answer: Awaitable[Sequence[T]]) -> list[T]:
    return list(await answer)


async def _done(answer: Awaitable[None]) -> None:
    await answer


TestJournals = Journals.TestCase
TestJournals.settings = settings(max_examples=25, stateful_step_count=30)
