"""The size gate finds what it is there for, and says where."""

from pathlib import Path
from textwrap import dedent

import pytest

from scripts.sizes import Raised, findings


def check(
    root: Path,
    code: str,
    *,
    path: str = "src/quell/thing.py",
    lazy: dict[str, set[str]] | None = None,
    raised: dict[tuple[str, str], Raised] | None = None,
) -> list[str]:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(dedent(code), encoding="utf-8")
    return findings(root, lazy=lazy or {}, raised=raised or {})


def function(lines: int) -> str:
    return "def f():\n" + "    pass\n" * (lines - 1)


def test_a_tidy_file_passes(tmp_path: Path) -> None:
    assert check(tmp_path, "import os\n\n\nclass Journal:\n    def read(self):\n        self.cursor = 0\n") == []


@pytest.mark.parametrize(
    ("code", "finding"),
    [
        ("\n" * 501, "thing.py:1: file has 501 lines, allowed are 500"),
        (function(61), "thing.py:1: function f has 61 lines, allowed are 60"),
        (
            "class A:\n" + "".join(f"    def m{n}(self): ...\n" for n in range(26)),
            "thing.py:1: class A has 26 methods, allowed are 25",
        ),
        (
            "class A:\n    def m(self):\n" + "".join(f"        self.a{n} = {n}\n" for n in range(13)),
            "thing.py:1: class A has 13 own attributes, allowed are 12",
        ),
        (
            "class A:\n    def f(self):\n        import os\n",
            "thing.py:3: import of os inside a function, not listed in LAZY",
        ),
        ("async def f():\n    from a.b import c\n", "thing.py:2: import of a.b inside a function, not listed in LAZY"),
        ("class SessionManager: ...\n", "thing.py:1: the name of class SessionManager says nothing: manager"),
        ("class HTTPInfo: ...\n", "thing.py:1: the name of class HTTPInfo says nothing: info"),
    ],
    ids=["file", "function", "methods", "attributes", "import", "import-from", "class-name", "acronym"],
)
def test_finds(tmp_path: Path, code: str, finding: str) -> None:
    assert check(tmp_path, code) == [f"src/quell/{finding}"]


@pytest.mark.parametrize("path", ["src/quell/utils.py", "src/quell/base_tool.py", "src/quell/common/__init__.py"])
def test_finds_module_names_that_say_nothing(tmp_path: Path, path: str) -> None:
    assert [
        line for line in check(tmp_path, "", path=path) if line.startswith(f"{path}:1: the module's name says nothing")
    ]


def test_a_file_that_does_not_parse_is_a_finding(tmp_path: Path) -> None:
    assert check(tmp_path, "x = 1\nx = (\n") == ["src/quell/thing.py:2: '(' was never closed"]


def test_only_whole_words_are_vague(tmp_path: Path) -> None:
    assert check(tmp_path, "class Database: ...\nclass Informed: ...\n", path="src/quell/metadata.py") == []


@pytest.mark.parametrize(
    ("comment", "example"),
    [
        ("type: ignore", "# type: ignore[code]  # reason"),
        ("type: ignore[arg-type]", "# type: ignore[code]  # reason"),
        ("noqa", "# noqa: CODE  # reason"),
        ("noqa: BLE001", "# noqa: CODE  # reason"),
        ("NOQA:E1,E2", "# noqa: CODE  # reason"),
        ("ruff: noqa", "# noqa: CODE  # reason"),
    ],
)
def test_a_silenced_check_needs_code_and_reason(tmp_path: Path, comment: str, example: str) -> None:
    expected = [f"tests/x.py:1: needs a code and a reason: {example}"]
    assert check(tmp_path, f"x = 1  # {comment}\n", path="tests/x.py") == expected


@pytest.mark.parametrize(
    "comment", ["type: ignore[arg-type]  # no types there", "noqa: BLE001  # outermost", "noqa: B008, E1 - frozen"]
)
def test_a_silenced_check_with_code_and_reason_passes(tmp_path: Path, comment: str) -> None:
    assert check(tmp_path, f"x = 1  # {comment}\ny = '# noqa'\n") == []


def test_a_listed_lazy_import_passes_and_an_unneeded_entry_does_not(tmp_path: Path) -> None:
    listed = {"src/quell/thing.py": {"os", "sys"}}
    assert check(tmp_path, "def f():\n    import os\n", lazy=listed) == [
        "src/quell/thing.py: LAZY lists sys, not needed"
    ]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (70, []),
        (71, ["src/quell/thing.py:1: function f has 71 lines, allowed are 70"]),
        (69, ["src/quell/thing.py f: RAISED allows 70 lines, 69 would do"]),
        (60, ["src/quell/thing.py f: RAISED has an entry, not needed"]),
    ],
)
def test_a_raised_limit_is_never_looser_than_the_code(tmp_path: Path, lines: int, expected: list[str]) -> None:
    (tmp_path / "0009-why.md").touch()
    raised = {("function", "src/quell/thing.py f"): Raised(70, "0009-why.md")}
    assert check(tmp_path, function(lines), raised=raised) == expected


def test_a_raised_limit_needs_its_decision_record(tmp_path: Path) -> None:
    raised = {("function", "src/quell/thing.py f"): Raised(70, "0009-why.md")}
    expected = ["src/quell/thing.py f: RAISED names 0009-why.md, which does not exist"]
    assert check(tmp_path, function(70), raised=raised) == expected
