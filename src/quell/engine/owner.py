"""Which part this process has on its journal: the owner performs effects, a guest reads and decides what is asked (contract I10).

    Ownership   the part, and who is told when it changes; everybody of this process looks at the same one
    keep        goes on owning, or waits to, and looks for appends that were not heard
    listen      hears the other processes' appends
    expire      stops in time what could not be renewed

A guest becomes the owner when the owner's process is gone, an owner a guest when it finds that another has claimed: by a refused
append, or by asking; or when another could, because its claim ends and cannot be renewed. What becomes of the sessions then is the business
of `actors`.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable

from quell.core.errors import StaleOwner, StorageRefused
from quell.core.ports import Claim, Doorbell, Journal

log = logging.getLogger(__name__)

CLAIM_SECONDS = 0.1
"""Between two attempts of a guest to become the owner."""

LOOK_SECONDS = 1.0
"""Between two looks for what no bell told of (contract E5), and between two renewals of a claim."""


class Ownership:
    """`generation` is that of our claim; None: a guest. `owned` and `lost` are set while it is so."""

    def __init__(self) -> None:
        self.generation: int | None = None
        self.owned = asyncio.Event()
        self.lost = asyncio.Event()
        self.lost.set()
        self.on_loss: Callable[[], None] = lambda: None

    @property
    def owns(self) -> bool:
        return self.generation is not None

    def gain(self, generation: int) -> None:
        self.generation = generation
        self.lost.clear()
        self.owned.set()

    def lose(
        self, generation: int | None, why: str = "another process owns the journal now, and goes on with what ran here"
    ) -> None:
        """Stop, at once. Once for a claim: what an older one finds out is known already."""
        if self.generation is None or generation != self.generation:
            return
        log.warning("what ran here is stopped: %s", why)
        self.generation = None
        self.owned.clear()
        self.lost.set()
        self.on_loss()


class Watch:
    """`gained` is told of a claim, `heard` of a session (None: of all) in which another process may have appended."""

    def __init__(
        self,
        ownership: Ownership,
        journal: Journal,
        doorbell: Doorbell | None,
        gained: Callable[[Claim], None],
        heard: Callable[[str | None], None],
    ) -> None:
        self._ownership = ownership
        self._journal = journal
        self._doorbell = doorbell
        self._gained = gained
        self._heard = heard
        self._seen: int | None = None
        self._holds: float | None = None
        self._until = -math.inf

    async def begin(self) -> None:
        """Own the journal, if nobody does. Raises `StorageRefused`."""
        await self._claim()

    async def listen(self) -> None:
        """Hear the bell, for ever."""
        if self._doorbell is None:
            return
        while True:
            for session in await self._doorbell.rung():
                self._heard(session or None)
                if not session:
                    await self._renew()  # an owner that was taken for dead is told so by this ring

    async def keep(self) -> None:
        """Own, or wait to, and look for what the bell did not tell, for ever."""
        loop = asyncio.get_running_loop()
        looked = loop.time()
        while True:
            await self._pause()
            if self._ownership.generation is None:
                await self._try()
            if loop.time() - looked >= LOOK_SECONDS:
                looked = loop.time()
                await self._renew()
                await self._look()

    async def expire(self) -> None:
        """Lose what could not be renewed before another can claim it, whatever the journal is waiting for; for ever."""
        loop = asyncio.get_running_loop()
        while True:
            await self._ownership.owned.wait()
            left = self._until - loop.time()
            if left <= 0:
                why = "the claim to the journal could not be renewed, and soon another process may have it"
                self._ownership.lose(self._ownership.generation, why)
                continue
            try:
                async with asyncio.timeout(None if left == math.inf else left):
                    await self._ownership.lost.wait()
            except TimeoutError:
                pass

    async def _pause(self) -> None:
        """Without a bell no other process is expected: there is nothing to look for while we own."""
        if self._ownership.generation is None:
            await asyncio.sleep(CLAIM_SECONDS)
            return
        try:
            async with asyncio.timeout(None if self._doorbell is None else LOOK_SECONDS):
                await self._ownership.lost.wait()
        except TimeoutError:
            pass

    async def _try(self) -> None:
        try:
            claim = await self._claim()
        except StorageRefused as error:
            log.warning("the journal cannot be claimed yet: %s", error)
            await asyncio.sleep(LOOK_SECONDS)
        else:
            if claim is not None:
                log.info("this process owns the journal now, by claim %d", claim.generation)

    async def _claim(self) -> Claim | None:
        asked = asyncio.get_running_loop().time()
        claim = await self._journal.claim()
        if claim is not None:
            self._holds = claim.holds
            self._renewed(asked)
            self._gained(claim)
            if self._doorbell is not None:
                self._doorbell.ring("")
        return claim

    def _renewed(self, asked: float) -> None:
        """Counted from before it was asked for: from when it was granted, it holds at least as long."""
        self._until = max(self._until, math.inf if self._holds is None else asked + self._holds)

    async def _renew(self) -> None:
        generation = self._ownership.generation
        if generation is None:
            return
        asked = asyncio.get_running_loop().time()
        try:
            await self._journal.renew(generation)
        except StaleOwner:
            self._ownership.lose(generation)
        except StorageRefused as error:
            log.warning("whether this process still owns the journal is not known: %s", error)
        else:
            if generation == self._ownership.generation:
                self._renewed(asked)

    async def _look(self) -> None:
        try:
            version = await self._journal.version()
        except StorageRefused:
            return
        if version != self._seen:
            self._seen = version
            self._heard(None)
