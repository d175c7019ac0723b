"""What is read of a language server's messages, and nothing else of the protocol; and how it becomes ours.

A server may say more, and may leave out whatever has a default.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import quote, unquote, urlsplit

import msgspec
from msgspec import Raw, Struct

from quell.core.languages import Diagnostic, Severity, Spot, Symbol

MOST_DIAGNOSTICS = 200
"""Of one file that are kept."""

_SEVERITIES: dict[int, Severity] = {1: "error", 2: "warning", 3: "information", 4: "hint"}
_KINDS = [
    "file",
    "module",
    "namespace",
    "package",
    "class",
    "method",
    "property",
    "field",
    "constructor",
    "enum",
    "interface",
    "function",
    "variable",
    "constant",
    "string",
    "number",
    "boolean",
    "array",
    "object",
    "key",
    "null",
    "member",
    "struct",
    "event",
    "operator",
    "parameter",
]


class Position(Struct, frozen=True):
    line: int
    character: int


class Range(Struct, frozen=True):
    start: Position
    end: Position


class Found(Struct, frozen=True):
    range: Range
    message: str
    severity: int | None = None
    source: str | None = None
    code: int | str | None = None


class Published(Struct, frozen=True):
    uri: str
    diagnostics: list[Found]
    version: int | None = None


class Location(Struct, frozen=True, rename="camel"):
    """`Location`, or `LocationLink`."""

    uri: str = ""
    range: Range | None = None
    target_uri: str = ""
    target_selection_range: Range | None = None


class Outlined(Struct, frozen=True, rename="camel"):
    """`DocumentSymbol`, or `SymbolInformation`."""

    name: str
    kind: int
    range: Range | None = None
    location: Location | None = None
    children: list[Outlined] | None = None


class Capabilities(Struct, frozen=True, rename="camel"):
    position_encoding: str = "utf-16"
    definition_provider: object = None
    references_provider: object = None
    document_symbol_provider: object = None


class Initialized(Struct, frozen=True):
    capabilities: Capabilities = Capabilities()


class Registration(Struct, frozen=True):
    id: str
    method: str


class Registrations(Struct, frozen=True):
    """What a server takes back as well: there the protocol has had the word misspelt from the beginning."""

    registrations: list[Registration] = []
    unregisterations: list[Registration] = []


published = msgspec.json.Decoder(Published)
_initialized = msgspec.json.Decoder(Initialized)
_registrations = msgspec.json.Decoder(Registrations)
_locations = msgspec.json.Decoder(list[Location] | Location | None)
_outline = msgspec.json.Decoder(list[Outlined] | None)


class Offers:
    """What a server can do: as it says when it has begun, and perhaps later. What cannot be understood raises `msgspec.DecodeError`."""

    def __init__(self) -> None:
        self._capabilities = Capabilities()
        self._registered: dict[str, str] = {}

    @property
    def position_encoding(self) -> str:
        return self._capabilities.position_encoding

    def begun(self, answer: Raw) -> None:
        self._capabilities = _initialized.decode(answer).capabilities

    def changed(self, params: Raw) -> None:
        said = _registrations.decode(params)
        self._registered |= {each.id: each.method for each in said.registrations}
        for each in said.unregisterations:
            self._registered.pop(each.id, None)

    def has(self, method: str) -> bool:
        """A provider is true, or says how it works, perhaps with an empty object."""
        said = self._capabilities
        providers = {
            "textDocument/definition": said.definition_provider,
            "textDocument/references": said.references_provider,
            "textDocument/documentSymbol": said.document_symbol_provider,
        }
        return providers[method] not in (None, False) or method in self._registered.values()


def uri_of(path: str) -> str:
    return f"file://{quote(path)}"


def path_of(uri: str) -> str:
    parts = urlsplit(uri)
    return unquote(parts.path) if parts.scheme == "file" else uri


def diagnostics(found: Sequence[Found]) -> tuple[Diagnostic, ...]:
    kept = sorted(found, key=lambda each: each.severity or 1)[:MOST_DIAGNOSTICS]  # what is not told is an error
    return tuple(
        Diagnostic(
            line=each.range.start.line + 1,
            column=each.range.start.character + 1,
            severity=_SEVERITIES.get(each.severity or 1, "hint"),
            message=" ".join(each.message.split()),
            source=each.source or "",
            code="" if each.code is None else str(each.code),
        )
        for each in kept
    )


def spots(answer: Raw) -> Sequence[Spot]:
    found = _locations.decode(answer)
    return [*_spots([found] if isinstance(found, Location) else found or [])]


def _spots(locations: Iterable[Location]) -> Iterator[Spot]:
    for each in locations:
        where = each.range or each.target_selection_range
        uri = each.uri or each.target_uri
        if uri and where is not None:
            yield Spot(path_of(uri), where.start.line + 1, where.start.character + 1)


def symbols(answer: Raw) -> Sequence[Symbol]:
    return [*_symbols(_outline.decode(answer) or [], 0)]


def _symbols(outline: Iterable[Outlined], depth: int) -> Iterator[Symbol]:
    for each in outline:
        where = each.range or (each.location.range if each.location is not None else None)
        if where is not None:
            kind = _KINDS[each.kind - 1] if 0 < each.kind <= len(_KINDS) else "symbol"
            yield Symbol(each.name, kind, where.start.line + 1, where.end.line + 1, depth)
        yield from _symbols(each.children or [], depth + 1)


def character(text: str, line: int, column: int, encoding: str) -> int:
    """A column in code points, from 1, as the server counts."""
    lines = text.split("\n")
    before = lines[line - 1][: column - 1] if 0 < line <= len(lines) else ""
    match encoding:
        case "utf-8":
            return len(before.encode())
        case "utf-32":
            return len(before)
        case _:
            return len(before.encode("utf-16-le")) // 2
