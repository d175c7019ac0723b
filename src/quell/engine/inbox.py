"""The inbox of a session: what has arrived, and what could not be recorded and is tried again (contract K5).

What is tried again goes before what has arrived since, so that a busy session cannot keep it waiting.
"""

from __future__ import annotations

import asyncio
from collections import deque

from msgspec import Struct

from quell.core import inputs as i
from quell.core.errors import QuellError
from quell.core.facts import Recorded

RETRY_REFUSED = 0.5
"""Seconds between two attempts to record what the journal refused."""


class Letter(Struct, frozen=True):
    """An input, and who waits for the answer. `doubt` is the first fact of an earlier attempt: it may be in the journal."""

    input: i.Input
    answer: asyncio.Future[i.Reaction] | None = None
    doubt: Recorded | None = None

    def refuse(self, error: QuellError) -> None:
        if self.answer is not None and not self.answer.done():
            self.answer.set_exception(error)

    def reply(self, reaction: i.Reaction) -> None:
        if self.answer is not None and not self.answer.done():
            self.answer.set_result(reaction)


class Inbox:
    """`put` letters in, `keep` those that were refused; `wake` whoever waits for `next`.

    It is not empty before the last letter was dealt with, which is when the next one is asked for.
    """

    def __init__(self) -> None:
        self._letters: deque[Letter] = deque()
        self._kept: deque[Letter] = deque()
        self._arrival = asyncio.Event()
        self._again: float | None = None
        self._in_hand = False

    def __bool__(self) -> bool:
        return self.waiting or self._in_hand

    @property
    def waiting(self) -> bool:
        """Beside the letter that is being dealt with there are others."""
        return bool(self._letters or self._kept)

    @property
    def kept(self) -> bool:
        return bool(self._kept)

    def put(self, letter: Letter) -> None:
        self._letters.append(letter)
        self._arrival.set()

    def keep(self, letter: Letter) -> None:
        self._kept.append(letter)

    def wake(self) -> None:
        self._arrival.set()

    def look_again(self) -> None:
        """Have `next` return in a while, with something that was kept or without."""
        self._again = asyncio.get_running_loop().time() + RETRY_REFUSED

    async def next(self) -> Letter | None:
        """The next letter; None when somebody woke us, or when it is time to look again and nothing was kept."""
        self._in_hand = False
        while True:
            if self._again is not None and asyncio.get_running_loop().time() >= self._again:
                if self._kept:
                    return self._hand_out(self._kept)
                self._again = None
                return None
            if self._letters:
                return self._hand_out(self._letters)
            if self._arrival.is_set():
                self._arrival.clear()
                return None
            if self._again is None:
                await self._arrival.wait()
                continue
            try:
                async with asyncio.timeout_at(self._again):
                    await self._arrival.wait()
            except TimeoutError:
                continue

    def _hand_out(self, letters: deque[Letter]) -> Letter:
        self._in_hand = True
        return letters.popleft()

    def drain(self) -> list[Letter]:
        """Everything, what was kept first."""
        kept = list(self._kept)
        self._kept.clear()
        return kept + self.arrived()

    def forget_reports(self) -> None:
        """What effects have found out under a claim that is over: whoever claims anew decides what is left of them."""
        for letters in (self._kept, self._letters):
            requests = [letter for letter in letters if isinstance(letter.input, i.Request)]
            letters.clear()
            letters.extend(requests)

    def arrived(self) -> list[Letter]:
        """Everything but what was kept."""
        letters = list(self._letters)
        self._letters.clear()
        return letters
