"""Which instructions are found, in which order, and how much of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from quell.context import files


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "repo"
    (root / ".git").mkdir(parents=True)
    return root


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def found(root: Path, user: Path | None = None, extra: tuple[str, ...] = ()) -> list[str]:
    return [file.path for file in files.find(str(user) if user else None, str(root), extra)]


def rendered(root: Path, **options: str) -> str:
    return files.render(files.find(None, str(root), ()), **options)


def test_general_first_nearest_last(repository: Path, tmp_path: Path) -> None:
    user = write(tmp_path / "home" / "AGENTS.md", "user").parent
    workspace = repository / "a" / "b"
    paths = [
        write(repository / "AGENTS.md", "1"),
        write(repository / "CLAUDE.md", "2"),
        write(repository / ".github" / "copilot-instructions.md", "3"),
        write(repository / ".quell" / "AGENTS.md", "4"),
        write(repository / "AGENTS.local.md", "5"),
        write(repository / "a" / "AGENTS.md", "6"),
        write(workspace / "GEMINI.md", "7"),
        write(tmp_path / "other" / "AGENTS.md", "8"),
    ]
    write(workspace / "below" / "AGENTS.md", "not yet")
    write(tmp_path / "AGENTS.md", "above the repository")
    expected = [str(user / "AGENTS.md"), *(str(path) for path in paths)]
    assert found(workspace, user, (str(tmp_path / "other"),)) == expected


def test_outside_of_a_repository_only_the_workspace_is_looked_into(tmp_path: Path) -> None:
    write(tmp_path / "AGENTS.md", "above")
    own = write(tmp_path / "work" / "AGENTS.md", "own")
    assert found(tmp_path / "work") == [str(own)]


def test_the_same_file_or_text_is_given_once(repository: Path) -> None:
    write(repository / "AGENTS.md", "be kind")
    (repository / "CLAUDE.md").symlink_to("AGENTS.md")
    os.link(repository / "AGENTS.md", repository / "GEMINI.md")
    assert found(repository) == [str(repository / "AGENTS.md")]
    write(repository / ".cursorrules", "be kind\n")
    assert rendered(repository).count("be kind") == 1


def test_a_link_cannot_send_something_from_elsewhere(repository: Path, tmp_path: Path) -> None:
    write(tmp_path / "secret", "key")
    (repository / "AGENTS.md").symlink_to(tmp_path / "secret")
    write(tmp_path / "repo-2" / "AGENTS.md", "key")
    (repository / ".quell").symlink_to(tmp_path / "repo-2")
    assert found(repository) == []


def test_the_users_own_file_may_be_a_link(repository: Path, tmp_path: Path) -> None:
    write(tmp_path / "dotfiles" / "agents.md", "mine")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "AGENTS.md").symlink_to(tmp_path / "dotfiles" / "agents.md")
    assert found(repository, tmp_path / "home") == [str(tmp_path / "home" / "AGENTS.md")]


def test_what_is_no_file_is_passed_over(repository: Path) -> None:
    os.mkfifo(repository / "AGENTS.md")
    (repository / "CLAUDE.md").mkdir()
    (repository / "GEMINI.md").symlink_to("nowhere")
    assert found(repository) == []


def test_a_file_that_goes_between_finding_and_reading_is_passed_over(repository: Path) -> None:
    gone = write(repository / "AGENTS.md", "x")
    write(repository / "CLAUDE.md", "y")
    seen = files.find(None, str(repository), ())
    gone.unlink()
    os.mkfifo(gone)
    assert [line for line in files.render(seen).splitlines() if not line.startswith("<")] == ["y"]


def test_each_says_where_it_is_from(repository: Path, tmp_path: Path) -> None:
    write(repository / "AGENTS.md", "  be kind\n\n")
    text = rendered(repository, home=str(tmp_path))
    assert text == '<instructions from="~/repo/AGENTS.md">\nbe kind\n</instructions>'


def test_a_long_file_is_cut_with_a_note(repository: Path) -> None:
    write(repository / "AGENTS.md", "x" * 1_000_000)
    text = rendered(repository)
    assert text.count("x") == files.LONGEST
    assert "[cut here, after 32,000 characters of a file of 1,000,000 bytes; view it for the rest]" in text


def test_when_all_are_too_long_the_nearest_are_kept(repository: Path) -> None:
    for depth, letter in enumerate("qwzj"):
        write(repository.joinpath(*["d"] * depth) / "AGENTS.md", letter * 30_000)
    text = rendered(repository / "d" / "d" / "d")
    counts = [text.count(letter * 3) * 3 for letter in "qwzj"]
    assert counts == [0, 3_999, 30_000, 30_000]
    assert text.index("www") < text.index("zzz") < text.index("jjj")


def test_bytes_that_are_no_text_do_no_harm(repository: Path) -> None:
    (repository / "AGENTS.md").write_bytes(b"\xef\xbb\xbfcaf\xe9")
    assert "caf�" in rendered(repository)
    (repository / "AGENTS.md").write_bytes(b" \n")
    assert rendered(repository) == ""
