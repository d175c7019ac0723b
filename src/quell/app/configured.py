"""What the settings' files say at this moment, as the server, the engine and the models ask for it. A part of the composition root."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping, Sequence

import msgspec
from msgspec import Struct

from quell.app.folders import folder, sandbox_problem
from quell.app.hooks import statuses
from quell.app.journals import Kept
from quell.config.describe import Standing, describe, plain_address
from quell.config.file import ConfigError
from quell.config.load import Configuration
from quell.config.secrets import Secrets, key_variables, redacted, secret_values
from quell.config.settings import ProviderSettings, Settings
from quell.context import files as context_files
from quell.context.budget import Thresholds, is_crowded
from quell.core import inputs as i
from quell.core.errors import ModelFailed, NoModel, UnknownModel, WebRefused
from quell.core.mcp import ServerState
from quell.core.permissions import Mode, Rule
from quell.core.ports import LanguageModel, Sandbox, Topic
from quell.core.session import Session
from quell.llm.models import ProviderModels, ProviderRow
from quell.llm.options import ProviderOptions
from quell.llm.providers import KEY_VARIABLES
from quell.llm.retry import RetryOptions, delay
from quell.web import Options as WebOptions
from quell.web import search as web_search
from quell.web.options import SearchOptions
from quell.wire import api

KNOWN_VARIABLES = KEY_VARIABLES | web_search.KEY_VARIABLES | {"QUELL_DATABASE"}


def web_options(settings: Settings) -> WebOptions:
    search = settings.search
    return WebOptions(
        allow_private=settings.network.allow_private,
        proxy=settings.network.proxy,
        search=SearchOptions(
            provider=search.provider, base_url=search.base_url, key=search.api_key, key_variable=search.api_key_env
        ),
    )


class Servers(Struct, frozen=True, kw_only=True):
    """How those of a folder stand: of tools, for a session with some environment, and of languages."""

    tools: Callable[[str, Mapping[str, str] | None], Sequence[ServerState]] = lambda workspace, environment: ()
    languages: Callable[[str], Sequence[api.LanguageServerStatus]] = lambda workspace: ()


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
        self.kept: Kept | None = None
        self.servers = Servers()
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
        mode = wanted.mode or ("off" if sandbox_problem() else "workspace")
        return Sandbox(mode=mode, network=wanted.network, writable=wanted.writable, hidden=self._hidden)

    def retry_delay(self, attempt: int, failure: ModelFailed) -> float | None:
        options = msgspec.convert(msgspec.to_builtins(self.settings().retry), RetryOptions)
        return delay(attempt, failure, random.random(), options)  # spreads clients, hides nothing

    def is_crowded(self, used: int, window: int | None) -> bool:
        return is_crowded(used, window, msgspec.convert(msgspec.to_builtins(self.settings().compaction), Thresholds))

    # The server's choices

    async def new_session(self, id: str, asked: api.NewSession) -> i.Create:
        """With what the client left open decided from its folder's configuration, and its environment's keys."""
        workspace = folder(asked.workspace, asked.extra)
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
        return self._known(asked, _having(asked.have))

    async def providers(self, asked: api.ProvidersQuery) -> Sequence[api.Provider]:
        """Where models are, and what was found to use them: names and places, no values."""
        secrets = self.secrets(self._environment)
        return [_provider(row, secrets) for row in self._current().providers(_having(asked.have))]

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
        journal = self.kept.shown or None if self.kept is not None else None
        journal_problem = await self.kept.problem() if self.kept is not None else None
        try:
            loaded = self._configuration.load(workspace, {})
        except ConfigError as error:
            return api.WorkspaceStatus(
                workspace=workspace, problem=str(error), journal=journal, journal_problem=journal_problem
            )
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
            sandbox_problem=sandbox_problem(),
            journal=journal,
            journal_problem=journal_problem,
            hooks=statuses(loaded.settings),
            lsp=tuple(self.servers.languages(workspace)),
            mcp=tuple(self.servers.tools(workspace, None)),
        )

    def _search_key(self, environment: Mapping[str, str] = {}) -> str | None:
        """The variable that has to be set before anything can be searched, if one has to."""
        options = web_options(self.settings()).search
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
            sandbox_problem=sandbox_problem(),
            search_key=self._search_key(environment),
            servers=self.servers.tools(session.workspace, environment),
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


def _having(names: str) -> Mapping[str, str]:
    """An environment of which only is known what is set in it."""
    return dict.fromkeys(filter(None, names.split(",")), "set")


def _provider(row: ProviderRow, secrets: Collection[str]) -> api.Provider:
    provider, found = row.provider, row.found
    is_theirs = found.address_from == "caller"  # of which only the name is known
    problem = found.problem
    if problem is not None and is_theirs:
        problem += f". None is needed where ${provider.address} names this machine"
    return api.Provider(
        name=provider.name,
        dialect=provider.dialect,
        origin=row.origin,
        base_url=None if is_theirs else redacted(plain_address(found.base_url), secrets),
        configured=problem is None,
        needs_key=found.needs_key,
        key=found.key_from,
        key_variable=found.key_variable,
        variables=provider.keys,
        address=provider.address if found.address_from else None,
        problem=problem,
        models=row.models,
    )
