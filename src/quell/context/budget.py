"""How much of a model's window is taken. Pure.

Rules: what a provider reports is believed; an estimate is only for text that no provider has counted yet.
"""

from __future__ import annotations

LARGE_WINDOW = 200_000
RESERVE = 20_000
"""Tokens kept free in a large window. In a smaller one it is a fifth."""


def estimate(text: str) -> int:
    """Tokens, roughly: four characters each."""
    return (len(text) + 3) // 4


def is_crowded(used: int, window: int | None) -> bool:
    """Whether a conversation of `used` tokens should be summarised before it goes on. In an unknown window: never."""
    if not window:
        return False
    left = window - used
    return left <= RESERVE if window > LARGE_WINDOW else left * 5 <= window
