"""The blocking client of the one-shot commands: HTTP/1.1 and server-sent events over a unix socket, with the standard library alone.

It exists because a command starts anew each time: everything that it imports is paid for on every call. So: no asyncio, no
`http.client` (it brings `email` and `ssl`), no msgspec, and nothing else of ours; a test looks at `sys.modules`.

    Connection   one socket: `request` as often as needed, then perhaps one `stream`
    follow       a session's events; goes on behind the last one when the connection or the server is lost
    Json         what the server sent, read by key and type
    quoted       a text as a value in a query

Rules: what the server refuses is `Refused`, with the code and text of its problem document; no server, or one that is lost, is
`Unreachable` (`Silent` when it is there and says nothing), and then the caller cannot know whether the request was carried out. How a server is found and started is the business of
the caller, who passes `connect`.
"""

from __future__ import annotations

import json
import socket
import sys
import time

TYPE_CHECKING = False  # type checkers read the name; importing it from typing costs 2 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ANSWER_SECONDS = 70.0
"""How long an answer may take: the server lets a request wait for 60 s at most."""
SILENCE_SECONDS = 45.0
"""An event stream that is silent for three heartbeats is lost."""
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0
CHUNK = 1 << 16
NO_CONTENT = 204


class Unreachable(Exception):
    """There is no server, or it went away before it had answered."""


class Silent(Unreachable):
    """It is there, and has not answered in time."""


class Refused(Exception):
    """The server's answer to a request that it did not carry out; `code` is one of core/errors.py."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail


class Json:
    """A JSON object. A key that is missing, or of another type, reads as that type's empty value: the server may be older or newer."""

    __slots__ = ("raw",)

    def __init__(self, raw: object) -> None:
        self.raw: dict[str, object] = raw if isinstance(raw, dict) else {}

    def __contains__(self, key: str) -> bool:
        return self.raw.get(key) is not None

    def text(self, key: str) -> str:
        value = self.raw.get(key)
        return (
            value if isinstance(value, str) else "" if value is None or isinstance(value, dict | list) else str(value)
        )

    def flag(self, key: str) -> bool:
        return self.raw.get(key) is True

    def number(self, key: str) -> int:
        value = self.raw.get(key)
        return int(value) if isinstance(value, int | float) else 0

    def inner(self, key: str) -> Json:
        return Json(self.raw.get(key))

    def items(self, key: str) -> list[Json]:
        value = self.raw.get(key)
        return [Json(item) for item in value] if isinstance(value, list) else []

    def texts(self, key: str) -> list[str]:
        value = self.raw.get(key)
        return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


class Event:
    """One server-sent event. `id` is the `seq` of a fact, None for what is not replayed."""

    __slots__ = ("body", "id", "kind")

    def __init__(self, kind: str, id: int | None, body: Json) -> None:
        self.kind = kind
        self.id = id
        self.body = body


class Connection:
    """One connection to the server at a unix socket. Raises `Unreachable` when nobody listens there."""

    def __init__(self, path: str, timeout: float = ANSWER_SECONDS) -> None:
        self.path = path
        self._received = bytearray()
        self._wait: Callable[[socket.socket], None] | None = None
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(timeout)
            self._socket.connect(path)
        except OSError as error:
            self._socket.close()
            raise Unreachable(f"cannot connect to {path}: {error.strerror or error}") from error

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def grant(self, seconds: float) -> None:
        """How long an answer may take from here on."""
        self._socket.settimeout(seconds)

    @property
    def peer(self) -> int | None:
        """The process that listens there; None where the system does not say."""
        if not hasattr(socket, "SO_PEERCRED"):
            return None
        return int.from_bytes(self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)[:4], sys.byteorder)

    def request(self, method: str, path: str, body: object = None) -> Json:
        """Ask and wait for the answer. Raises `Refused`, `Unreachable`."""
        return _parse(self.fetch(method, path, body))

    def fetch(self, method: str, path: str, body: object = None) -> bytes:
        """The answer's bytes as they are, for what is not JSON."""
        self._send(method, path, body)
        status, headers = self._head()
        content = b"" if status == NO_CONTENT else b"".join(self._chunks(headers))
        if status >= 400:
            raise _refusal(status, content)
        return content

    def stream(self, path: str, after: int, wait: Callable[[socket.socket], None] | None = None) -> Iterator[Event]:
        """The events behind `after`, until the server ends the stream or is lost. The connection is used up.

        `wait` is called before anything is waited for: it may do something else until there is something to be read.
        """
        self._send("GET", path, None, f"Accept: text/event-stream\r\nLast-Event-ID: {after}\r\n")
        status, headers = self._head()
        if status >= 400:
            raise _refusal(status, b"".join(self._chunks(headers)))
        self._socket.settimeout(SILENCE_SECONDS)
        self._wait = wait
        kind, id, lines = "message", None, list[str]()
        for line in _lines(self._chunks(headers)):
            if not line:
                if lines:
                    yield Event(kind, id, _parse("\n".join(lines)))
                kind, id, lines = "message", None, []
                continue
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            match field:
                case "event":
                    kind = value
                case "id" if value.isdecimal():
                    id = int(value)
                case "data":
                    lines.append(value)
                case _:
                    pass  # comments, which are heartbeats, and what is not ours

    def _send(self, method: str, path: str, body: object, more: str = "") -> None:
        content = b"" if body is None else json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        kind = "" if body is None else f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{kind}{more}\r\n"
        try:
            self._socket.sendall(head.encode("ascii") + content)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it may have answered, and hung up, without reading all of it: too large
        except OSError as error:
            raise Unreachable(f"the server does not take the request: {error.strerror or error}") from error

    def _head(self) -> tuple[int, dict[str, str]]:
        first = self._line()
        try:
            protocol, status = first.split(" ", 2)[:2]
            code = int(status)
        except ValueError:
            protocol, code = "", 0
        if not protocol.startswith("HTTP/"):
            raise Refused(0, "not_http", f"what listens there does not speak HTTP: it said {first[:60]!r}")
        headers: dict[str, str] = {}
        while line := self._line():
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        return code, headers

    def _chunks(self, headers: dict[str, str]) -> Iterator[bytes]:
        """The body's pieces as they arrive."""
        if headers.get("transfer-encoding", "").lower() == "chunked":
            while size := int(self._line().partition(";")[0] or "0", 16):
                yield self._exactly(size)
                self._line()
            self._line()
        elif "content-length" in headers:
            yield self._exactly(int(headers["content-length"]))
        else:
            while self._received or self._receive():
                yield bytes(self._received)
                self._received.clear()

    def _line(self) -> str:
        start = 0
        while (end := self._received.find(b"\r\n", start)) < 0:
            start = max(0, len(self._received) - 1)
            if not self._receive():
                raise Unreachable("the server closed the connection in the middle of an answer")
        line = self._received[:end].decode("latin-1")
        del self._received[: end + 2]
        return line

    def _exactly(self, size: int) -> bytes:
        while len(self._received) < size:
            if not self._receive():
                raise Unreachable("the server closed the connection in the middle of an answer")
        content = bytes(self._received[:size])
        del self._received[:size]
        return content

    def _receive(self) -> bool:
        if self._wait is not None:
            self._wait(self._socket)
        try:
            piece = self._socket.recv(CHUNK)
        except TimeoutError as error:
            raise Silent("the server has been silent for too long") from error
        except OSError as error:
            raise Unreachable(f"the connection to the server was lost: {error.strerror or error}") from error
        self._received += piece
        return bool(piece)


def follow(
    connect: Callable[[], Connection],
    session: str,
    after: int,
    patience: float = 30.0,
    wait: Callable[[socket.socket], None] | None = None,
) -> Iterator[Event]:
    """The events of a session behind `after`, without end, gap or repeat, across lost connections and restarted servers.

    `connect` gives a new connection, and may start a server for it. `Unreachable` is raised when that has failed for `patience`
    seconds; what the server refuses, at once. The caller stops by leaving the loop. `wait` as in `Connection.stream`. A session that has
    gone while nobody was connected was deleted, and the event says so.
    """
    pause, deadline = FIRST_PAUSE, time.monotonic() + patience
    while True:
        try:
            with connect() as connection:
                for event in connection.stream(f"/v1/sessions/{session}/events", after, wait):
                    pause, deadline = FIRST_PAUSE, time.monotonic() + patience
                    after = event.id or after
                    yield event
            raise Unreachable("the server ended the event stream")
        except Unreachable:
            if time.monotonic() > deadline:
                raise
        except Refused as refusal:
            if refusal.code == "session_not_found":
                yield Event("deleted", None, Json(None))
                return
            # 503: it is shutting down, the next one will answer.
            if refusal.status != 503 or time.monotonic() > deadline:
                raise
        time.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE)


def quoted(text: str) -> str:
    """As a value in a query. `urllib.parse` would do it, too, and costs several milliseconds to import."""
    return "".join(
        chr(byte) if byte < 128 and (chr(byte).isalnum() or chr(byte) in "/-._~") else f"%{byte:02X}"
        for byte in text.encode("utf-8", "replace")
    )


def _lines(pieces: Iterator[bytes]) -> Iterator[str]:
    """Whole lines, without their ends, of bytes that were cut anywhere."""
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield line.removesuffix(b"\r").decode("utf-8", "replace")


def _parse(content: bytes | str) -> Json:
    if not content:
        return Json(None)
    try:
        return Json(json.loads(content))
    except ValueError as error:
        raise Refused(0, "not_json", f"what listens there does not answer in JSON ({error})") from error


def _refusal(status: int, content: bytes) -> Refused:
    try:
        problem = Json(json.loads(content))
    except ValueError:
        problem = Json(None)
    detail = problem.text("detail") or problem.text("title") or content[:200].decode("utf-8", "replace").strip()
    return Refused(status, problem.text("code") or "internal", detail or f"the server answered with status {status}")
