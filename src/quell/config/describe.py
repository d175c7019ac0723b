"""What holds in a session, in words for its model (`quell_info`): where it comes from, and what would have to be changed.

Rules: nothing secret is in it. Keys are named by the variable that holds them, addresses are shown without user and password, and
what looks like a key all the same is hidden.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from urllib.parse import urlsplit

from msgspec import Struct

from quell.config.load import Loaded
from quell.config.secrets import redacted
from quell.config.settings import Settings
from quell.core.facts import Limits
from quell.core.mcp import ServerState
from quell.core.messages import headline
from quell.core.permissions import Rule
from quell.core.ports import Sandbox, Topic
from quell.core.session import Session
from quell.wire.api import Model

AT_START = ("queue_limit", "sub_agents", "titles", "resume_interrupted", "recover_within", "server", "logging")
"""Settings that a server reads when it starts."""


class Standing(Struct, frozen=True, kw_only=True):
    """`began` are the settings that the server started with; `context` the files with instructions; `search_key` the variable
    in which the search engine's key is missing; `servers` those of tools."""

    loaded: Loaded
    began: Settings
    models: Sequence[Model]
    context: Sequence[str]
    sandbox: Sandbox
    sandbox_problem: str | None
    search_key: str | None
    servers: Sequence[ServerState] = ()


def describe(session: Session, standing: Standing, secrets: Collection[str]) -> tuple[Topic, ...]:
    settings = standing.loaded.settings
    topics = (
        ("This session", _session(session)),
        ("Settings are read from", _files(standing)),
        ("Providers of models", _providers(settings, standing.models)),
        ("Permissions", _permissions(session, standing.loaded.rules)),
        ("Sandbox of commands", _sandbox(standing)),
        ("Tools and the web", _web(settings, standing.search_key)),
        ("Hooks and language servers", _programs(settings)),
        ("Tool servers (MCP)", _servers(standing.servers)),
        ("Instructions of the user and the project", iter(standing.context or ["none"])),
        ("Limits", _limits(session, settings)),
    )
    return tuple(Topic(title, tuple(redacted(line, secrets) for line in lines)) for title, lines in topics)


def _session(session: Session) -> Iterator[str]:
    yield f"model: {session.model}"
    yield f"small model, for titles and `agentic_fetch`: {session.small_model or 'the same'}"
    yield f"workspace: {', '.join((session.workspace, *session.extra))}"


def _files(standing: Standing) -> Iterator[str]:
    loaded = standing.loaded
    for path in loaded.files:
        yield f"{path}{_changed(path)}"
    if not loaded.files:
        yield "no file: all is as it is built in"
    if loaded.wrong is not None:
        yield f"wrong since the last change, so that what was there before still holds: {loaded.wrong}"
    else:
        yield from loaded.notices
    stale = [name for name in AT_START if getattr(standing.began, name) != getattr(loaded.settings, name)]
    if stale:
        yield f"changed since the server started, and holding only from its next start (`quell serve --stop`): {', '.join(stale)}"


def _changed(path: str) -> str:
    try:
        when = datetime.fromtimestamp(os.stat(path).st_mtime, UTC)
    except OSError:
        return " (gone by now)"
    return f" (last changed {when:%Y-%m-%d %H:%M:%S} UTC)"


def _providers(settings: Settings, models: Sequence[Model]) -> Iterator[str]:
    for name in dict.fromkeys((*(model.provider for model in models), *settings.providers)):
        own = [model for model in models if model.provider == name]
        problem = own[0].problem if own else None
        known = f"{len(own)} known model{'' if len(own) == 1 else 's'}"
        yield f"{name}: {f'not usable: {problem}' if problem else 'usable'}; {known}{_address(settings, name)}"


def _address(settings: Settings, name: str) -> str:
    provider = settings.providers.get(name)
    if provider is None or provider.base_url is None:
        return ""
    return f", at {plain_address(provider.base_url)}"


def plain_address(url: str) -> str:
    """Without user and password, and without what may hold a key."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return "an address that is not understood"
    return f"{parts.scheme}://{host}{parts.path}"


def _permissions(session: Session, configured: Sequence[Rule]) -> Iterator[str]:
    yield f"mode: {session.mode_now}"
    for rule in (*configured, *session.rules):
        yield f"{rule.answer} {rule.pattern} ({rule.scope})"
    run = session.run
    for text in run.entry.allow if run is not None else ():
        yield f"allow {text} (run)"
    if run is not None and run.entry.on_ask == "deny":
        yield "nobody can be asked in this run: what would be asked about is denied"


def _sandbox(standing: Standing) -> Iterator[str]:
    sandbox = standing.sandbox
    yield f"mode: {sandbox.mode}{f' (none can be made: {standing.sandbox_problem})' if standing.sandbox_problem else ''}"
    if sandbox.mode != "off":
        yield f"network: {'on' if sandbox.network else 'off'}"
        if sandbox.writable:
            yield f"may also write to: {', '.join(sandbox.writable)}"


def _web(settings: Settings, search_key: str | None) -> Iterator[str]:
    if settings.tools.disabled:
        yield f"hidden tools: {', '.join(settings.tools.disabled)}"
    opened = ", ".join(settings.network.allow_private)
    yield f"private addresses that may be asked: {opened or 'none'}"
    if settings.network.proxy:
        yield f"proxy: {plain_address(settings.network.proxy)}"
    missing = f" (its key is missing: ${search_key})" if search_key else ""
    yield f"search engine: {settings.search.provider or 'none'}{missing}"


def _programs(settings: Settings) -> Iterator[str]:
    for event, hooks in settings.hooks.items():
        for hook in hooks:
            of = f", for {hook.matcher}" if hook.matcher else ""
            yield f"{event}: {hook.name or headline(hook.command)}{of}"
    for name, server in settings.lsp.items():
        yield f"language server: {name}{' (disabled)' if server.disabled else ''}"
    if settings.auto_lsp:
        yield "language servers that are known and installed are started where a project is of their kind"
    if not (settings.hooks or settings.lsp or settings.auto_lsp):
        yield "none"


def _servers(servers: Sequence[ServerState]) -> Iterator[str]:
    for server in servers:
        problem = f": {server.problem}" if server.problem else ""
        offer = f", {server.tools} tool{'' if server.tools == 1 else 's'}" if server.state == "connected" else ""
        yield f"{server.name}: {server.state}{offer}{problem}"
    if not servers:
        yield "none"


def _limits(session: Session, settings: Settings) -> Iterator[str]:
    limits = session.run.entry.limits if session.run is not None else Limits()
    said = [
        f"{value} {unit}"
        for value, unit in ((limits.turns, "turns"), (limits.cost, "US dollars"), (limits.seconds, "seconds"))
        if value is not None
    ]
    yield f"this run: {', '.join(said) or 'none'}"
    yield f"spent by this session: {session.cost} US dollars"
    yield f"prompts that may wait: {settings.queue_limit}; sub-agents at the same time: {settings.sub_agents}"
    yield f"attempts to ask a model: {settings.retry.attempts}"
    compaction = settings.compaction
    if compaction.auto:
        yield f"the conversation is summarised when {compaction.share:.0%} of the window is left, of a large one {compaction.reserve:,} tokens"
    else:
        yield "the conversation is summarised only when somebody asks for it, or the provider refuses its length"
