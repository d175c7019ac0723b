"""What PostgreSQL says, said so that a person can act on it: the database, the reason, the remedy. Never the password."""

from __future__ import annotations

import re

import psycopg

from quell.core.errors import StorageRefused

_SETTINGS = "Look at `database` under [server] in your settings, or at $QUELL_DATABASE."

_BY_STATE: dict[str, tuple[str, str]] = {
    "28P01": (
        "the password is wrong",
        "Give the right one in the address, in $PGPASSWORD or in ~/.pgpass.",
    ),
    "28000": ("the server does not let this user in", "Allow it in the server's pg_hba.conf, or use another user."),
    "3D000": ("there is no such database", f"Make it (createdb), or name another. {_SETTINGS}"),
    "42501": (
        "this user may not do that",
        "As its owner: GRANT CREATE ON DATABASE … TO …; or use a database that belongs to this user.",
    ),
    "53100": ("the server's disk is full", "Free some space there, then try again."),
    "53300": ("the server has no connection left", "Raise its max_connections, or end what uses them."),
    "57P01": ("the server is shutting down", "It is tried again by itself when it is back."),
    "57P02": ("the server has crashed", "It is tried again by itself when it is back."),
    "57P03": ("the server is starting or shutting down", "It is tried again by itself."),
    "25006": ("it is read-only", "Name the primary server, not a replica, and a user that may write."),
    "57014": ("the server took too long", "Look what keeps it busy (pg_stat_activity), then try again."),
    "55P03": ("another session holds a lock", "Look who (pg_locks), then try again."),
    "3F000": ("its tables are missing", "Somebody has removed them: restore them from a copy, then start again."),
    "42P01": ("its tables are missing", "Somebody has removed them: restore them from a copy, then start again."),
    "22021": ("a text has characters that the database cannot hold", "Leave them out."),
}

_AWAY = ("the server ended the connection", "It is tried again by itself.")

_BY_WORDS: tuple[tuple[str, tuple[str, str]], ...] = (
    (
        "no password supplied",
        (
            "it wants a password and none was given",
            "Put it into ~/.pgpass or $PGPASSWORD, or into the address: postgresql://user:password@host/database.",
        ),
    ),
    ("password authentication failed", _BY_STATE["28P01"]),
    ("no pg_hba.conf entry|role .* does not exist|Peer authentication failed", _BY_STATE["28000"]),
    ("database .* does not exist", _BY_STATE["3D000"]),
    ("permission denied", _BY_STATE["42501"]),
    ("too many (connections|clients)|connection slots", _BY_STATE["53300"]),
    ("is (starting up|shutting down)|not yet accepting", _BY_STATE["57P03"]),
    (
        "Connection refused|No such file or directory",
        (
            "nobody answers there",
            f"Start the server, or give the address where it is. It is tried again by itself. {_SETTINGS}",
        ),
    ),
    (
        "resolve|translate host name|name resolution|Name or service",
        ("there is no such host", f"Look at how it is spelt, and at the network. {_SETTINGS}"),
    ),
    ("timeout|timed out", ("it does not answer in time", "Look at the network between, and whether the server runs.")),
    ("closed the connection", _AWAY),
    (
        "SSL|certificate",
        ("the two do not agree on encryption", "Look at `sslmode` in the address, and at the server's."),
    ),
)
"""What the connection itself fails with has no state, only words."""

_LOST = (
    "the connection was lost before it answered",
    "It is opened again by itself; what was asked for may have been done, and is looked for.",
)
_UNEXPECTED = ("of an unexpected error", "Try again; if it stays, please report it with this text.")


def refusal(shown: str, doing: str, error: psycopg.Error, *, lost: bool = False) -> StorageRefused:
    """`doing` is "written", "read", "opened" or "claimed"; `lost`: it is not known whether it was done."""
    said = " ".join(str(error).split())
    reason, remedy = _BY_STATE.get(error.sqlstate or "") or _in_words(said) or (_LOST if lost else _UNEXPECTED)
    if lost:
        remedy = _LOST[1]
    return StorageRefused(
        f"The journal in {shown} cannot be {doing}, because {reason} ({said or type(error).__name__}). {remedy}"
    )


def _in_words(said: str) -> tuple[str, str] | None:
    return next((reason for words, reason in _BY_WORDS if re.search(words, said)), None)
