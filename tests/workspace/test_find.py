"""Walking, globbing and searching; with ripgrep and without."""

import asyncio
import os
from pathlib import Path

import pytest

from quell.workspace import LocalWorkspace
from quell.workspace.globs import compile_glob
from quell.workspace.ignore import Ignored
from quell.workspace.search import Query, list_files, ripgrep, search
from quell.workspace.walk import Stop, walk

WAYS = [pytest.param(True, id="ripgrep"), pytest.param(False, id="python")]


@pytest.fixture(params=WAYS)
def program(request: pytest.FixtureRequest) -> str | None:
    return ripgrep() if request.param else None


def plant(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("needle\n")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    plant(
        tmp_path,
        "a.py",
        "src/b.py",
        "src/deep/c.txt",
        "src/out.log",
        "build/d.py",
        "node_modules/e.js",
        ".git/config",
        ".hidden",
    )
    plant(tmp_path, "src/deep/keep.log", "src/own.txt", "src/deep/own.txt", "wéird \n name.txt", "x.pyc")
    (tmp_path / ".gitignore").write_text("*.log\n/build/\n!src/deep/keep.log\n[broken\n")
    (tmp_path / "src/.quellignore").write_text("/own.txt\n")
    (tmp_path / "link").symlink_to("src")
    return tmp_path


FOUND = {
    ".gitignore",
    ".hidden",
    "a.py",
    "src/.quellignore",
    "src/b.py",
    "src/deep/c.txt",
    "src/deep/keep.log",
    "src/deep/own.txt",
    "wéird \n name.txt",
}


def test_both_ways_list_the_same_files(tree: Path, program: str | None) -> None:
    assert set(list_files(str(tree), Stop(), program)) == FOUND


def test_both_ways_find_the_same_lines(tree: Path, program: str | None) -> None:
    found = search(str(tree), Query("need.e"), 100, Stop(), program)
    assert {os.path.relpath(match.path, tree) for match in found.matches} == FOUND - {".gitignore", "src/.quellignore"}
    assert all((match.line, match.column, match.text) == (1, 1, "needle") for match in found.matches)
    assert found.cut is None
    only = search(str(tree), Query("needle", include="src/**/*.{py,log}"), 100, Stop(), program)
    assert [os.path.relpath(match.path, tree) for match in only.matches] == ["src/b.py", "src/deep/keep.log"]


def test_the_top_of_the_repository_counts_below_it(tree: Path, program: str | None) -> None:
    assert set(list_files(str(tree / "src"), Stop(), program)) == {
        ".quellignore",
        "b.py",
        "deep/c.txt",
        "deep/keep.log",
        "deep/own.txt",
    }


@pytest.mark.parametrize("where", [".config/git/ignore", "excludes"])
def test_what_the_users_own_git_ignores_everywhere(
    tree: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    program: str | None,
    where: str,
) -> None:
    """For listings, searches and `ls` alike; a project's file may bring it back."""
    home = tmp_path_factory.mktemp("home")
    plant(home, where)
    (home / where).write_text("*.py\n*.log\n")
    if where == "excludes":
        (home / ".gitconfig").write_text('[core]\n\texcludesFile = "~/excludes"\n')
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    expected = {name for name in FOUND if not name.endswith(".py")}
    assert set(list_files(str(tree), Stop(), program)) == expected
    walked = walk(str(tree), None, (), 1000, Stop()).entries
    assert {os.path.relpath(entry.path, tree) for entry in walked if entry.kind == "file"} == expected


def test_what_is_asked_for_by_its_path_is_searched(tree: Path, program: str | None) -> None:
    for name in ("build/d.py", "node_modules/e.js", "src/out.log", "src/own.txt", "node_modules"):
        assert len(search(str(tree / name), Query("needle"), 9, Stop(), program).matches) == 1


@pytest.mark.parametrize(
    ("content", "pattern", "literal", "found"),
    [
        (b"a(b\n", "a(b", True, [(1, 1, "a(b")]),
        (b"x\r\nfoo bar\r\n", "bar$", False, [(2, 5, "foo bar")]),
        ("ö foo\n".encode(), "foo", False, [(1, 3, "ö foo")]),
        (b"\xff foo\n", "foo", False, [(1, 3, "\ufffd foo")]),
        (b"no end", "end", False, [(1, 4, "no end")]),
        (b"bin\0ary foo\n", "foo", False, []),
        (b"foo\n" * 3 + b"x" * 100_000 + b"\0\nfoo\n", "foo", False, [(1, 1, "foo"), (2, 1, "foo"), (3, 1, "foo")]),
        (b"", "x", False, []),
        (b"a:b:c\n", "b", False, [(1, 3, "a:b:c")]),
    ],
    ids=range(9),
)
def test_lines(
    tmp_path: Path, program: str | None, content: bytes, pattern: str, literal: bool, found: list[tuple[int, int, str]]
) -> None:
    (tmp_path / "a").write_bytes(content)
    matches = search(str(tmp_path), Query(pattern, literal), 9, Stop(), program).matches
    assert [(match.line, match.column, match.text) for match in matches] == found


def test_a_bad_expression_is_explained(tmp_path: Path, program: str | None) -> None:
    (tmp_path / "a").write_text("x")
    with pytest.raises(ValueError, match="regex parse error"):
        search(str(tmp_path), Query("a("), 9, Stop(), program)
    with pytest.raises(ValueError, match="without its"):
        search(str(tmp_path), Query("a", include="*.{py"), 9, Stop(), program)


def test_pipes_are_not_opened(tmp_path: Path, program: str | None) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "a").write_text("x\n")
    assert len(search(str(tmp_path), Query("x"), 9, Stop(), program).matches) == 1


def test_a_stop_ends_it_and_says_why(tmp_path: Path, program: str | None) -> None:
    (tmp_path / "a").write_text("x\n" * 1000)
    stop = Stop()
    stop.set("time")
    assert search(str(tmp_path), Query("x"), 9, stop, program).cut == "time"
    assert walk(str(tmp_path), None, (), 9, stop).cut == "time"


async def test_a_cancelled_search_leaves_nothing_running(tmp_path: Path) -> None:
    with open(tmp_path / "big", "wb") as file:
        for _ in range(64):
            file.write((b"a" * 1023 + b"\n") * 1024)
    workspace = LocalWorkspace(str(tmp_path))
    async with asyncio.TaskGroup() as group:
        task = group.create_task(workspace.search(str(tmp_path), "(a+)+(b+)+c", literal=False, include="", limit=9))
        await asyncio.sleep(0)
        task.cancel()
    assert task.cancelled()
    assert not [pid for pid in os.listdir("/proc") if pid.isdigit() and works_in(pid, tmp_path)]


def works_in(pid: str, folder: Path) -> bool:
    try:
        return os.readlink(f"/proc/{pid}/cwd") == str(folder)
    except OSError:
        return False


def test_walk_goes_level_by_level(tree: Path) -> None:
    listing = walk(str(tree), None, ("*.py",), 1000, Stop())
    names = [os.path.relpath(entry.path, tree) for entry in listing.entries]
    assert names == [
        ".gitignore", ".hidden", "link", "src", "wéird \n name.txt",
        "src/.quellignore", "src/deep", "src/deep/c.txt", "src/deep/keep.log", "src/deep/own.txt",
    ]  # fmt: skip
    assert walk(str(tree), 1, (), 3, Stop()).cut == "limit"
    assert len(walk(str(tree), 1, (), 1000, Stop()).entries) == 6


@pytest.mark.parametrize(
    ("glob", "fits", "fits_not"),
    [
        ("*.py", ["a.py", "x/y/a.py", ".py"], ["a.pyc", "a.py/b"]),
        ("src/*.py", ["src/a.py"], ["src/x/a.py", "x/src/a.py"]),
        ("src/**/*.py", ["src/a.py", "src/x/y/a.py"], ["a.py", "srcs/a.py"]),
        ("**/test_*", ["test_a", "x/test_a"], ["x/atest_"]),
        ("*.{ts,tsx}", ["a.ts", "b/a.tsx"], ["a.t", "a.ts,tsx"]),
        ("{a,b/{c,d}}/x", ["a/x", "b/c/x", "b/d/x"], ["b/x"]),
        ("[a-c]?.[!x]", ["b1.y", "d/a2.z"], ["d1.y", "a.y", "a1.x"]),
        ("src/", ["src/a", "src/b/c"], ["src", "a/src/b"]),
        ("./a/**", ["a/b", "a/b/c"], ["b/a/c"]),
        ("/a.py", ["a.py", "b/a.py"], []),
        ("a+b(c)", ["a+b(c)"], ["aab(c)"]),
        (r"\*.py", ["*.py"], ["a.py"]),
        ("[", ["["], ["a"]),
        ("a,b}", ["a,b}"], ["a"]),
        ("x/**/y", ["x/y", "x/a/b/y"], ["xy"]),
        ("*\n*", ["a\nb"], ["ab"]),
        ("[[]x]", ["[x]"], []),
    ],
    ids=range(17),
)
def test_globs(glob: str, fits: list[str], fits_not: list[str]) -> None:
    expression = compile_glob(glob)
    assert [name for name in fits if not expression.fullmatch(name)] == []
    assert [name for name in fits_not if expression.fullmatch(name)] == []


@pytest.mark.parametrize("glob", ["", "/", "a{b", "[z-a]"])
def test_bad_globs(glob: str) -> None:
    with pytest.raises(ValueError):
        compile_glob(glob)


def test_a_glob_takes_no_exponential_time() -> None:
    assert not compile_glob("*a*a*a*a*a*a*b").fullmatch("a" * 60)


def test_something_ignored_can_be_brought_back(tmp_path: Path, program: str | None) -> None:
    plant(tmp_path, "node_modules/mine/a", "node_modules/other/b", "__pycache__/c", "sub/__pycache__/d", "secret/e")
    (tmp_path / ".quellignore").write_text("!node_modules/\n/node_modules/other\nsecret\n")
    (tmp_path / ".gitignore").write_text("!/__pycache__/\n!secret\n")
    assert set(list_files(str(tmp_path), Stop(), program)) == {
        ".gitignore",
        ".quellignore",
        "node_modules/mine/a",
        "__pycache__/c",
    }


def test_own_patterns_count_for_whole_folders(tmp_path: Path) -> None:
    plant(tmp_path, "a/b/c/d.txt", "a/x.txt")
    (tmp_path / "a/.quellignore").write_text("b/\n")
    ignored = Ignored(str(tmp_path))
    assert ignored.hides(str(tmp_path / "a/b/c/d.txt"))
    assert not ignored.hides(str(tmp_path / "a/x.txt"))
    assert not ignored.hides(str(tmp_path / "y.txt"))
    below = Ignored(str(tmp_path / "a/b"))
    assert not below.hides(str(tmp_path / "a/b/c/d.txt"))


def test_a_folder_at_the_top_of_the_disk() -> None:
    assert not Ignored("/").covers("/etc", folder=True)
    assert not Ignored("/etc").hides("/etc/passwd")
