"""The catalogue: that it is what it was made from, and that names are found in it."""

from __future__ import annotations

import pytest

from quell.llm.catalog import catalogue, find
from quell.llm.providers import PROVIDERS
from scripts.catalog import FILE, render


def test_it_is_what_the_price_list_says() -> None:
    assert FILE.read_bytes() == render(), "run `python scripts/catalog.py`"


def test_its_providers_are_known() -> None:
    assert {row.provider for row in catalogue()} <= set(PROVIDERS)


@pytest.mark.parametrize(
    ("provider", "model", "found"),
    [
        ("anthropic", "claude-opus-5", "claude-opus-5"),
        ("anthropic", "claude-opus-5-20260101", "claude-opus-5"),
        ("anthropic", "claude-opus-5-5", "claude-opus-5-5"),
        ("openai", "gpt-5.1-2025-11-13", "gpt-5.1"),
        ("openai", "gpt-50", None),
        ("openrouter", "anthropic/claude-opus-4.5:beta", "claude-opus-4-5"),
        ("mine", "claude-opus-5", None),
    ],
)
def test_names_are_found_with_their_dates_and_tags(provider: str, model: str, found: str | None) -> None:
    row = find(provider, model)
    assert (row.model if row else None) == found
