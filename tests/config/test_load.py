"""Files to settings and rules: what each may say, and what is said when it is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import fields

from quell.config.file import ConfigError
from quell.config.lines import key_lines
from quell.config.load import Configuration, Loaded, find_project_file, load
from quell.config.reference import reference
from quell.config.settings import ModelSettings, ProviderSettings, Retry, Settings
from quell.core.permissions import Rule
from quell.llm import ModelOptions, ProviderOptions, RetryOptions

REPOSITORY = Path(__file__).parent.parent.parent


class Place:
    """A user's file and a repository with a project's file."""

    def __init__(self, folder: Path) -> None:
        self.user = folder / "home" / "config.toml"
        self.repository = folder / "repo"
        self.project = self.repository / ".quell" / "config.toml"
        for directory in (self.user.parent, self.project.parent, self.repository / ".git"):
            directory.mkdir(parents=True)

    def load(self, user: str = "", project: str | None = None, **environment: str) -> Loaded:
        self.user.write_text(user)
        self.user.chmod(0o600)
        if project is not None:
            self.project.write_text(project)
        return load(str(self.user), environment, str(self.repository))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_nothing_configured(tmp_path: Path) -> None:
    loaded = load(str(tmp_path / "none.toml"), {}, str(tmp_path))
    assert loaded == Loaded(settings=Settings())


def test_a_mark_at_the_beginning_is_no_mistake(place: Place) -> None:
    assert place.load('\ufeffmode = "ask"').settings.mode == "ask"


def test_everything_a_user_may_say(place: Place) -> None:
    loaded = place.load(
        """
        model = "anthropic/claude-sonnet-4-5"
        small_model = "local/qwen"
        mode = "ask"
        queue_limit = 5
        resume_interrupted = true
        recover_within = 60
        [permissions.rules]
        allow = ["bash(npm test)"]
        ask = ["edit(docs)"]
        deny = ["kind:read(~/.ssh)"]
        [providers.local]
        dialect = "openai"
        base_url = "http://localhost:8080/v1"
        api_key_env = "LOCAL_KEY"
        headers = { X-Team = "a" }
        idle_timeout = 10.5
        [providers.local.models."qwen 3"]
        window = 32768
        effort = "low"
        input_price = 0.3
        [server]
        idle_exit = 0
        [logging]
        level = "debug"
        [retry]
        attempts = 2
        """
    )
    settings = loaded.settings
    assert (settings.mode, settings.queue_limit, settings.recover_within) == ("ask", 5, 60.0)
    assert settings.server.idle_exit == 0
    local = settings.providers["local"]
    assert local.base_url == "http://localhost:8080/v1"
    assert str(local.models["qwen 3"].input_price) == "0.3"
    assert loaded.rules == (
        Rule("allow", "bash(npm test)", "user"),
        Rule("ask", "edit(docs)", "user"),
        Rule("deny", "kind:read(~/.ssh)", "user"),
    )
    assert loaded.files == (str(place.user),)
    assert loaded.notices == ()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('x = 1\nmodle = "a"', ":1: unknown key `x`; there are `model`, `small_model`"),
        ('\n\nmodle = "a"', ":3: unknown key `modle`; did you mean `model`?"),
        ("[permisions.rules]", ":1: unknown key `permisions`; did you mean `permissions`?"),
        ("[permissions.rules]\n# x\nalow = []", ":3: unknown key `alow` in [permissions.rules]; did you mean `allow`?"),
        (
            '[providers.a]\nbase_ulr = "x"',
            ":2: unknown key `base_ulr` in [providers.a]; did you mean `base_url`?",
        ),
        (
            "[providers.a.models.b]\n\nwindows = 1",
            ":3: unknown key `windows` in [providers.a.models.b]; did you mean `window`?",
        ),
        ('a = """\nmodle = 1\n"""', ":1: unknown key `a`"),
        ('queue_limit = "many"', ':1: `queue_limit` has to be a whole number; found the text "many"'),
        ("queue_limit = 0", ":1: `queue_limit` has to be a whole number, at least 1; found 0"),
        ("queue_limit = 1.5", "has to be a whole number"),
        ("queue_limit = true", "found true"),
        ("\nmodel = 5", ":2: `model` has to be a text in quotes; found 5"),
        ("resume_interrupted = 1", "`resume_interrupted` has to be true or false; found 1"),
        ('recover_within = "1h"', '`recover_within` has to be a number; found the text "1h"'),
        ("recover_within = -1", "at least 0; found -1"),
        ("recover_within = nan", "found nan"),
        ("recover_within = inf", "found inf"),
        ("recover_within = 2026-01-01", "found a date or a time"),
        ('mode = "yes"', '`mode` has to be one of "ask", "edits", "auto", "plan", "yolo"; found the text "yes"'),
        ("permissions = 5", ":1: `permissions` has to be a table; found 5"),
        ("[providers]\na = 5", ":2: `providers.a` has to be a table; found 5"),
        (
            '[permissions]\nrules = [{ allow = "bash" }]',
            ":2: `permissions.rules` has to be a table; found a list: write [permissions.rules], and below it allow, ask, deny",
        ),
        ('permissions.rules.deny = "edit"', ':1: `permissions.rules.deny` has to be a list; found the text "edit"'),
        (
            "[permissions.rules]\ndeny = [\n  'edit',\n  5,\n]",
            ":4: `permissions.rules.deny.1` has to be a text in quotes; found 5",
        ),
        (
            "[permissions.rules]\ndeny = [\n  'edit', # one\n  'bash(',\n]",
            ":4: 'bash(' is not a permission rule: the parenthesis is not closed",
        ),
        ('[providers.a]\nbase_url = "localhost"', "that begins with http:// or https://"),
        ("[providers.a.headers]\nx = 1", ":2: `providers.a.headers.x` has to be a text in quotes; found 1"),
        (
            '[network]\nallow_private = ["localhost", "::1", "10.0.0.0/33"]',
            ":2: `10.0.0.0/33` is not the name of a host",
        ),
        ('[network]\nallow_private = ["http://localhost"]', "`http://localhost` is not the name of a host, an address"),
        ('[network]\nproxy = "proxy:3128"', "that begins with http:// or https://"),
        ('[network]\nproxy = "http://proxy:99999"', ":2: that is not the address of a proxy"),
        ('[network]\nproxy = "http://[::1"', ":2: that is not the address of a proxy"),
        ('[network]\nproxy = "http://"', ":2: that is not the address of a proxy"),
        ('[network]\nproxy = "http://a b:1"', ":2: that is not the address of a proxy"),
        ('[network]\nproxy = "http://prüxy:1"', ":2: that is not the address of a proxy"),
        ('[search]\nprovider = "searxng"', ":2: searxng needs `base_url`, too"),
        ('[search]\nprovider = "alta"', '`search.provider` has to be one of "brave", "tavily"'),
        ("model = ", ":1:9: not valid TOML: invalid value"),
        ('a = 1\nb = "x', ":2:7: not valid TOML: "),
        ("[a]\n[a]", ":2:3: not valid TOML: cannot declare"),
        ("a = [", ":1:6: not valid TOML"),
    ],
)
def test_a_wrong_file_says_where_what_and_what_is_right(place: Place, content: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        place.load(content)
    assert str(caught.value).startswith(f"{place.user}:")
    assert says in str(caught.value)
    place.user.unlink()
    with pytest.raises(ConfigError) as caught:  # a project's file is judged the same way
        load(str(place.user), {}, str(_write(place.project, content).parent.parent))
    assert str(caught.value).startswith(f"{place.project}:")


def _write(path: Path, content: str) -> Path:
    path.write_text(content)
    return path


def test_files_that_are_none(place: Place) -> None:
    place.user.write_bytes(b'model = "a"\n\xff\xfe')
    with pytest.raises(ConfigError, match=":2: not UTF-8"):
        load(str(place.user), {})
    place.user.write_bytes(b"#" * 1_000_001)
    with pytest.raises(ConfigError, match="longer than 1,000,000 bytes"):
        load(str(place.user), {})
    place.user.unlink()
    place.user.mkdir()
    with pytest.raises(ConfigError, match=r"directory|not a file"):
        load(str(place.user), {})
    place.user.rmdir()
    os.mkfifo(place.user)
    with pytest.raises(ConfigError, match="not a file"):
        load(str(place.user), {})


def test_the_environment_goes_before_both_files(place: Place) -> None:
    loaded = place.load('model = "a/b"', 'mode = "plan"', QUELL_MODEL="c/d", QUELL_MODE="ask")
    assert (loaded.settings.model, loaded.settings.mode) == ("c/d", "ask")
    with pytest.raises(ConfigError, match=r"\$QUELL_MODE is 'all'; it has to be one of ask, edits, auto, plan, yolo"):
        place.load(QUELL_MODE="all")
    assert place.load('model = "a/b"', "", QUELL_MODEL="").settings.model == "a/b"


# What a project may say


def test_a_database_is_named_by_the_user_or_the_environment_and_its_password_by_nobody(place: Place) -> None:
    own = '[server]\ndatabase = "postgresql://me:s3cret@db/one"'
    project = '[server]\ndatabase = "postgresql://evil/two"'
    assert place.load(own, project).settings.server.database == "postgresql://me:s3cret@db/one"
    assert place.load("", project).settings.server.database is None
    loaded = place.load(own, "", QUELL_DATABASE="postgres://db/three")
    assert loaded.settings.server.database == "postgres://db/three"
    place.user.chmod(0o644)
    assert "chmod 600" in load(str(place.user), {}).notices[0]
    wrong = "mysql://me:s3cret@db"
    for file, environment in (("", {"QUELL_DATABASE": wrong}), (f'[server]\ndatabase = "{wrong}"', {})):
        with pytest.raises(ConfigError, match=r"begins? with postgresql://") as refused:
            place.load(file, **environment)
        assert "s3cret" not in str(refused.value)


def test_a_project_may_narrow(place: Place) -> None:
    loaded = place.load(
        'model = "a/b"\nmode = "edits"',
        'model = "a/c"\nmode = "ask"\n[permissions.rules]\nask = ["bash"]\ndeny = ["edit(secrets)"]',
    )
    assert (loaded.settings.model, loaded.settings.mode) == ("a/c", "ask")
    assert loaded.rules == (Rule("ask", "bash", "project"), Rule("deny", "edit(secrets)", "project"))
    assert loaded.files == (str(place.user), str(place.project))
    assert loaded.notices == ()


def test_a_project_may_not_widen(place: Place) -> None:
    loaded = place.load('mode = "ask"', 'mode = "yolo"\n[permissions.rules]\nallow = ["bash"]\ndeny = ["edit(x)"]')
    assert loaded.settings.mode == "ask"
    assert loaded.settings.permissions == Settings().permissions
    assert loaded.rules == (Rule("deny", "edit(x)", "project"),)
    mode, allow = loaded.notices
    assert mode.startswith(f'{place.project}:1: the mode "yolo" is ignored')
    assert allow.startswith(f"{place.project}:3: rules that allow are ignored")


@pytest.mark.parametrize(
    ("own", "project", "mode", "network", "ignored"),
    [
        ("", 'mode = "strict"', "strict", False, 0),
        ('mode = "off"', 'mode = "workspace"', "workspace", False, 0),
        ('mode = "workspace"', 'mode = "off"', "workspace", False, 1),
        ("", 'mode = "off"', None, False, 1),
        ('mode = "read-only"', 'mode = "strict"', "read-only", False, 1),
        ('mode = "strict"', 'mode = "read-only"', "strict", False, 1),
        ("network = true", "network = false", None, False, 0),
        ("", "network = true", None, False, 1),
        ("network = true", "network = true", None, True, 0),
        ("", 'writable = ["/"]\nmode = "off"', None, False, 2),
        ("network = true", "", None, True, 0),
    ],
)
def test_a_project_may_narrow_the_sandbox_only(
    place: Place, own: str, project: str, mode: str | None, network: bool, ignored: int
) -> None:
    loaded = place.load(f"[sandbox]\n{own}", f"[sandbox]\n{project}")
    sandbox = loaded.settings.sandbox
    assert (sandbox.mode, sandbox.network, sandbox.writable, len(loaded.notices)) == (mode, network, (), ignored)


def test_a_project_may_not_redirect_keys_or_change_the_daemon(place: Place) -> None:
    loaded = place.load(
        '[providers.anthropic]\napi_key_env = "MY_KEY"',
        'resume_interrupted = true\n[providers.anthropic]\nbase_url = "https://evil.example"\n[server]\nidle_exit = 0',
    )
    assert loaded.settings == load(str(place.user), {}).settings
    assert [notice.split(" ")[1] for notice in loaded.notices] == ["`resume_interrupted`", "`providers`", "`server`"]
    assert f"{place.project}:2: " in loaded.notices[1]


def test_a_project_may_not_bring_its_own_script_as_a_model(place: Place) -> None:
    loaded = place.load('model = "a/b"', 'model = "scripted:evil.toml"')
    assert loaded.settings.model == "a/b"
    assert "a script as the `model` is ignored" in loaded.notices[0]


def test_the_nearest_file_up_to_the_root_of_the_repository_counts(place: Place) -> None:
    deep = place.repository / "a" / "b"
    deep.mkdir(parents=True)
    place.project.write_text("")
    assert find_project_file(str(deep)) == str(place.project)
    nearer = place.repository / "a" / ".quell" / "config.toml"
    nearer.parent.mkdir()
    nearer.write_text("")
    assert find_project_file(str(deep)) == str(nearer)
    (deep / ".git").write_text("gitdir: elsewhere")  # a worktree or submodule is a root, too
    assert find_project_file(str(deep)) is None


def test_outside_of_a_repository_only_the_workspace_counts(tmp_path: Path) -> None:
    (tmp_path / ".quell").mkdir()
    (tmp_path / ".quell" / "config.toml").write_text("")
    (tmp_path / "below").mkdir()
    if find_project_file("/") is None:
        assert find_project_file(str(tmp_path)) == str(tmp_path / ".quell" / "config.toml")
        assert find_project_file(str(tmp_path / "below")) is None


def test_the_users_own_file_is_not_also_the_projects(place: Place) -> None:
    place.project.write_text('[permissions.rules]\nallow = ["bash"]')
    loaded = load(str(place.project), {}, str(place.repository))
    assert loaded.rules == (Rule("allow", "bash", "user"),)


def test_a_readable_file_with_a_key_is_remarked_on(place: Place) -> None:
    place.load('[providers.a]\napi_key = "k"')
    place.user.chmod(0o644)
    assert "chmod 600" in load(str(place.user), {}).notices[0]


# Files that change


def test_a_changed_file_is_read_again_and_a_wrong_one_changes_nothing(place: Place) -> None:
    place.user.write_text('mode = "ask"')
    configuration = Configuration(str(place.user), {})
    workspace = str(place.repository)
    first = configuration.load(workspace)
    assert configuration.load(workspace) is first
    place.project.write_text('[permissions.rules]\ndeny = ["bash"]')
    second = configuration.load(workspace)
    assert second.rules == (Rule("deny", "bash", "project"),)
    place.project.write_text('[permissions.rules]\ndney = ["bash"]')
    third = configuration.load(workspace)
    assert third.rules == second.rules
    assert "configuration from before is still used" in third.notices[0]
    assert "dney" in third.notices[0]
    assert configuration.load(workspace) is third
    place.project.unlink()
    assert configuration.load(workspace).rules == ()


def test_the_environment_of_a_caller_counts_instead_of_ours(place: Place) -> None:
    place.user.write_text('model = "a/b"')
    configuration = Configuration(str(place.user), {"QUELL_MODEL": "ours/x"})
    assert configuration.load().settings.model == "ours/x"
    assert configuration.load(None, {"QUELL_MODEL": "theirs/y"}).settings.model == "theirs/y"
    assert configuration.load(None, {}).settings.model == "a/b"


def test_a_file_that_is_wrong_from_the_beginning_is_an_error(place: Place) -> None:
    place.user.write_text("mode = 1")
    with pytest.raises(ConfigError):
        Configuration(str(place.user), {}).load()


def test_a_provider_that_is_not_built_in_has_to_be_complete(place: Place) -> None:
    place.user.write_text('mode = "ask"\n\n[providers.antropic]\nbase_url = "http://localhost:1"\n')
    place.user.chmod(0o600)
    builtin = ("anthropic", "openai")
    configuration = Configuration(str(place.user), {}, builtin)
    with pytest.raises(ConfigError) as raised:
        configuration.load()
    assert str(raised.value) == (
        f"{place.user}:3: the provider `antropic` is not built in, so it needs `dialect`, too; did you mean `anthropic`?"
    )
    place.user.write_text('[providers.anthropic]\nbase_url = "http://localhost:1"\n')
    assert configuration.load().settings.providers.keys() == {"anthropic"}


# Lines


def test_lines_of_keys_in_every_form_that_toml_has() -> None:
    lines = key_lines(
        "\n".join(  # noqa: FLY002 - one line each, to count them
            [
                "# c = 1",
                'a.b = "x # y" # z',
                "'q u' = '''",
                "no = 1",
                "'''",
                "[t]",
                'm = """',
                'also = "no" """ # end',
                "arr = [1, [2,",
                "  3], {in = 1, other.deep = [",
                "  4]}]",
                "[t.'x.y']",
                "k=1",
                "[[list]]",
                "v = true",
                "[[list]]",
                "v = 1e5",
                "when = 2026-01-01 10:00:00",
            ]
        )
    )
    assert lines["a", "b"] == 2
    assert lines["q u",] == 3
    assert ("no",) not in lines
    assert ("t", "also") not in lines
    assert lines["t", "m"] == 7
    assert lines["t", "arr"] == 9
    assert lines["t", "arr", 1, 1] == 10
    assert lines["t", "arr", 2, "in"] == 10
    assert lines["t", "arr", 2, "other", "deep", 0] == 11
    assert lines["t", "x.y", "k"] == 13
    assert lines["list", 0, "v"] == 15
    assert lines["list", 1, "v"] == 17
    assert lines["list", 1, "when"] == 18


scalars = st.one_of(st.integers(-9, 9), st.booleans(), st.text(max_size=6))
keys = st.text(min_size=1, max_size=4)


@given(st.dictionaries(keys, st.one_of(scalars, st.lists(scalars, max_size=3)), max_size=5))
def test_each_key_of_any_file_is_found_on_its_line(content: dict[str, object]) -> None:
    def quoted(text: str) -> str:
        return '"' + "".join(f"\\U{ord(c):08x}" if c in '"\\' or not c.isprintable() else c for c in text) + '"'

    def written(value: object) -> str:
        match value:
            case bool():
                return str(value).lower()
            case str():
                return quoted(value)
            case list():
                return "[\n" + ",\n".join(written(item) for item in value) + "]"
            case _:
                return str(value)

    text, expected = "", {}
    for key, value in content.items():
        if any(0xD800 <= ord(c) < 0xE000 for c in key + str(value)) or not key.isprintable() or set('"\\') & set(key):
            continue
        text += "\n"
        expected[key] = text.count("\n") + 1
        text += f"{quoted(key)} = {written(value)}"
    found = key_lines(text)
    assert {key: found[key,] for key in expected} == expected


# The reference, and the packages that it is mapped to


def test_the_reference_is_up_to_date() -> None:
    page = (REPOSITORY / "docs" / "reference" / "settings.md").read_text()
    assert page == reference(), "run: python -m quell.config.reference > docs/reference/settings.md"


def test_the_example_of_the_reference_is_valid(place: Place) -> None:
    example = reference().split("```toml\n")[1].split("```")[0]
    loaded = place.load(example)
    assert len(loaded.rules) == 5
    assert loaded.settings.providers["local"].models["qwen"].window == 32768


def test_the_settings_have_what_the_models_can_be_told() -> None:
    def values(kind: type) -> dict[str, object]:
        return {field.name: field.default for field in fields(kind)}

    assert values(Retry) == values(RetryOptions)
    assert values(ModelSettings) == values(ModelOptions)
    assert set(values(ProviderSettings)) | {"name"} == set(values(ProviderOptions))


def test_loading_takes_no_heavy_imports(place: Place) -> None:
    place.load('model = "a/b"', 'mode = "ask"')
    code = (
        "import sys; from quell.config.load import load;"
        f"load({str(place.user)!r}, {{}}, {str(place.repository)!r}); print(*sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=_environment())
    assert not {"asyncio", "pydantic", "quell.llm", "difflib"} & set(ran.stdout.split())


def _environment() -> dict[str, str]:
    return {"PYTHONPATH": os.pathsep.join(sys.path), "PATH": os.environ["PATH"]}
