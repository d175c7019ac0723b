"""What tools need of language servers: the port `Languages`, and its values.

Lines and columns count from 1, columns in code points as far as the text of the line is known. Every wait is bounded, whatever a server does;
a cancellation is raised at once, and leaves a server as it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

from msgspec import Struct

Severity = Literal["error", "warning", "information", "hint"]

Relation = Literal["definition", "references"]
"""Where a name is defined; where it is used, its definition included."""


class Diagnostic(Struct, frozen=True):
    """What a server finds wrong, at a place."""

    line: int
    column: int
    severity: Severity
    message: str
    source: str = ""
    code: str = ""


class Findings(Struct, frozen=True):
    """What one server says of one file. `problem`: why it has not said anything, or not of this content. `silent`: it works, and has not
    spoken; some never do while nothing is wrong."""

    server: str
    path: str
    diagnostics: tuple[Diagnostic, ...] = ()
    problem: str = ""
    silent: bool = False


class Spot(Struct, frozen=True):
    path: str
    line: int
    column: int


class Symbol(Struct, frozen=True):
    """One entry of a file's outline; `depth` says how far it is nested."""

    name: str
    kind: str
    line: int
    end: int
    depth: int = 0


class LanguageServerState(Struct, frozen=True):
    """One server that is running, or was to."""

    name: str
    folder: str
    state: Literal["starting", "ready", "ended"]
    problem: str = ""


class Unanswered(Exception):
    """The server of the file did not answer: why, for the model. `nobody`: there is none for it, or none that can do what is asked."""

    nobody = False


class Nobody(Unanswered):
    nobody = True


class Languages(Protocol):
    """The language servers of all workspaces. One is started when a file that it is for is touched; `environment` is of who touches it."""

    def offered(self, root: str) -> bool:
        """Whether there is any for this workspace."""

    def touched(self, root: str, path: str, environment: Mapping[str, str]) -> None:
        """Start what is for the file, to be ready when it is needed. Never waits."""

    async def changed(self, root: str, path: str, text: str, environment: Mapping[str, str]) -> Sequence[Findings]:
        """Tell the servers of a file what is in it now, and wait a short while for what they say. Never fails."""

    def known(self, root: str) -> Sequence[Findings]:
        """What was last said of every file of the workspace, where anything was."""

    def states(self, root: str) -> Sequence[LanguageServerState]:
        """How those stand that are for this workspace now, as far as they were needed."""

    async def places(
        self, relation: Relation, root: str, path: str, text: str, at: tuple[int, int], environment: Mapping[str, str]
    ) -> Sequence[Spot]:
        """Of what stands at a line and column. Raises `Unanswered`."""

    async def symbols(self, root: str, path: str, text: str, environment: Mapping[str, str]) -> Sequence[Symbol]:
        """The outline of a file. Raises `Unanswered`."""

    def restart(self, root: str, name: str = "") -> Sequence[str]:
        """End one, or all; they start again when they are needed. The names of those that ran."""
