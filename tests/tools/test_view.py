"""`view`, on what one finds on disks."""

import os
from pathlib import Path

import pytest

from tests.tools.conftest import Hands


async def test_lines_are_numbered_and_the_next_offset_is_told(hands: Hands) -> None:
    hands.write("a.txt", "".join(f"line {n}\n" for n in range(1, 301)))
    first = await hands.use("view", file_path="a.txt")
    assert first.text.startswith("<file>\n     1|line 1\n     2|line 2\n")
    assert "   200|line 200\n</file>" in first.text
    assert "more lines after line 200; go on with offset=200" in first.text
    rest = await hands.use("view", file_path="a.txt", offset=200)
    assert "   201|line 201" in rest.text
    assert "   300|line 300\n</file>" in rest.text
    assert "more lines" not in rest.text
    assert "has only 300 lines" in (await hands.use("view", file_path="a.txt", offset=300)).text


async def test_a_view_is_remembered_by_content(hands: Hands) -> None:
    path = hands.write("a.txt", "one\n")
    result = await hands.use("view", file_path="a.txt")
    assert list(result.metadata["seen"]) == [str(path)]


async def test_an_empty_file_and_one_without_a_last_newline(hands: Hands) -> None:
    hands.write("empty", "")
    hands.write("half", "one\ntwo")
    assert (await hands.use("view", file_path="empty")).text == "empty is empty."
    assert "     2|two\n</file>" in (await hands.use("view", file_path="half")).text


async def test_long_lines_and_large_sections_are_cut(hands: Hands) -> None:
    hands.write("wide", "x" * 5000 + "\nnext\n")
    result = await hands.use("view", file_path="wide")
    assert "     1|" + "x" * 2000 + "…\n     2|next" in result.text
    assert "longer than 2000" in result.text
    hands.write("much", ("y" * 1900 + "\n") * 1000)
    result = await hands.use("view", file_path="much", limit=1000)
    assert len(result.text) < 210 * 1024
    assert "go on with offset=107" in result.text


@pytest.mark.parametrize(
    ("content", "shown", "note"),
    [
        ("é\r\nü\r\n".encode(), "     1|é\n     2|ü", ""),
        (b"\xef\xbb\xbfBOM\n", "     1|BOM", ""),
        ("ünï\n".encode("utf-16"), "     1|ünï", ""),
        (b"\xfe\xff" + "ünï\n".encode("utf-16-be"), "     1|ünï", ""),
        ("naïve café\n".encode("latin-1"), "     1|naïve café", "Latin-1"),
        ("é".encode() + b" \xff\n", "     1|é \ufffd", "not valid UTF-8"),
    ],
    ids=["crlf", "bom", "utf-16", "utf-16-be", "latin-1", "broken"],
)
async def test_encodings(hands: Hands, content: bytes, shown: str, note: str) -> None:
    hands.write("a.txt", content)
    result = await hands.use("view", file_path="a.txt")
    assert shown in result.text
    assert note in result.text
    result.text.encode()


async def test_what_is_no_text_is_refused(hands: Hands) -> None:
    hands.write("a.bin", b"\x7fELF\0\0")
    (hands.root / "folder").mkdir()
    os.mkfifo(hands.root / "pipe")
    assert "binary" in (await hands.use("view", file_path="a.bin")).text
    assert "Use `ls`" in (await hands.use("view", file_path="folder")).text
    assert "pipe" in (await hands.use("view", file_path="pipe")).text
    assert "device" in (await hands.use("view", file_path="/dev/zero")).text
    assert "is a file, not a folder" in (await hands.use("view", file_path="a.bin/x")).text


async def test_a_missing_file_is_answered_with_what_may_have_been_meant(hands: Hands) -> None:
    for name in ("src/Parser.py", "src/parser_test.py", "src/deep/unique_name.py"):
        hands.write(name, "")
    assert "src/Parser.py" in (await hands.use("view", file_path="src/parser.py")).text
    assert "src/deep/unique_name.py" in (await hands.use("view", file_path="unique_name.py")).text
    assert (await hands.use("view", file_path="nowhere/at/all")).text == "There is no file nowhere/at/all."
    assert len((await hands.use("view", file_path="src/pars")).text.splitlines()) <= 4


async def test_a_link_that_leads_in_a_circle(hands: Hands) -> None:
    (hands.root / "a").symlink_to("b")
    (hands.root / "b").symlink_to("a")
    assert (await hands.use("view", file_path="a")).status == "failed"


async def test_a_name_with_a_newline(hands: Hands) -> None:
    hands.write("two\nlines.txt", "x\n")
    assert "     1|x" in (await hands.use("view", file_path="two\nlines.txt")).text
    assert "two\\nlines.txt" in (await hands.use("ls")).text


async def test_a_gigabyte_is_not_read_for_its_first_lines(hands: Hands) -> None:
    path = hands.write("big.log", "".join(f"line {n}\n" for n in range(1, 50_001)))
    os.truncate(path, 1 << 30)
    result = await hands.use("view", file_path="big.log", offset=49_000, limit=3)
    assert "\n 49001|line 49001\n 49002|line 49002\n 49003|line 49003\n" in result.text
    assert "offset=49003" in result.text
    assert result.metadata["seen"] == {}
    end = await hands.use("view", file_path="big.log", offset=49_999)
    assert " 50000|line 50000" in end.text
    assert len(end.text) < 20_000


async def test_sections_of_a_large_file_join_without_gaps(hands: Hands) -> None:
    lines = [f"{n} " + "é" * (n % 97) for n in range(1, 150_001)]
    hands.write("big.txt", "\n".join(lines))
    assert (hands.root / "big.txt").stat().st_size > 10 * 1024 * 1024
    for offset in (0, 63_000, 149_990):
        result = await hands.use("view", file_path="big.txt", offset=offset, limit=20)
        wanted = "\n".join(f"{n:6}|{lines[n - 1]}" for n in range(offset + 1, min(offset + 20, 150_000) + 1))
        assert wanted + "\n</file>" in result.text
        assert ("more lines" in result.text) == (offset < 149_990)
    assert "has only" in (await hands.use("view", file_path="big.txt", offset=150_000)).text


async def test_a_binary_gigabyte_is_refused(hands: Hands) -> None:
    path = hands.write("sparse", "")
    os.truncate(path, 1 << 30)
    assert "binary" in (await hands.use("view", file_path="sparse")).text


async def test_kernel_files_are_outside_even_of_the_whole_disk() -> None:
    hands = Hands(Path("/"))
    assert hands.access("view", file_path="/proc/self/environ").outside
    assert not hands.access("view", file_path="/etc/passwd").outside
