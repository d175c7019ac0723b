"""Times as the listings show them."""

from __future__ import annotations

import sys
from datetime import datetime

from quell.cli import terminal


def when(at: str) -> str:
    """In the reader's zone, to the minute; for programs as it was recorded."""
    if terminal.width(sys.stdout) is None:
        return at
    try:
        return datetime.fromisoformat(at).astimezone().strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return at
