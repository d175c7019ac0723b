"""The end of the server's log, for who asks the server for it."""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Sequence

from quell.config.secrets import redacted

_READ = 512 * 1024
"""Bytes of the end that are looked at."""


def last_lines(path: str, lines: int, secrets: Collection[str]) -> Sequence[str]:
    """Without the secrets, also those that were not known when they were written. Raises `OSError`."""
    with open(path, "rb") as file:
        if not os.path.samestat(os.fstat(file.fileno()), os.fstat(2)):
            raise OSError(errno.ENOENT, "this server writes its log to where it was started, not into a file")
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _READ))
        found = file.read(_READ).decode("utf-8", "replace").splitlines()
    return [redacted(line, secrets) for line in found[-lines:]]
