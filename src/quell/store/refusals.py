"""What SQLite says, said so that a person can act on it: the file, the reason, the remedy."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from quell.core.errors import StorageRefused

_REASONS: dict[int, tuple[str, str]] = {
    sqlite3.SQLITE_FULL: ("the disk is full", "Free some space, then try again."),
    sqlite3.SQLITE_READONLY: (
        "the file, its folder or the whole disk is read-only",
        "Give the user that runs quell the right to write there, or choose another data directory.",
    ),
    sqlite3.SQLITE_PERM: (
        "it may not be accessed",
        "Give the user that runs quell the right to read and write it, or choose another data directory.",
    ),
    sqlite3.SQLITE_BUSY: (
        "another process has locked it",
        "End the program that has the file open (a database browser, a backup), then try again.",
    ),
    sqlite3.SQLITE_CORRUPT: (
        "the file is damaged",
        "It was left as it was. Restore it from a copy, or move it away to begin with an empty one.",
    ),
    sqlite3.SQLITE_CONSTRAINT: (
        "its tables contradict each other, so it was damaged",
        "It was left as it was. Restore it from a copy, or delete the session.",
    ),
    sqlite3.SQLITE_NOTADB: (
        "the file is no database, or it is damaged or encrypted",
        "It was left as it was. Move it away to begin with an empty one, or choose another data directory.",
    ),
    sqlite3.SQLITE_CANTOPEN: (
        "it, or a file beside it, cannot be opened",
        "Check that the folder exists and that the user that runs quell may create files there.",
    ),
    sqlite3.SQLITE_IOERR: (
        "the disk did not do what it was asked for",
        "Check the disk, its quota and the limits of the process, then try again.",
    ),
    sqlite3.SQLITE_TOOBIG: ("one fact is larger than a database can hold", "Leave the largest attachment out."),
}
"""By primary result code."""

_UNEXPECTED = ("of an unexpected error", "Try again; if it stays, please report it with this text.")


def refusal(path: Path, doing: str, error: sqlite3.Error) -> StorageRefused:
    """`doing` is "written", "read" or "opened"."""
    code = getattr(error, "sqlite_errorcode", None) or 0  # not set for errors of the Python module itself
    if code & 0xFF == sqlite3.SQLITE_IOERR and _is_full(path.parent):  # for the files beside it, SQLite does not say so
        code = sqlite3.SQLITE_FULL
    reason, remedy = _REASONS.get(code & 0xFF, _UNEXPECTED)
    name = getattr(error, "sqlite_errorname", None) or type(error).__name__
    return StorageRefused(f"The journal {path} cannot be {doing}, because {reason} ({name}: {error}). {remedy}")


def _is_full(folder: Path) -> bool:
    try:
        return os.statvfs(folder).f_bavail == 0
    except OSError:
        return False


def unreadable(path: Path, what: str) -> StorageRefused:
    """SQLite is content with the file, but we are not."""
    return StorageRefused(
        f"The journal {path} cannot be read, because it is damaged ({what}). "
        "It was left as it was. Restore it from a copy."
    )
