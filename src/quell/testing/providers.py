"""Model providers on loopback: servers that speak the real protocols, and misbehave as real ones do.

`async with provider("openai") as server:` listens on a port of 127.0.0.1 and answers each request with the next of
`server.answers` (the last one again and again). It shows what was asked (`server.requests`) and when clients closed
their connections (`server.closings`). A request that the protocol does not allow is refused with a 400. Tests and benchmarks of ours use it; so may those of others.

Rules: bytes are written by hand on a raw protocol, so that a stream can be cut, garbled or split anywhere, and so that
the end of a connection is seen the moment that it happens.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Literal, assert_never, cast

import msgspec
from msgspec import Struct

from quell.core.messages import Part, Reasoning, StopReason, Text, ToolCall, Usage
from quell.testing.protocols import complaint

Dialect = Literal["openai", "anthropic"]

Fault = Literal[
    "silence",  # nothing more is sent, the connection stays open
    "truncate",  # the body ends in order, the protocol does not
    "half_close",  # the server stops sending in the middle of the body
    "reset",  # the connection is reset
    "garble",  # an event that is not of the protocol: `garbage`
    "error",  # an event that reports an error: `error`
]


class Stream(Struct, frozen=True, kw_only=True):
    """An answer that streams `parts`, in pieces of `chunk` code points (None: whole), `interval` seconds apart.

    After `after` events the `fault` happens, if there is one. `split` cuts what is sent into writes of so many bytes,
    wherever that falls. `hold` is how long the first byte takes.
    """

    parts: tuple[Part, ...] = (Text("Hello."),)
    chunk: int | None = None
    interval: float = 0.0
    hold: float = 0.0
    usage: Usage | None = Usage(input=10, output=5)
    stop_reason: StopReason | None = None
    fault: Fault | None = None
    after: int = 0
    split: int | None = None
    error: dict[str, Any] = {}
    garbage: str = '{"oops": '


class Refusal(Struct, frozen=True, kw_only=True):
    """An answer with a status, headers of its own, and a body: an error object, or any text."""

    status: int
    body: dict[str, Any] | str = ""
    headers: dict[str, str] = {}


class Mute(Struct, frozen=True):
    """No answer at all: the connection stays open without a byte."""


class HangUp(Struct, frozen=True):
    """No answer: the connection is closed when the request has been read."""


Answer = Stream | Refusal | Mute | HangUp


class Asked(Struct, frozen=True):
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any
    connection: int


class Provider:
    """What a test sees of a running server."""

    def __init__(self, dialect: Dialect, port: int, answers: list[Answer]) -> None:
        self.dialect: Dialect = dialect
        self.port = port
        self.answers = answers
        self.requests: list[Asked] = []
        self.arrivals: asyncio.Queue[Asked] = asyncio.Queue()
        self.sent: asyncio.Queue[float] = asyncio.Queue()
        """The moment of each event of a stream, by `time.perf_counter`."""
        self.closings: asyncio.Queue[float] = asyncio.Queue()
        """The moment of each connection that a client closed while it was being answered."""
        self.deserted = asyncio.Event()
        """Set while no client is connected."""

    @property
    def base_url(self) -> str:
        """What a client is given: with the version for one dialect, without for the other, as their makers have it."""
        return f"http://127.0.0.1:{self.port}" + ("/v1" if self.dialect == "openai" else "")

    def next_answer(self, asked: Asked) -> Answer:
        self.requests.append(asked)
        self.arrivals.put_nowait(asked)
        wrong = complaint(self.dialect, asked.body)
        if wrong is not None:
            return Refusal(
                status=400, body={"type": "error", "error": {"type": "invalid_request_error", "message": wrong}}
            )
        return self.answers[min(len(self.requests), len(self.answers)) - 1]


@asynccontextmanager
async def provider(dialect: Dialect, *answers: Answer) -> AsyncIterator[Provider]:
    """Serve on a free port of the loopback interface until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        shown = Provider(dialect, listener.getsockname()[1], list(answers) or [Stream()])
        connections: set[_Connection] = set()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Connection(shown, connections), sock=listener)
        try:
            yield shown
        finally:
            server.close()
            for connection in tuple(connections):
                connection.abort()
            await server.wait_closed()


_Moments = Iterator[float | None]
"""An answer as it is given: each item is when, by the loop's clock, to go on; None for never."""


class _Connection(asyncio.Protocol):
    """One client: requests are read as a whole and answered one after the other. Timers, no tasks: nothing to await."""

    def __init__(self, shown: Provider, connections: set[_Connection]) -> None:
        self._shown = shown
        self._connections = connections
        self._received = bytearray()
        self._answer: _Moments | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._ours = False
        self._clock = asyncio.get_running_loop().time
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own class is not derived from it
        self._connections.add(self)
        self._shown.deserted.clear()

    def data_received(self, data: bytes) -> None:
        self._received += data
        asked = self._take_request()
        if asked is not None:
            self._answer = self._give(self._shown.next_answer(asked), asked)
            self._advance()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        if not self._connections:
            self._shown.deserted.set()
        if self._timer is not None:
            self._timer.cancel()
        if self._answer is not None and not self._ours:
            self._shown.closings.put_nowait(time.perf_counter())

    def abort(self) -> None:
        self._ours = True
        self._transport.abort()

    def _take_request(self) -> Asked | None:
        head, found, rest = bytes(self._received).partition(b"\r\n\r\n")
        if not found:
            return None
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", "0"))
        if len(rest) < length:
            return None
        self._received = bytearray(rest[length:])
        method, path, _ = first.split(" ", 2)
        body = msgspec.json.decode(rest[:length]) if length else None
        return Asked(method, path, headers, body, id(self))

    def _advance(self) -> None:
        if self._answer is None:
            return
        try:
            moment = next(self._answer)
        except StopIteration:
            self._answer = None
        else:
            if moment is not None:
                self._timer = asyncio.get_running_loop().call_at(moment, self._advance)

    def _give(self, answer: Answer, asked: Asked) -> _Moments:
        match answer:
            case Mute():
                yield None
            case HangUp():
                self._ours = True
                self._transport.close()
            case Refusal():
                self._refuse(answer)
            case Stream():
                yield from self._stream(answer, str(asked.body["model"]))
            case _:
                assert_never(answer)

    def _refuse(self, answer: Refusal) -> None:
        text = answer.body if isinstance(answer.body, str) else msgspec.json.encode(answer.body).decode()
        kind = "text/html" if isinstance(answer.body, str) else "application/json"
        headers = {"content-type": kind, "content-length": str(len(text.encode())), **answer.headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._transport.write(f"HTTP/1.1 {answer.status} Said\r\n{lines}\r\n{text}".encode())

    def _stream(self, answer: Stream, model: str) -> _Moments:
        begin = self._clock() + answer.hold
        if answer.hold:
            yield begin
        self._transport.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        events = openai_events(answer, model) if self._shown.dialect == "openai" else anthropic_events(answer, model)
        for number, event in enumerate(events):
            if answer.fault is not None and number == answer.after:
                yield from self._misbehave(answer.fault, answer)
                return
            if number and answer.interval:
                yield begin + number * answer.interval
            yield from self._send(event, answer.split)
        self._transport.write(b"0\r\n\r\n")

    def _send(self, event: bytes, split: int | None) -> _Moments:
        size = split or len(event)
        for start in range(0, len(event), size):
            piece = event[start : start + size]
            self._transport.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            if split:
                yield self._clock()
        self._shown.sent.put_nowait(time.perf_counter())

    def _misbehave(self, fault: Fault, answer: Stream) -> _Moments:
        match fault:
            case "silence":
                yield None
            case "truncate":
                self._transport.write(b"0\r\n\r\n")
            case "half_close":
                self._transport.write_eof()
                yield None
            case "reset":
                self.abort()
            case "garble":
                name = b"event: content_block_delta\n" if self._shown.dialect == "anthropic" else b""
                yield from self._send(name + b"data: " + answer.garbage.encode() + b"\n\n", None)
                self._transport.write(b"0\r\n\r\n")
            case "error":
                name = b"event: error\n" if self._shown.dialect == "anthropic" else b""
                yield from self._send(name + b"data: " + msgspec.json.encode(answer.error) + b"\n\n", None)
                self._transport.write(b"0\r\n\r\n")
            case _:
                assert_never(fault)


def _pieces(text: str, chunk: int | None) -> Iterator[str]:
    size = chunk or max(len(text), 1)
    for start in range(0, len(text), size):
        yield text[start : start + size]


_OPENAI_FINISH: dict[StopReason, str] = {
    "end_turn": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "refusal": "content_filter",
}


def _stop_reason(answer: Stream) -> StopReason:
    called = any(isinstance(part, ToolCall) for part in answer.parts)
    return answer.stop_reason or ("tool_use" if called else "end_turn")


def openai_events(answer: Stream, model: str) -> Iterator[bytes]:
    """The events of a Chat Completions stream, each as it goes over the wire."""

    def event(choices: list[dict[str, Any]], **more: object) -> bytes:
        head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1700000000, "model": model}
        return b"data: " + msgspec.json.encode({**head, "choices": choices, **more}) + b"\n\n"

    def delta(**fields: object) -> bytes:
        return event([{"index": 0, "delta": fields, "finish_reason": None}])

    yield delta(role="assistant", content="")
    calls = itertools.count()
    for part in answer.parts:
        for fields in _openai_deltas(part, answer.chunk, calls):
            yield delta(**fields)
    yield event([{"index": 0, "delta": {}, "finish_reason": _OPENAI_FINISH[_stop_reason(answer)]}])
    if answer.usage is not None:
        yield event([], usage=openai_usage(answer.usage))
    yield b"data: [DONE]\n\n"


def _openai_deltas(part: Part, chunk: int | None, calls: Iterator[int]) -> Iterator[dict[str, Any]]:
    match part:
        case Text():
            for piece in _pieces(part.text, chunk):
                yield {"content": piece}
        case Reasoning():
            for piece in _pieces(part.text, chunk):
                yield {"reasoning_content": piece}
        case ToolCall():
            index = next(calls)
            function = {"name": part.name, "arguments": ""}
            yield {"tool_calls": [{"index": index, "id": part.id, "type": "function", "function": function}]}
            for piece in _pieces(part.input, chunk):
                yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}
        case _:
            assert_never(part)


def openai_usage(usage: Usage) -> dict[str, Any]:
    prompt = usage.input + usage.cache_read + usage.cache_write
    return {
        "prompt_tokens": prompt,
        "completion_tokens": usage.output,
        "total_tokens": prompt + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }


def anthropic_events(answer: Stream, model: str) -> Iterator[bytes]:
    """The events of a Messages stream, each as it goes over the wire."""

    def event(kind: str, **fields: object) -> bytes:
        return f"event: {kind}\n".encode() + b"data: " + msgspec.json.encode({"type": kind, **fields}) + b"\n\n"

    usage = answer.usage or Usage()
    counted = {
        "input_tokens": usage.input,
        "cache_read_input_tokens": usage.cache_read,
        "cache_creation_input_tokens": usage.cache_write,
    }
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": model, "content": []}
    start = {**message, "stop_reason": None, "stop_sequence": None, "usage": {**counted, "output_tokens": 1}}
    yield event("message_start", message=start)
    yield event("ping")
    for index, part in enumerate(answer.parts):
        block, deltas = _anthropic_block(part, answer.chunk)
        yield event("content_block_start", index=index, content_block=block)
        for delta in deltas:
            yield event("content_block_delta", index=index, delta=delta)
        yield event("content_block_stop", index=index)
    reason = _stop_reason(answer)
    yield event(
        "message_delta",
        delta={"stop_reason": reason, "stop_sequence": None},
        usage={**counted, "output_tokens": usage.output},
    )
    yield event("message_stop")


def _anthropic_block(part: Part, chunk: int | None) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """How a content block begins, and what is added to it."""
    match part:
        case Text():
            deltas = [{"type": "text_delta", "text": piece} for piece in _pieces(part.text, chunk)]
            return {"type": "text", "text": ""}, deltas
        case Reasoning(redacted=True):
            return {"type": "redacted_thinking", "data": part.signature or ""}, []
        case Reasoning():
            deltas = [{"type": "thinking_delta", "thinking": piece} for piece in _pieces(part.text, chunk)]
            signed = [{"type": "signature_delta", "signature": part.signature}] if part.signature else []
            return {"type": "thinking", "thinking": "", "signature": ""}, deltas + signed
        case ToolCall():
            deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in _pieces(part.input, chunk)]
            return {"type": "tool_use", "id": part.id, "name": part.name, "input": {}}, deltas
        case _:
            assert_never(part)
