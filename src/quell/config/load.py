"""From files and the environment to settings and permission rules.

    user's file      paths.config_file; may say everything
    project's file   .quell/config.toml of the workspace, or of the nearest folder above it up to the root of its
                     repository; may set `PROJECT_KEYS`: a mode that is narrower than the user's, rules that ask or
                     deny, tools and tool servers to hide, `model` and `small_model` unless they are scripts
    environment      QUELL_MODEL, QUELL_MODE and QUELL_DATABASE, before both files

Rules: what a project's file may not set is left out, with a notice, but a file that is wrong is an error, whoever's it
is: a misspelt `deny` must not let something happen. A file that changes while the daemon runs is read again; if it is
wrong then, the last good state stays, with a notice.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import get_args

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from quell.config.file import ConfigError, SettingsFile, read
from quell.config.settings import PROJECT_KEYS, DatabaseUrl, McpSettings, SandboxSettings, Settings, ToolSettings
from quell.core.access import repository_root
from quell.core.permissions import Mode, Rule, RuleAnswer
from quell.core.ports import SandboxMode

PROJECT_FILE = os.path.join(".quell", "config.toml")
_NARROWNESS: dict[Mode, int] = {"plan": 0, "ask": 1, "edits": 2, "auto": 3, "yolo": 4}
_NARROWER: dict[SandboxMode | None, tuple[SandboxMode, ...]] = {
    "off": get_args(SandboxMode),
    None: ("workspace", "read-only", "strict"),
    "workspace": ("workspace", "read-only", "strict"),
    "read-only": ("read-only",),
    "strict": ("strict",),
}
"""What allows no more than each: of the last two, one lets commands write in the workspace, the other read outside."""
_OF_PROGRAMS = ", which came with the repository: it would have programs run. If you trust it, put it into your own"
_ANSWERS: tuple[RuleAnswer, ...] = get_args(RuleAnswer)


class Loaded(Struct, frozen=True, kw_only=True):
    """What holds in one workspace. `files` are those that were read; `notices` are for the person to see, once.

    `wrong`: the files are so now; this is what they were before.
    """

    settings: Settings
    rules: tuple[Rule, ...] = ()
    files: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    wrong: ConfigError | None = None


class Configuration:
    """The user's settings and those of every workspace, as the files are now.

    `builtin` are the providers that need not be described, `tools` tells which there are when a file names some; None: that is not judged.
    """

    def __init__(
        self,
        config_file: str,
        environment: Mapping[str, str],
        builtin: Collection[str] | None = None,
        tools: Callable[[], Collection[str]] | None = None,
    ) -> None:
        self._config_file = config_file
        self._environment = environment
        self._builtin = builtin
        self._tools = tools
        self._known: dict[str | None, tuple[_Stamps, Loaded]] = {}

    def load(
        self, workspace: str | None = None, environment: Mapping[str, str] | None = None, *, strict: bool = False
    ) -> Loaded:
        """For a workspace, or without any project; with the environment of a caller, if there is one, instead of ours.

        Raises `ConfigError` when there is no good state to fall back on, or, if `strict`, when the files are wrong now.
        """
        loaded = self._from_files(workspace)
        if strict and loaded.wrong is not None:
            raise loaded.wrong
        return _overridden(loaded, self._environment if environment is None else environment)

    def _from_files(self, workspace: str | None) -> Loaded:
        stamps = _stamps(self._config_file, workspace)
        known = self._known.get(workspace)
        if known is not None and known[0] == stamps:
            return known[1]
        try:
            loaded = load(self._config_file, {}, workspace, self._builtin, self._tools)
        except ConfigError as error:
            if known is None:
                raise
            notice = f"the configuration from before is still used: {error}"
            loaded = replace(known[1], notices=(notice,), wrong=error)
        self._known[workspace] = (stamps, loaded)
        return loaded


def load(
    config_file: str,
    environment: Mapping[str, str],
    workspace: str | None = None,
    builtin: Collection[str] | None = None,
    tools: Callable[[], Collection[str]] | None = None,
) -> Loaded:
    """Read everything once. Raises `ConfigError`."""
    settings = Settings()
    rules: tuple[Rule, ...] = ()
    notices: list[str] = []
    files: list[str] = []
    own = read(config_file)
    if own is not None:
        files.append(config_file)
        settings = own.settings()
        if builtin is not None:
            own.check_providers(settings, builtin)
        if tools is not None:
            own.check_tools(settings, tools)
            notices.extend(own.idle_hooks(settings, tools))
        own.check_servers(settings)
        rules = own.rules(settings.permissions.rules, "user", _ANSWERS)
        notices.extend(own.exposure(settings))
    project_file = find_project_file(workspace) if workspace else None
    if project_file is not None and not _same(project_file, config_file):
        project = read(project_file)
        if project is not None:
            files.append(project_file)
            if tools is not None:
                project.check_tools(project.settings(), tools)
            settings, added, remarks = _narrowed(settings, project)
            rules = (*rules, *added)
            notices.extend(remarks)
    loaded = Loaded(settings=settings, rules=rules, files=tuple(files), notices=tuple(notices))
    return _overridden(loaded, environment)


def find_project_file(workspace: str) -> str | None:
    """In the workspace or the nearest folder above it; the search ends at the root of the repository that it is in.

    In none, what lies above the workspace has nothing to do with it.
    """
    return next((path for path in _candidates(workspace) if os.path.lexists(path)), None)


def _candidates(workspace: str) -> Iterator[str]:
    folder = os.path.abspath(workspace)
    top = repository_root(folder, os.path.lexists) or folder
    yield os.path.join(folder, PROJECT_FILE)
    while folder != top:
        folder = os.path.dirname(folder)
        yield os.path.join(folder, PROJECT_FILE)


def _same(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


_Stamps = tuple[tuple[str, int, int] | None, ...]


def _stamps(config_file: str, workspace: str | None) -> _Stamps:
    return (_stamp(config_file), _stamp(find_project_file(workspace)) if workspace else None)


def _stamp(path: str | None) -> tuple[str, int, int] | None:
    if path is None:
        return None
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (path, found.st_mtime_ns, found.st_size)


# What each source may say


def _narrowed(settings: Settings, project: SettingsFile) -> tuple[Settings, tuple[Rule, ...], list[str]]:
    """The settings with what a project may change, its rules, and remarks about what it may not."""
    wanted = project.settings()
    remarks = [
        f"{project.place((key,))}: `{key}` is ignored in a project's file"
        + (_OF_PROGRAMS if key in ("hooks", "lsp", "auto_lsp") else ". It belongs into your own")
        for key in project.content
        if key not in PROJECT_KEYS
    ]
    changes: dict[str, str] = {}
    for key in ("model", "small_model"):
        spec = getattr(wanted, key)
        if spec is not None and spec.startswith("scripted:"):
            remarks.append(f"{project.place((key,))}: a script as the `{key}` is ignored in a project's file")
        elif spec is not None:
            changes[key] = spec
    if "mode" in project.content:
        own: Mode = settings.mode or "edits"
        if wanted.mode is not None and _NARROWNESS[wanted.mode] <= _NARROWNESS[own]:
            changes["mode"] = wanted.mode
        else:
            remarks.append(
                f'{project.place(("mode",))}: the mode "{wanted.mode}" is ignored in a project\'s file, because it'
                f' allows more than "{own}"'
            )
    lists = wanted.permissions.rules
    if lists.allow:
        where = project.place(("permissions", "rules", "allow"))
        remarks.append(f"{where}: rules that allow are ignored in a project's file. Put those you want into your own")
    hidden = dict.fromkeys((*settings.tools.disabled, *wanted.tools.disabled))
    narrowed = replace(
        settings,
        **changes,
        sandbox=_narrowed_sandbox(settings.sandbox, project, remarks),
        tools=ToolSettings(disabled=tuple(hidden)),
        mcp=_narrowed_servers(settings.mcp, project, remarks),
    )
    return narrowed, project.rules(lists, "project", ("ask", "deny")), remarks


def _narrowed_sandbox(own: SandboxSettings, project: SettingsFile, remarks: list[str]) -> SandboxSettings:
    wanted = project.settings().sandbox
    said = project.content.get("sandbox")
    for key in said if isinstance(said, Mapping) else ():
        widens = {
            "mode": wanted.mode not in _NARROWER[own.mode],
            "network": wanted.network and not own.network,
            "writable": bool(wanted.writable),
        }
        if widens.get(key, False):
            where = project.place(("sandbox", key))
            remarks.append(
                f"{where}: this `{key}` is ignored in a project's file, because commands could reach more with it"
            )
        elif key == "mode":
            own = replace(own, mode=wanted.mode)
        elif key == "network":
            own = replace(own, network=wanted.network)
    return own


def _narrowed_servers(
    own: Mapping[str, McpSettings], project: SettingsFile, remarks: list[str]
) -> dict[str, McpSettings]:
    """A project's file makes nothing be started, and nobody be asked."""
    found = dict(own)
    for name, wanted in project.settings().mcp.items():
        server = own.get(name)
        if server is None:
            where = project.place(("mcp", name))
            remarks.append(
                f"{where}: the server `{name}` is ignored in a project's file, which came with the repository. If you trust it, put it"
                " into your own"
            )
            continue
        for key in project.content["mcp"][name]:
            if key not in ("disabled", "disabled_tools") or (key == "disabled" and not wanted.disabled):
                where = project.place(("mcp", name, key))
                remarks.append(f"{where}: this `{key}` is ignored in a project's file. It belongs into your own")
        found[name] = replace(
            server,
            disabled=server.disabled or wanted.disabled,
            disabled_tools=tuple(dict.fromkeys((*server.disabled_tools, *wanted.disabled_tools))),
        )
    return found


def _overridden(loaded: Loaded, environment: Mapping[str, str]) -> Loaded:
    settings = loaded.settings
    if model := environment.get("QUELL_MODEL"):
        settings = replace(settings, model=model)
    if mode := environment.get("QUELL_MODE"):
        if mode not in _NARROWNESS:
            raise ConfigError(f"$QUELL_MODE is {mode!r}; it has to be one of {', '.join(get_args(Mode))}")
        settings = replace(settings, mode=mode)
    if database := environment.get("QUELL_DATABASE"):
        try:
            msgspec.convert(database, DatabaseUrl)
        except msgspec.ValidationError:  # it may hold a password: it is not shown
            raise ConfigError("$QUELL_DATABASE has to begin with postgresql://") from None
        settings = replace(settings, server=replace(settings.server, database=database))
    return loaded if settings is loaded.settings else replace(loaded, settings=settings)
