"""Requests of the SDKs: the address and the headers of a kind of request are put together once, and it is sent with one body after the other."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import httpx2


class BuiltOnce:
    """To be inherited from before an SDK's client. Requests are of a kind when they go to one place, with the same headers and time limits."""

    @cached_property
    def _built(self) -> dict[object, httpx2.Request]:
        return {}

    def _build_request(self, options: Any, *, retries_taken: int = 0) -> httpx2.Request:
        kind = (options.url, tuple(options.headers.items()), repr(options.timeout), retries_taken)
        first = self._built.get(kind)
        if first is None:
            first = super()._build_request(options, retries_taken=retries_taken)  # type: ignore[misc]  # the client has it
            del first.headers["Content-Length"]
            self._built[kind] = first
        return httpx2.Request(
            first.method, first.url, headers=first.headers, content=options.content, extensions=first.extensions
        )
