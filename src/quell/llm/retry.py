"""When to ask again. A pure policy: the engine counts the attempts, does the waiting, and gives the randomness.

Only failures that may pass by themselves are repeated (`RETRYABLE` in `core.errors`). What the provider asks for is
honoured up to a limit; beyond it, waiting would look like hanging, so the failure is shown instead.
"""

from __future__ import annotations

from msgspec import Struct

from quell.core.errors import RETRYABLE, ModelFailed


class RetryOptions(Struct, frozen=True, kw_only=True):
    """Seconds, except `attempts`: how often a sample is asked for at most, the first time included."""

    attempts: int = 5
    first: float = 1.0
    longest: float = 60.0
    patience: float = 600.0
    """The longest wait that a provider may ask for."""


def delay(attempt: int, failure: ModelFailed, jitter: float, options: RetryOptions = RetryOptions()) -> float | None:
    """Seconds to wait after the `attempt`-th attempt (from 1) has failed; None: give up.

    `jitter`, between 0 and 1, spreads clients that failed together: up to a quarter is added, so that what a provider
    asked for is never undercut.
    """
    if failure.reason not in RETRYABLE or attempt >= options.attempts:
        return None
    asked = failure.retry_after
    if asked is not None and asked > options.patience:
        return None
    doubling = options.first * 2.0 ** min(attempt - 1, 32)  # the exponent is bounded, so that no float overflows
    wait = min(doubling, options.longest) if asked is None else asked
    return wait * (1 + jitter / 4)
