"""The composition root: settings in, a running engine and server out. The only package that imports everything.

Nothing is decided here but what goes where. The models' libraries are heavy: they are loaded when the server answers already.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path

import uvloop

from quell import __version__
from quell.app import folders
from quell.app.configured import KNOWN_VARIABLES, Configured, Servers, web_options
from quell.app.hooks import ConfiguredHooks
from quell.app.journals import Kept, open_kept
from quell.app.languages import ConfiguredLanguages
from quell.app.servers import ConfiguredServers
from quell.config.load import Configuration
from quell.config.log import last_lines
from quell.config.paths import Paths, paths, secure_folder, standby_sockets
from quell.config.scrub import scrub
from quell.config.secrets import key_variables, redacted
from quell.config.settings import Settings
from quell.context.build import SystemPrompts, prompt
from quell.core.facts import Role
from quell.core.permissions import Mode
from quell.core.ports import Toolset, Workspace
from quell.core.session import Session
from quell.engine import Engine, Options, Ports
from quell.engine.clock import WallClock
from quell.engine.owner import Ownership
from quell.llm.providers import PROVIDERS
from quell.server import daemon
from quell.server.auth import load_token
from quell.server.listen import AddressInUse, tcp_socket, unix_socket
from quell.tools import LANGUAGE, SUB_AGENTS, Tools, by_name
from quell.tools import Options as ToolOptions
from quell.web import GuardedWeb

log = logging.getLogger(__name__)

SWITCH_INTERVAL = 0.00005
"""Seconds after which a thread that waits for the interpreter gets it. With Python's 5 ms the journal's thread starves beside a loop that
is always busy: single appends were seen to take seconds."""

COLLECT_AFTER = 10_000
"""New objects after which the garbage collector looks at the young ones. With Python's 700 that took 3 to 4 % of the
processor's time of a crowd; hardly anything here is in a cycle."""

WARM_UP_AFTER = 0.3
"""Seconds from the first answer to loading the default model's libraries, so that the commands that wait are served first."""


def serve(
    listen: tuple[str, int] | None = None, *, standby: bool = False, ready: Callable[[str], None] = lambda socket: None
) -> None:
    """Serve until told to leave; `ready` is called with its socket when the server answers.

    As a `standby` beside another server on the same data, at a socket of its own. Raises `QuellError`, `ConfigError`, `PathRefused`.
    """
    sys.setswitchinterval(SWITCH_INTERVAL)
    gc.set_threshold(COLLECT_AFTER)
    uvloop.run(_serve(paths(os.environ), dict(os.environ), listen, standby, ready))


async def _serve(
    place: Paths,
    environment: Mapping[str, str],
    listen: tuple[str, int] | None,
    standby: bool,
    ready: Callable[[str], None],
) -> None:
    configuration = Configuration(place.config_file, environment, builtin=PROVIDERS, tools=by_name)
    configured = Configured(configuration, environment, place.config_dir, (*_own(place), os.path.dirname(place.socket)))
    settings = configured.settings()
    variables = key_variables(KNOWN_VARIABLES, settings)
    configured.secrets(environment)
    _log_to_stderr(settings.logging.level, configured.shown.known)
    scrub(variables)
    secure_folder(place.data_dir)
    secure_folder(os.path.dirname(place.socket))
    with ExitStack() as stack:
        address, listening = stack.enter_context(_socket(place.socket, standby=standby))
        listeners = [daemon.Listener(listening)]
        if listen is not None:
            token = load_token(place.token)
            configured.shown.add([token])
            listeners.append(daemon.Listener(tcp_socket(*listen), token, (listen[0],)))
        kept = await open_kept(Path(place.database), settings.server, guest=standby)
        configured.kept = kept
        web = GuardedWeb(lambda: web_options(configured.settings()), environment)
        languages = ConfiguredLanguages(configured.settings, variables, environment.get("PATH", os.defpath))
        options = ToolOptions(
            hidden=frozenset(variables),
            kept=place.outputs,
            own=tuple(map(os.path.realpath, _own(place))),
            web=web,
            languages=languages,
            log=lambda lines: last_lines(place.log, lines, configured.shown.known),
        )
        tools = Tools(options=options)
        hooks = ConfiguredHooks(configured.settings, variables)
        servers = ConfiguredServers(configured.settings, variables, configured.shown.known)
        configured.servers = Servers(tools=servers.states, languages=languages.standing)
        ports = _ports(place, kept, configured, tools, languages, hooks, servers, environment)
        try:
            async with servers, Engine(ports, _options(settings)) as engine:
                answering = asyncio.Event()

                def answer() -> None:
                    ready(address)
                    answering.set()

                async with asyncio.TaskGroup() as group:
                    beside = [
                        group.create_task(_say_where(place, address, engine.ownership)),
                        group.create_task(_warm_up(configured, tools, servers, engine.ownership, answering)),
                    ]
                    await daemon.serve(engine, configured, listeners, _server_options(settings), answer)
                    for task in beside:
                        task.cancel()
        finally:
            await _end(hooks, languages, tools)
            await kept.close()
            await configured.close()


async def _end(*those: ConfiguredHooks | ConfiguredLanguages | Tools) -> None:
    """What runs behind."""
    for each in those:
        await each.close()


def _own(place: Paths) -> tuple[str, str]:
    """Our settings and our state. A folder that only happens to hold the settings' file may hold anything else as well."""
    settings = place.config_dir if os.path.basename(place.config_dir) == "quell" else place.config_file
    return settings, place.data_dir


@contextmanager
def _socket(usual: str, *, standby: bool) -> Iterator[tuple[str, socket.socket]]:
    """The usual socket, or the first that is free of those for standby servers; and where it is."""
    with ExitStack() as stack:
        if not standby:
            yield usual, stack.enter_context(unix_socket(usual))
            return
        others = standby_sockets(usual)
        for address in others:
            try:
                listening = stack.enter_context(unix_socket(address, wait=0))
            except AddressInUse:
                continue
            yield address, listening
            return
    raise AddressInUse(f"There are {len(others)} standby servers at {usual}.… already.")


async def _say_where(place: Paths, address: str, ownership: Ownership) -> None:
    """For commands whose environment would look for the socket elsewhere. Whoever owns the journal says it."""
    while True:
        await ownership.owned.wait()
        with suppress(OSError), open(place.address, "w", encoding="utf-8") as file:  # noqa: ASYNC230 - a line, on a local disk
            file.write(address)  # a convenience, not worth a refusal
        await ownership.lost.wait()


def _log_to_stderr(level: str, secrets: Collection[str]) -> None:
    """The command that starts a server in the background points standard error at the log file. Keys are kept out of it."""

    class Redacted(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return redacted(super().format(record), secrets)

    output = logging.StreamHandler(sys.stderr)
    output.setFormatter(Redacted("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(handlers=[output], level=level.upper())
    for chatty in ("httpx2", "uvicorn"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.getLogger().level))


async def _warm_up(
    configured: Configured, tools: Tools, servers: ConfiguredServers, ownership: Ownership, answering: asyncio.Event
) -> None:
    """A guest asks no model, and needs no library of one. What fails here fails again where somebody needs it, and is told there."""
    try:
        await answering.wait()
        await asyncio.to_thread(folders.warm)
        await ownership.owned.wait()
        await asyncio.to_thread(tools.specs)  # remembered
        await asyncio.sleep(WARM_UP_AFTER)
        await configured.warm()
        await servers.warm()
    except Exception:
        log.exception("what is loaded beforehand cannot be")


def _ports(
    place: Paths,
    kept: Kept,
    configured: Configured,
    tools: Tools,
    languages: ConfiguredLanguages,
    hooks: ConfiguredHooks,
    servers: ConfiguredServers,
    environment: Mapping[str, str],
) -> Ports:
    places = folders.Folders(
        place.outputs, os.path.join(place.data_dir, "checkpoints"), _own(place), configured.sandbox
    )
    prompts = SystemPrompts(place.config_dir, os.path.expanduser("~"))

    async def system_prompt(session: Session, workspace: Workspace) -> str:
        today = datetime.now().astimezone().date().isoformat()
        mode: Mode | Role = session.role if session.parent is not None else session.mode_now
        text = await prompts.system_prompt(workspace.root, workspace.extra, mode, today, session.id)
        more = servers.instructions(session)
        return f"{text}\n\n{more}" if more else text

    def tools_of(session: Session) -> Toolset:
        names = list(by_name() if session.parent is None else SUB_AGENTS[session.role])
        hidden = configured.settings(session.workspace).tools.disabled
        if not languages.offered(session.workspace):
            names = [name for name in names if not name.startswith(LANGUAGE)]
        return servers.tools(session, tools.only([name for name in names if name not in hidden]))

    return Ports(
        journal=kept.journal,
        models=configured,
        toolset=tools,
        tools=tools_of,
        clock=WallClock(),
        rules=configured.rules,
        open_workspace=places.open,
        system_prompt=system_prompt,
        compaction_prompt=prompt("compact"),
        title_prompt=prompt("title"),
        retry_delay=configured.retry_delay,
        retry_attempts=lambda: configured.settings().retry.attempts,
        is_crowded=configured.is_crowded,
        environment=environment,
        secrets=configured.secrets,
        doorbell=kept.doorbell,
        describe=configured.describe,
        equip=servers.equip,
        checkpoints=places.checkpoints,
        hooks=hooks,
    )


def _options(settings: Settings) -> Options:
    return Options(
        queue_limit=settings.queue_limit,
        recover_within=settings.recover_within,
        resume_interrupted=settings.resume_interrupted,
        sub_agents=settings.sub_agents,
        titles=settings.titles,
    )


def _server_options(settings: Settings) -> daemon.Options:
    return daemon.Options(version=__version__, idle_exit=settings.server.idle_exit or None)
