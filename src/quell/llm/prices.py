"""What a reply costs: by the user's own prices, else by the public list that genai-prices keeps, else unknown."""

from __future__ import annotations

from decimal import Decimal

from genai_prices import calc_price

from quell.core.messages import Usage
from quell.llm.options import ModelOptions

MILLION = Decimal(1_000_000)


def cost(counted: object, usage: Usage, model: str, provider: str | None, options: ModelOptions) -> Decimal | None:
    """US dollars; None when no price is known, or nothing was counted.

    `counted` is the usage as the price list wants it, `usage` as we do.
    """
    if usage == Usage():
        return None
    if options.input_price is not None and options.output_price is not None:
        read = options.input_price if options.cache_read_price is None else options.cache_read_price
        write = options.input_price if options.cache_write_price is None else options.cache_write_price
        return (
            usage.input * options.input_price
            + usage.output * options.output_price
            + usage.cache_read * read
            + usage.cache_write * write
        ) / MILLION
    if provider is None:
        return None
    try:
        return calc_price(counted, model, provider_id=provider).total_price
    except LookupError:
        return None
