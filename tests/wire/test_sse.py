"""The event stream as bytes: what is encoded comes out of the decoder, however it is cut."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quell.core import facts as f
from quell.core.events import Deleted, Delta, DraftPart, Reset
from quell.wire import sse

RECORDED = f.Recorded(
    17, "2026-11-02T09:30:00.000Z", f.RunSettled(run="r3", outcome="completed", stop_reason="end_turn")
)


def test_a_fact_has_its_seq_as_id_and_is_one_line_of_json() -> None:
    lines = sse.fact(RECORDED).split(b"\n")
    assert lines[:2] == [b"id: 17", b"event: fact"]
    assert lines[2].startswith(b'data: {"seq":17,')
    assert lines[3:] == [b"", b""]


def test_what_is_not_recorded_has_no_id() -> None:
    (frame,) = sse.Decoder().feed(sse.event("delta", Delta("r1-1-1", 0, "text", 3, "für\nzwei")))
    assert (frame.kind, frame.id) == ("delta", None)
    assert sse.parse(frame) == Delta("r1-1-1", 0, "text", 3, "für\nzwei")


values = st.sampled_from(
    [
        RECORDED,
        Delta("m", 0, "text", 0, "a\r\nb\u2028c"),
        DraftPart("m", 1, "output", "x" * 50, "call"),
        Reset(4),
        Deleted("s"),
    ]
)

KINDS: dict[type, sse.Kind] = {
    Delta: "delta",
    DraftPart: "draft",
    Reset: "reset",
    Deleted: "deleted",
}


def encoded(value: object) -> bytes:
    if isinstance(value, f.Recorded):
        return sse.fact(value)
    assert isinstance(value, Delta | DraftPart | Reset | Deleted)
    return sse.event(KINDS[type(value)], value)


@given(st.lists(values), st.lists(st.integers(0, 3000)), st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_it_may_be_cut_anywhere_and_end_its_lines_as_it_likes(sent: list[object], cuts: list[int], end: bytes) -> None:
    stream = b"".join(sse.HEARTBEAT + encoded(value) for value in sent).replace(b"\n", end)
    places = [0, *sorted(cuts), len(stream)]
    decoder = sse.Decoder()
    pieces = [stream[start:stop] for start, stop in itertools.pairwise(places)]
    frames = [frame for piece in pieces for frame in decoder.feed(piece)]
    assert [sse.parse(frame) for frame in frames] == sent


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_bytes_one_by_one(size: int) -> None:
    stream = b"\xef\xbb\xbf: hello\r\n\r\nid: 3\r\nevent: fact\r\ndata: a\r\ndata:b\r\n\r\nretry: 9\r\ndata\r\n\r\n"
    decoder = sse.Decoder()
    frames = [frame for at in range(0, len(stream), size) for frame in decoder.feed(stream[at : at + size])]
    assert frames == [sse.Frame("fact", "3", b"a\nb"), sse.Frame("message", None, b"")]


def test_an_event_whose_end_never_came_is_not_delivered() -> None:
    decoder = sse.Decoder()
    assert decoder.feed(sse.fact(RECORDED)[:-1]) == []
    assert len(decoder.feed(b"\n")) == 1


def test_a_kind_that_only_a_newer_server_knows_is_no_value() -> None:
    assert sse.parse(sse.Frame("telepathy", None, b"{}")) is None
