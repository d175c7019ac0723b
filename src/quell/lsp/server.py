"""One language server: its process, what it was told of files, and what it has said.

It begins to start when it is made, and is talked to by callbacks: nobody has to be there while it takes its time. What it is to be told
meanwhile waits. Every wait here has an end, whatever the server does: one that hangs costs the first who waits a few seconds, and those after
it nothing.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec
from msgspec import Raw, Struct

from quell.core.languages import Diagnostic, Findings, LanguageServerState, Unanswered
from quell.core.programs import Program, Programs
from quell.lsp import values
from quell.lsp.connection import Broken, Connection

FIRST_SIGN = 1.0
QUIET = 0.3
PATIENCE = 5.0
"""Seconds that an edit waits: for the first sign of the server, for it to say nothing more, and in all."""

ANSWER_WITHIN = 10.0
"""Seconds for an answer to a request."""

_OPEN = 100
_FILES = 2_000
_BACKLOG = 64 * 1024 * 1024
_LAST_WORDS = 2_000

_LANGUAGES = {
    "py": "python", "pyi": "python", "rs": "rust", "ts": "typescript", "tsx": "typescriptreact", "mts": "typescript", "cts": "typescript",
    "js": "javascript", "mjs": "javascript", "cjs": "javascript", "jsx": "javascriptreact", "h": "c", "cc": "cpp", "cxx": "cpp", "hpp": "cpp",
    "sh": "shellscript", "bash": "shellscript", "rb": "ruby", "cs": "csharp", "kt": "kotlin", "ex": "elixir", "exs": "elixir", "hs": "haskell",
    "yml": "yaml", "md": "markdown", "mod": "go.mod", "tf": "terraform", "ml": "ocaml",
}  # fmt: skip
"""What the protocol calls a language whose files do not end in its name."""

_CAPABILITIES: dict[str, Any] = {
    "general": {"positionEncodings": ["utf-32", "utf-16"]},
    "textDocument": {
        "synchronization": {"didSave": True},
        "publishDiagnostics": {"versionSupport": True},
        "definition": {"linkSupport": True},
        "references": {},
        "documentSymbol": {"hierarchicalDocumentSymbolSupport": True},
    },
    "workspace": {"configuration": True, "workspaceFolders": True},
    "window": {"workDoneProgress": True},
}


class Server(Struct, frozen=True, kw_only=True):
    """How one is started, and for what. `filetypes` are the ends of files' names, without the dot; `timeout` is for its start."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = {}
    filetypes: tuple[str, ...] = ()
    root_markers: tuple[str, ...] = ()
    init_options: Mapping[str, Any] = {}
    timeout: float = 30.0


class LanguageServer:
    """Running, from when it is made until it ends or `end` is called. `used` is when it was last needed."""

    def __init__(self, server: Server, folder: str, programs: Programs, environment: Mapping[str, str]) -> None:
        self.server = server
        self.folder = folder
        self.used = 0.0
        self.said: dict[str, tuple[Diagnostic, ...]] = {}
        self._versions: dict[str, int] = {}
        self._signs: set[tuple[str, asyncio.Event]] = set()
        self._ready = asyncio.Event()
        self._until: float | None = None
        self._offers = values.Offers()
        self._errors = bytearray()
        loop = asyncio.get_running_loop()
        self._connection = Connection(self._send, self._notified, self._asked)
        try:
            self._program: Program | None = programs.start(
                server.command,
                directory=folder,
                environment={**environment, **server.environment},
                output=self._take_output,
                errors=self._take_errors,
            )
        except OSError as error:
            self._program = None
            self._fail(f"it could not be started: {error.strerror or error}")
            return
        self._program.when_ended(self._ended)
        loop.call_later(server.timeout, self._late)
        self._connection.request("initialize", self._introduction()).add_done_callback(self._initialized)

    # Its life

    @property
    def problem(self) -> str:
        """Why it can do nothing any more; empty while it can, or may soon."""
        return self._connection.broken or ""

    def state(self) -> LanguageServerState:
        state = "ended" if self.problem else "ready" if self._ready.is_set() else "starting"
        return LanguageServerState(self.server.name, self.folder, state, self.problem)  # type: ignore[arg-type]  # literals

    def end(self, why: str = "it was ended") -> None:
        """Told to, and stopped with its whole tree. Waits for nothing."""
        program = self._program
        if program is not None and not self.problem:
            self._connection.request("shutdown", None).cancel()
            self._connection.notify("exit", None)
        self._fail(why)
        if program is not None:
            program.close_input()
            program.begin_stop("cancelled")

    def when_gone(self, callback: Callable[[], None]) -> None:
        if self._program is not None:
            self._program.when_ended(callback)
        else:
            asyncio.get_running_loop().call_soon(callback)

    async def gone(self) -> None:
        """Wait until nothing of it is left: a few seconds at most, once it was ended."""
        with suppress(OSError):
            if self._program is not None:
                await self._program.wait()

    def _introduction(self) -> dict[str, Any]:
        uri = values.uri_of(self.folder)
        return {
            "processId": None,  # the supervisor sees to its end
            "clientInfo": {"name": "quell"},
            "rootUri": uri,
            "rootPath": self.folder,
            "workspaceFolders": [{"uri": uri, "name": os.path.basename(self.folder)}],
            "initializationOptions": dict(self.server.init_options) or None,
            "capabilities": _CAPABILITIES,
        }

    def _initialized(self, answer: asyncio.Future[Raw]) -> None:
        if self.problem or answer.cancelled():
            return
        try:
            self._offers.begun(answer.result())
        except (Broken, msgspec.DecodeError) as error:
            self.end(f"it did not start: {error}")
            return
        self._connection.notify("initialized", {})
        self._ready.set()
        self._tell_all()

    def _late(self) -> None:
        if not self._ready.is_set() and not self.problem:
            self.end(f"it did not start within {self.server.timeout:g} s")

    def _ended(self) -> None:
        last = self._errors.decode(errors="replace").strip().rpartition("\n")[2][:200]
        try:
            assert self._program is None or self._program.end is not None, "told of an end that was none"
        except OSError as error:
            self._fail(f"it could not be started: {error.strerror or error}")
        else:
            self._fail(f"it has ended{last and f': {last}'}")

    def _fail(self, why: str) -> None:
        self._connection.fail(why)
        self._ready.set()
        self._tell_all()
        self.said.clear()

    def _tell_all(self) -> None:
        for _, sign in self._signs:
            sign.set()

    # What it says

    def _take_output(self, chunk: bytes) -> None:
        self._connection.feed(chunk)
        if self.problem:
            self.end(self.problem)

    def _take_errors(self, chunk: bytes) -> None:
        self._errors = (self._errors + chunk)[-_LAST_WORDS:]

    def _notified(self, method: str, params: Raw) -> None:
        if method != "textDocument/publishDiagnostics":
            return
        try:
            found = values.published.decode(params)
        except msgspec.DecodeError:
            return
        path = values.path_of(found.uri)
        self.said.pop(path, None)
        self.said[path] = values.diagnostics(found.diagnostics)
        if len(self.said) > _FILES:
            del self.said[next(iter(self.said))]
        if found.version is None or found.version >= self._versions.get(path, 0):
            for of, sign in self._signs:
                if of == path:
                    sign.set()

    def _asked(self, method: str, params: Raw) -> object:
        """What servers ask for in order to go on. Raises `KeyError`."""
        match method:
            case "workspace/configuration":
                return [None for _ in msgspec.json.decode(params).get("items", ())]
            case "workspace/workspaceFolders":
                return self._introduction()["workspaceFolders"]
            case "workspace/applyEdit":
                return {"applied": False, "failureReason": "files are edited by tools"}
            case "client/registerCapability" | "client/unregisterCapability":
                self._offers.changed(params)
                return None
            case (
                "window/workDoneProgress/create"
                | "window/showMessageRequest"
                | "workspace/diagnostic/refresh"
                | "workspace/semanticTokens/refresh"
                | "workspace/inlayHint/refresh"
                | "workspace/codeLens/refresh"
            ):
                return None
            case _:
                raise KeyError(method)

    # What it is told, and asked

    def _send(self, content: bytes) -> None:
        program = self._program
        if program is not None:
            program.send(content)
            if program.backlog > _BACKLOG:
                self.end("it does not read what it is told")

    def _tell(self, path: str, text: str) -> None:
        """What is in a file now."""
        uri, version = values.uri_of(path), self._versions.pop(path, 0) + 1
        self._versions[path] = version
        if version == 1:
            end = os.path.splitext(path)[1].removeprefix(".").lower()
            document = {"uri": uri, "languageId": _LANGUAGES.get(end, end), "version": version, "text": text}
            self._connection.notify("textDocument/didOpen", {"textDocument": document})
        else:
            document = {"uri": uri, "version": version}
            changes = {"textDocument": document, "contentChanges": [{"text": text}]}
            self._connection.notify("textDocument/didChange", changes)
        self._connection.notify("textDocument/didSave", {"textDocument": {"uri": uri}})
        if len(self._versions) > _OPEN:
            oldest = next(iter(self._versions))
            del self._versions[oldest]
            self._connection.notify("textDocument/didClose", {"textDocument": {"uri": values.uri_of(oldest)}})

    async def changed(self, path: str, text: str) -> Findings:
        """Tell it, and wait for what it says of this content."""
        end = asyncio.get_running_loop().time() + PATIENCE
        if not await self._is_ready(PATIENCE):
            return Findings(self.server.name, path, problem=self.problem or "it is still starting")
        sign = asyncio.Event()
        self._signs.add((path, sign))
        try:
            self._tell(path, text)
            if not await _set_within(sign, FIRST_SIGN):
                silence = f"it has not said anything within {FIRST_SIGN:g} s"
                return Findings(self.server.name, path, problem=self.problem or silence, silent=not self.problem)
            while (left := end - asyncio.get_running_loop().time()) > 0:
                sign.clear()
                if self.problem or not await _set_within(sign, min(QUIET, left)):
                    break
        finally:
            self._signs.discard((path, sign))
        return Findings(self.server.name, path, self.said.get(path, ()), self.problem)

    async def can(self, method: str) -> bool:
        """Whether it answers such requests, as it says once it has begun. Raises `Unanswered`."""
        if not await self._is_ready(ANSWER_WITHIN):
            raise Unanswered(f"{self.server.name} cannot answer: {self.problem or 'it is still starting'}.")
        return self._offers.has(method)

    async def ask(self, method: str, path: str, text: str, more: Mapping[str, Any]) -> Raw:
        """Of one that can. Raises `Unanswered`."""
        self._tell(path, text)
        request = {"textDocument": {"uri": values.uri_of(path)}, **more}
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                return await self._connection.request(method, request)
        except TimeoutError:
            raise Unanswered(f"{self.server.name} has not answered within {ANSWER_WITHIN:g} s.") from None
        except Broken as error:
            raise Unanswered(f"{self.server.name} cannot answer: {error}.") from None

    def at(self, text: str, place: tuple[int, int]) -> dict[str, Any]:
        """As it counts, which it says once it has begun."""
        line, column = place
        encoding = self._offers.position_encoding
        return {"position": {"line": line - 1, "character": values.character(text, line, column, encoding)}}

    async def _is_ready(self, patience: float) -> bool:
        """One that hangs while it starts is waited for once, by all who come meanwhile, and after that only looked at."""
        if not self._ready.is_set():
            now = asyncio.get_running_loop().time()
            self._until = self._until or now + patience
            await _set_within(self._ready, max(0.0, self._until - now))
        return self._ready.is_set() and not self.problem


async def _set_within(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True


def last_used(servers: Sequence[LanguageServer]) -> LanguageServer:
    """The one that was not needed for the longest time."""
    return min(servers, key=lambda server: server.used)
