"""Who may ask over TCP: a bearer token always, and no request that a web page of somebody else could have caused.

Rules: a unix socket needs none of this, its folder keeps others out. The token is compared in constant time, and before the body is
read. A `Host` has to be `localhost`, an address, or a name that was configured: a foreign name that was made to point here (DNS
rebinding) is none of them. An `Origin`, which only browsers send, has to be the very host that is asked.
"""

from __future__ import annotations

import hmac
import os
import secrets
import socket
import stat
from collections.abc import Iterable
from http import HTTPStatus
from urllib.parse import urlsplit

from quell.core.errors import StorageRefused
from quell.server.asgi import App, Receive, Scope, Send, header, send_problem
from quell.server.errors import HttpRefused, problem

TOKEN_BYTES = 32


class Guard:
    """Lets through to `app` what may pass. `names` are host names to answer to besides `localhost`."""

    def __init__(self, app: App, token: str, names: Iterable[str] = ()) -> None:
        self._app = app
        self._expected = b"Bearer " + token.encode()
        self._names = frozenset({"localhost", *(name.lower() for name in names)})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._check(scope)
        except HttpRefused as refused:
            await send_problem(send, problem(refused, "guard"), refused.headers)
        else:
            await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        host = header(scope, b"host") or ""
        name = _host_name(host)
        if name not in self._names and not _is_address(name):
            raise HttpRefused(
                HTTPStatus.FORBIDDEN,
                "forbidden_host",
                f"This server does not answer to the host name {name or 'that was left out'}. Use localhost or its address, "
                "or configure the name.",
            )
        origin = header(scope, b"origin") or ""
        if origin and urlsplit(origin).netloc.lower() != host.lower():
            raise HttpRefused(HTTPStatus.FORBIDDEN, "forbidden_origin", "Pages of other sites may not use this server.")
        if not hmac.compare_digest((header(scope, b"authorization") or "").encode(), self._expected):
            raise HttpRefused(
                HTTPStatus.UNAUTHORIZED,
                "unauthorized",
                "The token is missing or wrong: send `Authorization: Bearer …` with the token of this server.",
                (("www-authenticate", "Bearer"),),
            )


def _host_name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, name)
        except OSError:
            continue
        return True
    return False


def load_token(path: str) -> str:
    """The token in the file, made at first use; readable by us alone. Raises `StorageRefused`."""
    try:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            return _read_token(path)
        with open(descriptor, "w", encoding="ascii") as file:
            token = secrets.token_urlsafe(TOKEN_BYTES)
            file.write(token + "\n")
        return token
    except OSError as error:
        raise StorageRefused(
            f"Cannot use the token file {path}: {error.strerror}. Make it readable, or remove it."
        ) from error


def _read_token(path: str) -> str:
    with open(path, encoding="ascii", errors="replace") as file:
        found = os.fstat(file.fileno())
        token = file.read(1024).strip()
    if found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise StorageRefused(f"Others may have read the token file {path}. Remove it, and a new token is made.")
    if len(token) < TOKEN_BYTES:
        raise StorageRefused(f"The token file {path} holds no token. Remove it, and a new one is made.")
    return token
