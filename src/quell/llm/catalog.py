"""The models that are known by name: context window, longest reply, reasoning, vision, prices.

The facts are in `catalog.json`, which `scripts/catalog.py` makes from the public price list of genai-prices and the
model profiles of pydantic-ai; a test compares the two. A model that is not in it can be used all the same: its window
and its price are then unknown, unless the configuration gives them.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path

import msgspec
from msgspec import Struct


class Known(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One model of one provider. Prices are US dollars per million tokens; of tiered ones, those of the first tier."""

    provider: str
    model: str
    window: int | None = None
    max_output: int | None = None
    reasoning: bool = False
    vision: bool = False
    input_price: Decimal | None = None
    output_price: Decimal | None = None
    cache_read_price: Decimal | None = None
    cache_write_price: Decimal | None = None

    @property
    def spec(self) -> str:
        return f"{self.provider}/{self.model}"


@functools.cache
def catalogue() -> tuple[Known, ...]:
    """All rows, by provider and name. Read on first use."""
    text = Path(__file__).with_name("catalog.json").read_bytes()
    return msgspec.json.decode(text, type=tuple[Known, ...])


def find(provider: str, model: str) -> Known | None:
    """The row for a model: of that name, else of the name that this one is a dated or tagged version of.

    Resellers name models `maker/model`; they are looked up by the part after the last slash, whoever makes them.
    """
    rows = [row for row in catalogue() if row.provider == provider]
    found = _best(rows, model)
    if found is None and "/" in model:
        found = _best(catalogue(), model.rpartition("/")[2])
    return found


def _best(rows: Iterable[Known], model: str) -> Known | None:
    name = _normal(model)
    fitting = (row for row in rows if name == _normal(row.model) or name.startswith(_normal(row.model) + "-"))
    return max(fitting, key=lambda row: len(row.model), default=None)


def _normal(name: str) -> str:
    """`Claude-Sonnet-4.5:beta` is `claude-sonnet-4-5-beta`: punctuation differs from place to place."""
    return name.lower().replace(".", "-").replace(":", "-").replace("@", "-")


def nearest(word: str, words: Iterable[str], count: int = 3) -> list[str]:
    """The words most like a misspelt one, the likeliest first."""
    return difflib.get_close_matches(word, list(words), n=count, cutoff=0.5)
