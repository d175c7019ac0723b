"""The blocking client against a server on a unix socket that says exactly what a test wants, byte by byte."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qsl

import pytest

from quell.client.oneshot import Connection, Event, Json, Refused, Unreachable, follow, quoted

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


class Peer:
    """The server's end of one connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def request(self) -> tuple[str, dict[str, str], bytes]:
        """The first line, the headers, the body."""
        received = b""
        while b"\r\n\r\n" not in received:
            received += self._connection.recv(4096)
        head, body = received.split(b"\r\n\r\n", 1)
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        while len(body) < int(headers.get("content-length", "0")):
            body += self._connection.recv(4096)
        return first, headers, body

    def send(self, content: bytes, piece: int | None = None) -> None:
        for start in range(0, len(content), piece or len(content) or 1):
            self._connection.sendall(content[start : start + (piece or len(content))])


Part = Callable[[Peer], None]


@contextmanager
def playing(*parts: Part) -> Iterator[str]:
    """A server whose n-th connection is played by the n-th part; yields its socket's path."""
    with tempfile.TemporaryDirectory(prefix="q") as folder:
        path = str(Path(folder) / "s")
        trouble: list[BaseException] = []
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(path)
            listening.listen()

            def play() -> None:
                try:
                    for part in parts:
                        connection, _ = listening.accept()
                        with connection:
                            part(Peer(connection))
                except BaseException as error:  # noqa: BLE001  # shown by the test's own thread
                    trouble.append(error)

            thread = threading.Thread(target=play)
            thread.start()
            yield path
            thread.join(10)
            assert not thread.is_alive(), "not every part was played"
        assert not trouble, trouble


def chunked(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)


def fact(seq: int, kind: str = "turn_started") -> bytes:
    return b"id: %d\nevent: fact\ndata: %s\n\n" % (seq, json.dumps({"seq": seq, "kind": kind}).encode())


def answer(content: bytes, piece: int | None = None) -> Part:
    def part(peer: Peer) -> None:
        peer.request()
        peer.send(content, piece)

    return part


def length(body: bytes, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)


def seen(events: Iterator[Event]) -> list[int | None]:
    return [event.id for event in events]


def test_it_imports_nothing_heavy() -> None:
    code = "import sys; from quell.client import oneshot; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {
        "asyncio",
        "msgspec",
        "http.client",
        "ssl",
        "email",
        "httpx2",
        "typing",
        "dataclasses",
        "subprocess",
        "pathlib",
    }
    assert not heavy & set(loaded)
    assert {name for name in loaded if name.startswith("quell.")} == {"quell.client", "quell.client.oneshot"}


@pytest.mark.parametrize("text", ["/home/a-b_c.d~e", "a b&c=d?e#f%g+h", "Größe/日本", "", "\n"])
def test_a_quoted_text_is_read_as_it_was(text: str) -> None:
    assert parse_qsl(f"x={quoted(text)}", keep_blank_values=True) == [("x", text)]


@pytest.mark.parametrize("piece", [1, 2, 3, 7, None])
def test_an_answer_may_be_cut_anywhere(piece: int | None) -> None:
    body = '{"id": "s1", "title": "größer"}'.encode()
    chunks = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(body[:9], body[9:]) + b"0\r\n\r\n"
    with playing(answer(length(body), piece), answer(chunks, piece)) as path:
        for _ in range(2):
            with Connection(path) as connection:
                assert connection.request("GET", "/v1/sessions/s1").text("title") == "größer"


def test_a_body_is_sent_as_json_and_a_connection_is_used_again() -> None:
    sent: list[object] = []

    def part(peer: Peer) -> None:
        for _ in range(2):
            first, headers, body = peer.request()
            sent.append((first, headers["content-type"], json.loads(body)))
            peer.send(length(b"{}"))

    with playing(part) as path, Connection(path) as connection:
        connection.request("POST", "/v1/sessions", {"workspace": "/w"})
        connection.request("POST", "/v1/sessions", {"text": "ü\n"})
    assert sent == [
        ("POST /v1/sessions HTTP/1.1", "application/json", {"workspace": "/w"}),
        ("POST /v1/sessions HTTP/1.1", "application/json", {"text": "ü\n"}),
    ]


def test_an_answer_without_content_ends_with_its_head() -> None:
    def part(peer: Peer) -> None:
        peer.request()
        peer.send(b"HTTP/1.1 204 No Content\r\n\r\n")
        peer.request()
        peer.send(length(b'{"id": "s1"}'))

    with playing(part) as path, Connection(path) as connection:
        assert connection.request("DELETE", "/v1/sessions/s1").raw == {}
        assert connection.request("GET", "/v1/sessions/s1").text("id") == "s1"


def test_a_refusal_has_its_code_and_text() -> None:
    problem = b'{"title": "x", "status": 422, "detail": "no such model", "code": "unknown_model"}'
    server = playing(answer(length(problem, b"422 Unprocessable Content")))
    with server as path, Connection(path) as connection, pytest.raises(Refused, match="no such model") as refused:
        connection.request("POST", "/v1/sessions", {})
    assert (refused.value.status, refused.value.code) == (422, "unknown_model")


def test_a_refusal_that_comes_before_the_body_was_read_is_heard() -> None:
    def part(peer: Peer) -> None:
        peer._connection.recv(100)
        peer.send(length(b'{"code": "too_large", "detail": "too large"}', b"413 Content Too Large"))
        peer._connection.shutdown(socket.SHUT_RD)

    with playing(part) as path, Connection(path) as connection, pytest.raises(Refused, match="too large"):
        connection.request("POST", "/v1/sessions", {"text": "x" * 10_000_000})


@pytest.mark.parametrize(
    "content",
    [b"", b"HTT", HEAD, HEAD + b"Content-Length: 9\r\n\r\n{", HEAD + b"Transfer-Encoding: chunked\r\n\r\n9\r\n{"],
)
def test_a_server_that_is_lost_in_an_answer_is_unreachable(content: bytes) -> None:
    with playing(answer(content)) as path, Connection(path) as connection, pytest.raises(Unreachable):
        connection.request("GET", "/v1/health")


def test_nobody_there() -> None:
    with pytest.raises(Unreachable, match="cannot connect to"):
        Connection("/nonexistent/socket")


@pytest.mark.parametrize(("content", "code"), [(b"220 mail\r\n\r\n", "not_http"), (length(b"<html>"), "not_json")])
def test_somebody_else_there(content: bytes, code: str) -> None:
    with playing(answer(content)) as path, Connection(path) as connection, pytest.raises(Refused) as refused:
        connection.request("GET", "/v1/health")
    assert refused.value.code == code


def test_json_is_read_by_type() -> None:
    body = Json(
        {"text": "a", "number": 3, "flag": True, "none": None, "list": [{"id": "x"}, 1], "inner": {"text": "b"}}
    )
    assert (body.text("text"), body.text("number"), body.text("none"), body.text("list"), body.text("no")) == (
        "a",
        "3",
        "",
        "",
        "",
    )
    assert (body.number("number"), body.number("text"), body.flag("flag"), body.flag("text")) == (3, 0, True, False)
    assert [item.text("id") for item in body.items("list")] == ["x", ""]
    assert body.inner("inner").text("text") == "b"
    assert body.inner("text").text("x") == ""
    assert "text" in body
    assert "none" not in body


@pytest.mark.parametrize("piece", [1, 5, None])
def test_events_may_be_cut_anywhere(piece: int | None) -> None:
    events = (
        fact(1)
        + b": still here\n\n"
        + b'event: delta\r\ndata: {"text":\r\ndata: "\xc3\xbc"}\r\n\r\n'
        + b"event: future\nfield: x\n\n"
        + fact(2)
        + b"id: 3\nevent: fact\ndata: {}"  # never ended: not delivered
    )
    cut = [events[at : at + 11] for at in range(0, len(events), 11)]
    with playing(answer(STREAM + chunked(*cut) + b"0\r\n\r\n", piece)) as path, Connection(path) as connection:
        found = [(event.kind, event.id, event.body.raw) for event in connection.stream("/v1/sessions/s/events", 0)]
    assert found == [
        ("fact", 1, {"seq": 1, "kind": "turn_started"}),
        ("delta", None, {"text": "ü"}),
        ("fact", 2, {"seq": 2, "kind": "turn_started"}),
    ]


def test_following_goes_on_behind_the_last_fact_after_every_kind_of_loss() -> None:
    asked: list[str] = []

    def part(content: bytes) -> Part:
        def play(peer: Peer) -> None:
            first, headers, _ = peer.request()
            asked.append(headers["last-event-id"])
            assert first.startswith("GET /v1/sessions/s1/events ")
            peer.send(content)

        return play

    parts = (
        part(STREAM + chunked(fact(5), fact(6)[:20])),  # lost in the middle of an event
        part(STREAM + chunked(fact(6)) + b"0\r\n\r\n"),  # ended in good order
        part(b"HTTP/1.1 200 OK\r\n"),  # lost before anything
        part(length(b'{"code": "shutting_down"}', b"503 Service Unavailable")),
        part(STREAM + chunked(b"event: delta\ndata: {}\n\n", fact(7))),
    )
    found: list[int | None] = []
    with playing(*parts) as path:
        for event in follow(lambda: Connection(path), "s1", 4):
            found.append(event.id)
            if event.id == 7:
                break
    assert found == [5, 6, None, 7]
    assert asked == ["4", "5", "6", "6", "6"]


def test_following_waits_for_a_server_to_come_back() -> None:
    attempts = iter([Unreachable("down"), Unreachable("down")])
    with playing(answer(STREAM + chunked(fact(1)))) as path:

        def connect() -> Connection:
            for trouble in attempts:
                raise trouble
            return Connection(path)

        assert next(follow(connect, "s1", 0)).id == 1


def test_following_gives_up_after_its_patience() -> None:
    def connect() -> Connection:
        raise Unreachable("down")

    with pytest.raises(Unreachable, match="down"):
        next(follow(connect, "s1", 0, patience=0.1))


def test_following_gives_up_at_once_when_the_server_refuses() -> None:
    problem = length(b'{"code": "unauthorized", "detail": "not you"}', b"401 Unauthorized")
    with playing(answer(problem)) as path, pytest.raises(Refused, match="not you"):
        next(follow(lambda: Connection(path), "s1", 0))


def test_a_session_that_has_gone_meanwhile_was_deleted() -> None:
    problem = length(b'{"code": "session_not_found", "detail": "gone"}', b"404 Not Found")
    with playing(answer(problem)) as path:
        assert [event.kind for event in follow(lambda: Connection(path), "s1", 0)] == ["deleted"]
