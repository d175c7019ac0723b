"""Finding models: specs, keys, addresses, what is known of them."""

from __future__ import annotations

import gc
import subprocess
import sys
from decimal import Decimal

import pytest

from quell.core.errors import InvalidRequest, ModelFailed, NoModel, UnknownModel
from quell.llm import ModelOptions, ProviderModels, ProviderOptions
from quell.llm.providers import PROVIDERS, access, with_options
from quell.testing.providers import provider
from tests.llm.asking import request

MINE = ProviderOptions(
    name="mine", dialect="openai", base_url="http://127.0.0.1:9/v1", models={"tiny": ModelOptions(window=8192)}
)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("antropic/claude-opus-5", 'unknown provider "antropic" in "antropic/claude-opus-5"; did you mean anthropic?'),
        ("zzz/x", 'unknown provider "zzz" in "zzz/x"; the providers are anthropic, openai'),
        ("claude-opus-55", 'unknown model "claude-opus-55"; did you mean anthropic/claude-opus-5-5 or'),
        ("", 'unknown model ""; write provider/model'),
        ("openai/", 'no model is named in "openai/"'),
    ],
)
async def test_what_is_unknown_is_said_with_what_is_near(spec: str, message: str) -> None:
    with pytest.raises(UnknownModel) as error:
        await ProviderModels().open(spec, {})
    assert str(error.value).startswith(message)


async def test_a_name_that_several_have_is_not_guessed() -> None:
    options = [
        ProviderOptions(name=name, dialect="openai", base_url="http://x", models={"m": ModelOptions()}) for name in "ab"
    ]
    with pytest.raises(UnknownModel, match='several providers have "m": say which, one of a/m, b/m'):
        await ProviderModels(options).open("m", {})


@pytest.mark.parametrize(
    ("spec", "name", "window"),
    [
        ("claude-opus-5", "anthropic/claude-opus-5", 1_000_000),
        ("anthropic/claude-opus-5", "anthropic/claude-opus-5", 1_000_000),
        ("anthropic/claude-sonnet-4-5-20250929", "anthropic/claude-sonnet-4-5-20250929", 200_000),
        ("gpt-5", "openai/gpt-5", 400_000),
        ("openai/brand-new", "openai/brand-new", None),
        ("openrouter/anthropic/claude-sonnet-4.5", "openrouter/anthropic/claude-sonnet-4.5", 200_000),
        ("tiny", "mine/tiny", 8192),
    ],
)
async def test_models_are_found(spec: str, name: str, window: int | None) -> None:
    keys = {"ANTHROPIC_API_KEY": "a", "OPENAI_API_KEY": "b", "OPENROUTER_API_KEY": "c"}
    models = ProviderModels([MINE])
    model = await models.open(spec, keys)
    assert (model.name, model.window) == (name, window)
    assert await models.open(spec, keys) is model
    await models.close()


async def test_without_a_key_it_says_what_to_set() -> None:
    with pytest.raises(ModelFailed, match="no key for anthropic: set ANTHROPIC_API_KEY or `api_key`") as failed:
        await ProviderModels().open("anthropic/claude-opus-5", {"ANTHROPIC_API_KEY": ""})
    assert failed.value.reason == "no_key"


def test_the_callers_key_comes_first_then_the_configured_then_our_own() -> None:
    known = with_options((ProviderOptions(name="openai", api_key="configured"),))["openai"]
    caller, own = {"OPENAI_API_KEY": "caller"}, {"OPENAI_API_KEY": "own"}
    assert access(known, caller, own).api_key == "caller"
    assert access(known, {}, own).api_key == "configured"
    assert access(PROVIDERS["openai"], {}, own).api_key == "own"


def test_a_variable_may_hold_the_address_unless_one_was_configured() -> None:
    caller = {"OPENAI_BASE_URL": "http://localhost:1/v1/", "ANTHROPIC_BASE_URL": "http://localhost:2"}
    assert access(PROVIDERS["openai"], caller, {}).base_url == "http://localhost:1/v1"
    assert access(PROVIDERS["anthropic"], {}, caller).base_url == "http://localhost:2"
    configured = with_options((ProviderOptions(name="openai", base_url="http://localhost:3"),))["openai"]
    assert access(configured, caller, {}).base_url == "http://localhost:3"


def test_a_password_in_an_address_is_not_shown() -> None:
    options = ProviderOptions(name="mine", dialect="openai", base_url="http://me:secret@127.0.0.1:9/v1")
    assert access(with_options((options,))["mine"], {}, {}).host == "127.0.0.1:9"


def test_a_server_on_this_machine_needs_no_key() -> None:
    assert access(PROVIDERS["openai"], {"OPENAI_BASE_URL": "http://127.0.0.1:8000/v1"}, {}).api_key is None


def test_a_provider_of_ones_own_needs_a_dialect_and_an_address() -> None:
    with pytest.raises(InvalidRequest, match='the provider "mine" is not a known one: it needs `dialect`'):
        with_options((ProviderOptions(name="mine", base_url="http://x"),))


def test_a_key_of_ones_own_provider_is_in_the_variable_it_names() -> None:
    options = ProviderOptions(name="mine", dialect="openai", base_url="https://example.org", api_key_env="MY_KEY")
    known = with_options((options,))["mine"]
    assert access(known, {"MY_KEY": "k"}, {}).api_key == "k"
    with pytest.raises(ModelFailed, match="set MY_KEY"):
        access(known, {}, {})


async def test_two_callers_with_two_keys_do_not_share() -> None:
    async with provider("openai") as server:
        models = ProviderModels([ProviderOptions(name="openai", base_url=server.base_url)])
        for key in ("one", "two", "one"):
            model = await models.open("openai/gpt-5", {"OPENAI_API_KEY": key})
            await model.sample(request(), lambda _: None)
        await models.close()
    assert [asked.headers["authorization"] for asked in server.requests] == ["Bearer one", "Bearer two", "Bearer one"]
    assert server.requests[0].connection == server.requests[2].connection != server.requests[1].connection


async def test_configured_headers_are_sent() -> None:
    async with provider("anthropic") as server:
        options = ProviderOptions(name="p", dialect="anthropic", base_url=server.base_url, headers={"X-Team": "quell"})
        models = ProviderModels([options])
        await (await models.open("p/claude-opus-5", {})).sample(request(), lambda _: None)
        await models.close()
    assert server.requests[0].headers["x-team"] == "quell"


async def test_closing_closes_the_connections() -> None:
    async with provider("openai") as server:
        models = ProviderModels([ProviderOptions(name="p", dialect="openai", base_url=server.base_url)])
        await (await models.open("p/m", {})).sample(request(), lambda _: None)
        await models.close()
        await server.deserted.wait()


def test_what_is_known() -> None:
    own = ModelOptions(window=5, input_price=Decimal(0))
    options = [MINE, ProviderOptions(name="openai", models={"gpt-5": own, "ft:mine": own})]
    rows = {row.spec: row for row in ProviderModels(options).known({"ANTHROPIC_API_KEY": "k"})}
    assert rows["anthropic/claude-opus-5"].missing is None
    assert rows["anthropic/claude-opus-5"].input_price == 5
    assert rows["mine/tiny"].configured
    assert rows["openai/gpt-5"].window == 5
    assert rows["openai/gpt-5"].input_price == 0
    assert rows["openai/gpt-5"].output_price == 10
    assert "OPENAI_API_KEY" in (rows["openai/ft:mine"].missing or "")
    configured = [row.configured for row in rows.values()]
    assert configured == sorted(configured, reverse=True), "what can be used comes first"


async def test_warming_says_nothing_and_leaves_the_collector_on() -> None:
    models = ProviderModels([MINE])
    for spec in ("nope/nope", "openai/gpt-5", "mine/tiny"):
        await models.warm(spec, {})
    assert gc.isenabled()
    await models.close()


async def test_after_closing_it_can_be_used_again() -> None:
    async with provider("openai") as server:
        models = ProviderModels([ProviderOptions(name="p", dialect="openai", base_url=server.base_url)])
        for _ in range(2):
            await (await models.open("p/m", {})).sample(request(), lambda _: None)
            await models.close()
    assert len(server.requests) == 2


async def test_closing_what_was_never_used() -> None:
    await ProviderModels().close()


def test_importing_it_is_light() -> None:
    program = (
        "import sys; import quell.llm; quell.llm.ProviderModels().known({});"
        "heavy = {'pydantic', 'pydantic_ai', 'openai', 'anthropic', 'httpx2', 'genai_prices'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_checking_a_spec_loads_nothing_and_needs_no_key() -> None:
    models = ProviderModels([MINE])
    models.check("anthropic/claude-opus-5")
    models.check("tiny")
    with pytest.raises(NoModel):
        models.check("")
    with pytest.raises(UnknownModel, match="did you mean anthropic"):
        models.check("antropic/x")
    with pytest.raises(UnknownModel, match="which file"):
        models.check("scripted:")


def test_the_default_is_one_that_a_key_was_found_for() -> None:
    assert ProviderModels().default({}) is None
    assert (ProviderModels().default({"ANTHROPIC_API_KEY": "k"}) or "").startswith("anthropic/")
    assert (ProviderModels((), {"OPENAI_API_KEY": "k"}).default({}) or "").startswith("openai/")


@pytest.mark.parametrize(
    ("options", "theirs", "own", "found"),
    [
        ({}, {}, {}, (None, None, None, "set OPENAI_API_KEY or `api_key`")),
        ({}, {"OPENAI_API_KEY": "a"}, {"OPENAI_API_KEY": "b"}, ("caller", "OPENAI_API_KEY", None, None)),
        ({}, {}, {"OPENAI_API_KEY": "b", "OPENAI_BASE_URL": "http://b"}, ("server", "OPENAI_API_KEY", "server", None)),
        ({"api_key": "c"}, {}, {"OPENAI_API_KEY": "b"}, ("settings", None, None, None)),
        ({"api_key": "c"}, {"OPENAI_API_KEY": "a"}, {}, ("caller", "OPENAI_API_KEY", None, None)),
        ({"api_key_env": "MINE"}, {"MINE": "a", "OPENAI_API_KEY": "b"}, {}, ("caller", "MINE", None, None)),
        # The server's key is not sent to where the caller's address leads.
        ({}, {"OPENAI_BASE_URL": "http://x"}, {"OPENAI_API_KEY": "b"}, (None, None, "caller", "there is no key for openai")),
        ({"base_url": "http://localhost:1"}, {"OPENAI_BASE_URL": "http://x"}, {}, (None, None, None, None)),
    ],
)  # fmt: skip
def test_it_is_told_where_a_key_was_found(
    options: dict[str, str],
    theirs: dict[str, str],
    own: dict[str, str],
    found: tuple[str | None, str | None, str | None, str | None],
) -> None:
    models = ProviderModels([ProviderOptions(name="openai", **options)], own)  # type: ignore[arg-type]  # texts, all of them
    (row,) = (row for row in models.providers(theirs) if row.provider.name == "openai")
    assert (row.found.key_from, row.found.key_variable, row.found.address_from) == found[:3]
    assert (found[3] or "") in (row.found.problem or "")
    assert (row.found.problem is None) == (found[3] is None)


def test_providers_are_told_with_whose_they_are_and_how_many_models_are_known() -> None:
    changed = ProviderOptions(name="groq", models={"new": ModelOptions()})
    rows = ProviderModels([MINE, changed]).providers({"MISTRAL_API_KEY": "k"})
    by_name = {row.provider.name: row for row in rows}
    assert by_name.keys() == {*PROVIDERS, "mine"}
    assert [by_name[name].origin for name in ("mine", "groq", "openai")] == ["own", "changed", "builtin"]
    plain = {row.provider.name: row.models for row in ProviderModels().providers({})}
    assert (by_name["mine"].models, by_name["groq"].models) == (1, plain["groq"] + 1)
    assert plain["anthropic"] > 5
    usable = [row.found.problem is None for row in rows]
    assert usable == sorted(usable, reverse=True)
    assert by_name["mistral"].found.problem is None
