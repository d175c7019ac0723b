"""What is known of a server before it is asked: how it is reached, and which of its tools are wanted."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct


class ServerOptions(Struct, frozen=True, kw_only=True):
    """Variables are filled in. `problem`: why it cannot even be tried. `written` is what the settings say, without the values of variables.
    Two that are equal are one server."""

    name: str
    type: Literal["stdio", "http", "sse"] = "stdio"
    command: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    url: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    timeout: float = 120.0
    start_timeout: float = 30.0
    disabled: bool = False
    enabled_tools: tuple[str, ...] = ()
    disabled_tools: tuple[str, ...] = ()
    problem: str = ""
    written: str = ""
