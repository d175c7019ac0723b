"""The effects of one session that run: each is started when it is due, and stopped when it is no longer."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine

from msgspec.structs import replace

from quell.core import inputs as i
from quell.core.session import Effect, Keep, Session, Title, Unwind, due
from quell.engine import keeping
from quell.engine.delegate import SHARE
from quell.engine.perform import Performer
from quell.engine.scene import Scene

MOMENT = 0.005
"""Seconds that a cancel waits for what it ends, so that both are recorded together."""


class Effects:
    """An effect stays known until it is no longer due: what has ended and is still due has its outcome in the inbox.

    One without a task had nothing to wait for, and has ended where it was started.
    """

    def __init__(self, performer: Performer, scene: Scene) -> None:
        self._performer = performer
        self._scene = scene
        self._running: dict[Effect, asyncio.Task[None] | None] = {}

    @property
    def working(self) -> list[asyncio.Task[None]]:
        return [task for task in self._running.values() if task is not None and not task.done()]

    def start(self, wanted: Collection[Effect], group: asyncio.TaskGroup) -> None:
        """Start what is due and does not run."""
        for effect in wanted:
            if effect not in self._running:
                if isinstance(effect, Unwind):
                    work = self._unwind(effect)
                else:
                    work = self._performer.perform(effect, self._scene)
                self._running[effect] = None if work is None else group.create_task(work)

    def stop_all_but(self, wanted: Collection[Effect]) -> None:
        """Stop what runs and is not due; forget what has ended."""
        for effect in self.stop_ending(wanted):
            task = self._running[effect]
            if task is None or task.done():
                del self._running[effect]

    def stop_ending(self, wanted: Collection[Effect], kinds: tuple[type, ...] = (object,)) -> list[Effect]:
        """Stop what is not due, or will not be in a state that is not recorded yet; all that there is of it."""
        ending = [effect for effect in self._running if effect not in wanted and isinstance(effect, kinds)]
        for effect in ending:
            _cancel(self._running[effect])
        return ending

    async def stop(self, grace: float) -> None:
        """Stop everything, and wait for it for so many seconds."""
        tasks = self.working
        for task in tasks:
            _cancel(task)
        if tasks:
            await asyncio.wait(tasks, timeout=grace)

    def forget(self) -> None:
        """Whatever is due is to be started, even if it did run: that was under another claim."""
        self._running.clear()

    def abandon(self) -> None:
        """Stop everything, wait for nothing, and begin nothing any more."""
        for task in self.working:
            task.cancel()
        del self._scene  # it leads to the actor, which would stay until the garbage collector comes

    async def unwound(self, after: Session) -> i.Unwound | None:
        """How a run ends in the state `after` its cancel, if all that it does was told to stop, and has in a moment.

        None: it takes longer, or goes on until the cancel is recorded, as tools do, or there is no run that ends.
        """
        unwind = next((effect for effect in due(after) if isinstance(effect, Unwind)), None)
        if unwind is None or keeping.leaves(after):
            return None
        others = self._others()
        if others and all(task.cancelling() for task in others):
            await asyncio.wait(others, timeout=MOMENT)
        return None if self._others() else self._report(unwind)

    def _unwind(self, effect: Unwind) -> Coroutine[None, None, None] | None:
        """Whatever the run started may have stopped while its cancel was recorded: then it is settled at once."""
        others = self._others()
        if others or keeping.leaves(self._scene.ledger.session):
            return self._wait(others, effect)
        self._scene.post(self._report(effect))
        return None

    def _others(self) -> list[asyncio.Task[None]]:
        """What the run started and has not stopped."""
        return [
            task
            for effect, task in self._running.items()
            if task is not None and not _is_beside(effect) and not task.done()
        ]

    async def _wait(self, others: Collection[asyncio.Task[None]], effect: Unwind) -> None:
        """For what the run started; what does not stop in time does not hold up settlement (C7, T1)."""
        loop = asyncio.get_running_loop()
        session = self._scene.ledger.session
        end = loop.time() + grace(session, self._performer.options.unwind_grace)
        if others:
            await asyncio.wait(others, timeout=end - loop.time())
        left = await keeping.left(self._scene.ledger.session, self._performer.ports, end - loop.time())
        self._scene.post(replace(self._report(effect), snapshot=left))

    def _report(self, effect: Unwind) -> i.Unwound:
        scene = self._scene
        scene.streams.settle_all(scene.ledger.news())
        spent = self._performer.delegates.spent(scene.ledger.id)
        return i.Unwound(run=effect.run, reply=scene.streams.fragment(), spent=spent)


def _cancel(task: asyncio.Task[None] | None) -> None:
    if task is not None and not task.cancelling():  # a second one would break off its cleaning up
        task.cancel()


def _is_beside(effect: Effect) -> bool:
    """It is no part of the run that goes on meanwhile."""
    return isinstance(effect, Title) or (isinstance(effect, Keep) and effect.after)


def grace(session: Session, seconds: float) -> float:
    """A sub-agent settles before the call that waits for it, which has the whole of it (T4)."""
    return seconds if session.parent is None else seconds * SHARE
