"""What models were shown of files, so that one which has changed since can be told what changed.

In memory and bounded: the oldest go first, and after a restart there is none. Whether a file has changed does not depend on it; that
is a comparison of hashes, which are in the journal.
"""

from __future__ import annotations

from hashlib import sha256

from msgspec import Struct

_LARGEST = 1024 * 1024
_ALL = 8 * 1024 * 1024
"""Bytes of all files together."""


class Contents(Struct, eq=False):
    """Contents by their SHA-256: two sessions that see the same file share one."""

    _kept: dict[str, bytes] = {}
    _size: int = 0

    def keep(self, content: bytes) -> str:
        """The hash that finds it again, if it is still there."""
        digest = sha256(content).hexdigest()
        if digest in self._kept:
            self._kept[digest] = self._kept.pop(digest)  # the newest are at the end
        elif len(content) <= _LARGEST:
            self._kept[digest] = content
            self._size += len(content)
            while self._size > _ALL:
                self._size -= len(self._kept.pop(next(iter(self._kept))))
        return digest

    def find(self, digest: str) -> bytes | None:
        return self._kept.get(digest)
