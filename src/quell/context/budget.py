"""Whether so much of a model's window is taken that the conversation should be summarised. Pure."""

from __future__ import annotations

from msgspec import Struct


class Thresholds(Struct, frozen=True, kw_only=True):
    """When to summarise. `reserve`: tokens kept free in a window larger than `large_window`; `share`: of a smaller one.

    `window` is taken for a model whose window is unknown; None: such a conversation is never summarised by itself.
    """

    auto: bool = True
    large_window: int = 200_000
    reserve: int = 20_000
    share: float = 0.2
    window: int | None = None


def is_crowded(used: int, window: int | None, thresholds: Thresholds = Thresholds()) -> bool:
    """Whether a conversation of `used` tokens should be summarised before it goes on."""
    window = window or thresholds.window
    if not thresholds.auto or not window:
        return False
    left = window - used
    return left <= thresholds.reserve if window > thresholds.large_window else left <= window * thresholds.share
