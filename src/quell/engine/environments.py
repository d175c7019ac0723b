"""The environments of the clients, by session: in memory and nowhere else, because provider keys are among them.

What in them is secret is taken out of everything that an effect finds out, before it is recorded or shown.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from functools import lru_cache

from quell.core.redaction import Redactor

KEPT = 512
"""Sessions whose client's environment is remembered; the least recently sent goes first."""


class Environments:
    """`own` is the process's, for sessions whose client has not sent one. Sessions of one terminal share one copy."""

    def __init__(self, own: Mapping[str, str], secrets: Callable[[Mapping[str, str]], Collection[str]]) -> None:
        self._own = own
        self._secrets = secrets
        self._sent: OrderedDict[str, Mapping[str, str]] = OrderedDict()

    def of(self, session: str) -> Mapping[str, str]:
        return self._sent.get(session, self._own)

    def sent(self, session: str) -> Mapping[str, str] | None:
        return self._sent.get(session)

    def redactor(self, session: str) -> Redactor:
        """As the configuration is now."""
        return _redactor(frozenset(self._secrets(self.of(session))))

    def keep(self, session: str, environment: Mapping[str, str]) -> None:
        last = self._sent[next(reversed(self._sent))] if self._sent else None
        self._sent[session] = last if last == environment else environment
        self._sent.move_to_end(session)
        if len(self._sent) > KEPT:
            self._sent.popitem(last=False)

    def forget(self, session: str) -> None:
        self._sent.pop(session, None)


@lru_cache(maxsize=32)
def _redactor(secrets: frozenset[str]) -> Redactor:
    return Redactor(secrets)
