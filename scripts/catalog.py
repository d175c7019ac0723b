"""Makes `src/quell/llm/catalog.json`: the models that are known by name. `python scripts/catalog.py` writes it anew.

Windows and prices are genai-prices', the longest reply and whether a model reasons pydantic-ai's; neither tells which models see, which
is said below. Left out is what a
coding agent cannot use (images, sound, embeddings), what Chat Completions does not serve, and what is deprecated.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import msgspec
from genai_prices.data import providers
from genai_prices.types import ModelInfo, TieredPrices
from pydantic_ai.profiles import ModelProfile
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.deepseek import DeepSeekProvider
from pydantic_ai.providers.moonshotai import MoonshotAIProvider
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.providers.openai_compatible import OpenAICompatibleProvider

from quell.llm.catalog import Known
from quell.llm.providers import PROVIDERS

FILE = Path(__file__).parent.parent / "src/quell/llm/catalog.json"

LISTED = ("anthropic", "openai", "deepseek", "groq", "mistral", "moonshotai", "x-ai")
"""Providers whose models are worth a list. Resellers have hundreds, local servers whatever was loaded."""

PROFILES: dict[str, Callable[[str], ModelProfile | None]] = {
    "anthropic": AnthropicProvider.model_profile,
    "openai": OpenAIProvider.model_profile,
    "deepseek": DeepSeekProvider.model_profile,
    "moonshotai": MoonshotAIProvider.model_profile,
}

OTHER_USES = re.compile(
    r"image|audio|realtime|tts|transcribe|embed|ocr|guard|voice|voxtral|vision|search|live|whisper|safeguard"
    r"|research|computer-use|cyber|rosalind|multi-agent|non-reasoning|instruct-\d|^ft:|:|orpheus|saba"
)
BYGONE = re.compile(r"^claude-[23]|^gpt-4(o|-)|^chatgpt|^o1|^grok-[23]")
NOT_SERVED = re.compile(r"^(gpt-[\d.]+|o\d)-pro$|codex|deep-research|^gpt-oss")
"""Of OpenAI's: what only its newer protocol offers, and open weights that others serve."""

SEEING: dict[str, re.Pattern[str]] = {
    "anthropic": re.compile(r""),
    "openai": re.compile(r"^(?!o3-mini)"),
    "groq": re.compile(r"llama-4"),
    "mistral": re.compile(r"^(mistral-(large|medium|small)|ministral)-"),
    "moonshotai": re.compile(r"^kimi-k(2\.[5-9]|[3-9])"),
    "x-ai": re.compile(r"^grok-4"),
}
"""The models that can be shown images, as their makers have said. Of one that is not known to, no image reaches it by mistake: a setting
says otherwise."""

SMALLEST_WINDOW = 100_000
"""With less, the tools and one file fill the window."""


def price(value: Decimal | TieredPrices | None) -> Decimal | None:
    return value.base if isinstance(value, TieredPrices) else value


def known(provider: str, model: ModelInfo) -> Known | None:
    prices = model.prices[-1].prices if isinstance(model.prices, list) else model.prices
    left_out = [OTHER_USES, BYGONE, *([NOT_SERVED] if provider == "openai" else [])]
    unusable = any(pattern.search(model.id) for pattern in left_out)
    if model.deprecated or unusable or prices.output_mtok is None or (model.context_window or 0) < SMALLEST_WINDOW:
        return None
    profile = PROFILES.get(provider, OpenAICompatibleProvider.model_profile)(model.id) or ModelProfile()
    longest = profile.get("anthropic_max_output_tokens")
    return Known(
        provider=provider,
        model=model.id,
        window=model.context_window,
        max_output=longest if isinstance(longest, int) else None,
        reasoning=bool(profile.get("supports_thinking")),
        vision=bool(provider in SEEING and SEEING[provider].search(model.id)),
        input_price=price(prices.input_mtok),
        output_price=price(prices.output_mtok),
        cache_read_price=price(prices.cache_read_mtok),
        cache_write_price=price(prices.cache_write_mtok),
    )


def rows() -> list[Known]:
    listed = {PROVIDERS[name].prices: name for name in LISTED}
    found = [
        row
        for provider in providers
        if provider.id in listed
        for model in provider.models
        if (row := known(listed[provider.id], model)) is not None
    ]
    return sorted(found, key=lambda row: (LISTED.index(row.provider), row.model))


def render() -> bytes:
    """One row a line, so that a change is readable."""
    return b"[\n" + b",\n".join(msgspec.json.encode(row) for row in rows()) + b"\n]\n"


if __name__ == "__main__":
    FILE.write_bytes(render())
    print(f"{FILE}: {len(rows())} models")
