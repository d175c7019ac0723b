"""Where a journal's database is: what is given to the driver, and what may be said of it."""

from __future__ import annotations

import getpass
import os

from msgspec import Struct
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from quell.core.errors import StorageRefused

KEPT_ALIVE: dict[str, str | int] = {
    "connect_timeout": 3,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
    "application_name": "quell",
    "client_encoding": "utf8",
}
"""Unless the address says otherwise: a machine that vanished is noticed, and not waited for."""


class PostgresOptions(Struct, frozen=True):
    """`lease`: seconds that a claim holds without being renewed. `patience`: seconds that a statement may take, `brief` that one of the
    lease's may. `schema`: where in the database the tables are.
    """

    lease: float = 10.0
    patience: float = 5.0
    brief: float = 2.0
    schema: str = "quell"


class Address(Struct, frozen=True):
    """`shown` has no password in it."""

    conninfo: str
    shown: str


def address(url: str) -> Address:
    """Raises `StorageRefused` for one that cannot be understood. What the driver says of it is not passed on: it quotes the address."""
    not_understood = StorageRefused(
        "The address of the journal's database cannot be understood. It has to look like "
        "postgresql://user@host:5432/database, with odd characters in a password as %XX."
    )
    try:
        given = conninfo_to_dict(url)
        conninfo = make_conninfo(
            "", **{**KEPT_ALIVE, **{key: value for key, value in given.items() if value is not None}}
        )
    except ProgrammingError:
        raise not_understood from None
    for number in str(given.get("port") or "5432").split(","):
        if not number.isdecimal():  # the driver would only say so, password and all, when it is used
            raise not_understood
    user = str(given.get("user") or os.environ.get("PGUSER") or getpass.getuser())
    name = given.get("dbname") or os.environ.get("PGDATABASE") or user
    host = given.get("host") or given.get("hostaddr") or os.environ.get("PGHOST") or "this machine"
    port = given.get("port") or os.environ.get("PGPORT") or "5432"
    return Address(conninfo, f"the PostgreSQL database {name} at {host}:{port} as user {user}")
