"""When a conversation is too long for its window."""

from __future__ import annotations

import pytest

from quell.context import Thresholds, is_crowded


@pytest.mark.parametrize(
    ("used", "window", "crowded"),
    [
        (1_000_000, None, False),
        (1_000_000, 0, False),
        (0, 200_000, False),
        (159_999, 200_000, False),
        (160_000, 200_000, True),
        (180_000, 200_001, False),
        (180_001, 200_001, True),
        (979_999, 1_000_000, False),
        (980_000, 1_000_000, True),
        (6_553, 8_192, False),
        (6_554, 8_192, True),
        (9_000, 8_192, True),
    ],
)
def test_crowded(used: int, window: int | None, crowded: bool) -> None:
    assert is_crowded(used, window) is crowded


def test_thresholds_are_configured() -> None:
    assert not is_crowded(999, 1_000, Thresholds(auto=False))
    assert [is_crowded(used, None, Thresholds(window=1_000)) for used in (799, 800)] == [False, True]
    assert [is_crowded(used, 1_000, Thresholds(share=0.5)) for used in (499, 500)] == [False, True]
    assert [is_crowded(used, 1_000, Thresholds(large_window=100, reserve=10)) for used in (989, 990)] == [False, True]
