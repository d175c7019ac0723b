"""A doorbell for tests, and what every doorbell must do.

wire = Wire()
one, other = wire.bell(), wire.bell()       what two processes would have
wire.cut = True                             from now on every ring is lost
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection

from quell.core.ports import Doorbell

BellCheck = Callable[[Callable[[], Doorbell]], Awaitable[None]]
"""Gets what hangs up a bell beside those that hang already."""


class Wire:
    """What the bells hang on."""

    def __init__(self) -> None:
        self.cut = False
        self._bells: list[WiredBell] = []

    def bell(self) -> WiredBell:
        bell = WiredBell(self)
        self._bells.append(bell)
        bell.ring("")
        return bell

    def ring(self, by: WiredBell, session: str) -> None:
        for bell in self._bells:
            if bell is not by and not self.cut:
                bell.hear(session)

    def take_off(self, bell: WiredBell) -> None:
        if bell in self._bells:
            self._bells.remove(bell)


class WiredBell:
    """The `Doorbell` port."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._rung: set[str] = set()
        self._arrival = asyncio.Event()

    def ring(self, session: str) -> None:
        self._wire.ring(self, session)

    def hear(self, session: str) -> None:
        self._rung.add(session)
        self._arrival.set()

    async def rung(self) -> Collection[str]:
        await self._arrival.wait()
        self._arrival.clear()
        rung, self._rung = self._rung, set()
        return rung

    def close(self) -> None:
        self._wire.take_off(self)


async def _heard(bell: Doorbell, *sessions: str) -> None:
    """Wait until all of these were rung for."""
    missing = set(sessions)
    while missing:
        missing -= set(await bell.rung())


async def the_others_hear_a_ring_and_who_rings_does_not(hang_up: Callable[[], Doorbell]) -> None:
    first, second, third = hang_up(), hang_up(), hang_up()
    first.ring("s1")
    first.ring("s2")
    await _heard(second, "s1", "s2")
    await _heard(third, "s1", "s2")
    second.ring("s3")
    await _heard(first, "s3")
    await _heard(third, "s3")
    third.ring("s4")
    assert "s3" not in set(await first.rung()) | set(await second.rung())


async def who_comes_is_announced(hang_up: Callable[[], Doorbell]) -> None:
    first = hang_up()
    second = hang_up()
    await _heard(first, "")
    first.ring("s1")
    await _heard(second, "s1")


async def who_went_is_missed_by_nobody(hang_up: Callable[[], Doorbell]) -> None:
    first, second, third = hang_up(), hang_up(), hang_up()
    second.close()
    second.close()
    for number in range(3):
        first.ring(f"s{number}")
    await _heard(third, "s0", "s1", "s2")


async def any_number_of_rings_is_taken(hang_up: Callable[[], Doorbell]) -> None:
    """Nobody listens, and nobody is held up. What was lost is not missed for ever: the next ring is heard."""
    first, second = hang_up(), hang_up()
    for number in range(20_000):
        first.ring(f"session-{number}")
    heard = set(await second.rung())
    while "at last" not in heard:
        first.ring("at last")
        heard |= set(await second.rung())


async def an_odd_id_rings_for_everything(hang_up: Callable[[], Doorbell]) -> None:
    """Or for itself: in no case for another session, nor for nothing."""
    first, second = hang_up(), hang_up()
    await _heard(first, "")
    first.ring("here")  # behind the announcement of the first one, which the second may hear as well
    await _heard(second, "here")
    for odd in ("two\nlines", "x" * 5000, "ü\udc80"):
        first.ring(odd)
        heard: set[str] = set()
        while not heard & {odd, ""}:
            heard |= set(await second.rung())
        assert heard <= {odd, ""}


BELLS: tuple[BellCheck, ...] = (
    the_others_hear_a_ring_and_who_rings_does_not,
    who_comes_is_announced,
    who_went_is_missed_by_nobody,
    any_number_of_rings_is_taken,
    an_odd_id_rings_for_everything,
)
