"""The providers that are known by name: one row each. A new one is one line here, or an entry in the configuration.

How a row, the user's options and two environments become an address and a key is decided here, too; no request is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal
from urllib.parse import urlsplit

from msgspec import Struct, structs

from quell.core.errors import InvalidRequest, ModelFailed
from quell.llm.options import Dialect, ModelOptions, ProviderOptions


class Provider(Struct, frozen=True, kw_only=True):
    """Where a provider is and what it needs.

    `keys` are the variables that may hold its key, best first; a provider with `local` needs none. `address` is the
    variable that may hold another base URL. `prices` is its name in the price list. `sends_reasoning`: it wants a
    model's reasoning back, though it does not sign it. `default` is the model of those who have a key and chose none.
    """

    name: str
    dialect: Dialect
    base_url: str
    keys: tuple[str, ...] = ()
    address: str | None = None
    local: bool = False
    prices: str | None = None
    sends_reasoning: bool = False
    default: str | None = None
    api_key: str | None = None
    headers: dict[str, str] = {}
    models: dict[str, ModelOptions] = {}
    idle_timeout: float = 300.0


PROVIDERS: dict[str, Provider] = {
    provider.name: provider
    for provider in (
        Provider(
            name="anthropic",
            dialect="anthropic",
            base_url="https://api.anthropic.com",
            keys=("ANTHROPIC_API_KEY",),
            address="ANTHROPIC_BASE_URL",
            prices="anthropic",
            default="claude-sonnet-5-5",
        ),
        Provider(
            name="openai",
            dialect="openai",
            base_url="https://api.openai.com/v1",
            keys=("OPENAI_API_KEY",),
            address="OPENAI_BASE_URL",
            prices="openai",
            default="gpt-6.1-sol",
        ),
        Provider(
            name="openrouter",
            dialect="openai",
            base_url="https://openrouter.ai/api/v1",
            keys=("OPENROUTER_API_KEY",),
            prices="openrouter",
        ),
        Provider(
            name="deepseek",
            dialect="openai",
            base_url="https://api.deepseek.com",
            keys=("DEEPSEEK_API_KEY",),
            prices="deepseek",
            sends_reasoning=True,
        ),
        Provider(
            name="groq",
            dialect="openai",
            base_url="https://api.groq.com/openai/v1",
            keys=("GROQ_API_KEY",),
            prices="groq",
        ),
        Provider(
            name="mistral",
            dialect="openai",
            base_url="https://api.mistral.ai/v1",
            keys=("MISTRAL_API_KEY",),
            prices="mistral",
        ),
        Provider(
            name="moonshotai",
            dialect="openai",
            base_url="https://api.moonshot.ai/v1",
            keys=("MOONSHOTAI_API_KEY", "MOONSHOT_API_KEY"),
            prices="moonshotai",
            sends_reasoning=True,
        ),
        Provider(name="x-ai", dialect="openai", base_url="https://api.x.ai/v1", keys=("XAI_API_KEY",), prices="x-ai"),
        Provider(
            name="together",
            dialect="openai",
            base_url="https://api.together.xyz/v1",
            keys=("TOGETHER_API_KEY",),
            prices="together",
        ),
        Provider(
            name="fireworks",
            dialect="openai",
            base_url="https://api.fireworks.ai/inference/v1",
            keys=("FIREWORKS_API_KEY",),
            prices="fireworks",
        ),
        Provider(
            name="cerebras",
            dialect="openai",
            base_url="https://api.cerebras.ai/v1",
            keys=("CEREBRAS_API_KEY",),
            prices="cerebras",
        ),
        Provider(
            name="ollama",
            dialect="openai",
            base_url="http://localhost:11434/v1",
            keys=("OLLAMA_API_KEY",),
            address="OLLAMA_BASE_URL",
            local=True,
        ),
        Provider(name="lmstudio", dialect="openai", base_url="http://localhost:1234/v1", local=True),
        Provider(name="llamacpp", dialect="openai", base_url="http://localhost:8080/v1", local=True),
        Provider(
            name="vllm", dialect="openai", base_url="http://localhost:8000/v1", keys=("VLLM_API_KEY",), local=True
        ),
    )
}


KEY_VARIABLES = frozenset(name for provider in PROVIDERS.values() for name in provider.keys)
"""Every variable that may hold a known provider's key."""


class Access(Struct, frozen=True, kw_only=True):
    """A provider with the address and the key that serve one caller."""

    provider: Provider
    base_url: str
    api_key: str | None

    @property
    def host(self) -> str:
        """Where it is, for people: without a user name or password that the address may hold."""
        return urlsplit(self.base_url).netloc.rpartition("@")[2]


Source = Literal["caller", "server", "settings"]
"""Whose environment something was found in, or that it was in the options."""


class Found(Struct, frozen=True, kw_only=True):
    """What there is to ask a provider for one caller, and where each of it was found. `problem`: what is missing, and what to do."""

    base_url: str
    api_key: str | None
    needs_key: bool
    key_from: Source | None
    key_variable: str | None
    address_from: Source | None
    problem: str | None


def with_options(options: tuple[ProviderOptions, ...]) -> dict[str, Provider]:
    """The known providers and the user's. Raises `InvalidRequest` for one that is not complete."""
    providers = dict(PROVIDERS)
    for chosen in options:
        known = providers.get(chosen.name)
        if known is None:
            if chosen.dialect is None or chosen.base_url is None:
                raise InvalidRequest(
                    f'the provider "{chosen.name}" is not a known one: it needs `dialect` ("openai" or "anthropic") '
                    "and `base_url`"
                )
            keyless = chosen.api_key is None and chosen.api_key_env is None
            known = Provider(name=chosen.name, dialect=chosen.dialect, base_url=chosen.base_url, local=keyless)
        changes = {
            "dialect": chosen.dialect,
            "base_url": chosen.base_url,
            "api_key": chosen.api_key,
            "keys": (chosen.api_key_env, *known.keys) if chosen.api_key_env else None,
            "headers": chosen.headers,
            "models": chosen.models,
            "idle_timeout": chosen.idle_timeout,
            "sends_reasoning": chosen.sends_reasoning,
            # An address that somebody wrote down for this provider is not overruled by a variable.
            "address": "" if chosen.base_url else None,
        }
        providers[chosen.name] = structs.replace(
            known, **{name: value for name, value in changes.items() if value is not None}
        )
    return providers


def access(provider: Provider, environment: Mapping[str, str], own: Mapping[str, str]) -> Access:
    """Address and key for one caller. Raises `ModelFailed("no_key")`, which says what to set, when a key is needed and there is none."""
    found = find(provider, environment, own)
    if found.problem is not None:
        raise ModelFailed("no_key", found.problem)
    return Access(provider=provider, base_url=found.base_url.rstrip("/"), api_key=found.api_key)


def find(provider: Provider, environment: Mapping[str, str], own: Mapping[str, str]) -> Found:
    """Look for address and key: in the caller's environment, then the options, then this process's `own` environment."""
    # A key is sent only where whoever has it would send it: the caller's and this process's may be of different purposes.
    variable, address = _first(provider.keys, environment), environment.get(provider.address or "")
    address_from: Source | None = "caller" if address else None
    key, key_from = _held(environment, variable, "caller")
    if not variable and not address:
        address = own.get(provider.address or "")
        address_from = "server" if address else None
        variable = None if provider.api_key else _first(provider.keys, own)
        key, key_from = _held(own, variable, "server")
    if not key and provider.api_key:
        key, key_from = provider.api_key, "settings"
    base_url = address or provider.base_url
    needs_key = not provider.local and not _is_this_machine(base_url)
    remedy = " or ".join([*provider.keys[:1], f"`api_key` under [providers.{provider.name}] in the configuration"])
    return Found(
        base_url=base_url,
        api_key=key,
        needs_key=needs_key,
        key_from=key_from,
        key_variable=variable,
        address_from=address_from,
        problem=f"there is no key for {provider.name}: set {remedy}" if needs_key and not key else None,
    )


def _is_this_machine(base_url: str) -> bool:
    """A server on this machine is asked without a key when there is none."""
    host = urlsplit(base_url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")


def _held(variables: Mapping[str, str], name: str | None, source: Source) -> tuple[str, Source] | tuple[None, None]:
    return (variables[name], source) if name else (None, None)


def _first(names: tuple[str, ...], variables: Mapping[str, str]) -> str | None:
    """The first that is set."""
    return next((name for name in names if variables.get(name)), None)
