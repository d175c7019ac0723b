"""The composition root: settings in, a running engine and server out. The only module that imports everything.

Nothing is decided here but what goes where. The models' libraries are heavy: they are loaded when the server answers already.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import random
import socket
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path

import msgspec
import uvloop

from quell import __version__
from quell.config.describe import Standing, describe
from quell.config.file import ConfigError
from quell.config.load import Configuration
from quell.config.log import last_lines
from quell.config.paths import Paths, paths, secure_folder
from quell.config.scrub import scrub
from quell.config.secrets import Secrets, key_variables, redacted, secret_values
from quell.config.settings import ProviderSettings, Settings
from quell.context import files as context_files
from quell.context.budget import Thresholds, is_crowded
from quell.context.build import SystemPrompts, prompt
from quell.core import inputs as i
from quell.core.errors import ModelFailed, NoModel, UnknownModel, WebRefused
from quell.core.facts import Role
from quell.core.permissions import Mode, Rule
from quell.core.ports import LanguageModel, Sandbox, Toolset, Topic, Workspace
from quell.core.session import Session
from quell.engine import Engine, Options, Ports
from quell.engine.clock import WallClock
from quell.engine.owner import Ownership
from quell.llm.models import ProviderModels
from quell.llm.options import ProviderOptions
from quell.llm.providers import KEY_VARIABLES, PROVIDERS
from quell.llm.retry import RetryOptions, delay
from quell.server import daemon
from quell.server.auth import load_token
from quell.server.listen import AddressInUse, tcp_socket, unix_socket
from quell.store.doorbell import PipeDoorbell
from quell.store.sqlite import SqliteJournal
from quell.tools import SUB_AGENTS, TOOLS, Tools
from quell.tools import Options as ToolOptions
from quell.web import GuardedWeb
from quell.web import Options as WebOptions
from quell.web import search as web_search
from quell.web.options import SearchOptions
from quell.wire import api
from quell.workspace.checkpoints import LocalCheckpoints
from quell.workspace.folder import open_confined, open_workspace
from quell.workspace.sandboxing import unavailable

log = logging.getLogger(__name__)

SWITCH_INTERVAL = 0.00005
"""Seconds after which a thread that waits for the interpreter gets it. With Python's 5 ms the journal's thread starves beside a loop that
is always busy: single appends were seen to take seconds."""

COLLECT_AFTER = 10_000
"""New objects after which the garbage collector looks at the young ones. With Python's 700 that took 3 to 4 % of the
processor's time of a crowd; hardly anything here is in a cycle."""

KNOWN_VARIABLES = KEY_VARIABLES | web_search.KEY_VARIABLES

WARM_UP_AFTER = 0.3
"""Seconds from the first answer to loading the default model's libraries, so that the commands that wait are served first."""


STANDBY_SOCKETS = range(2, 10)
"""What the names of the sockets of standby servers end with, after that of the usual one's."""


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
    configuration = Configuration(place.config_file, environment, builtin=PROVIDERS, tools=TOOLS)
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
        journal = SqliteJournal.open(Path(place.database), guest=standby)
        doorbell = PipeDoorbell(Path(place.database))
        own = tuple(map(os.path.realpath, _own(place)))
        web = GuardedWeb(lambda: _web_options(configured.settings()), environment)
        options = ToolOptions(
            hidden=frozenset(variables),
            kept=place.outputs,
            own=own,
            web=web,
            log=lambda lines: last_lines(place.log, lines, configured.shown.known),
        )
        tools = Tools(options=options)
        ports = _ports(place, journal, doorbell, configured, tools, environment)
        try:
            async with Engine(ports, _options(settings)) as engine:
                answering = asyncio.Event()

                def answer() -> None:
                    ready(address)
                    answering.set()

                async with asyncio.TaskGroup() as group:
                    beside = [
                        group.create_task(_say_where(place, address, engine.ownership)),
                        group.create_task(_warm_up(configured, tools, engine.ownership, answering)),
                    ]
                    await daemon.serve(engine, configured, listeners, _server_options(settings), answer)
                    for task in beside:
                        task.cancel()
        finally:
            await tools.close()
            doorbell.close()
            await journal.close()
            await configured.close()


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
        for number in STANDBY_SOCKETS:
            address = f"{usual}.{number}"
            try:
                listening = stack.enter_context(unix_socket(address, wait=0))
            except AddressInUse:
                continue
            yield address, listening
            return
    raise AddressInUse(f"There are {len(STANDBY_SOCKETS)} standby servers at {usual}.… already.")


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


async def _warm_up(configured: Configured, tools: Tools, ownership: Ownership, answering: asyncio.Event) -> None:
    """A guest asks no model, and needs no library of one."""
    await answering.wait()
    await asyncio.to_thread(unavailable)  # remembered
    await ownership.owned.wait()
    await asyncio.to_thread(tools.specs)  # remembered, too
    await asyncio.sleep(WARM_UP_AFTER)
    await configured.warm()


def _ports(
    place: Paths,
    journal: SqliteJournal,
    doorbell: PipeDoorbell,
    configured: Configured,
    tools: Tools,
    environment: Mapping[str, str],
) -> Ports:
    prompts = SystemPrompts(place.config_dir, os.path.expanduser("~"))

    async def system_prompt(session: Session, workspace: Workspace) -> str:
        today = datetime.now().astimezone().date().isoformat()
        mode: Mode | Role = session.role if session.parent is not None else session.mode_now
        return await prompts.system_prompt(workspace.root, workspace.extra, mode, today, session.id)

    def open_session(session: Session) -> Workspace:
        kept = os.path.join(place.outputs, session.id)
        if session.parent is not None and session.role == "web":
            return open_confined(kept)  # it sees what it has found, and nothing of the project
        return open_workspace(session.workspace, session.extra, kept, partial(configured.sandbox, session.workspace))

    def tools_of(session: Session) -> Toolset:
        names = TOOLS if session.parent is None else SUB_AGENTS[session.role]
        hidden = configured.settings(session.workspace).tools.disabled
        return tools.only([name for name in names if name not in hidden])

    return Ports(
        journal=journal,
        models=configured,
        toolset=tools,
        tools=tools_of,
        clock=WallClock(),
        rules=configured.rules,
        open_workspace=open_session,
        system_prompt=system_prompt,
        compaction_prompt=prompt("compact"),
        title_prompt=prompt("title"),
        retry_delay=configured.retry_delay,
        retry_attempts=lambda: configured.settings().retry.attempts,
        is_crowded=configured.is_crowded,
        environment=environment,
        secrets=configured.secrets,
        doorbell=doorbell,
        describe=configured.describe,
        checkpoints=LocalCheckpoints(os.path.join(place.data_dir, "checkpoints"), _own(place)),
    )


def _options(settings: Settings) -> Options:
    return Options(
        queue_limit=settings.queue_limit,
        recover_within=settings.recover_within,
        resume_interrupted=settings.resume_interrupted,
        sub_agents=settings.sub_agents,
        titles=settings.titles,
    )


def _web_options(settings: Settings) -> WebOptions:
    search = settings.search
    return WebOptions(
        allow_private=settings.network.allow_private,
        proxy=settings.network.proxy,
        search=SearchOptions(
            provider=search.provider, base_url=search.base_url, key=search.api_key, key_variable=search.api_key_env
        ),
    )


def _server_options(settings: Settings) -> daemon.Options:
    return daemon.Options(version=__version__, idle_exit=settings.server.idle_exit or None)


class Configured:
    """What the files say at this moment: the server's `Choices`, the engine's `Models` and rules.

    A configuration that was changed holds from the next session, sample or check, without a restart.
    """

    def __init__(
        self,
        configuration: Configuration,
        environment: Mapping[str, str],
        user_folder: str | None = None,
        hidden: tuple[str, ...] = (),
    ) -> None:
        self._configuration = configuration
        self._began = configuration.load().settings
        self._user_folder = user_folder
        self._hidden = hidden
        self._environment = environment
        self._providers: Mapping[str, ProviderSettings] = {}
        self._models = ProviderModels((), environment)
        self._replaced: list[ProviderModels] = []
        self.shown = Secrets()
        self._found: tuple[Mapping[str, str], Settings | None, frozenset[str]] = ({}, None, frozenset())

    def secrets(self, environment: Mapping[str, str]) -> Collection[str]:
        """What must not be shown of an environment, and of the settings; from now on the log does not show it either."""
        settings = self.settings()
        of, under, found = self._found
        # Every effect asks, and all sessions of one terminal share one environment.
        if of is not environment or under is not settings:
            found = self.shown.add(secret_values(environment, key_variables(KNOWN_VARIABLES, settings), settings))
            self._found = (environment, settings, found)
        return found

    def settings(self, workspace: str | None = None) -> Settings:
        return self._configuration.load(workspace).settings

    def rules(self, workspace: str) -> Sequence[Rule]:
        return self._configuration.load(workspace).rules

    def sandbox(self, workspace: str) -> Sandbox:
        """Where none is asked for, it is used if it can be; one that is asked for and cannot be made keeps commands from running."""
        wanted = self._configuration.load(workspace).settings.sandbox
        mode = wanted.mode or ("off" if unavailable() else "workspace")
        return Sandbox(mode=mode, network=wanted.network, writable=wanted.writable, hidden=self._hidden)

    def retry_delay(self, attempt: int, failure: ModelFailed) -> float | None:
        options = msgspec.convert(msgspec.to_builtins(self.settings().retry), RetryOptions)
        return delay(attempt, failure, random.random(), options)  # spreads clients, hides nothing

    def is_crowded(self, used: int, window: int | None) -> bool:
        return is_crowded(used, window, msgspec.convert(msgspec.to_builtins(self.settings().compaction), Thresholds))

    # The server's choices

    async def new_session(self, id: str, asked: api.NewSession) -> i.Create:
        """With what the client left open decided from its folder's configuration, and its environment's keys."""
        workspace = open_workspace(asked.workspace, asked.extra)
        loaded = self._configuration.load(asked.workspace, asked.environment or None, strict=True)
        settings = loaded.settings
        model = asked.model or settings.model or self._current().default(asked.environment)
        if model is None:
            raise NoModel("No model is configured.")
        return i.Create(
            session=id,
            workspace=workspace.root,
            title=asked.title,
            model=model,
            small_model=asked.small_model or settings.small_model or "",
            mode=asked.mode or settings.mode or self._default_mode(asked),
            extra=workspace.extra,
        )

    def _default_mode(self, asked: api.NewSession) -> Mode:
        """What bounds a command does it without a person as well."""
        return "auto" if asked.unattended and self.sandbox(asked.workspace).mode != "off" else "edits"

    async def models(self, asked: api.ModelsQuery) -> Sequence[api.Model]:
        """What a session can use, or could if what is missing were mended."""
        environment = dict.fromkeys(filter(None, asked.have.split(",")), "set")
        return self._known(asked, environment)

    def _known(self, asked: api.ModelsQuery, environment: Mapping[str, str]) -> Sequence[api.Model]:
        models = self._current()
        default = asked.model or self.settings(asked.workspace).model or models.default(environment)
        found = [
            api.Model(
                spec=row.spec,
                provider=row.provider,
                configured=row.configured,
                problem=row.missing,
                window=row.window,
                max_output=row.max_output,
                vision=row.vision,
                input_price=row.input_price,
                output_price=row.output_price,
                default=row.spec == default,
            )
            for row in models.known(environment)
        ]
        if default is not None and not any(model.default for model in found):
            found.insert(0, self._unlisted(default, found))
        return found

    def _unlisted(self, spec: str, listed: Sequence[api.Model]) -> api.Model:
        """The default, where it is in no list: a script, a model of a local server, or one that is newer than the catalogue."""
        provider = "scripted" if spec.startswith("scripted:") else spec.partition("/")[0]
        try:
            self.check(spec)
        except UnknownModel as unknown:
            problem: str | None = str(unknown)
        else:  # a key that is missing is missing for all of a provider's
            problem = next((model.problem for model in listed if model.provider == provider), None)
        return api.Model(spec=spec, provider=provider, configured=problem is None, problem=problem, default=True)

    async def status(self, workspace: str) -> api.WorkspaceStatus:
        """What the files say, with what is wrong with them."""
        try:
            loaded = self._configuration.load(workspace, {})
        except ConfigError as error:
            return api.WorkspaceStatus(workspace=workspace, problem=str(error))
        return api.WorkspaceStatus(
            workspace=workspace,
            files=loaded.files,
            notices=loaded.notices,
            problem=None if loaded.wrong is None else str(loaded.wrong),
            model=loaded.settings.model,
            mode=loaded.settings.mode,
            rules=loaded.rules,
            search=loaded.settings.search.provider,
            search_key=self._search_key(),
            sandbox=self.sandbox(workspace).mode,
            sandbox_problem=unavailable() or None,
        )

    def _search_key(self, environment: Mapping[str, str] = {}) -> str | None:
        """The variable that has to be set before anything can be searched, if one has to."""
        options = _web_options(self.settings()).search
        try:
            engine = web_search.engine(options)
        except WebRefused:
            return None
        return web_search.missing_key(engine, options, environment, self._environment)

    def describe(self, session: Session, environment: Mapping[str, str]) -> Sequence[Topic]:
        """What holds in a session, for its model."""
        found = context_files.find(self._user_folder, session.workspace, session.extra)
        standing = Standing(
            loaded=self._configuration.load(session.workspace),
            began=self._began,
            models=self._known(api.ModelsQuery(model=session.model), environment),
            context=[each.path for each in found],
            sandbox=self.sandbox(session.workspace),
            sandbox_problem=unavailable() or None,
            search_key=self._search_key(environment),
        )
        return describe(session, standing, self.secrets(environment))

    # The engine's models

    def check(self, spec: str) -> None:
        self._current().check(spec)

    def sees(self, spec: str) -> bool:
        return self._current().sees(spec)

    async def open(self, spec: str, environment: Mapping[str, str]) -> LanguageModel:
        return await self._current().open(spec, environment)

    async def warm(self) -> None:
        """Load what the default model needs."""
        models = self._current()
        if default := self.settings().model or models.default({}):
            await models.warm(default, {})

    async def close(self) -> None:
        for models in (*self._replaced, self._models):
            await models.close()

    def _current(self) -> ProviderModels:
        providers = self.settings().providers
        if providers != self._providers:
            options = [
                msgspec.convert({"name": name, **msgspec.to_builtins(provider)}, ProviderOptions)
                for name, provider in providers.items()
            ]
            replacement = ProviderModels(options, self._environment)
            self._replaced.append(self._models)  # samples may still run on its connections
            self._models, self._providers = replacement, providers
        return self._models
