"""When a sample is asked for again."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quell.core.errors import RETRYABLE, FailureCode, ModelFailed
from quell.llm import RetryOptions, delay

CODES: tuple[FailureCode, ...] = get_args(FailureCode)


def test_waits_double_up_to_the_longest() -> None:
    failure = ModelFailed("overloaded", "…")
    options = RetryOptions(attempts=10, longest=10)
    assert [delay(attempt, failure, 0, options) for attempt in range(1, 7)] == [1, 2, 4, 8, 10, 10]


def test_the_last_attempt_is_the_last() -> None:
    failure = ModelFailed("overloaded", "…")
    assert delay(4, failure, 0) == 8
    assert delay(5, failure, 0) is None


@pytest.mark.parametrize("code", CODES)
def test_only_what_may_pass_is_repeated(code: FailureCode) -> None:
    assert (delay(1, ModelFailed(code, "…"), 0) is not None) == (code in RETRYABLE)


@pytest.mark.parametrize(("asked", "wait"), [(0, 0), (90, 90), (600, 600), (601, None)])
def test_what_the_provider_asks_for_is_honoured_within_limits(asked: float, wait: float | None) -> None:
    assert delay(1, ModelFailed("rate_limit", "…", asked), 0) == wait


@given(st.integers(1, 2000), st.floats(0, 1), st.none() | st.floats(0, 600))
def test_jitter_adds_a_quarter_at_most_and_takes_nothing(attempt: int, jitter: float, asked: float | None) -> None:
    failure = ModelFailed("rate_limit", "…", asked)
    options = RetryOptions(attempts=10_000)
    plain, spread = delay(attempt, failure, 0, options), delay(attempt, failure, jitter, options)
    assert plain is not None
    assert spread is not None
    assert plain <= spread <= plain * 1.25
