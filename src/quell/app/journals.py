"""Where sessions are kept: a file of this user's, or a database that several servers share. A part of the composition root."""

from __future__ import annotations

import asyncio
from pathlib import Path

from msgspec import Struct

from quell.config.settings import Server
from quell.core.errors import StorageRefused
from quell.core.ports import Doorbell, Journal
from quell.store.doorbell import PipeDoorbell
from quell.store.sqlite import SqliteJournal


class Kept(Struct, frozen=True):
    """`shown` says where, without a password; empty: in the data directory."""

    journal: Journal
    doorbell: Doorbell
    shown: str = ""

    async def problem(self) -> str | None:
        """Why nothing can be read at this moment, if so."""
        try:
            await self.journal.version()
        except StorageRefused as refused:
            return str(refused)
        return None

    async def close(self) -> None:
        self.doorbell.close()
        await self.journal.close()


async def open_kept(path: Path, settings: Server, *, guest: bool) -> Kept:
    """Raises `StorageRefused`."""
    if settings.database is None:
        return Kept(SqliteJournal.open(path, guest=guest), PipeDoorbell(path))
    return await asyncio.to_thread(_open_database, settings.database, settings.lease, guest, asyncio.get_running_loop())


def _open_database(url: str, lease: float, guest: bool, loop: asyncio.AbstractEventLoop) -> Kept:
    """It may wait for the network, and for the lease of a server that was killed. Its libraries are loaded only when they are used."""
    try:
        from quell.store.postgres.address import PostgresOptions, address
        from quell.store.postgres.doorbell import NotifyDoorbell
        from quell.store.postgres.journal import PostgresJournal
    except ImportError as error:
        raise StorageRefused(
            f"A database is configured for the journal, and what it takes to use one is not installed ({error}). "
            "Install it:  pip install 'quell[postgres]'"
        ) from error
    options = PostgresOptions(lease=lease)
    place = address(url)
    journal = PostgresJournal.open(place, options, guest=guest)
    return Kept(journal, NotifyDoorbell(place, options, loop), place.shown)
