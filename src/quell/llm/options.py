"""What can be set about models: the values that the configuration is mapped to. No behaviour, nothing heavy."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from msgspec import Struct

Dialect = Literal["openai", "anthropic"]
"""The protocols that are spoken: Chat Completions, Messages."""

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
"""How much a model is to reason. Providers round it to what they have."""


class ModelOptions(Struct, frozen=True, kw_only=True):
    """What is known or wanted of one model. None: as the catalogue has it, or as the provider does it.

    Prices are US dollars per million tokens; where there is an `input_price` and an `output_price`, the public price
    list is not asked.
    """

    window: int | None = None
    max_output: int | None = None
    effort: Effort | None = None
    vision: bool | None = None
    input_price: Decimal | None = None
    output_price: Decimal | None = None
    cache_read_price: Decimal | None = None
    cache_write_price: Decimal | None = None


class ProviderOptions(Struct, frozen=True, kw_only=True):
    """A provider of the user's own, or changes to one that is built in, by its name.

    A new one needs `dialect` and `base_url`. `api_key_env` names the variable that holds the key; with neither a key
    nor a variable the provider is taken to need none. `idle_timeout` is how many seconds of total silence end a sample.
    """

    name: str
    dialect: Dialect | None = None
    base_url: str | None = None
    api_key: str | None = None
    api_key_env: str | None = None
    headers: dict[str, str] = {}
    models: dict[str, ModelOptions] = {}
    idle_timeout: float = 300.0
    sends_reasoning: bool | None = None
