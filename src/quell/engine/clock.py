"""The clock of the wall."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime


class WallClock:
    """The `Clock` port."""

    def now(self) -> str:
        return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    async def sleep_until(self, at: str) -> None:
        remaining = (datetime.fromisoformat(at) - datetime.now(UTC)).total_seconds()
        await asyncio.sleep(max(0.0, remaining))
