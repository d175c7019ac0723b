"""`ls`, `glob` and `grep`."""

import os

import pytest

from tests.tools.conftest import Hands


async def test_ls_shows_a_tree_without_what_is_ignored(hands: Hands) -> None:
    for name in ("src/a.py", "src/deep/b.py", "node_modules/x.js", "out.log", ".gitignore", ".env"):
        hands.write(name, "*.log\n" if name == ".gitignore" else "")
    (hands.root / "link").symlink_to("src")
    result = await hands.use("ls")
    assert result.text == (
        f"- {hands.root}/\n  - .env\n  - .gitignore\n  - link@\n  - src/\n    - a.py\n    - deep/\n      - b.py"
    )
    assert "b.py" not in (await hands.use("ls", depth=2)).text
    assert "a.py" not in (await hands.use("ls", ignore=["src/"])).text
    assert "x.js" in (await hands.use("ls", path="node_modules")).text


async def test_ls_of_what_is_no_folder(hands: Hands) -> None:
    hands.write("a.txt", "")
    assert "Use `view`" in (await hands.use("ls", path="a.txt")).text
    assert "There is no folder nope" in (await hands.use("ls", path="nope")).text
    (hands.root / "empty").mkdir()
    assert "is empty" in (await hands.use("ls", path="empty")).text


async def test_ls_stops_at_a_thousand_and_shows_the_nearest(hands: Hands) -> None:
    for n in range(1200):
        hands.write(f"deep/{n}", "")
    hands.write("z.txt", "")
    result = await hands.use("ls")
    assert result.text.startswith("There are more than 1000 entries")
    assert "z.txt" in result.text
    assert result.metadata["entries"] == 1000


async def test_glob_lists_the_newest_first(hands: Hands) -> None:
    for age, name in enumerate(("src/new.py", "mid.py", "src/deep/old.py")):
        os.utime(hands.write(name, ""), (1_000_000 - age, 1_000_000 - age))
    assert (await hands.use("glob", pattern="*.py")).text == "src/new.py\nmid.py\nsrc/deep/old.py"
    assert (await hands.use("glob", pattern="src/*.py")).text == "src/new.py"
    assert (await hands.use("glob", pattern="{mid,old}.p?", path=".")).text == "mid.py\nsrc/deep/old.py"
    assert (await hands.use("glob", pattern=f"{hands.root}/src/**/o*")).text == "src/deep/old.py"
    assert "No files fit" in (await hands.use("glob", pattern="*.rs")).text


async def test_glob_says_what_is_wrong(hands: Hands) -> None:
    assert "without its '}'" in (await hands.use("glob", pattern="*.{py")).text
    assert "There is no folder nope" in (await hands.use("glob", pattern="*", path="nope")).text
    assert "`..`" in (await hands.use("glob", pattern="src/../../*")).text


async def test_glob_stops_at_a_hundred(hands: Hands) -> None:
    for n in range(120):
        hands.write(f"{n}.txt", "")
    result = await hands.use("glob", pattern="*.txt")
    assert len(result.text.splitlines()) == 101
    assert "Only the 100 last modified" in result.text


async def test_grep_groups_by_file(hands: Hands) -> None:
    hands.write("b.py", "x = 1\nfoo = é + foo\n")
    hands.write("a.py", "foo()\n")
    hands.write("skip.txt", "foo\n")
    result = await hands.use("grep", pattern=r"fo+", include="*.py")
    assert result.text == (
        "Found 2 matching lines.\n\na.py:\n  Line 1, Char 1: foo()\n\nb.py:\n  Line 2, Char 1: foo = é + foo"
    )
    assert "Line 2, Char 9: " in (await hands.use("grep", pattern=r"\+ foo", path="b.py")).text


async def test_grep_takes_text_literally_and_explains_expressions(hands: Hands) -> None:
    hands.write("a.txt", "call(1)\n")
    assert "regex parse error" in (text := (await hands.use("grep", pattern="call(")).text)
    assert "set literal_text to true" in text
    assert "Line 1" in (await hands.use("grep", pattern="call(", literal_text=True)).text
    assert "No lines fit" in (await hands.use("grep", pattern="nothing")).text
    assert "There is no file nope" in (await hands.use("grep", pattern="x", path="nope")).text


async def test_grep_does_not_take_a_pattern_for_an_option(hands: Hands) -> None:
    hands.write("a.txt", "--version\n")
    assert "Line 1" in (await hands.use("grep", pattern="--version")).text
    hands.write("--pre=x", "needle\n")
    assert "Line 1" in (await hands.use("grep", pattern="needle", path="--pre=x")).text


async def test_grep_respects_ignore_files_and_an_include_brings_nothing_back(hands: Hands) -> None:
    hands.write(".gitignore", "*.log\nbuild/\n")
    hands.write("src/.quellignore", "secret.txt\n")
    for name in ("a.log", "build/x.txt", "src/secret.txt", "src/open.txt", "node_modules/y.txt", ".hidden.txt"):
        hands.write(name, "needle\n")
    assert {
        line[:-1] for line in (await hands.use("grep", pattern="needle")).text.splitlines() if line.endswith(":")
    } == {
        "src/open.txt",
        ".hidden.txt",
    }
    for include in ("*", "**", "*.txt", "**/*.txt", "src/**"):
        text = (await hands.use("grep", pattern="needle", include=include)).text
        assert "open.txt" in text
        assert not any(name in text for name in ("a.log", "build/", "secret", "node_modules"))
    assert "needle" in (await hands.use("grep", pattern="needle", path="build/x.txt")).text
    assert "y.txt" in (await hands.use("grep", pattern="needle", path="node_modules")).text


async def test_grep_cuts_long_lines_around_the_match(hands: Hands) -> None:
    hands.write("wide.txt", "a" * 900 + "needle" + "b" * 10_000_000 + "\n")
    text = (await hands.use("grep", pattern="needle")).text
    assert "aneedleb" in text
    assert "Char 901" in text
    assert len(text) < 800


async def test_grep_stops_at_a_hundred_in_order(hands: Hands) -> None:
    for name in "cab":
        hands.write(f"{name}.txt", "x\n" * 60)
    result = await hands.use("grep", pattern="x")
    assert result.metadata["matches"] == 100
    assert "Found 100+ matching lines" in result.text
    assert result.text.index("a.txt") < result.text.index("b.txt")
    assert "c.txt" not in result.text


async def test_the_users_configuration_of_ripgrep_is_not_obeyed(hands: Hands, monkeypatch: pytest.MonkeyPatch) -> None:
    hands.write("a.txt", "needle\n")
    config = hands.write("../ripgreprc", "--pre=/bin/false\n--invert-match\n")
    monkeypatch.setenv("RIPGREP_CONFIG_PATH", str(config))
    assert "Line 1, Char 1: needle" in (await hands.use("grep", pattern="needle")).text
