"""The ledger of one session: its state and transcript, and the one way to change them: decide, append, apply, publish."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from quell.core import inputs as i
from quell.core.decide import decide
from quell.core.errors import AppendTimeout, StaleWriter
from quell.core.events import Deleted
from quell.core.evolve import evolve
from quell.core.facts import AnyFact, Recorded
from quell.core.ports import Clock, Journal
from quell.core.session import Session, Summary, summary
from quell.core.transcript import Transcript
from quell.engine.bus import Bus


class Ledger:
    """What is known of the session, from its facts and nothing else. `doubt` is the first fact of an append that was refused."""

    def __init__(self, id: str, journal: Journal, clock: Clock, bus: Bus) -> None:
        self.id = id
        self.session = Session()
        self.transcript = Transcript()
        self._journal = journal
        self._clock = clock
        self._bus = bus
        self._news: list[AnyFact] = []
        self.doubt: Recorded | None = None

    async def load(self) -> None:
        """Fold the journal."""
        for recorded in await self._journal.read(self.id, self.session.seq):
            self._apply(recorded, evolve(self.session, recorded))

    async def record(
        self, input: i.Input, patience: float, foresee: Callable[[Session], None] = lambda _: None
    ) -> i.Reaction:
        """Decide an input and append what it decided; returns the answer. `foresee` is told the state that each append is to lead to.

        If another writer was first, it is decided again from the new state, with jitter, for `patience` seconds: `AppendTimeout`.
        Raises what the input is refused with, and `StorageRefused`; nothing is written then.
        """
        deadline = asyncio.get_running_loop().time() + patience
        while True:
            decision = decide(self.session, input, self._clock.now())
            if not decision.records:
                return decision.reaction
            self.doubt = decision.records[0]
            foresee(decision.session)
            try:
                await self._journal.append(self.id, self.session.seq, decision.records, summary(decision.session))
            except StaleWriter:
                if asyncio.get_running_loop().time() > deadline:
                    raise AppendTimeout("Other writers were always faster; nothing was written.") from None
                await asyncio.sleep(random.uniform(0, 0.02))  # spreads writers, hides nothing
                await self.load()
            else:
                self.doubt = None
                for recorded in decision.records:
                    self._apply(recorded, decision.session)
                self.tell(summary(self.session))
                return decision.reaction

    async def holds(self, recorded: Recorded) -> bool:
        """Whether that fact, whose append was refused, was written all the same."""
        found = await self._journal.read(self.id, recorded.seq - 1, 1)
        return bool(found) and found[0] == recorded

    def news(self) -> list[AnyFact]:
        """The facts that were applied since this was last asked."""
        news, self._news = self._news, []
        return news

    def tell(self, row: Summary) -> None:
        """The session has changed: tell those who follow all of them."""
        if self._bus.followed(Bus.ALL):
            self._bus.publish(Bus.ALL, row)

    def bury(self) -> None:
        """The session is gone: tell its followers."""
        self._bus.publish(self.id, Deleted(self.id))
        self._bus.publish(Bus.ALL, Deleted(self.id))

    def _apply(self, recorded: Recorded, session: Session) -> None:
        self.session = session
        self.transcript.add(recorded)
        self._news.append(recorded.fact)
        self._bus.publish(self.id, recorded)
