"""Tool servers in settings: what is understood, what a project's file may say of them, and variables."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from quell.config.expand import Unset, expand
from quell.config.file import ConfigError
from quell.config.load import load
from quell.config.secrets import secret_values
from quell.config.settings import McpSettings
from tests.config.test_load import REPOSITORY, Place

OWN = """
[mcp.one]
command = "npx"
args = ["-y", "server"]
env = { TOKEN = "$MINE" }
[mcp.two]
url = "https://example.org/mcp"
headers = { Authorization = "Bearer ${MINE}" }
disabled_tools = ["rm"]
"""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_project_may_take_servers_and_tools_away(place: Place) -> None:
    loaded = place.load(OWN, '[mcp.one]\ndisabled = true\n[mcp.two]\ndisabled_tools = ["drop"]\n')
    assert loaded.notices == ()
    assert loaded.settings.mcp["one"].disabled
    assert loaded.settings.mcp["one"].command == "npx"
    assert loaded.settings.mcp["two"].disabled_tools == ("rm", "drop")


def test_a_project_adds_none_and_changes_none(place: Place) -> None:
    loaded = place.load(
        OWN + "[mcp.off]\ncommand = 'x'\ndisabled = true\n",
        "[mcp.three]\ncommand = 'evil'\n[mcp.one]\ncommand = 'evil'\nenv = { A = 'b' }\n[mcp.two]\nurl = 'https://evil.example'\n"
        "[mcp.off]\ndisabled = false\n",
    )
    own = place.load(OWN + "[mcp.off]\ncommand = 'x'\ndisabled = true\n")
    assert loaded.settings.mcp == own.settings.mcp
    assert [notice.partition("config.toml:")[2] for notice in loaded.notices] == [
        "1: the server `three` is ignored in a project's file, which came with the repository. If you trust it, put it into your own",
        "4: this `command` is ignored in a project's file. It belongs into your own",
        "5: this `env` is ignored in a project's file. It belongs into your own",
        "7: this `url` is ignored in a project's file. It belongs into your own",
        "9: this `disabled` is ignored in a project's file. It belongs into your own",
    ]


def test_what_the_guide_says_can_be_written(place: Place) -> None:
    guide = (REPOSITORY / "docs" / "guide" / "mcp.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```toml\n(.*?)```", guide, re.DOTALL)
    loaded = place.load("".join(blocks))
    assert [*loaded.settings.mcp] == ["github", "wiki", "sums"]
    assert [rule.pattern for rule in loaded.rules] == ["mcp_wiki_*", "mcp_github_delete_*"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[mcp.a]\n", "a server of type stdio needs `command`"),
        ("[mcp.a]\ntype = 'sse'\ncommand = 'x'\n", "a server of type sse needs `url`"),
        ("[mcp.a]\ncommand = 'x'\nurl = 'y'\n", "a server of type http has no `command`"),
        ("[mcp.a]\nurl = '127.0.0.1:8799'\n", ":2: the `url` of the server `a` is no address: begin it with http://"),
        ("[mcp.a]\ntype = 'sse'\nurl = 'ws://127.0.0.1'\n", ":3: the `url` of the server `a` is no address"),
        ("[mcp.a]\ntype = 'pipe'\n", '`mcp.a.type` has to be one of "stdio", "http", "sse"'),
        ("[mcp.a]\ncomand = 'x'\n", "did you mean `command`?"),
        ("[mcp.'a b']\ncommand = 'x'\n", "cannot be the name of a server"),
        ("[mcp.a_]\ncommand = 'x'\n", "cannot be the name of a server"),
        (
            "[mcp.a]\ncommand = 'x'\n[mcp.A_b]\ncommand = 'x'\n",
            "rules for tools of `a` would be for tools of `A_b`, too. Give it another name, such as `A-b`",
        ),
    ],
)
def test_what_cannot_be_used_is_said_with_its_place(place: Place, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        place.load(text)
    assert "config.toml:" in str(error.value)
    assert said in str(error.value)


@pytest.mark.parametrize("url", ["HTTP://127.0.0.1/", "https://a.example", "$BASE/mcp", "${BASE:-http://a}/mcp"])
def test_addresses_of_servers(place: Place, url: str) -> None:
    assert place.load(f"[mcp.a]\nurl = '{url}'\n").settings.mcp["a"].url == url


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("$A/${A}/$B", "one/one/two words"),
        ("${NONE:-other}${A:-x}${EMPTY:-y}", "otheroney"),
        ("a$$A $(id) $", "a$A $(id) $"),
        ("${NONE:-}", ""),
    ],
)
def test_variables(text: str, found: str) -> None:
    assert expand(text, {"A": "one", "B": "two words", "EMPTY": ""}) == found


@pytest.mark.parametrize("text", ["$NONE", "${NONE}", "x${EMPTY}"])
def test_a_variable_that_is_not_set_is_an_error(text: str) -> None:
    with pytest.raises(Unset):
        expand(text, {"EMPTY": ""})


def test_what_is_sent_to_a_server_is_secret(place: Place) -> None:
    settings = place.load(
        OWN + '[mcp.lit]\ncommand = "x"\nenv = { API_KEY = "literal-key-1", COLOUR = "green-as-grass" }\n'
    ).settings
    assert secret_values({"MINE": "the-secret-of-mine"}, (), settings) == {"the-secret-of-mine", "literal-key-1"}
    assert settings.mcp["one"] == McpSettings(command="npx", args=("-y", "server"), env={"TOKEN": "$MINE"})


@pytest.mark.parametrize(
    ("line", "remarked"),
    [
        ('headers = { Authorization = "Bearer ${WIKI_TOKEN}" }', False),
        ('headers = { Authorization = "$WIKI_TOKEN", X-Key = "$A$B" }', False),
        ('headers = { Authorization = "Bearer sk-1234" }', True),
        ('headers = { Authorization = "Bearer ${WIKI_TOKEN:-sk-1234}" }', True),
        ('headers = { Authorization = "Bearer sk-$A" }', True),
        ('headers = { Authorization = "$$1234" }', True),
        ('env = { TOKEN = "$MINE" }', False),
        ('env = { COLOUR = "green" }', False),
        ('env = { TOKEN = "sk-1234" }', True),
        ('env = { DATABASE = "https://me:${PASSWORD}@host/" }', False),
        ('env = { HEADERS = \'{"Authorization": "Bearer ntn_0123456789abcdef0123"}\' }', True),
        ('env = { DATABASE = "https://me:s3cret@host/" }', True),
    ],
)
def test_a_file_that_only_refers_to_a_key_holds_none(place: Place, line: str, remarked: bool) -> None:
    kind = "url = 'https://wiki.example.org/mcp'" if line.startswith("headers") else "command = 'x'"
    place.load(f"[mcp.wiki]\n{kind}\n{line}\n")
    place.user.chmod(0o644)
    notices = load(str(place.user), {}).notices
    assert [notice for notice in notices if "chmod 600" in notice] == list(notices)
    assert bool(notices) is remarked
