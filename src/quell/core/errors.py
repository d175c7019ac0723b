"""The errors that cross a boundary. A failure of a tool or of a model is a value, not one of these.

    QuellError                      what happened, why, what to do
    ├── InvalidRequest              the request itself is wrong
    │   ├── EmptyPrompt
    │   └── UnknownModel            none of that name
    │       └── NoModel             none is configured
    ├── Unauthorized
    ├── NotFound                    an unknown prompt, request …
    │   └── SessionNotFound
    ├── Refused                     right request, wrong moment
    │   ├── Conflict                same id, other content
    │   ├── Stale                   answered already, or withdrawn
    │   ├── NotWaiting              the entry has started, or ended
    │   ├── Busy
    │   └── Edited                  files were changed by somebody else since
    ├── QueueFull
    ├── Unavailable                 try again later
    │   ├── ShuttingDown
    │   └── AppendTimeout           could not be recorded in time
    ├── WebRefused                  an address that is not asked, or does not answer; becomes a tool's result
    ├── StorageRefused              disk full, read-only, locked, corrupt, too new
    │   └── InUse                   another server has it
    ├── StaleWriter                 another writer was first; never leaves the engine
    ├── StaleOwner                  another process has claimed the journal; never leaves the engine
    └── ModelFailed                 a provider's refusal, classified; becomes a fact, never a status

`code` is what programs compare; `STATUS` and `EXIT` are the only tables from codes to HTTP and exit status.
"""

from __future__ import annotations

from typing import ClassVar, Literal


class QuellError(Exception):
    """The root. `str(error)` is written for the person who reads it."""

    code: ClassVar[str] = "internal"


class InvalidRequest(QuellError):
    code = "invalid_request"


class EmptyPrompt(InvalidRequest):
    code = "empty_prompt"


class UnknownModel(InvalidRequest):
    code = "unknown_model"


class NoModel(UnknownModel):
    code = "no_model"


class Unauthorized(QuellError):
    code = "unauthorized"


class NotFound(QuellError):
    code = "not_found"


class SessionNotFound(NotFound):
    code = "session_not_found"


class Refused(QuellError):
    code = "refused"


class Conflict(Refused):
    code = "conflict"


class Stale(Refused):
    code = "stale"


class NotWaiting(Refused):
    code = "not_waiting"


class Busy(Refused):
    code = "busy"


class Edited(Refused):
    """What is to be overwritten is nobody's but the user's; `force` says that it may be."""

    code = "edited"


class QueueFull(QuellError):
    code = "queue_full"


class Unavailable(QuellError):
    code = "unavailable"


class ShuttingDown(Unavailable):
    code = "shutting_down"


class AppendTimeout(Unavailable):
    code = "append_timeout"


class StorageRefused(QuellError):
    """The journal cannot be written, or not be read; the message names the file, the reason and the remedy."""

    code = "storage"


class InUse(StorageRefused):
    """Another server has the journal; the message names it."""


class WebRefused(QuellError):
    """Never leaves a tool: the message, written for the model, is the result of the call."""

    code = "web"


class StaleWriter(QuellError):
    """Another writer appended first. Never leaves the engine: the input is decided again from the new state."""

    code = "stale_writer"


class StaleOwner(QuellError):
    """Another process has claimed the journal since. Never leaves the engine: it performs no effects any more."""

    code = "stale_owner"


FailureCode = Literal[
    "no_key",  # no key was found for the provider
    "unauthorized",  # the provider refused the key
    "quota",  # paid-for or granted use is exhausted
    "rate_limit",  # 429
    "overloaded",  # 5xx, 529
    "unreachable",  # no connection, or one that was lost
    "context_overflow",  # the conversation does not fit the model's window
    "invalid_request",  # the provider refuses what we sent (other 4xx)
    "garbled",  # an answer that is not the protocol
    "unknown_model",  # the provider does not have it
    "internal",  # a bug of ours
]

RETRYABLE: frozenset[FailureCode] = frozenset({"rate_limit", "overloaded", "unreachable", "garbled"})
"""Failures that may pass by themselves."""

BLOCKING: frozenset[FailureCode] = frozenset(
    {"no_key", "unauthorized", "quota", "rate_limit", "overloaded", "unreachable", "unknown_model"}
)
"""Failures that would meet the next prompt too: the queue is parked rather than burnt."""


class ModelFailed(QuellError):
    """A sample that did not work. `retry_after` is what the provider asked for, in seconds."""

    code = "model_failed"

    def __init__(self, reason: FailureCode, detail: str, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.reason: FailureCode = reason
        self.detail = detail
        self.retry_after = retry_after


STATUS: dict[str, int] = {
    "invalid_request": 422,
    "empty_prompt": 422,
    "unknown_model": 422,
    "no_model": 422,
    "unauthorized": 401,
    "not_found": 404,
    "session_not_found": 404,
    "refused": 409,
    "conflict": 409,
    "stale": 409,
    "not_waiting": 409,
    "busy": 409,
    "edited": 409,
    "queue_full": 429,
    "unavailable": 503,
    "shutting_down": 503,
    "append_timeout": 503,
    "storage": 507,
    "internal": 500,
}

EXIT: dict[str, int] = {
    "invalid_request": 2,
    "empty_prompt": 2,
    "unknown_model": 2,
    "no_model": 2,
    "not_found": 2,
    "session_not_found": 2,
}
"""Exit status of the command where it is not 1."""
