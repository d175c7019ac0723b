"""The ledger of one session: its state and transcript, and the one way to change them: decide, append, apply, publish.

What effects report is the owner's to record (contract I10); what is asked for, anybody's.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence

from quell.core import inputs as i
from quell.core.decide import Decision, decide
from quell.core.errors import AppendTimeout, QuellError, StaleOwner, StaleWriter, StorageRefused
from quell.core.events import Deleted
from quell.core.evolve import evolve
from quell.core.facts import AnyFact, Recorded
from quell.core.session import Session, Summary, summary
from quell.core.transcript import Transcript
from quell.engine.bus import Bus
from quell.engine.opening import open_session, open_view
from quell.engine.options import Ports
from quell.engine.owner import Ownership
from quell.wire import snapshots

log = logging.getLogger(__name__)

Foresee = Callable[[Session], Awaitable[i.Unwound | None]]

SNAPSHOT_FACTS = 200
"""Facts between two snapshots of a session, at least."""


class Ledger:
    """What is known of the session, from its facts and nothing else. `doubt` is the first fact of an append that was refused."""

    def __init__(self, id: str, ports: Ports, ownership: Ownership, bus: Bus) -> None:
        self.id = id
        self.session = Session()
        self.transcript = Transcript()
        self._journal = ports.journal
        self._clock = ports.clock
        self._doorbell = ports.doorbell
        self._ownership = ownership
        self._bus = bus
        self._news: list[AnyFact] = []
        self._kept = 0
        self.doubt: Recorded | None = None

    async def load(self) -> bool:
        """Fold what is new in the journal; whether there was anything. What a later owner has begun must not be begun here as well."""
        before = self.session.seq
        if before:
            facts = await self._journal.read(self.id, self.session.seq)
        else:
            self.session, self.transcript, facts = await open_session(self._journal, self.id)
            self._kept = self.session.seq
            if self.session.seq:
                self._bus.lose(self.id)  # nobody was told of these facts
        for recorded in facts:
            self._apply(recorded, evolve(self.session, recorded))
        if facts:
            self.tell(summary(self.session))
        if self.session.seq > before:
            await self._look_whether_we_own()
        return self.session.seq > before

    async def _look_whether_we_own(self) -> None:
        """Asked after the facts were read: whoever has written one of them had claimed before."""
        generation = self._ownership.generation
        if generation is None or self._doorbell is None:
            return  # a guest, or alone
        try:
            await self._journal.renew(generation)
        except StaleOwner:
            self._ownership.lose(generation)

    async def is_gone(self) -> bool:
        """Whether the session was deleted."""
        return bool(self.session.id) and await self._journal.summary(self.id) is None

    async def record(self, input: i.Input, patience: float, foresee: Foresee | None = None) -> i.Reaction:
        """Decide an input and append what it decided; returns the answer. Raises `StaleOwner` for a report, unless we own.

        `foresee` is told the state that each append is to lead to. What it reports of that is appended in the same transaction.

        If another writer was first, it is decided again from the new state, with jitter, for `patience` seconds: `AppendTimeout`.
        Raises what the input is refused with, and `StorageRefused`; nothing is written then.
        """
        deadline = asyncio.get_running_loop().time() + patience
        while True:
            generation = None if isinstance(input, i.Request) else self._claimed()
            try:
                decision = decide(self.session, input, self._clock.now())
            except QuellError:
                if await self._was_behind(input):
                    continue
                raise
            if not decision.records:
                if await self._was_behind(input):
                    continue
                return decision.reaction
            self.doubt = decision.records[0]
            decisions = [decision]
            if foresee is not None and (report := await foresee(decision.session)) is not None:
                generation = self._claimed()
                decisions.append(decide(decision.session, report, self._clock.now()))
            try:
                await self._append(decisions, generation)
            except StaleOwner:
                self._ownership.lose(generation)
                if not isinstance(input, i.Request):
                    raise
            except StaleWriter:
                if asyncio.get_running_loop().time() > deadline:
                    self.doubt = None
                    raise AppendTimeout("Other writers were always faster; nothing was written.") from None
                await asyncio.sleep(random.uniform(0, 0.02))  # spreads writers, hides nothing
                await self.load()
            else:
                return decision.reaction

    def _claimed(self) -> int:
        generation = self._ownership.generation
        if generation is None:
            raise StaleOwner("What runs is recorded by the owner, and that is another process.")
        return generation

    async def _append(self, decisions: Sequence[Decision], generation: int | None) -> None:
        """All of them, or none; each was made from the state that the one before it leads to."""
        records = [recorded for decision in decisions for recorded in decision.records]
        row = summary(decisions[-1].session)
        await self._journal.append(self.id, self.session.seq, records, row, generation)
        self.doubt = None
        for decision in decisions:
            for recorded in decision.records:
                self._apply(recorded, decision.session)
        self.tell(row)
        if self._doorbell is not None:
            self._doorbell.ring(self.id)

    async def _was_behind(self, input: i.Input) -> bool:
        """Whether what is asked for was decided from an old state: nothing is appended, so nothing else would tell."""
        return self._doorbell is not None and isinstance(input, i.Request) and await self.load()

    async def holds(self, recorded: Recorded) -> bool:
        """Whether that fact, whose append was refused, was written all the same."""
        found = await self._journal.read(self.id, recorded.seq - 1, 1)
        return bool(found) and found[0] == recorded

    @property
    def snapshot_due(self) -> bool:
        """There are many facts since the last one, also in comparison with what it costs to make another."""
        return self.session.seq - self._kept >= max(SNAPSHOT_FACTS, self.session.seq // 4)

    def begin_snapshot(self) -> Coroutine[None, None, None]:
        """What it takes to keep the state of this moment; the state itself is taken now."""
        self._kept = self.session.seq
        return self._save_snapshot(self.session, snapshots.encode(self.session, self.transcript))

    async def _save_snapshot(self, session: Session, state: bytes) -> None:
        try:
            view = await open_view(self._journal, self.id, session.seq)
            await self._journal.save_snapshot(self.id, snapshots.snapshot(session, state, view))
        except StorageRefused as error:
            log.warning("session %s: its snapshot was not saved: %s", self.id, error)

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
