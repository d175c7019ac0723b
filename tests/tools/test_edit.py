"""`edit`, `multiedit` and `write`: what is changed, what is kept, what is refused."""

import asyncio
import os
import stat
from pathlib import Path

import msgspec
import pytest

from quell.core.messages import ToolCall, ToolResult
from quell.tools import Tools
from quell.tools.contents import Contents
from tests.tools.conftest import Hands


async def seen(hands: Hands, name: str, content: str | bytes) -> Path:
    path = hands.write(name, content)
    assert (await hands.use("view", file_path=name)).status == "completed"
    return path


async def edit(hands: Hands, old: str, new: str, name: str = "a.txt", **more: object) -> str:
    result = await hands.use("edit", file_path=name, old_string=old, new_string=new, **more)
    assert result.status == "completed", result.text
    return result.text


async def refused(hands: Hands, old: str, new: str, name: str = "a.txt") -> str:
    result = await hands.use("edit", file_path=name, old_string=old, new_string=new)
    assert result.status == "failed"
    return result.text


async def test_an_exact_match_is_replaced(hands: Hands) -> None:
    path = await seen(hands, "a.txt", "one\ntwo\nthree")
    result = await hands.use("edit", file_path="a.txt", old_string="two", new_string="2\n2.5")
    assert path.read_text() == "one\n2\n2.5\nthree"
    assert result.metadata["additions"] == 2
    assert result.metadata["removals"] == 1
    assert result.metadata["diff"] == (
        "--- a/a.txt\n+++ b/a.txt\n@@ -1,3 +1,4 @@\n one\n-two\n+2\n+2.5\n three\n\\ No newline at end of file\n"
    )
    assert "line 2" in result.text


async def test_several_matches_need_replace_all(hands: Hands) -> None:
    path = await seen(hands, "a.txt", "x = 1\ny = x\n")
    assert "2 times, at lines 1, 2" in await refused(hands, "x", "z")
    assert "2 places" in await edit(hands, "x", "z", replace_all=True)
    assert path.read_text() == "z = 1\ny = z\n"


async def test_a_file_has_to_be_seen(hands: Hands) -> None:
    path = hands.write("a.txt", "one\n")
    assert "View it first" in await refused(hands, "one", "two")
    assert "View it first" in (await hands.use("write", file_path="a.txt", content="x")).text
    assert path.read_text() == "one\n"


async def test_a_file_that_changed_is_refused_and_one_touched_is_not(hands: Hands) -> None:
    path = await seen(hands, "a.txt", "one\n")
    os.utime(path, ns=(1, 1))
    await edit(hands, "one", "two")
    before = path.stat()
    path.write_text("TWO\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert "has changed since you last saw it" in await refused(hands, "TWO", "three")
    assert "has changed" in (await hands.use("write", file_path="a.txt", content="x")).text
    assert path.read_text() == "TWO\n"


async def test_the_model_is_told_what_changed(hands: Hands) -> None:
    path = await seen(hands, "a.txt", "".join(f"line {n}\n" for n in range(1, 21)))
    await edit(hands, "line 20", "LINE 20")
    path.write_text(path.read_text().replace("line 7\n", "seven\n"))
    for result in (
        await hands.use("edit", file_path="a.txt", old_string="line 8", new_string="x"),
        await hands.use("write", file_path="a.txt", content="x"),
    ):
        assert "What changed:\n@@ -4,7 +4,7 @@\n line 4" in result.text
        assert "\n-line 7\n+seven\n" in result.text
        assert "LINE 20" not in result.text  # the model did that itself
    path.write_text("".join(f"other {n}\n" for n in range(1, 21)) * 10)
    text = await refused(hands, "line 8", "x")
    assert len(text.splitlines()) < 50
    assert "more lines of the difference)" in text


async def test_only_the_line_endings_changed(hands: Hands) -> None:
    path = await seen(hands, "a.txt", "one\ntwo\n")
    path.write_bytes(b"one\r\ntwo\r\n")
    assert "Only its line endings or its encoding changed." in await refused(hands, "one", "1")


async def test_what_is_kept_of_files_is_bounded() -> None:
    contents = Contents()
    digests = [contents.keep(bytes([n]) * 1024 * 1024) for n in range(9)]
    assert contents.find(digests[0]) is None
    assert all(contents.find(digest) for digest in digests[1:])
    contents.keep(b"\1" * 1024 * 1024)  # shown again: it is the newest now
    contents.keep(b"x" * 1024 * 1024)
    assert contents.find(digests[1])
    assert contents.find(digests[2]) is None
    assert contents.find(contents.keep(b"y" * (1024 * 1024 + 1))) is None


async def test_a_file_that_changed_unseen_is_refused_without_a_difference(hands: Hands) -> None:
    path = await seen(hands, "a.txt", "one\n")
    path.write_text("two\n")
    hands.tools = Tools()  # as after a restart
    text = await refused(hands, "two", "three")
    assert "has changed since you last saw it" in text
    assert "What changed" not in text


async def test_two_sessions_that_edit_one_file_lose_nothing(hands: Hands) -> None:
    path = await seen(hands, "a.txt", "0\n")

    async def session(name: str) -> None:
        mine = Hands(hands.root)
        mine.tools = hands.tools
        done = 0
        while done < 10:
            await mine.use("view", file_path="a.txt")
            text = path.read_text()
            result = await mine.use("write", file_path="a.txt", content=f"{text}{name}{done}\n")
            done += result.status == "completed"

    async with asyncio.TaskGroup() as group:
        for name in ("a", "b", "c"):
            group.create_task(session(name))
    lines = path.read_text().splitlines()
    assert len(lines) == 31
    for name in ("a", "b", "c"):
        assert [line for line in lines if line.startswith(name)] == [f"{name}{n}" for n in range(10)]


async def test_what_an_edit_wrote_is_known(hands: Hands) -> None:
    path = await seen(hands, "a.txt", "one\n")
    await edit(hands, "one", "two")
    await edit(hands, "two", "three")
    assert (await hands.use("write", file_path="a.txt", content="four\n")).status == "completed"
    assert path.read_text() == "four\n"


async def test_of_two_edits_at_once_the_second_is_refused(hands: Hands) -> None:
    path = await seen(hands, "a.txt", "one two\n")
    async with asyncio.TaskGroup() as group:
        edits = [
            group.create_task(hands.use("edit", file_path="a.txt", old_string=old, new_string=old.upper()))
            for old in ("one", "two")
        ]
    results = [each.result() for each in edits]
    assert sorted(result.status for result in results) == ["completed", "failed"]
    assert any("has changed" in result.text for result in results)
    assert path.read_text() in {"ONE two\n", "one TWO\n"}


@pytest.mark.parametrize(
    ("before", "old", "new", "after"),
    [
        (b"a\r\nb\r\nc\r\n", "a\nb", "A\nB\nB2", b"A\r\nB\r\nB2\r\nc\r\n"),
        (b"a\r\nb\r\n", "b\r\n", "c\r\n", b"a\r\nc\r\n"),
        (b"a\nb\r\nc\nd\n", "b", "B\nB2", b"a\nB\r\nB2\r\nc\nd\n"),
        (b"a\nb\r\nc\r\n", "a", "A\nA2", b"A\nA2\nb\r\nc\r\n"),
        (b"a\nb", "b", "B", b"a\nB"),
        (b"\xef\xbb\xbfa\n", "a", "\u00e9", b"\xef\xbb\xbf\xc3\xa9\n"),
        ("\ufeffa\n".encode("utf-16-le"), "a", "é", "\ufeffé\n".encode("utf-16-le")),
        ("\ufeffa\n".encode("utf-16-be"), "a", "é", "\ufeffé\n".encode("utf-16-be")),
        ("naïve\n".encode("latin-1"), "naïve", "café", "café\n".encode("latin-1")),
        (b"\xff \xc3\xa9 a\n", "a", "\u00fc", b"\xff \xc3\xa9 \xc3\xbc\n"),
        (b"a\rb\n", "b", "c", b"a\rc\n"),
        (b"x\n\n\ny\n", "x\n\n", "x\n", b"x\n\ny\n"),
    ],
    ids=[
        "crlf",
        "crlf-sent",
        "mixed-crlf",
        "mixed-lf",
        "no-newline",
        "bom",
        "utf-16-le",
        "utf-16-be",
        "latin-1",
        "broken",
        "cr",
        "blank",
    ],
)
async def test_bytes_that_were_not_touched_stay(hands: Hands, before: bytes, old: str, new: str, after: bytes) -> None:
    path = await seen(hands, "a.txt", before)
    await edit(hands, old, new)
    assert path.read_bytes() == after


async def test_a_character_that_the_encoding_has_not_is_refused(hands: Hands) -> None:
    path = await seen(hands, "a.txt", "naïve\n".encode("latin-1"))
    assert "latin-1, which has no character '€'" in await refused(hands, "naïve", "€")
    assert path.read_bytes() == "naïve\n".encode("latin-1")


async def test_white_space_is_forgiven_and_indentation_kept(hands: Hands) -> None:
    path = await seen(hands, "a.txt", "class A:\n\tdef f(self):\n\t\tif  x:\n\t\t\treturn 1\n\t\treturn 2\n")
    text = await edit(
        hands,
        "    if x:\n        return 1\n    return 2",
        "    if x:\n        return 1\n    elif y:\n        while z:\n            pass\n    return 3",
    )
    assert "white space" in text
    assert path.read_text() == (
        "class A:\n\tdef f(self):\n\t\tif  x:\n\t\t\treturn 1\n\t\telif y:\n\t\t\twhile z:\n\t\t\t\tpass\n\t\treturn 3\n"
    )


async def test_the_same_line_in_two_depths_stays_where_it_is(hands: Hands) -> None:
    path = await seen(
        hands, "a.py", "def f():\n    try:\n        raise\n    finally:\n        if x:\n            raise\n"
    )
    await edit(
        hands, "try:\n  raise\nfinally:\n  if x:\n    raise", "try:\n  raise\nfinally:\n  if y:\n    raise", "a.py"
    )
    assert path.read_text() == "def f():\n    try:\n        raise\n    finally:\n        if y:\n            raise\n"


async def test_the_stars_of_a_comment_are_no_steps_of_indentation(hands: Hands) -> None:
    path = await seen(hands, "a.js", "  /**\n   * Name.\n   */\n  f() {\n    return x;\n  }\n")
    await edit(
        hands,
        "/**\n * Name.\n */\nf() {\n  return x;\n}",
        "/**\n * The name.\n */\nf() {\n  if (x) {\n    return x;\n  }\n}",
        "a.js",
    )
    assert path.read_text() == "  /**\n   * The name.\n   */\n  f() {\n    if (x) {\n      return x;\n    }\n  }\n"


async def test_a_forgiven_match_must_be_unique(hands: Hands) -> None:
    path = await seen(hands, "a.txt", "  a  b\n    a b\n")
    assert "2 times, at lines 1, 2" in await refused(hands, "a   b", "c")
    assert path.read_text() == "  a  b\n    a b\n"


async def test_a_forgiven_deletion_takes_the_line(hands: Hands) -> None:
    path = await seen(hands, "a.txt", "one\n\ttwo\nthree\n")
    await edit(hands, "  two", "")
    assert path.read_text() == "one\nthree\n"


async def test_line_numbers_of_view_are_forgiven(hands: Hands) -> None:
    path = await seen(hands, "a.txt", "one\n  two\nthree\n")
    assert "line numbers" in await edit(hands, "     2|  two\n     3|three", "     2|  2\n     3|3")
    assert path.read_text() == "one\n  2\n3\n"


async def test_the_nearest_places_are_told(hands: Hands) -> None:
    await seen(hands, "a.txt", "def f(x):\n    return x + 1\n\n\ndef g(y):\n    return y\n")
    text = await refused(hands, "def f(x):\n    return x + 2\n", "")
    assert "     1|def f(x):\n     2|    return x + 1" in text
    assert "line 2 differs: the file has 'return x + 1', you sent 'return x + 2'" in text
    assert "     5|def g(y):" in await refused(hands, "def g(z):", "")
    assert "No line of it is similar" in await refused(hands, "qqqqqqqqqqqqqqqqqqqqqq", "")
    assert "only white space" in await refused(hands, "          \n", "")


async def test_no_change_is_an_error(hands: Hands) -> None:
    await seen(hands, "a.txt", "one\n")
    assert "the same" in await refused(hands, "one", "one")
    assert "exactly this content" in (await hands.use("write", file_path="a.txt", content="one\n")).text


async def test_an_empty_old_string_makes_a_file(hands: Hands) -> None:
    assert "Created" in await edit(hands, "", "hello\n", "new/deep/a.txt")
    assert (hands.root / "new/deep/a.txt").read_text() == "hello\n"
    assert "exists already" in await refused(hands, "", "again", "new/deep/a.txt")
    hands.write("empty", "")
    await edit(hands, "", "filled", "empty")
    assert (hands.root / "empty").read_text() == "filled"


async def test_what_is_no_text_file_is_refused(hands: Hands) -> None:
    hands.write("a.bin", b"\0\1\2")
    (hands.root / "folder").mkdir()
    os.mkfifo(hands.root / "pipe")
    os.truncate(hands.write("huge", "x"), 11 * 1024 * 1024)
    (hands.root / "broken").symlink_to("/nonexistent-place/x")
    for name, why in {
        "a.bin": "binary",
        "folder": "folder",
        "pipe": "pipe",
        "huge": "too large",
        "a.bin/x": "not a folder",
    }.items():
        assert why in await refused(hands, "a", "b", name)
        result = await hands.use("write", file_path=name, content="x")
        assert result.status == "failed"
    assert (hands.root / "a.bin").read_bytes() == b"\0\1\2"
    assert "There is no file missing" in await refused(hands, "a", "b", "missing")


async def test_mode_links_and_neighbours_are_kept(hands: Hands) -> None:
    path = await seen(hands, "bin/tool", "#!/bin/sh\necho 1\n")
    path.chmod(0o751)
    (hands.root / "link").symlink_to("bin/tool")
    await edit(hands, "echo 1", "echo 2", "link")
    assert (hands.root / "link").is_symlink()
    assert path.read_text() == "#!/bin/sh\necho 2\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o751
    assert os.listdir(path.parent) == ["tool"]


async def test_a_file_marked_read_only_is_refused(hands: Hands) -> None:
    path = await seen(hands, "a.txt", "one\n")
    path.chmod(0o444)
    assert "read-only" in await refused(hands, "one", "two")
    assert path.read_text() == "one\n"


async def test_multiedit_makes_what_it_can(hands: Hands) -> None:
    path = await seen(hands, "a.txt", "one\ntwo\nthree\n")
    result = await hands.use(
        "multiedit",
        file_path="a.txt",
        edits=[
            {"old_string": "one", "new_string": "1"},
            {"old_string": "missing", "new_string": "x"},
            {"old_string": "1\ntwo", "new_string": "1\n2"},
        ],
    )
    assert path.read_text() == "1\n2\nthree\n"
    assert "2 of 3 edits" in result.text
    assert "Edit 2 failed" in result.text
    assert result.metadata["edits_applied"] == 2
    assert [failure["index"] for failure in result.metadata["edits_failed"]] == [2]


async def test_multiedit_with_nothing_to_make_fails(hands: Hands) -> None:
    path = await seen(hands, "a.txt", "one\n")
    result = await hands.use("multiedit", file_path="a.txt", edits=[{"old_string": "x", "new_string": "y"}])
    assert result.status == "failed"
    assert path.read_text() == "one\n"


async def test_multiedit_can_make_a_file(hands: Hands) -> None:
    edits = [{"old_string": "", "new_string": "a\nb\n"}, {"old_string": "b", "new_string": "B"}]
    assert (await hands.use("multiedit", file_path="new.txt", edits=edits)).status == "completed"
    assert (hands.root / "new.txt").read_text() == "a\nB\n"


async def test_write_keeps_the_way_a_file_is_written(hands: Hands) -> None:
    path = await seen(hands, "a.txt", b"\xef\xbb\xbfa\r\nb\r\n")
    assert (await hands.use("write", file_path="a.txt", content="x\ny\n")).status == "completed"
    assert path.read_bytes() == b"\xef\xbb\xbfx\r\ny\r\n"


async def test_write_makes_folders_and_refuses_to_overwrite_unseen(hands: Hands) -> None:
    result = await hands.use("write", file_path="deep/er/a.txt", content="x\n")
    assert result.metadata["diff"].endswith("@@ -1,0 +1,1 @@\n+x\n")
    assert (hands.root / "deep/er/a.txt").read_text() == "x\n"


async def test_half_a_character_is_refused(hands: Hands) -> None:
    path = await seen(hands, "a.txt", "one\n")
    result = await hands.send("edit", '{"file_path": "a.txt", "old_string": "one", "new_string": "\\udcff"}')
    assert "half a character" in result.text
    assert path.read_text() == "one\n"


async def test_what_is_recorded_can_be_recorded(hands: Hands) -> None:
    path = await seen(hands, "a.txt", b"\xff\xc3\xa9 one\nnext\n")
    result = await hands.use("edit", file_path="a.txt", old_string="next", new_string="two")
    assert path.read_bytes() == b"\xff\xc3\xa9 one\ntwo\n"
    msgspec.json.encode(result)
    (hands.root / "link").symlink_to(os.fsdecode(b"\xff.txt"))
    hands.write(os.fsdecode(b"\xff.txt"), "needle\n")
    for tool, input in {
        "ls": {},
        "glob": {"pattern": "*"},
        "grep": {"pattern": "needle"},
        "bash": {"command": "cat link; ls"},
    }.items():
        msgspec.json.encode(await hands.use(tool, **input))
    assert "not UTF-8" in (await hands.use("view", file_path="link")).text


async def test_a_folder_swapped_for_a_link_after_the_check_is_not_followed(hands: Hands, tmp_path: Path) -> None:
    await seen(hands, "src/a.txt", "one\n")
    victim = tmp_path / "elsewhere"
    victim.mkdir()
    (victim / "a.txt").write_text("one\n")
    prepared = hands.tools.prepare(
        ToolCall(id="c", name="edit", input='{"file_path": "src/a.txt", "old_string": "one", "new_string": "two"}'),
        hands.workspace,
    )
    assert not isinstance(prepared, ToolResult)
    (hands.root / "src").rename(hands.root / "old")
    (hands.root / "src").symlink_to(victim)
    assert (await prepared.run(hands.context())).status == "failed"
    assert (victim / "a.txt").read_text() == "one\n"
