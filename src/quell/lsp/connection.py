"""JSON-RPC as language servers speak it: frames with a length, requests that are answered, notifications that are not.

No task and no wait of its own: bytes are fed in as they come, answers are futures. Whoever stops waiting for one has the server told so. What
is no frame, or too large for one, ends the connection.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

LARGEST = 32 * 1024 * 1024
"""Bytes of one message."""

_LONGEST_HEADER = 4096
_NO_METHOD, _FAILED = -32601, -32803


class Broken(Exception):
    """The server has ended, or says what is no message."""


class Refusal(Struct, frozen=True):
    """A server's error."""

    code: int = 0
    message: str = ""


class Message(Struct, frozen=True):
    id: int | str | None = None
    method: str | None = None
    params: Raw | UnsetType = UNSET
    result: Raw | UnsetType = UNSET
    error: Refusal | None = None


_messages = msgspec.json.Decoder(Message)


class Connection:
    """`send` takes bytes and never waits. `notified` gets the server's notifications, `asked` answers its requests or raises `KeyError`."""

    def __init__(
        self,
        send: Callable[[bytes], None],
        notified: Callable[[str, Raw], None],
        asked: Callable[[str, Raw], object],
    ) -> None:
        self._send = send
        self._notified = notified
        self._asked = asked
        self._numbers = itertools.count(1)
        self._waiting: dict[int | str, asyncio.Future[Raw]] = {}
        self._received = bytearray()
        self._broken: str | None = None

    def notify(self, method: str, params: object) -> None:
        self._write({"method": method, "params": params})

    def request(self, method: str, params: object) -> asyncio.Future[Raw]:
        """Its answer, or `Broken`. Cancelling it tells the server."""
        number = next(self._numbers)
        answer: asyncio.Future[Raw] = asyncio.get_running_loop().create_future()
        if self._broken is not None:
            answer.set_exception(Broken(self._broken))
            return answer
        self._waiting[number] = answer
        answer.add_done_callback(lambda done: self._given_up(number) if done.cancelled() else None)
        self._write({"id": number, "method": method, "params": params})
        return answer

    def feed(self, chunk: bytes) -> None:
        if self._broken is not None:
            return
        self._received += chunk
        while (content := self._frame()) is not None:
            self._take(content)

    def fail(self, why: str) -> None:
        """Nothing more will come."""
        self._broken = self._broken or why
        self._received.clear()
        for answer in [*self._waiting.values()]:
            if not answer.done():
                answer.set_exception(Broken(self._broken))
                answer.exception()  # looked at: perhaps nobody waits any more
        self._waiting.clear()

    @property
    def broken(self) -> str | None:
        return self._broken

    def _frame(self) -> bytes | None:
        head, separator, _ = self._received[: _LONGEST_HEADER + 4].partition(b"\r\n\r\n")
        if not separator:
            if len(self._received) > _LONGEST_HEADER:
                self.fail("it says what is no message of the protocol")
            return None
        length = next(
            (line.partition(b":")[2] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")),
            b"",
        ).strip()
        if not length.isdigit() or int(length) > LARGEST:
            self.fail("it says what is no message of the protocol, or one that is too long")
            return None
        start, end = len(head) + 4, len(head) + 4 + int(length)
        if len(self._received) < end:
            return None
        content = bytes(self._received[start:end])
        del self._received[:end]
        return content

    def _take(self, content: bytes) -> None:
        try:
            message = _messages.decode(content)
        except msgspec.DecodeError:
            self.fail("it says what is no message of the protocol")
            return
        params = message.params if isinstance(message.params, Raw) else Raw(b"null")
        if message.method is not None and message.id is None:
            self._notified(message.method, params)
        elif message.method is not None:
            self._answer(message.id, message.method, params)
        elif message.id is not None and (waiting := self._waiting.pop(message.id, None)) and not waiting.done():
            if message.error is not None:
                waiting.set_exception(Broken(message.error.message or f"error {message.error.code}"))
            else:
                waiting.set_result(message.result if isinstance(message.result, Raw) else Raw(b"null"))

    def _answer(self, id: int | str | None, method: str, params: Raw) -> None:
        try:
            self._write({"id": id, "result": self._asked(method, params)})
        except KeyError:
            self._write({"id": id, "error": {"code": _NO_METHOD, "message": f"{method} is not answered"}})
        except (msgspec.DecodeError, ValueError) as error:
            self._write({"id": id, "error": {"code": _FAILED, "message": str(error)}})

    def _given_up(self, number: int) -> None:
        if self._waiting.pop(number, None) is not None:
            self.notify("$/cancelRequest", {"id": number})

    def _write(self, message: dict[str, Any]) -> None:
        if self._broken is None:
            body = msgspec.json.encode({"jsonrpc": "2.0", **message})
            self._send(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
