"""Stopping a process at a moment that does not stop the others."""

from __future__ import annotations

import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

PATIENCE = 30.0
"""Seconds to wait for the transactions of others."""


def stop_between_writes(child: int, database: Path) -> None:
    """SIGSTOP a child of this process while nobody writes to the SQLite file.

    Stopped within a transaction it keeps the file's lock for as long as it sleeps, and nobody else can write. So the lock is
    taken first, and held until all of the child's threads have stopped. Blocks. Raises `sqlite3.Error`.
    """
    address = f"{database.as_uri()}?mode=rw"
    with closing(sqlite3.connect(address, uri=True, timeout=PATIENCE, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        os.kill(child, signal.SIGSTOP)
        os.waitid(os.P_PID, child, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
