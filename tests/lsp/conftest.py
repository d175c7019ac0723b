"""What the tests of language servers share: patience."""

from __future__ import annotations

import pytest

from quell.lsp import server


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine a server that works may take longer than an edit waits. Where the wait has to end, the test says so."""
    for wait in ("FIRST_SIGN", "PATIENCE", "ANSWER_WITHIN"):
        monkeypatch.setattr(server, wait, 100.0)
