"""`quell models`: what can be used, where it is, and what is missing."""

from __future__ import annotations

import json

from tests.cli.command import Home


def test_providers_are_listed_with_where_their_keys_were_found(own_home: Home) -> None:
    own_home.configure(
        '[providers.own]\ndialect = "anthropic"\nbase_url = "http://me:pass@host/v1?key=x"\napi_key_env = "OWN_KEY"\nmodels = { a = {}, b = {} }\n'
        '[providers.groq]\napi_key = "something"\n'
    )
    environment = {"MISTRAL_API_KEY": "m", "OPENAI_BASE_URL": "http://elsewhere"}

    def listed(*arguments: str) -> dict[str, list[str]]:
        done = own_home.quell("models", "--providers", *arguments, environment=environment)
        assert done.status == 0
        return {row[0]: row[1:] for row in (line.split("\t") for line in done.out.splitlines())}

    rows = listed()
    assert rows["own"] == ["own", "2", "missing: set OWN_KEY", "http://host/v1"]
    assert rows["groq"][::2] == ["changed", "in the settings"]
    assert rows["mistral"][2] == "$MISTRAL_API_KEY"
    assert rows["openai"][2:] == ["missing: set OPENAI_API_KEY", "$OPENAI_BASE_URL"]
    assert rows["ollama"] == ["", "0", "none needed", "http://localhost:11434/v1"]
    assert listed("own", "OW").keys() == {"own"}
    (own,) = json.loads(own_home.quell("models", "--providers", "--json", "own").out)
    assert own == {
        "name": "own",
        "dialect": "anthropic",
        "origin": "own",
        "base_url": "http://host/v1",
        "configured": False,
        "needs_key": True,
        "key": None,
        "key_variable": None,
        "variables": ["OWN_KEY"],
        "address": None,
        "problem": "there is no key for own: set OWN_KEY or `api_key` under [providers.own] in the configuration",
        "models": 2,
    }
    nothing = own_home.quell("models", "--providers", "nothing like it")
    assert (nothing.status, nothing.err) == (0, "quell: no such provider\n")


def test_models(home: Home) -> None:
    rows = json.loads(home.quell("models", "--json").out)
    assert {"spec", "provider", "configured"} <= rows[0].keys()
    assert home.quell("models", "claude").out.count("\n") == sum("claude" in row["spec"] for row in rows)
