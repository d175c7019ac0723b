"""What is refused, as RFC 9457 problems: the one place where errors become HTTP.

Rules: the status of one of our errors is in `core.errors.STATUS` and nowhere else. What HTTP itself refuses, before any of our code
is asked, is an `HttpRefused`. Anything else is a bug: the client gets an id and the log has the traceback under it, never the other
way round. Nothing that a client sent goes to the log (it may hold keys).
"""

from __future__ import annotations

import logging
import os
from http import HTTPStatus

from msgspec import UNSET, UnsetType

from quell.core.errors import STATUS, QuellError, StorageRefused
from quell.wire.api import Problem

log = logging.getLogger(__name__)

PROBLEM_TYPE = "application/problem+json"


class HttpRefused(Exception):
    """A request that never gets to a route: no such path, too large, too slow, not from where it should be."""

    def __init__(self, status: HTTPStatus, code: str, detail: str, headers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = headers


def problem(error: Exception, where: str) -> Problem:
    """What to answer. `where` (method and route) is for the log, if this is a bug."""
    match error:
        case HttpRefused():
            return _problem(error.status, error.code, error.detail)
        case QuellError() if error.code in STATUS:
            if isinstance(error, StorageRefused):
                log.warning("%s: %s", where, error)
            return _problem(HTTPStatus(STATUS[error.code]), error.code, str(error))
        case _:
            return _bug(error, where)


def _problem(status: HTTPStatus, code: str, detail: str, instance: str | UnsetType = UNSET) -> Problem:
    return Problem(title=status.phrase, status=status.value, detail=detail, code=code, instance=instance)


def _bug(error: Exception, where: str) -> Problem:
    instance = os.urandom(6).hex()
    log.error("bug %s in %s", instance, where, exc_info=error)
    detail = f"The server met a bug of its own; its log has the details under {instance}. Please report it."
    return _problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", detail, instance)
