"""What holds for any content and any line."""

import asyncio
import contextlib
import json

from hypothesis import given
from hypothesis import strategies as st

from quell.core.messages import LONGEST_RESULT, ToolCall, ToolResult
from quell.tools import Tools
from quell.tools.output import Output
from quell.tools.reach import access
from quell.tools.replace import NoMatch, locate
from quell.tools.table import TOOLS
from quell.tools.text import Change, decode
from quell.workspace import LocalWorkspace
from quell.workspace.globs import compile_glob

CONTENT = st.one_of(
    st.binary(max_size=200),
    st.text("ab \n\r\té€😀", max_size=60).map(lambda text: text.encode()),
    st.text("ab\né", max_size=60).map(lambda text: text.encode("utf-16")),
    st.text("ab\n\u00e9\u00ff", max_size=60).map(lambda text: text.encode("latin-1")),
)
PIECES = [
    "ls",
    "rm x",
    " ",
    ";",
    "|",
    "&",
    "\n",
    "$(",
    ")",
    "`",
    "{",
    "}",
    "(",
    "'",
    '"',
    "\\",
    "$x",
    "${x",
    ">",
    "<",
    "<<E",
    "E",
    "*",
    "@(a|b)",
]
PIECES += [
    "if",
    "then",
    "fi",
    "for",
    "in",
    "do",
    "done",
    "case",
    "esac",
    "[[",
    "]]",
    "((",
    "))",
    "=",
    "a",
    "/",
    "..",
    "~",
    "cd ",
    "-",
    "é",
    "#",
    "!",
]


@given(CONTENT)
def test_a_file_that_is_not_changed_is_the_same_file(content: bytes) -> None:
    document = decode(content)
    if document is not None:
        assert document.encode(document.raw) == content
        assert document.encode(document.splice([])) == content
        if "\r" not in document.text:
            whole = Change(0, len(document.text), document.text)
            assert document.with_raw(document.splice([whole])).text == document.text


@given(CONTENT, st.data())
def test_a_change_changes_what_it_names(content: bytes, data: st.DataObject) -> None:
    document = decode(content)
    if document is None:
        return
    start = data.draw(st.integers(0, len(document.text)))
    end = data.draw(st.integers(start, len(document.text)))
    after = document.with_raw(document.splice([Change(start, end, "new\nlines")]))
    assert after.text == document.text[:start] + "new\nlines" + document.text[end:]


@given(
    st.text("ab \t\n", max_size=40),
    st.text("ab \t\n", min_size=1, max_size=8),
    st.text("ab \t\n", max_size=8),
    st.booleans(),
)
def test_an_exact_match_is_what_replace_would_do(text: str, old: str, new: str, everywhere: bool) -> None:
    document = decode(text.encode())
    assert document is not None
    try:
        found = locate(document, old, new, everywhere=everywhere)
    except NoMatch:
        assert (
            text.count(old) == 0 or old == new or (text.count(old) > 1 and not everywhere) or len(text.split(old)) > 2
        )
        return
    if old in text:
        assert document.splice(found.changes) == text.replace(old, new)


@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join) | st.text(max_size=40))
def test_any_line_can_be_judged(line: str) -> None:
    workspace = LocalWorkspace("/tmp")
    access(line, workspace.place("."), workspace)


@given(st.sampled_from(sorted(TOOLS)), st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["file_path", "edits", "command", "pattern", "path", "offset", "x"]), inner)))  # fmt: skip
def test_any_input_is_prepared_or_answered(tool: str, input: object) -> None:
    workspace = LocalWorkspace("/tmp")
    prepared = Tools().prepare(ToolCall(id="c", name=tool, input=json.dumps(input)), workspace)
    if isinstance(prepared, ToolResult):
        assert prepared.status == "failed"
        assert prepared.text


@given(st.text("ab*?[]{},/!^-\\.", max_size=12), st.text("ab/", max_size=12))
def test_any_glob_is_compiled_or_refused(glob: str, name: str) -> None:
    with contextlib.suppress(ValueError):
        compile_glob(glob).fullmatch(name)


@given(st.lists(st.binary(max_size=50) | st.integers(1, 60_000).map(lambda size: b"line\n" * (size // 5)), max_size=8))
def test_any_output_is_bounded_and_keeps_its_ends(chunks: list[bytes]) -> None:
    async def collect() -> str:
        output = Output(lambda text: None)
        for chunk in chunks:
            output.take(chunk)
        output.close()
        return output.text()

    text = asyncio.run(collect())
    assert len(text) <= LONGEST_RESULT + 100
    whole = b"".join(chunks)
    if len(whole) < 10_000 and whole.isascii() and b"\r" not in whole and whole.decode().isprintable():
        assert text == whole.decode()
