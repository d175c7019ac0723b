"""The settings: what config.toml may say, with defaults, as values. docs/reference/settings.md is generated from here.

Rules: every field is optional and says what it means in its description; it holds what the file says, not what somebody
makes of it. How files become a `Settings` is the business of `load`; `app` maps it to the options of the packages.

Annotations are evaluated where they stand, without `from __future__ import annotations`: msgspec would compile each of them when the first
file is read, while everybody waits for the server (docs/decisions/0032).
"""

from decimal import Decimal
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from quell.core.permissions import Mode
from quell.core.ports import SandboxMode

LogLevel = Literal["debug", "info", "warning", "error"]
Dialect = Literal["openai", "anthropic"]
SearchEngine = Literal["brave", "tavily", "searxng", "duckduckgo"]
McpTransport = Literal["stdio", "http", "sse"]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
Count = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(ge=0, le=1e9)]  # TOML has nan and inf, and both would be nonsense
Url = Annotated[str, Meta(pattern="^https?://")]
DatabaseUrl = Annotated[str, Meta(pattern="^postgres(ql)?://")]
Price = Decimal


class Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file."""


class RuleLists(Section, frozen=True, kw_only=True):
    """Rules such as `edit(docs/**)`, `bash(npm run *)`, `kind:read(/etc/hosts)`.

    Of those that match, a narrower one overrules a wider one; of the rest the strictest answers.
    """

    allow: Annotated[tuple[str, ...], Meta(description="Do these without asking. Ignored in a project's file.")] = ()
    ask: Annotated[tuple[str, ...], Meta(description="Ask before these, whatever the mode would allow.")] = ()
    deny: Annotated[tuple[str, ...], Meta(description="Never do these, in no mode.")] = ()


class Permissions(Section, frozen=True, kw_only=True):
    """What the agent may do without asking."""

    rules: RuleLists = RuleLists()


class SandboxSettings(Section, frozen=True, kw_only=True):
    """What commands can reach. A project's file may narrow it: another `mode` that allows less, no `network`."""

    mode: Annotated[
        SandboxMode | None,
        Meta(
            description="`workspace`: a command writes in the workspace only, and reads the rest but for secrets; `read-only`: it"
            " writes nowhere; `strict`: it sees the workspace and the system's programs only; `off`. Not given: `workspace`"
            " where bubblewrap works, else `off`."
        ),
    ] = None
    network: Annotated[bool, Meta(description="Let commands reach the network, and servers on this machine.")] = False
    writable: Annotated[
        tuple[str, ...],
        Meta(
            description="More folders that commands may write to, such as `~/.cargo/registry`. Ignored in a project's file."
        ),
    ] = ()


class ToolSettings(Section, frozen=True, kw_only=True):
    """What a model has to work with. A project's file may add to what is hidden, and take nothing away."""

    disabled: Annotated[
        tuple[str, ...],
        Meta(description='Tools that no model gets to see, its sub-agents included: `["bash", "web_search"]`.'),
    ] = ()


class HookSettings(Section, frozen=True, kw_only=True):
    """A command of yours that is asked about the model's calls, or told of them: `[[hooks.PreToolUse]]`, `PostToolUse`, `Stop`.

    Of your own file only. What it is told and what it can answer: [the guide](../guide/hooks.md).
    """

    command: Annotated[str, Meta(description="The command line. It has to be given.")] = ""
    name: Annotated[str, Meta(description="What it is called where it has said something. Not given: its command.")] = (
        ""
    )
    matcher: Annotated[
        str,
        Meta(
            description='The tools that it is for: a regular expression for the whole name, in any case, such as `"web_.*"`.'
            ' Not given, or `"*"`: all.'
        ),
    ] = ""
    timeout: Annotated[Seconds, Meta(description="Seconds that it has; then it is stopped, and has failed.")] = 30.0
    on_failure: Annotated[
        Literal["deny", "ignore"],
        Meta(description="Of `PreToolUse`: what becomes of a call whose hook fails. Either way it is said."),
    ] = "deny"


class LanguageServerSettings(Section, frozen=True, kw_only=True):
    """A language server, started when a file that it is for is touched. Of your own file only.

    Of one that is known by its name ([the guide](../guide/lsp.md)) nothing has to be said.
    """

    command: Annotated[str | None, Meta(description="The program. One that is not known has to have it.")] = None
    args: Annotated[tuple[str, ...] | None, Meta(description="What goes with it.")] = None
    env: Annotated[dict[str, str], Meta(description="Variables to set for it.")] = {}
    filetypes: Annotated[
        tuple[str, ...] | None, Meta(description='The ends of the files that it is for: `["py", "pyi"]`.')
    ] = None
    root_markers: Annotated[
        tuple[str, ...] | None,
        Meta(
            description="Files that mark the folder it works in, the nearest above the file. None found: it is not started."
            " An empty list: the workspace."
        ),
    ] = None
    init_options: Annotated[dict[str, Any], Meta(description="`initializationOptions`, as it wants them.")] = {}
    disabled: Annotated[bool, Meta(description="Never start it.")] = False
    timeout: Annotated[Seconds, Meta(description="Seconds that it has to start.")] = 30.0


class McpSettings(Section, frozen=True, kw_only=True):
    """A server of tools, by a name of yours: its tools are called `mcp_NAME_…`. What it is given, and what not: [the guide](../guide/mcp.md).

    In `command`, `args`, `env`, `url` and `headers`, `$NAME` and `${NAME:-otherwise}` are variables. A project's file may set `disabled` and
    `disabled_tools`, of servers that are in yours.
    """

    type: Annotated[
        McpTransport | None,
        Meta(
            description="How it is reached. Not given: `stdio`, a program that is started, with a `command`; `http` with a `url`."
        ),
    ] = None
    command: Annotated[str, Meta(description="The program.")] = ""
    args: Annotated[tuple[str, ...], Meta(description="Its arguments.")] = ()
    env: Annotated[
        dict[str, str], Meta(description="Variables for it, besides the environment that commands have.")
    ] = {}
    url: Annotated[str, Meta(description="Where it is, for `http` and `sse`.")] = ""
    headers: Annotated[dict[str, str], Meta(description="Headers to send with each request.")] = {}
    timeout: Annotated[Seconds, Meta(description="Seconds that a call may take.")] = 120.0
    start_timeout: Annotated[Seconds, Meta(description="Seconds that it may take to start.")] = 30.0
    disabled: Annotated[bool, Meta(description="Do not use it.")] = False
    enabled_tools: Annotated[
        tuple[str, ...], Meta(description="Its tools that a model gets to see, by its own names. Not given: all.")
    ] = ()
    disabled_tools: Annotated[tuple[str, ...], Meta(description="Of these, the ones that no model gets to see.")] = ()


class ModelSettings(Section, frozen=True, kw_only=True):
    """What is known or wanted of one model. What is not given is as the catalogue or the provider has it."""

    window: Annotated[Count | None, Meta(description="Context window, in tokens.")] = None
    max_output: Annotated[Count | None, Meta(description="Longest reply, in tokens.")] = None
    effort: Annotated[Effort | None, Meta(description="How much the model is to reason.")] = None
    vision: Annotated[bool | None, Meta(description="Whether it can be shown images.")] = None
    input_price: Annotated[Price | None, Meta(description="US dollars per million tokens sent.")] = None
    output_price: Annotated[Price | None, Meta(description="US dollars per million tokens received.")] = None
    cache_read_price: Annotated[Price | None, Meta(description="US dollars per million tokens read from a cache.")] = (
        None
    )
    cache_write_price: Annotated[
        Price | None, Meta(description="US dollars per million tokens written to a cache.")
    ] = None


class ProviderSettings(Section, frozen=True, kw_only=True):
    """A provider of your own, or changes to one that is built in, by its name.

    One of your own needs `dialect` and `base_url`; without a key it is taken to need none.
    """

    dialect: Annotated[Dialect | None, Meta(description="The protocol that it speaks.")] = None
    base_url: Annotated[Url | None, Meta(description="Where it is.")] = None
    api_key: Annotated[
        str | None, Meta(description="Its key. Better: `api_key_env`, and the key in the environment.")
    ] = None
    api_key_env: Annotated[str | None, Meta(description="The environment variable that holds its key.")] = None
    headers: Annotated[dict[str, str], Meta(description="Headers to send with each request.")] = {}
    models: dict[str, ModelSettings] = {}
    idle_timeout: Annotated[Seconds, Meta(description="Seconds of total silence that end a request.")] = 300.0
    sends_reasoning: Annotated[
        bool | None, Meta(description="Send a model's reasoning back to it, though it is not signed.")
    ] = None


class Server(Section, frozen=True, kw_only=True):
    """The daemon. Read when it starts."""

    database: Annotated[
        DatabaseUrl | None,
        Meta(
            description="Where sessions are kept, for servers that share them: `postgresql://user@host/database`. `$QUELL_DATABASE` goes"
            " before it. Better without the password: in `$PGPASSWORD` or `~/.pgpass`. Not given: a file in the data directory."
        ),
    ] = None
    lease: Annotated[
        float,
        Meta(
            ge=5,
            le=3600,
            description="Seconds after which another server takes over from one that is not heard of, in such a database.",
        ),
    ] = 10.0
    idle_exit: Annotated[Seconds, Meta(description="Seconds with nothing to do after which it leaves; 0: never.")] = (
        600.0
    )


class Logging(Section, frozen=True, kw_only=True):
    """The daemon's log."""

    level: Annotated[LogLevel, Meta(description="The least that is written.")] = "info"


class Network(Section, frozen=True, kw_only=True):
    """What the tools of the web may reach: `fetch`, `web_fetch`, `agentic_fetch` and `download`. Commands are not held by this."""

    allow_private: Annotated[
        tuple[str, ...],
        Meta(
            description="Host names, addresses and networks that may be asked although they are of this machine or of a"
            ' private network: `"localhost"`, `"10.1.0.0/16"`. A service that hands out credentials opens by its address only.'
        ),
    ] = ()
    proxy: Annotated[
        Url | None,
        Meta(description="A proxy for all that these tools ask. The proxy looks names up, so that less can be judged."),
    ] = None


class Search(Section, frozen=True, kw_only=True):
    """The search engine of the tools `web_search` and `agentic_fetch`. Without one nothing is searched."""

    provider: Annotated[SearchEngine | None, Meta(description="Which one.")] = None
    base_url: Annotated[Url | None, Meta(description="Where it is; `searxng` needs it.")] = None
    api_key: Annotated[
        str | None,
        Meta(description="Its key. Better: in `$BRAVE_API_KEY`, `$TAVILY_API_KEY`, or as `api_key_env` says."),
    ] = None
    api_key_env: Annotated[str | None, Meta(description="The environment variable that holds its key.")] = None


class Retry(Section, frozen=True, kw_only=True):
    """Asking a model again after a failure that may pass."""

    attempts: Annotated[Count, Meta(description="How often it is asked at most, the first time included.")] = 5
    first: Annotated[
        Seconds, Meta(description="Seconds before the second attempt; each later wait is twice as long.")
    ] = 1.0
    longest: Annotated[Seconds, Meta(description="The longest of these waits, in seconds.")] = 60.0
    patience: Annotated[Seconds, Meta(description="The longest wait that a provider may ask for, in seconds.")] = 600.0


class Compaction(Section, frozen=True, kw_only=True):
    """Summarising a conversation that fills its model's window, and going on from the summary.

    A request that the provider refuses for its length is summarised once, whatever is said here; so is what you ask for with `quell compact`.
    """

    auto: Annotated[bool, Meta(description="Do it before the window is full.")] = True
    share: Annotated[
        float, Meta(gt=0, lt=1, description="Do it when no more than this share of the window is left.")
    ] = 0.2
    large_window: Annotated[Count, Meta(description="A window of more tokens than this is large.")] = 200_000
    reserve: Annotated[Count, Meta(description="In a large window, do it when no more tokens than this are left.")] = (
        20_000
    )
    window: Annotated[
        Count | None,
        Meta(description="The window to reckon with where a model's is unknown. Not given: there it is never done."),
    ] = None


class Settings(Section, frozen=True, kw_only=True):
    """What config.toml may say."""

    model: Annotated[str | None, Meta(description="The model that works, as `provider/model`.")] = None
    small_model: Annotated[
        str | None,
        Meta(description="A cheaper one for titles and for what `agentic_fetch` reads. Not given: the one that works."),
    ] = None
    mode: Annotated[
        Mode | None,
        Meta(
            description="What is done without asking: `ask` reads and searches in the workspace; `edits` also edits in"
            " it and commands that only read; `auto` also any command in the sandbox; `plan` is read only; `yolo` everything"
            " that no rule denies. Not given: `auto` for `quell run` where there is a sandbox, else `edits`."
        ),
    ] = None
    queue_limit: Annotated[Count, Meta(description="How many prompts may wait in a session.")] = 100
    sub_agents: Annotated[Count, Meta(description="How many sub-agents of a session work at the same time.")] = 4
    titles: Annotated[
        bool, Meta(description="Ask a model what to call a session, once, with its first prompt. Read when it starts.")
    ] = True
    resume_interrupted: Annotated[
        bool, Meta(description="After a crash, go on with a run that it interrupted, instead of waiting for you.")
    ] = False
    recover_within: Annotated[
        Seconds,
        Meta(description="After a longer break than this, in seconds, waiting prompts wait until you resume them."),
    ] = 3600.0
    auto_lsp: Annotated[
        bool,
        Meta(
            description="Start language servers that are known and on your PATH wherever a project is of their kind, without naming"
            " them. Many of them run code of the project."
        ),
    ] = False
    permissions: Permissions = Permissions()
    sandbox: SandboxSettings = SandboxSettings()
    tools: ToolSettings = ToolSettings()
    hooks: dict[str, tuple[HookSettings, ...]] = {}
    lsp: dict[str, LanguageServerSettings] = {}
    mcp: dict[str, McpSettings] = {}
    providers: dict[str, ProviderSettings] = {}
    server: Server = Server()
    logging: Logging = Logging()
    retry: Retry = Retry()
    compaction: Compaction = Compaction()
    network: Network = Network()
    search: Search = Search()


HOOK_EVENTS = ("PreToolUse", "PostToolUse", "Stop")

PROJECT_KEYS = frozenset({"model", "small_model", "mode", "permissions", "sandbox", "tools", "mcp"})
"""What a project's file, .quell/config.toml, may set. It came with the repository: it may allow less, never more."""
