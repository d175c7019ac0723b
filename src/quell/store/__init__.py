"""Journals: where the facts are kept. `sqlite` on disk, `postgres` on a database server, `memory` for tests; all are the `Journal` port."""
