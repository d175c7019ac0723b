"""The bus: who follows a session, and what they get.

A subscription is a bounded buffer. A follower that does not keep up loses its buffer, not events: it is sent back to the journal,
which is the event stream (contract E1, E4). Publishing never waits, so no follower can slow a run.
"""

from __future__ import annotations

import asyncio
from collections import deque

from quell.core.events import Deleted, Delta, DraftPart, Reset
from quell.core.facts import Recorded
from quell.core.session import Summary

BUFFER = 1024
"""Events that one follower may have outstanding."""


Event = Recorded | Delta | DraftPart | Reset | Deleted


class Subscription:
    """One follower's buffer. When it overflows it is emptied: what was in it is in the journal, or was a delta."""

    def __init__(self) -> None:
        self._buffer: deque[Event | Summary] = deque()
        self._lost = False
        self._arrival: asyncio.Future[None] | None = None

    def push(self, event: Event | Summary) -> None:
        if len(self._buffer) >= BUFFER:
            self._buffer.clear()
            self._lost = True
        self._buffer.append(event)
        if self._arrival is None:
            return
        if isinstance(event, Recorded):
            self._arrival.get_loop().call_soon(self._arrive)  # whoever has asked for what it says is answered first
        else:
            self._arrive()

    def lose(self) -> None:
        """As if it had overflowed: what came meanwhile is in the journal only."""
        self._buffer.clear()
        self._lost = True
        self._arrive()

    def _arrive(self) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)

    def take(self) -> list[Event | Summary] | None:
        """Everything in the buffer, without waiting; None when something was lost since the last time."""
        taken = None if self._lost else list(self._buffer)
        self._buffer.clear()
        self._lost = False
        return taken

    async def arrival(self) -> None:
        """Return when there is something to take."""
        if not (self._buffer or self._lost):
            self._arrival = asyncio.get_running_loop().create_future()
            try:
                await self._arrival
            finally:
                self._arrival = None


class Bus:
    """Subscriptions by topic: a session's id, or `ALL` for the summaries of every session. They are told in the order they came."""

    ALL = ""

    def __init__(self) -> None:
        self._topics: dict[str, dict[Subscription, None]] = {}
        self.followers = 0

    def subscribe(self, topic: str) -> Subscription:
        subscription = Subscription()
        self._topics.setdefault(topic, {})[subscription] = None
        self.followers += 1
        return subscription

    def unsubscribe(self, topic: str, subscription: Subscription) -> None:
        subscriptions = self._topics[topic]
        del subscriptions[subscription]
        self.followers -= 1
        if not subscriptions:
            del self._topics[topic]

    def followed(self, topic: str) -> bool:
        return topic in self._topics

    def lose(self, topic: str) -> None:
        """Send everybody back to the journal: there are facts that were not published here."""
        for subscription in self._topics.get(topic, ()):
            subscription.lose()

    def publish(self, topic: str, event: Event | Summary) -> None:
        for subscription in self._topics.get(topic, ()):
            subscription.push(event)
