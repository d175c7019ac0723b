"""Journals: where the facts are kept. `sqlite` on disk, `memory` for tests; both are the `Journal` port."""
