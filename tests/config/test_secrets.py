"""Keys stay where they belong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quell.config.secrets import key_variables, redacted, secret_values
from quell.config.settings import Network, ProviderSettings, Server, Settings
from quell.core.redaction import HIDDEN

SETTINGS = Settings(
    providers={
        "a": ProviderSettings(api_key_env="TEAM_KEY"),
        "b": ProviderSettings(api_key="written-in-the-file", headers={"X-Auth": "header-secret"}),
    }
)


def test_the_variables_of_keys_are_the_known_and_the_configured_ones() -> None:
    assert key_variables(["OPENAI_API_KEY"], SETTINGS) == {"OPENAI_API_KEY", "TEAM_KEY"}


def test_secrets_come_from_variables_and_settings() -> None:
    environment = {"OPENAI_API_KEY": "from-the-environment", "TEAM_KEY": "short"}
    found = secret_values(environment, key_variables(["OPENAI_API_KEY"], SETTINGS), SETTINGS)
    assert found == {"from-the-environment", "written-in-the-file", "header-secret"}


def test_variables_that_say_so_hold_secrets() -> None:
    environment = {
        "GITHUB_TOKEN": "token-of-github",
        "DB_PASSWORD": "a-password",
        "AWS_SECRET_ACCESS_KEY": "amazons-own-key",
        "SSH_PRIVATE_KEY": "-----BEGIN KEY-----\nline-one-of-it\n",
        "GOOGLE_TOKEN": "/home/ann/token.json",
        "PGPASSWORD": "postgres-own-password",
        "MYSQL_PWD": "mysqls-password",
        "REDISCLI_AUTH": "redis-own-password",
        "GITLAB_PAT": "token-of-gitlab",
        "COOKIE_SIGNING_KEY": "key-that-signs",
        "SSH_AUTH_SOCK": "agent-socket-name",
        "SORT_KEY": "name-of-a-column",
        "OLD_PWD": "/home/ann/project",
        "MAX_TOKENS": "100000000",
        "TOKEN_LIMIT": "100000000",
        "KEYBOARD": "something-else",
    }
    found = secret_values(environment, (), Settings())
    assert found == {
        *(
            "token-of-github",
            "a-password",
            "amazons-own-key",
            "line-one-of-it",
            "postgres-own-password",
            "mysqls-password",
        ),
        *("redis-own-password", "token-of-gitlab", "key-that-signs"),
    }


def test_passwords_in_addresses_are_secret_whatever_holds_them() -> None:
    environment = {
        "DATABASE_URL": "postgresql+asyncpg://app:pg%40password@db/main?x=1",
        "BROKERS": "amqp://:first-password@a,amqp://u:p@ssword-two@b/x",
        "PIP_INDEX_URL": "see https://ann:index-password@host/simple and https://host/a:b@c",
        "DOCS": "https://example.org/long-enough:x@y http://localhost:8080 mailto:someone@example.org",
    }
    settings = Settings(
        network=Network(proxy="http://me:proxy%21password@p:1"),
        server=Server(database="postgresql:///x?host=h&password=asked-with"),
    )
    assert secret_values(environment, (), settings) == {
        *("pg%40password", "pg@password", "first-password", "p@ssword-two", "index-password"),
        *("proxy%21password", "proxy!password", "asked-with"),
    }


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("key abc-secret-1 here", f"key {HIDDEN} here"),
        ("Authorization: Bearer abcdefgh12345", f"Authorization: Bearer {HIDDEN}"),
        ('"authorization": "Basic dXNlcjpwYXNz"', f'"authorization": "Basic {HIDDEN}"'),
        ("x-api-key: 0123456789abcdef", f"x-api-key: {HIDDEN}"),
        ("{'api_key': '0123456789abcdef', 'n': 1}", f"{{'api_key': '{HIDDEN}', 'n': 1}}"),
        ("at sk-ant-api03-AbCdEf0123456789_x failed", f"at {HIDDEN} failed"),
        ("no secret in task-runner-configuration-file.py", "no secret in task-runner-configuration-file.py"),
        ("GET /v1/sessions/s-0123456789abcdef 200", "GET /v1/sessions/s-0123456789abcdef 200"),
    ],
)
def test_logs_hide_keys(text: str, shown: str) -> None:
    assert redacted(text, {"abc-secret-1"}) == shown


def test_a_secret_within_another_leaves_nothing() -> None:
    assert redacted("x=secret-one-two", {"secret-one", "secret-one-two"}) == f"x={HIDDEN}"


@given(st.text(), st.text("abcdefgh-0123456789", min_size=8, max_size=20), st.text())
def test_no_secret_survives(before: str, secret: str, after: str) -> None:
    shown = redacted(before + secret + after, {secret})
    assert secret not in shown.replace(HIDDEN, "")
