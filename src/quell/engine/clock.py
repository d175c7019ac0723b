"""The clock of the wall."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from quell.wire import times


class WallClock:
    """The `Clock` port."""

    def now(self) -> str:
        return times.now()

    async def sleep_until(self, at: str) -> None:
        remaining = (datetime.fromisoformat(at) - datetime.now(UTC)).total_seconds()
        await asyncio.sleep(max(0.0, remaining))
