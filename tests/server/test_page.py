"""The page that a session is exported as: it shows what was said and done, and whatever that was stays text."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quell.client.client import NewPrompt
from quell.core.hooks import HookReport
from quell.core.messages import Image, Reasoning, Text, ToolCall, ToolResult, Usage
from quell.core.session import Summary
from quell.core.view import AssistantItem, CallItem, Item, NoticeItem, QueueItem, RequestView, UserItem, View
from quell.server import asgi
from quell.server.page import LONG_LINES, POLICY, STYLE, escaped, to_html
from tests.server.serving import serving

AT = "2026-11-27T01:31:22.123Z"
VOID = {"meta"}
HOSTILE = [
    "<script>alert(1)</script>",
    "</pre></details></section></main></body></html><h1>Not ours",
    "</title></style><img src=x onerror=alert(1)>",
    "\"><a href='javascript:alert(1)'>",
    "' onmouseover='alert(1)",
    "&lt;b&gt; &amp; &#60;",
    "<!-- ]]> --><![CDATA[ <?php",
    "<meta http-equiv=refresh content='0;url=http://example.com'>",
]


class Reader(HTMLParser):
    """What a browser would see: elements with their attributes, and the text in each."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[tuple[str, ...], str]] = []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((tuple(self.open), data))

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")

    @property
    def tags(self) -> list[str]:
        return [tag for tag, _ in self.seen]

    def inside(self, tag: str) -> str:
        return "".join(text for open, text in self.texts if tag in open)

    def outside(self, tag: str) -> str:
        return "".join(text for open, text in self.texts if tag not in open and "style" not in open)


def summary(text: str = "x") -> Summary:
    return Summary(
        id="s1", workspace=f"/w/{text}", parent=None, title=text, model=text, mode="edits", created=AT, updated=AT, busy=False,
        parked=False, queued=0, awaiting=0, usage=Usage(input=1_000, cache_read=200, output=30), cost=Decimal("0.25"), seq=9,
    )  # fmt: skip


def everywhere(text: str) -> View:
    """A view that has the text in every place that others fill."""
    result = ToolResult(text=text, images=(Image(name=text, media_type=text, sha256="", size=1),))
    edited = ToolResult(text=text, metadata={"diff": f"--- a/{text}\n+++ b/{text}\n-{text}\n+{text}\n", "path": text})
    hooks = (HookReport(name=text, decision="deny", reason=text),)
    return View(
        items=[
            UserItem("p1", text, "r1", AT, [text]),
            AssistantItem("m1", "r1", AT, [Reasoning(text), Text(text), ToolCall("c1", text, text)], model=f"other {text}"),
            CallItem("c1", "r1", text, text, "completed", result, hooks),
            CallItem("c2", "r1", text, f'{{"command": "x", "file_path": "{len(text)}"}}', "completed", edited),
            AssistantItem("m2", "r1", AT, [], "error", error=text),
            NoticeItem("settings_changed", text, AT),
            NoticeItem("compacted", text, AT),
        ],
        queue=[QueueItem("p2", "prompt", text, "queue", AT, attachments=[text])],
        requests=[RequestView("q1", "c3", text, text, text)],
    )  # fmt: skip


def page(view: View, text: str = "x") -> str:
    return b"".join(to_html(summary(text), view)).decode()


def read(*items: Item) -> Reader:
    return Reader(page(View(items=[*items])))


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text_wherever_it_is(text: str) -> None:
    harmless, hostile = Reader(page(everywhere("harmless"), "harmless")), Reader(page(everywhere(text), text))
    assert hostile.tags == harmless.tags
    assert [attributes.keys() for _, attributes in hostile.seen] == [
        attributes.keys() for _, attributes in harmless.seen
    ]
    count = len([shown for _, shown in harmless.texts if "harmless" in shown])
    assert len([shown for _, shown in hostile.texts if text in shown]) == count > 20


@given(st.text())
def test_no_text_at_all_makes_an_element(text: str) -> None:
    reader = Reader(f'<p title="{escaped(text)}">{escaped(text)}</p>')
    assert reader.seen == [("p", {"title": reader.inside("p")})]


def test_what_would_read_otherwise_than_it_is_is_made_visible() -> None:
    assert (
        escaped("a\x00\x1b[2J\x7f\x85 \u202eb\u2066\r\nc\rd\te")
        == "a\u2400\u241b[2J\u2421\ufffd [U+202E]b[U+2066]\nc\u240dd\te"
    )
    assert "שלום, wörld 🙂" in page(View(items=[UserItem("p", "שלום, wörld 🙂", "r", AT)]))


def test_it_needs_nothing_else_and_says_so() -> None:
    reader = Reader(page(everywhere("http://example.com/x.png")))
    assert set(reader.tags) <= {
        "html", "head", "meta", "title", "style", "body", "header", "main", "section", "h1", "h2", "h3", "dl", "dt", "dd", "bdi", "b",
        "div", "p", "pre", "span", "small", "time", "details", "summary", "ins", "del",
    }  # fmt: skip
    assert {name for _, attributes in reader.seen for name in attributes} <= {
        "lang", "charset", "http-equiv", "content", "name", "class", "id", "datetime",
    }  # fmt: skip
    assert ("meta", {"http-equiv": "Content-Security-Policy", "content": POLICY}) in reader.seen
    assert not re.search(r"url\(|@import|expression", STYLE)
    assert "prefers-color-scheme: dark" in STYLE
    assert "@media print" in STYLE


def test_long_outputs_and_reasoning_are_folded_and_short_ones_are_not() -> None:
    long = "\n".join(f"line {n}" for n in range(LONG_LINES + 1))
    call = CallItem("c1", "r1", "bash", '{"command": "make"}', "completed", ToolResult(text=long, metadata={"exit": 2}))
    short = CallItem("c2", "r1", "bash", '{"command": "ls"}', "completed", ToolResult(text="a file"))
    reader = read(AssistantItem("m1", "r1", AT, [Reasoning("I think."), Text("I say.")]), call, short)
    assert "I think." in reader.inside("details")
    assert long in reader.inside("details")
    assert f"{LONG_LINES + 1} lines" in reader.inside("summary")
    for text in ("I say.", "bash", "make", "exit 2", "a file"):
        assert text in reader.outside("details")


def test_the_diff_of_an_edit_is_visible() -> None:
    diff = "--- a/f.py\n+++ b/f.py\n@@ -1,2 +1,2 @@\n same\n--- was\n+++ is\n"
    result = ToolResult(text="Edited f.py.", metadata={"diff": diff, "additions": 1, "removals": 1})
    reader = read(CallItem("c1", "r1", "edit", '{"file_path": "f.py", "old_string": "-- was"}', "completed", result))
    assert (reader.inside("ins"), reader.inside("del")) == ("+++ is", "--- was")
    assert diff.removesuffix("\n") in reader.outside("details")
    assert "+1 −1" in reader.inside("h3")
    assert "Edited f.py." in reader.inside("details")


def test_arguments_are_readable_and_broken_ones_are_shown_as_they_are() -> None:
    reader = read(
        CallItem("c1", "r1", "write", '{"file_path": "a", "content": "one\\n\\"two\\"", "n": [1, {"x": null}]}'),
        CallItem("c2", "r1", "write", '{"file_path": "cut off'),
        CallItem("c3", "r1", "deep", "[" * 100_000),
    )
    shown = reader.inside("details")
    assert 'file_path: a\ncontent: \n    one\n    "two"\nn: [1, {"x": null}]' in shown
    assert '{"file_path": "cut off' in shown
    assert "[" * 100_000 in shown
    assert reader.inside("h3").count("pending") == 3


def test_the_head_says_what_it_was_and_what_it_cost() -> None:
    shown = read().inside("header")
    for text in ("s1", "/w/x", "2026-11-27 01:31 UTC", "1,200 in (200 of them from the cache), 30 out", "$0.25"):
        assert text in shown


async def test_it_is_served_with_its_policy(tmp_path: Path) -> None:
    async with serving(tmp_path) as s:
        session = await s.session(title="<b>bold</b>")
        accepted = await session.submit(NewPrompt(text="<i>hello</i>"))
        asked = await s.play.asked()
        asked.say("hi & bye")
        asked.reply()
        await session.prompt(accepted.prompt, wait=30)
        async with httpx2.AsyncClient(transport=httpx2.AsyncHTTPTransport(uds=s.path)) as http:
            got = await http.get(f"http://x/v1/sessions/{session.id}/export?format=html")
        assert got.headers["content-type"] == "text/html; charset=utf-8"
        assert got.headers["content-security-policy"] == POLICY
        assert got.headers["x-content-type-options"] == "nosniff"
        assert got.text == await session.export_text("html")
        reader = Reader(got.text)
        assert (reader.inside("h1"), reader.inside("title")) == ("<b>bold</b>", "<b>bold</b>")
        assert "<i>hello</i>" in reader.inside("main")
        assert "hi & bye" in reader.inside("main")


async def test_a_long_page_is_made_while_it_is_sent_and_others_have_their_turn() -> None:
    made = turns = 0
    sent: list[tuple[int, int, int]] = []
    view = View(items=[UserItem(f"p{n}", "word " * 100, "r", AT) for n in range(10_000)])

    def pieces() -> Iterator[bytes]:
        nonlocal made
        for piece in to_html(summary(), view):
            made += 1
            yield piece

    async def send(message: asgi.Message) -> None:
        if message["type"] == "http.response.body":
            sent.append((len(message["body"]), made, turns))

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    whole = page(view)
    async with asyncio.TaskGroup() as group:
        beside = group.create_task(other())
        await asgi.send_pieces(send, 200, pieces(), "text/html")
        beside.cancel()
    assert sum(size for size, _, _ in sent) == len(whole.encode())
    assert max(size for size, _, _ in sent) < 2 * asgi.PART
    assert sent[0][1] < 1_000
    assert sent[-1][2] >= len(sent) - 2 > 20


async def test_a_client_that_does_not_read_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asgi, "UNREAD_SECONDS", 0.01)

    async def send(message: asgi.Message) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    with pytest.raises(ConnectionError, match="does not read"):
        await asgi.send_pieces(send, 200, iter((b"a",)), "text/html")
