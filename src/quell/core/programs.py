"""The ports for programs that the user has configured and that are talked to: hooks and language servers. Not for what a model asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from quell.core.ports import Process


class Program(Process, Protocol):
    """One that was started. It ends as a command does: its whole tree, also with the server."""

    @property
    def backlog(self) -> int:
        """Bytes that it has not taken yet."""

    def send(self, content: bytes) -> None:
        """To its standard input, if it was started without one. Never waits; nothing happens when it has ended."""

    def close_input(self) -> None:
        """It gets nothing more."""


class Programs(Protocol):
    """Where they are started: on this machine, in no sandbox."""

    def start(
        self,
        command: Sequence[str],
        *,
        directory: str,
        environment: Mapping[str, str],
        output: Callable[[bytes], None],
        errors: Callable[[bytes], None],
        input: bytes | None = None,
    ) -> Program:
        """Its standard output goes to `output` as it comes, the other to `errors`. `input` is all of its standard input; None: what is
        sent. Raises `OSError`, here or at its end, when it cannot be started.
        """
