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
        url = url or server.url()
        self.address = address(f"{url}&application_name={self.options.schema}")

    def open(self, *, guest: bool = False) -> PostgresJournal:
        return PostgresJournal.open(self.address, self.options, guest=guest)

    def ask(self, statement: str) -> Sequence[tuple[Any, ...]]:
        return self.server.execute(f"SET search_path = {self.options.schema}; {statement}")

    def hang_up(self) -> None:
        """Return when the server has ended every connection that a journal, or a bell, of this place has."""
        self.ask(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            f" WHERE application_name = '{self.options.schema}' AND pid <> pg_backend_pid()"
        )

    def end_lease(self) -> None:
        self.ask("UPDATE owner SET expires = '-infinity'")
