"""Journals in PostgreSQL for tests: each place is a schema of its own."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from quell.store.postgres.address import PostgresOptions, address
from quell.store.postgres.journal import PostgresJournal
from quell.testing.postgresql import Server


class Place:
    """Where journals meet. `ask` looks at its tables from outside."""

    def __init__(self, server: Server, options: PostgresOptions = PostgresOptions(), url: str = "") -> None:
        self.server = server
        self.options = PostgresOptions(options.lease, options.patience, options.brief, f"at_{secrets.token_hex(6)}")
        self.address = address(url or server.url())

    def open(self, *, guest: bool = False) -> PostgresJournal:
        return PostgresJournal.open(self.address, self.options, guest=guest)

    def ask(self, statement: str) -> Sequence[tuple[Any, ...]]:
        return self.server.execute(f"SET search_path = {self.options.schema}; {statement}")

    def end_lease(self) -> None:
        self.ask("UPDATE owner SET expires = '-infinity'")
