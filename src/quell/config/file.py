"""One TOML file of settings: read it, judge it, and say what is wrong with it and where.

Rules: an error names the file, the line, what was found and what is right. Nothing here knows whose file it is.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Callable, Collection
from ipaddress import ip_network
from typing import Annotated, Any, Literal, get_args, get_origin
from urllib.parse import urlsplit

import msgspec
from msgspec.structs import fields

from quell.config.lines import Key, key_lines
from quell.config.secrets import holds_key, passwords
from quell.config.settings import HOOK_EVENTS, RuleLists, Section, Settings
from quell.core.errors import InvalidRequest
from quell.core.permissions import Rule, RuleAnswer, Scope, parse_rule

_SERVER_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,30}[A-Za-z0-9])?"

LONGEST = 1_000_000
"""Bytes. What is longer is no configuration."""


class ConfigError(InvalidRequest):
    """A file, or a variable, that cannot be used as it is."""


def read(path: str) -> SettingsFile | None:
    """None when there is no such file."""
    try:
        with open(path, "rb", opener=_opener) as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise ConfigError(f"{path}: not a file. Remove it, or put a TOML file there")
            content = file.read(LONGEST + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}. Mend that, or remove the file") from error
    if len(content) > LONGEST:
        raise ConfigError(f"{path}: longer than {LONGEST:,} bytes; that is no configuration")
    try:
        text = content.decode("utf-8-sig")  # some editors begin a file with a mark
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: not UTF-8. Save the file as UTF-8") from error
    try:
        return SettingsFile(path, text, tomllib.loads(text), stat.S_IMODE(mode))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(_syntax(path, text, str(error))) from error


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe with nobody at its other end must not hang


def _syntax(path: str, text: str, message: str) -> str:
    """The parser's message, with its place where editors look for it."""
    what, _, place = message.rpartition(" (at ")
    numbers = re.findall(r"\d+", place)
    if len(numbers) != 2:  # "at end of document"
        numbers = [str(text.count("\n") + 1), str(len(text) - text.rfind("\n"))]
    what = what or message
    return f"{path}:{numbers[0]}:{numbers[1]}: not valid TOML: {what[:1].lower()}{what[1:]}"


class SettingsFile:
    """A file that is valid TOML; what it says has still to be judged."""

    def __init__(self, path: str, text: str, content: dict[str, Any], mode: int) -> None:
        self.path = path
        self.text = text
        self.content = content
        self.mode = mode

    def place(self, key: Key) -> str:
        """`file:line` of the key, or of the nearest table around it that has a line of its own."""
        lines = key_lines(self.text)
        while key and key not in lines:
            key = key[:-1]
        return f"{self.path}:{lines.get(key, 1)}"

    def settings(self) -> Settings:
        """Raises `ConfigError`."""
        self._verify(self.content, Settings, ())
        settings = msgspec.convert(self.content, Settings)
        self._check_network(settings)
        self._check_hooks(settings)
        self._check_languages(settings)
        return settings

    def rules(self, lists: RuleLists, scope: Scope, answers: tuple[RuleAnswer, ...]) -> tuple[Rule, ...]:
        """Raises `ConfigError`."""
        found: list[Rule] = []
        for answer in answers:
            for index, text in enumerate(getattr(lists, answer)):
                try:
                    found.append(parse_rule(text, scope, answer))
                except InvalidRequest as error:
                    raise ConfigError(f"{self.place(('permissions', 'rules', answer, index))}: {error}") from error
        return tuple(found)

    def check_providers(self, settings: Settings, builtin: Collection[str]) -> None:
        """A provider that is not built in has to say where it is and what it speaks. Raises `ConfigError`."""
        for name, provider in settings.providers.items():
            lacking = [key for key in ("dialect", "base_url") if getattr(provider, key) is None]
            if lacking and name not in builtin:
                needed = " and ".join(f"`{key}`" for key in lacking)
                hint = nearest(name, builtin)
                raise ConfigError(
                    f"{self.place(('providers', name))}: the provider `{name}` is not built in, so it needs {needed}, too"
                    f"{hint and f'; {hint}'}"
                )

    def check_tools(self, settings: Settings, tools: Callable[[], Collection[str]]) -> None:
        """A tool that is misspelt would not be hidden. Raises `ConfigError`."""
        for index, name in enumerate(settings.tools.disabled):
            if name not in (known := tools()):
                hint = nearest(name, known) or f"the tools are {', '.join(known)}"
                raise ConfigError(f"{self.place(('tools', 'disabled', index))}: there is no tool `{name}`; {hint}")

    def check_servers(self, settings: Settings) -> None:
        """What cannot be started or asked, or whose tools could be taken for another's. Raises `ConfigError`."""
        for name, server in settings.mcp.items():
            at: Key = ("mcp", name)
            if not re.fullmatch(_SERVER_NAME, name):
                raise ConfigError(
                    f"{self.place(at)}: `{name}` cannot be the name of a server: its tools are called after it. Right are up to 32 letters,"
                    " digits, `-` and `_`, a letter or a digit at both ends"
                )
            for other in settings.mcp:
                if other != name and f"{other}_".casefold().startswith(f"{name}_".casefold()):
                    raise ConfigError(
                        f"{self.place(('mcp', other))}: rules for tools of `{name}` would be for tools of `{other}`, too."
                        f" Give it another name, such as `{other.replace('_', '-') if '_' in other else other + '-2'}`"
                    )
            kind = server.type or ("http" if server.url else "stdio")
            needed, other_one = ("command", "url") if kind == "stdio" else ("url", "command")
            if not getattr(server, needed).strip():
                raise ConfigError(f"{self.place(at)}: a server of type {kind} needs `{needed}`")
            if getattr(server, other_one):
                raise ConfigError(
                    f"{self.place((*at, other_one))}: a server of type {kind} has no `{other_one}`; give it one of the two"
                )
            # A variable may hold it.
            if server.url and not re.match(r"https?://|\$", server.url.strip(), re.IGNORECASE):
                raise ConfigError(
                    f"{self.place((*at, 'url'))}: the `url` of the server `{name}` is no address: begin it with http:// or https://"
                )

    def _check_network(self, settings: Settings) -> None:
        """What is to open an address has to be one, or a name. Raises `ConfigError`."""
        for index, entry in enumerate(settings.network.allow_private):
            try:
                ip_network(entry.removeprefix("[").removesuffix("]"), strict=False)
            except ValueError:
                if not re.fullmatch(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]*[A-Za-z_-][A-Za-z0-9_-]*)*\.?", entry):
                    raise ConfigError(
                        f"{self.place(('network', 'allow_private', index))}: `{entry}` is not the name of a host, an address"
                        ' or a network. Right are: "localhost", "192.168.1.10", "10.1.0.0/16"'
                    ) from None
        if settings.network.proxy is not None and not _is_proxy(settings.network.proxy):
            raise ConfigError(
                f"{self.place(('network', 'proxy'))}: that is not the address of a proxy. Right is:"
                ' "http://proxy.example.org:3128", with "user:password@" before the name if it wants them'
            )
        if settings.search.provider == "searxng" and settings.search.base_url is None:
            raise ConfigError(f"{self.place(('search', 'provider'))}: searxng needs `base_url`, too: where it is")

    def _check_hooks(self, settings: Settings) -> None:
        """One that would never be asked, or could not, is no guard. Raises `ConfigError`."""
        for event, hooks in settings.hooks.items():
            if event not in HOOK_EVENTS:
                hint = nearest(event, HOOK_EVENTS) or f"there are {', '.join(f'`{known}`' for known in HOOK_EVENTS)}"
                raise ConfigError(f"{self.place(('hooks', event))}: there is no event `{event}` for hooks; {hint}")
            for index, hook in enumerate(hooks):
                at = ("hooks", event, index)
                if not hook.command.strip():
                    raise ConfigError(f"{self.place(at)}: a hook needs `command`: what is to be run")
                if hook.matcher and event == "Stop":
                    raise ConfigError(f"{self.place((*at, 'matcher'))}: `Stop` is of no tool; leave `matcher` out")
                try:
                    re.compile("" if hook.matcher == "*" else hook.matcher)
                except re.error as error:
                    raise ConfigError(
                        f"{self.place((*at, 'matcher'))}: not a regular expression: {error}. Right is, for example:"
                        ' "edit|write", "mcp_.*", "*"'
                    ) from None

    def _check_languages(self, settings: Settings) -> None:
        """One that is not known has to say what it is. Raises `ConfigError`."""
        if not settings.lsp:
            return
        from quell.config.languages import CATALOGUE, completed

        for name, own in settings.lsp.items():
            whole = completed(name, own)
            lacking = [key for key in ("command", "filetypes") if not getattr(whole, key)]
            if lacking and not own.disabled:
                hint = nearest(name, CATALOGUE) or f"known are {', '.join(CATALOGUE)}"
                needed = " and ".join(f"`{key}`" for key in lacking)
                raise ConfigError(
                    f"{self.place(('lsp', name))}: the language server `{name}` is not known, so it needs {needed}; {hint}"
                )

    def idle_hooks(self, settings: Settings, tools: Callable[[], Collection[str]]) -> list[str]:
        """A remark on each that no tool fits: a guard that is never asked. Tools of servers are not known here."""
        return [
            f"{self.place(('hooks', event, index, 'matcher'))}: no tool fits `{hook.matcher}`, so that this hook is never asked;"
            f" the tools are {', '.join(tools())}"
            for event, hooks in settings.hooks.items()
            for index, hook in enumerate(hooks)
            if hook.matcher not in ("", "*")
            and "mcp" not in hook.matcher.lower()
            and not any(re.fullmatch(hook.matcher, tool, re.IGNORECASE) for tool in tools())
        ]

    def exposure(self, settings: Settings) -> list[str]:
        """A remark when others can read a key in it."""
        keys = (
            *(provider.api_key or provider.headers for provider in settings.providers.values()),
            *map(holds_key, settings.mcp.values()),
        )
        if not any(keys) and not settings.search.api_key and not any(passwords(settings.server.database or "")):
            return []
        if not self.mode & 0o077:
            return []
        return [
            f"{self.path}: others can read this file (mode {self.mode:03o}), and it holds a key: chmod 600 {self.path}"
        ]

    def _verify(self, table: dict[str, Any], section: type[Section], at: Key) -> None:
        """Each value against its type, so that an error names the whole key."""
        known = {field.encode_name: field for field in fields(section)}
        for name, value in table.items():
            if name not in known:
                raise ConfigError(f"{self.place((*at, name))}: {_unknown(name, list(known), at)}")
            self._verify_value(value, known[name].type, (*at, name))

    def _verify_value(self, value: object, annotation: Any, at: Key) -> None:
        kind = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
        if _is_section(kind):
            self._verify(self._table(value, kind, at), kind, at)
        elif get_origin(kind) is dict:
            for name, entry in self._table(value, kind, at).items():
                self._verify_value(entry, get_args(kind)[1], (*at, name))
        elif get_origin(kind) is tuple and isinstance(value, list):
            for index, entry in enumerate(value):
                self._verify_value(entry, get_args(kind)[0], (*at, index))
        elif get_origin(kind) is tuple and isinstance(value, dict) and _is_section(get_args(kind)[0]):
            header = f"[[{'.'.join(str(part) for part in at)}]]"
            raise ConfigError(f"{self.place(at)}: {_dotted(at)} has to be a list; found a table: write {header}")
        else:
            try:
                msgspec.convert(value, annotation)
            except msgspec.ValidationError as error:
                raise ConfigError(f"{self.place(at)}: {_mismatch(value, annotation, at, str(error))}") from error

    def _table(self, value: object, annotation: Any, at: Key) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise ConfigError(
                f"{self.place(at)}: {_dotted(at)} has to be a table; found {_shown(value)}{_example(annotation, at)}"
            )
        return value


def _example(kind: Any, at: Key) -> str:
    """How such a table is written."""
    if not _is_section(kind):
        return ""
    return f": write [{'.'.join(str(part) for part in at)}], and below it {', '.join(field.encode_name for field in fields(kind))}"


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Section)


def _is_proxy(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.port != 0 and re.fullmatch(r"[A-Za-z0-9._-]+|[0-9a-f:.]+", parts.hostname or "") is not None
    except ValueError:  # brackets, or the port
        return False


# What errors say

_TYPES = {
    "int": "a whole number",
    "float": "a number",
    "str": "a text in quotes",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
    "decimal": "a number",
}
_SHAPES = {"^http": " that begins with http:// or https://", "^postgres": " that begins with postgresql://"}
"""By how the pattern begins."""
_EXPECTED = re.compile(r"Expected `([^`]+)`(?: ([<>]=) (\S+?))?( matching regex .+?)?(?:, got .*)?", re.DOTALL)


def _dotted(key: Key) -> str:
    return f"`{'.'.join(str(part) for part in key)}`"


def _unknown(name: str, known: list[str], at: Key) -> str:
    place = f" in [{'.'.join(str(part) for part in at)}]" if at else ""
    hint = nearest(name, known) or f"there are {', '.join(f'`{key}`' for key in known)}"
    return f"unknown key `{name}`{place}; {hint}"


def nearest(name: str, known: Collection[str]) -> str:
    """What may have been meant, if anything."""
    import difflib

    near = difflib.get_close_matches(name, known, cutoff=0.5)
    near.sort(key=lambda key: sorted(key) != sorted(name))  # letters that changed places are the likeliest slip
    return f"did you mean `{near[0]}`?" if near else ""


def _mismatch(value: object, annotation: object, at: Key, message: str) -> str:
    """What msgspec's message means."""
    words = _words(annotation)
    match = _EXPECTED.fullmatch(message)
    if words and isinstance(value, str):
        expected = "one of " + ", ".join(f'"{word}"' for word in words)
    elif match is not None:
        names = (_TYPES.get(name, name) for name in match[1].split(" | ") if name != "null")
        bound = f", at {'least' if match[2] == '>=' else 'most'} {float(match[3]):,g}" if match[2] else ""
        shape = next((words for start, words in _SHAPES.items() if start in (match[4] or "")), "")
        expected = " or ".join(names) + bound + shape
    else:
        expected = message
    return f"{_dotted(at)} has to be {expected}; found {_shown(value)}"


def _words(annotation: object) -> tuple[str, ...]:
    """The words of a Literal, wherever in the annotation it is."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    return next((words for inner in get_args(annotation) if (words := _words(inner))), ())


def _shown(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str() if "://" in value and "@" in value:
            return "another address"  # there may be a password in it
        case str():
            return f'the text "{value}"' if len(value) <= 60 else "a long text"
        case int() | float():
            return str(value)
        case list():
            return "a list"
        case dict():
            return "a table"
        case _:
            return "a date or a time"
