"""A figure: what was measured, how much it may be, and what others reach. Medians and percentiles are made here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

Unit = Literal["ms", "s", "×", "MiB", "%", ""]


class Figure(Struct, frozen=True, kw_only=True):
    """`target` is the most that it may be (None: reported only); `elsewhere` is the best that is known of other agents."""

    name: str
    value: float
    unit: Unit
    target: float | None = None
    elsewhere: str = ""

    @property
    def met(self) -> bool | None:
        return None if self.target is None else self.value <= self.target

    @property
    def shown(self) -> str:
        return _amount(self.value, self.unit)

    @property
    def shown_target(self) -> str:
        return "" if self.target is None else f"≤ {_amount(self.target, self.unit)}"

    @property
    def verdict(self) -> str:
        return {None: "", True: "met", False: "missed"}[self.met]


def _amount(value: float, unit: Unit) -> str:
    if value == int(value) and abs(value) < 1e15:
        text = f"{value:,.0f}"
    else:
        text = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
    return f"{text} {unit}".strip() if unit != "×" else f"{text} ×"


def percentile(values: Sequence[float], part: float) -> float:
    """The smallest value that at least `part` (0 to 1) of all do not exceed: one that was measured, not one in between."""
    ordered = sorted(values)
    rank = -int(-part * len(ordered) // 1)
    return ordered[min(max(rank, 1), len(ordered)) - 1]


def median(values: Sequence[float]) -> float:
    return percentile(values, 0.5)


def milliseconds(seconds: float) -> float:
    return seconds * 1000
