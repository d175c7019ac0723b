"""Finds models by their spec, `provider/model` or `scripted:FILE`: the port `Models`.

Rules: what is known by name is data (`providers`, `catalog`) plus the user's options. A model that the catalogue does
not have is asked for all the same, since providers bring out models every week; an unknown provider is an error that
names the nearest. Keys come from the caller's environment first, then the options, then this process's environment.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Literal

from msgspec import Struct

from quell.core.errors import ModelFailed, NoModel, UnknownModel
from quell.core.ports import LanguageModel
from quell.llm import catalog
from quell.llm.loading import Loader, identity
from quell.llm.options import ModelOptions, ProviderOptions
from quell.llm.providers import PROVIDERS, Found, Provider, access, find, with_options
from quell.llm.scripted import PREFIX, ScriptedModel, load_script, script_path


class ModelRow(Struct, frozen=True, kw_only=True):
    """What can be said about a model before it is asked. Prices are US dollars per million tokens.

    `missing` says what stands in the way of using it: None when nothing does.
    """

    spec: str
    provider: str
    window: int | None
    max_output: int | None
    reasoning: bool
    vision: bool
    input_price: Decimal | None
    output_price: Decimal | None
    cache_read_price: Decimal | None
    cache_write_price: Decimal | None
    missing: str | None

    @property
    def configured(self) -> bool:
        return self.missing is None


class ProviderRow(Struct, frozen=True):
    """A provider, what was found for a caller, and how many of its models are known."""

    provider: Provider
    found: Found
    models: int

    @property
    def origin(self) -> Literal["builtin", "changed", "own"]:
        """Whose it is: as it is built in, changed by the options, or only there."""
        known = PROVIDERS.get(self.provider.name)
        return "own" if known is None else "builtin" if known == self.provider else "changed"


class _Played(Struct, frozen=True):
    """A script as it was when it was read."""

    stamp: tuple[int, int]
    model: ScriptedModel


class ProviderModels:
    """Every model that can be named. One for a process; used from one event loop."""

    def __init__(self, options: Iterable[ProviderOptions] = (), environment: Mapping[str, str] | None = None) -> None:
        self._providers = with_options(tuple(options))
        self._environment = dict(environment or {})
        self._loader = Loader()
        self._opened: dict[object, LanguageModel] = {}
        self._scripts: dict[str, _Played] = {}

    def check(self, spec: str) -> None:
        """Whether there is such a model. Loads nothing heavy; asks nobody. Raises `UnknownModel`."""
        if not spec:
            raise NoModel("No model is configured.")
        if spec.startswith(PREFIX):
            self._script(spec, {})
        else:
            self._resolve(spec)

    def default(self, environment: Mapping[str, str]) -> str | None:
        """The model for somebody who chose none: of the first provider that has a key and a default."""
        for provider in self._providers.values():
            if provider.default and find(provider, environment, self._environment).problem is None:
                return f"{provider.name}/{provider.default}"
        return None

    def sees(self, spec: str) -> bool:
        """Whether it is known that the model can be shown images. No model sees none."""
        try:
            if spec.startswith(PREFIX):
                return self._script(spec, {}).vision
            return _vision(*self._resolve(spec))
        except UnknownModel:
            return False

    async def open(self, spec: str, environment: Mapping[str, str]) -> LanguageModel:
        """The model of that spec. Raises `UnknownModel`, or `ModelFailed("no_key")`. The second time it is quick."""
        if spec.startswith(PREFIX):
            return self._script(spec, environment)
        provider, name = self._resolve(spec)
        found = access(provider, environment, self._environment)
        key = (name, identity(found))
        if key not in self._opened:
            connection = await self._loader.connection(found)
            options = provider.models.get(name, ModelOptions())
            self._opened[key] = connection.model(name, options, _window(provider, name))
        return self._opened[key]

    async def warm(self, spec: str, environment: Mapping[str, str]) -> None:
        """Do beforehand what the first `open` would wait for. Says nothing when the model cannot be used."""
        with contextlib.suppress(UnknownModel, ModelFailed):
            await self.open(spec, environment)

    def known(self, environment: Mapping[str, str]) -> tuple[ModelRow, ...]:
        """The models of the catalogue and of the options, those that could be used now first."""
        missing = {
            name: find(provider, environment, self._environment).problem for name, provider in self._providers.items()
        }
        rows = [_row(self._providers[name], model, missing[name]) for name, model in self._listed()]
        order = {name: number for number, name in enumerate(self._providers)}
        return tuple(sorted(rows, key=lambda row: (not row.configured, order[row.provider], row.spec)))

    def providers(self, environment: Mapping[str, str]) -> tuple[ProviderRow, ...]:
        """All of them: those with a key first, then those that need none."""
        listed = [name for name, _ in self._listed()]
        rows = [
            ProviderRow(provider, find(provider, environment, self._environment), listed.count(name))
            for name, provider in self._providers.items()
        ]
        return tuple(sorted(rows, key=lambda row: (row.found.problem is not None, row.found.key_from is None)))

    def _listed(self) -> set[tuple[str, str]]:
        listed = {(row.provider, row.model) for row in catalog.catalogue() if row.provider in self._providers}
        return listed | {(name, model) for name, provider in self._providers.items() for model in provider.models}

    async def close(self) -> None:
        """Close all connections."""
        self._opened.clear()
        await self._loader.close()

    def _resolve(self, spec: str) -> tuple[Provider, str]:
        name, slash, model = spec.partition("/")
        if slash and model and name in self._providers:
            return self._providers[name], model
        if slash and name in self._providers:
            raise UnknownModel(f'no model is named in "{spec}"; write {name}/ and the model')
        if slash:
            hint = _hint(catalog.nearest(name, self._providers), "; the providers are " + ", ".join(self._providers))
            raise UnknownModel(f'unknown provider "{name}" in "{spec}"{hint}')
        return self._by_bare_name(spec)

    def _by_bare_name(self, name: str) -> tuple[Provider, str]:
        specs = {row.spec: row for row in catalog.catalogue() if row.provider in self._providers}
        specs |= {
            f"{provider.name}/{model}": catalog.Known(provider=provider.name, model=model)
            for provider in self._providers.values()
            for model in provider.models
        }
        fitting = [row for row in specs.values() if row.model == name]
        if len(fitting) == 1:
            return self._providers[fitting[0].provider], name
        if fitting:
            choices = ", ".join(row.spec for row in fitting)
            raise UnknownModel(f'several providers have "{name}": say which, one of {choices}')
        likely = catalog.nearest(name, [row.model for row in specs.values()])
        hint = _hint([row.spec for word in likely for row in specs.values() if row.model == word], "")
        raise UnknownModel(f'unknown model "{name}"{hint}; write provider/model for one that is not in `quell models`')

    def _script(self, spec: str, environment: Mapping[str, str]) -> ScriptedModel:
        path = script_path(spec, environment)
        try:
            status = os.stat(path)
            stamp = (status.st_mtime_ns, status.st_size)
        except OSError:
            return load_script(spec, path)  # which says what is wrong with it
        known = self._scripts.get(path)
        if known is None or known.stamp != stamp:
            known = self._scripts[path] = _Played(stamp, load_script(spec, path))
        return known.model


def _window(provider: Provider, model: str) -> int | None:
    chosen = provider.models.get(model, ModelOptions()).window
    known = catalog.find(provider.name, model)
    return chosen or (known.window if known else None)


def _vision(provider: Provider, model: str) -> bool:
    chosen = provider.models.get(model, ModelOptions()).vision
    known = catalog.find(provider.name, model)
    return chosen if chosen is not None else known is not None and known.vision


def _row(provider: Provider, model: str, missing: str | None) -> ModelRow:
    known = catalog.find(provider.name, model) or catalog.Known(provider=provider.name, model=model)
    chosen = provider.models.get(model, ModelOptions())
    return ModelRow(
        spec=f"{provider.name}/{model}",
        provider=provider.name,
        window=chosen.window or known.window,
        max_output=chosen.max_output or known.max_output,
        reasoning=known.reasoning,
        vision=_vision(provider, model),
        input_price=_first(chosen.input_price, known.input_price),
        output_price=_first(chosen.output_price, known.output_price),
        cache_read_price=_first(chosen.cache_read_price, known.cache_read_price),
        cache_write_price=_first(chosen.cache_write_price, known.cache_write_price),
        missing=missing,
    )


def _first(chosen: Decimal | None, known: Decimal | None) -> Decimal | None:
    """A price of zero is a price."""
    return known if chosen is None else chosen


def _hint(likely: list[str], otherwise: str) -> str:
    return f"; did you mean {' or '.join(likely)}?" if likely else otherwise
