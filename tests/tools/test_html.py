"""HTML to Markdown: what becomes of pages as they are, and of pages that are made to take for ever."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quell.tools.html import to_markdown

PAGE = "https://h.org/d/page"


def markdown(page: str) -> str:
    return to_markdown(page, PAGE).text


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("one <b>two </b>three", "one **two** three"),
        ("<p>one\n  two<p>three", "one two\n\nthree"),
        ("a<br>b", "a\nb"),
        ("<h1>A <em>b</em></h1>c", "# A *b*\n\nc"),
        ("<h2><a href=#x></a>A</h2>", "## A"),
        ('<a href="/x y?a=1&amp;b=2">go</a>', "[go](https://h.org/x%20y?a=1&b=2)"),
        ("<a href=#here>go</a>", "go"),
        ("<a href='javascript:x()'>go</a>", "go"),
        ("<a href='http://[x'>go</a>", "go"),
        ("<base href=https://o.org/><a href=z>go</a>", "[go](https://o.org/z)"),
        ("<img src=a.png alt='A cat'><img src=b.png>", "![A cat](https://h.org/d/a.png)"),
        ("<ul><li>a<li>b<ul><li>c</ul><li>d</ul>e", "- a\n- b\n  - c\n- d\n\ne"),
        ("<ol start=3><li><p>a</p><p>b</p></li><li>c</li></ol>", "3. a\n   b\n4. c"),
        ("<blockquote><p>a<p>b</blockquote>c", "> a\n\n> b\n\nc"),
        ("<pre><code class='x language-py'>a  &lt;\n\tb</code></pre>", "```py\na  <\n\tb\n```"),
        ("<pre>```\nx</pre>", "````\n```\nx\n````"),
        ("<pre>a<br>b<b>c</b></pre>", "```\na\nbc\n```"),
        ("use <code>a`b</code>", "use ``a`b``"),
        (
            "<table><tr><th>A<th>B</tr><tr><td>1|2<td><p>3</p><p>4</p></tr></table>",
            "| A | B |\n| --- | --- |\n| 1\\|2 | 3 4 |",
        ),
        ("<table><tr><td>only</table>after", "only\n\nafter"),
        ("<table><tr><td>a<td><ul><li>x</ul></table>", "a\n\n- x"),
        ("<script>if (a<b) x</script><style>p{}</style>text", "text"),
        ("<SCRIPT>x</sCrIpT>text", "text"),
        ("<nav>menu</nav>text", "text"),
        ("<nav>menu only</nav>", "menu only"),
        ("<nav>never closed <p>text", "never closed\n\ntext"),
        ("<!-- a > b -->text<!doctype x><?php x ?>", "text"),
        ("a<!-- never closed", "a"),
        ("1 < 2 and a<3 <", "1 < 2 and a<3 <"),
        ('<a title="a > b" href=z>go</a>', "[go](https://h.org/d/z)"),
        ("&amp;&#60;&#x3e;&nbsp;&bogus;&#99999999999999999999;", "&<> &bogus;\ufffd;"),
        ("</p></ul></b></table></blockquote></li>text", "text"),
        ("<b>a<i>b</b>c</i>", "**ab**c"),
        ("", ""),
    ],
)
def test_markdown(page: str, text: str) -> None:
    assert markdown(page) == text


def test_title_and_plain_text() -> None:
    page = "<html><head><title>A &amp;\n b</title></head><body><h1>H</h1><p>x <b>y</b> <a href=z>go</a><svg><title>no</title></svg>"
    assert to_markdown(page, PAGE).title == "A & b"
    assert to_markdown(page, PAGE, plain=True).text == "H\n\nx y go"


PIECES = ["<div>", "<", "<!--", "<![CDATA[", '<a href="', "<b>", "<table><tr><td>x", "<ul><li>x", "<blockquote>", "&#99999999999;", "&",
          "<nav>", "</b>", "<pre>`", "<a href=x>y", '<p title="', "<p x='>", "<script", "<title>x", "<code>`", "<b><i><s><code>x", "&lt",
          " \n", "<td>x", "<br>", "<a =\"'>", "<xmp></xmp", "<base href=a/>", "<a " ]  # fmt: skip


@pytest.mark.parametrize("piece", PIECES)
def test_time_grows_with_the_length_only(piece: str) -> None:
    """The time of the processor, held against what a quarter of it takes here and now: what is quadratic takes sixteen times as long."""
    taken = []
    for length in (100_000, 400_000):
        before = time.thread_time()
        to_markdown(piece * (length // len(piece)), PAGE)
        taken.append(time.thread_time() - before)
    assert taken[1] < 10 * taken[0] + 0.5


def test_a_page_of_nothing_but_tags_is_cut() -> None:
    assert to_markdown("<i>x" * 150_000, PAGE).cut
    assert not to_markdown("x" * 1_000_000, PAGE).cut


tags = st.sampled_from(
    [
        "p",
        "b",
        "ul",
        "ol",
        "li",
        "table",
        "tr",
        "td",
        "pre",
        "code",
        "a",
        "nav",
        "title",
        "h1",
        "blockquote",
        "script",
        "br",
    ]
)
soup = st.lists(
    st.one_of(tags.map("<{}>".format), tags.map("</{}>".format), st.text(max_size=5), st.sampled_from(["<", "&", '"'])),
    max_size=40,
)


@given(soup.map("".join))
def test_no_page_is_too_strange(page: str) -> None:
    to_markdown(page, PAGE)
    to_markdown(page, PAGE, plain=True)


@given(st.lists(st.text("abc", min_size=1, max_size=3), min_size=1, max_size=10), st.data())
def test_no_word_is_lost(words: list[str], data: st.DataObject) -> None:
    around = st.sampled_from(["p", "b", "li", "td", "h2", "blockquote", "pre", "a", "code", "div", "ul", "tr", "table"])
    page = "".join(f"<{data.draw(around)}> {word} " for word in words)
    assert [c for c in to_markdown(page, PAGE, plain=True).text if c in "abc"] == list("".join(words))
