"""The actor: one per open session, the only writer of its state in this process.

It takes one input at a time, has it recorded and answers; then it compares what is due with what runs, starts the one and stops the
other (docs/decisions/0001). Nothing else starts or stops an effect. What an effect finds out comes back as an input.

In a guest nothing is due: it decides what is asked for, and looks when another process has appended (contract I10).
"""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime

from msgspec.structs import replace

from quell.core import inputs as i
from quell.core.decide import decide
from quell.core.errors import AppendTimeout, QuellError, SessionNotFound, StaleOwner, StorageRefused, Unavailable
from quell.core.events import DraftPart
from quell.core.ports import Draft
from quell.core.session import Compact, Effect, Expire, Sample, Session, Summary, due, summary
from quell.engine import hooking
from quell.engine.bus import Bus
from quell.engine.effects import Effects, grace
from quell.engine.inbox import Inbox, Letter
from quell.engine.ledger import Ledger
from quell.engine.live import Streams
from quell.engine.perform import Performer
from quell.engine.scene import Scene

log = logging.getLogger(__name__)

FAULT = "The session was closed by a fault, which the log has. It is recovered from its journal; ask again."


class Actor:
    """`post` or `ask`; `run` is its life. `closed` is why it ended, once it has: deleted, stopped, or unreadable."""

    def __init__(self, id: str, performer: Performer, bus: Bus) -> None:
        self.ledger = Ledger(id, performer.ports, performer.ownership, bus)
        self.stalled: StorageRefused | AppendTimeout | None = None
        self.closed: QuellError | None = None
        self.ended = asyncio.Event()
        self.used = 0.0
        self._performer = performer
        self._inbox = Inbox()
        self.streams = Streams(id, bus, self._inbox.wake)
        self._effects = Effects(performer, Scene(self.ledger, self.streams, self.post, self._gone))
        self._loaded = asyncio.Event()
        self._behind = False
        self._recovering = False

    # From outside

    async def ready(self) -> None:
        """Wait until the journal was folded. Raises what that failed with."""
        await self._loaded.wait()
        if self.closed is not None:
            raise self.closed

    def post(self, input: i.Input) -> None:
        self._inbox.put(Letter(input))

    async def ask(self, request: i.Request) -> i.Reaction:
        """Post a request and wait until it is decided and on disk. Raises what it was refused with."""
        if self.closed is not None:
            raise self.closed
        answer: asyncio.Future[i.Reaction] = asyncio.get_running_loop().create_future()
        self._inbox.put(Letter(request, answer))
        return await answer

    def look(self) -> None:
        """Another process may have appended, or our part has changed."""
        self._behind = True
        self._inbox.wake()

    def recover(self) -> None:
        """Whoever ran this before is gone: settle what it left before anything starts, if there is anything."""
        self._recovering = True
        self._inbox.wake()

    def step_down(self) -> None:
        """Another process owns the journal, or soon may: stop, and record nothing of it. At once: the actor may be waiting for a journal that
        does not answer."""
        self._recovering = False
        self._effects.stop_ending(())
        self.streams.drop()
        self.look()

    def close(self, why: QuellError) -> None:
        """End. What runs is stopped, and settled as a crash would be (contract K6), unless the session is gone."""
        self.closed = why
        self._inbox.wake()

    def summary(self) -> Summary:
        """The session as a list shows it, and whether it stalls."""
        row = summary(self.ledger.session)
        return row if self.stalled is None else replace(row, stalled=str(self.stalled))

    def _gone(self) -> None:
        if not isinstance(self.closed, SessionNotFound):
            self.close(SessionNotFound("The session was deleted."))
            self.ledger.bury()

    @property
    def idle(self) -> bool:
        """Nothing is unfinished, nothing runs, nothing has arrived: it could be loaded again at any time.

        A session that awaits a person is not idle, although nothing is due in it.
        """
        unfinished = self.ledger.session.busy and self._performer.ownership.owns
        working = self._inbox or self._effects.working or self.works_behind
        return self._loaded.is_set() and not (self._recovering or working or unfinished)

    @property
    def works_behind(self) -> bool:
        """A command runs on behind its call, and will want to say how it ended."""
        return self._performer.ports.toolset.works_behind(self.ledger.id)

    # Its life

    async def run(self) -> None:
        """Fold the journal, recover what is unfinished, then take inputs until it is closed."""
        try:
            await self.ledger.load()
            # A title that was being asked for when the process ended; a session with unfinished work is told to recover.
            session = self.ledger.session
            if self._performer.ownership.owns and session.titling is not None and not session.busy:
                self._recovering = True
            self._loaded.set()
            await self._live()
        except QuellError as error:
            self.closed = error
            log.error("session %s: %s", self.ledger.id, error)  # written for people, says it all
        finally:
            self.closed = self.closed or Unavailable(FAULT)
            for letter in self._inbox.drain():
                letter.refuse(self.closed)
            self._loaded.set()
            self.ended.set()

    async def _recover(self) -> None:
        """Nothing may start before this is decided; and nothing of ours may run that a former claim has left."""
        generation = self._performer.ownership.generation
        await self._effects.stop(grace(self.ledger.session, self._performer.options.unwind_grace))
        self._effects.forget()
        self._inbox.forget_reports()
        await self.ledger.load()
        if self.ledger.session.busy or self.ledger.session.titling is not None:
            await self._take(Letter(await _found(self.ledger, self._performer)))
        if self._performer.ownership.generation == generation:  # else there is another recovery to come, or none
            self._recovering = False

    async def _left(self) -> i.Restarted:
        """What a process that stops leaves: of its own, or of the one before it, if that was not recovered yet."""
        if self._recovering and self._performer.ownership.owns:
            await self.ledger.load()
            if self.ledger.session.id:
                return await _found(self.ledger, self._performer)
        return i.Restarted(reply=self.streams.fragment(), spent=self._performer.delegates.spent(self.ledger.id))

    async def _live(self) -> None:
        async with asyncio.TaskGroup() as group:
            try:
                self._reconcile(group)
                while self.closed is None:
                    if self._recovering and self._performer.ownership.owns:
                        await self._recover()
                    elif letter := await self._inbox.next():
                        await self._take(letter)
                    else:
                        await self._wake()
                    self._reconcile(group)
                if not isinstance(self.closed, SessionNotFound):
                    await self._effects.stop(grace(self.ledger.session, self._performer.options.stop_grace))
                    letters = self._inbox.drain()
                    while letters:  # what ends while that is recorded has its outcome recorded as well
                        for letter in letters:
                            await self._take(letter)
                        letters = self._inbox.arrived()
                    await self._take(Letter(replace(await self._left(), stopping=True)))
                self.ended.set()  # all of it is on disk; what does not stop when it is told to is not waited for
            finally:
                self._effects.abandon()

    async def _wake(self) -> None:
        if self._behind:
            self._behind = False
            await self._look_again(others=True)
        if self.streams.draft_due:
            await self._save_draft()
        elif self.stalled is not None and not self._inbox.kept:
            await self._look_again()

    async def _take(self, letter: Letter) -> None:
        """Record an input and answer. After a refusal the journal is read first: what it refused may be in it all the same."""
        self.ledger.doubt = letter.doubt
        try:
            if self.stalled is not None:
                await self.ledger.load()
            if letter.doubt is None or not await self.ledger.holds(letter.doubt):
                ended = self.ledger.session.ended
                letter.reply(await self._record(letter.input))
                if self.ledger.session.ended != ended and self.closed is None:
                    hooking.settled(self.ledger, self._performer.ports, self._performer.environments)
        except (StorageRefused, AppendTimeout) as error:
            self._refused(letter, error)
        except StaleOwner:
            self.ledger.doubt = None  # what the owner records instead decides
        except QuellError as error:
            letter.refuse(error)
        except Exception:
            letter.refuse(Unavailable(FAULT))
            raise
        else:
            if not self._inbox.kept:
                self.stalled = None
        self.streams.settle_all(self.ledger.news())

    async def _record(self, input: i.Input) -> i.Reaction:
        """A cancel lets go of the model before it is appended (docs/decisions/0015); tools are stopped when it is recorded."""
        patience = self._performer.options.append_timeout
        if not isinstance(input, i.Cancel):
            return await self.ledger.record(input, patience)
        stopped: list[Effect] = []

        async def foresee(after: Session) -> i.Unwound | None:
            stopped.extend(self._effects.stop_ending(due(after), (Sample, Compact, Expire)))
            unwound = await self._effects.unwound(after)
            may_settle = self._performer.ownership.owns and not self._recovering and not self._inbox.waiting
            return unwound if may_settle else None

        reaction = await self.ledger.record(input, patience, foresee)
        assert not {*stopped} & {*due(self.ledger.session)}, "only an owner settles runs: none of it can be due again"
        return reaction

    def _refused(self, letter: Letter, error: StorageRefused | AppendTimeout) -> None:
        """K5: the caller gets the error; an outcome, or a cancel, is kept; a cancel stops the work first.

        A kept cancel covers nothing that is accepted after it was refused (C2).
        """
        self._stall(error)
        input, session = letter.input, self.ledger.session
        if isinstance(input, i.Cancel):
            if session.id and not session.deleting:
                self._effects.stop_ending(due(decide(session, input, session.updated).session))
            upto = session.seq
            input = replace(input, upto=upto if input.upto is None else min(input.upto, upto))
        if letter.answer is None or isinstance(input, i.Cancel):
            self._inbox.keep(Letter(input, doubt=self.ledger.doubt))
        letter.refuse(error)

    def _stall(self, error: StorageRefused | AppendTimeout) -> None:
        is_news = str(self.stalled) != str(error)
        self.stalled = error
        self._inbox.look_again()
        log.error("session %s: %s", self.ledger.id, error)
        if is_news:
            self.ledger.tell(self.summary())

    async def _look_again(self, *, others: bool = False) -> None:
        """See what the journal says: a refusal may have been of the answer only, and other processes append, or delete, too."""
        try:
            if not await self.ledger.load() and others and await self.ledger.is_gone():
                self._gone()
        except StorageRefused as error:
            self._stall(error)
        else:
            if self.stalled is not None and not self._inbox.kept:
                self.stalled = None
                self.ledger.tell(self.summary())
        self.streams.settle_all(self.ledger.news())

    def drafts(self) -> list[DraftPart]:
        """The text of everything that streams, and is in no fact yet."""
        self.streams.settle_all(self.ledger.news())
        return self.streams.drafts()

    # Effects

    def _reconcile(self, group: asyncio.TaskGroup) -> None:
        """Stop what runs and is not due; start what is due and does not run."""
        recovered = self._performer.ownership.owns and not self._recovering
        wanted = due(self.ledger.session) if recovered else ()
        self._effects.stop_all_but(wanted)
        if self.stalled is None and self.closed is None:
            self._effects.start(wanted, group)
            if recovered and self.ledger.snapshot_due:
                group.create_task(self.ledger.begin_snapshot())

    # Drafts

    async def _save_draft(self) -> None:
        self.streams.draft_due = False
        reply, generation = self.streams.reply, self._performer.ownership.generation
        if reply is not None and generation is not None:
            draft = Draft(reply.message, reply.fragment())
            try:
                await self._performer.ports.journal.save_draft(self.ledger.id, draft, generation)
            except StaleOwner:
                self._performer.ownership.lose(generation)
            except StorageRefused as error:
                log.warning("session %s: the draft was not saved: %s", self.ledger.id, error)
                self.streams.draft_again()  # there may be no more text to do it for


async def _found(ledger: Ledger, performer: Performer) -> i.Restarted:
    """What a new owner finds (contract K2, K3): whoever ran this before is gone, and nothing of it runs."""
    options, ports = performer.options, performer.ports
    draft = await ports.journal.draft(ledger.id)
    down = datetime.fromisoformat(ports.clock.now()) - datetime.fromisoformat(ledger.session.updated)
    return i.Restarted(
        reply=draft.reply if draft is not None else None,
        spent=await performer.delegates.recovered(ledger.session, options.unwind_grace),
        park=down.total_seconds() > options.recover_within,
        resume_interrupted=options.resume_interrupted,
    )
