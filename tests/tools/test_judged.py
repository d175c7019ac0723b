"""The table of `judged.txt`: what lines of shell are taken for, and that those taken for reading change nothing and run nothing."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quell.core.permissions import Mode, check, parse_rule
from quell.tools import readonly
from tests.tools.conftest import Hands

MODES: tuple[Mode, ...] = ("ask", "edits", "plan", "yolo")


class Row(NamedTuple):
    line: str
    answers: tuple[str, ...]
    reason: str
    judged: str


def rows() -> Iterator[Row]:
    answers: tuple[str, ...] = ()
    reason = ""
    for text in Path(__file__).with_name("judged.txt").read_text(encoding="utf-8").split("\n"):
        if text.startswith("## "):
            _, found, reason = text.split(" | ")
            answers = tuple(found.split())
        elif text and not text.startswith("#"):
            line, _, judged = text.partition("  →  ")
            yield Row(line.replace("⏎", "\n").replace("⇥", "\t"), answers, reason, judged)


ROWS = list(rows())
READING = [row.line for row in ROWS if row.answers[1] == "allow" and row.answers[2] == "allow"]


def test_the_table_is_large() -> None:
    assert len({row.line for row in ROWS}) == len(ROWS) > 700


@pytest.mark.parametrize("number", range(len(ROWS)))
def test_lines_are_judged_as_the_table_says(hands: Hands, number: int) -> None:
    row = ROWS[number]
    access = hands.access("bash", command=row.line)
    verdicts = [check(access, (), mode) for mode in MODES]
    assert tuple(verdict.answer for verdict in verdicts) == row.answers, (row, access)
    assert row.reason in verdicts[1].reason, row
    if row.judged:
        found = "; ".join(" ".join(command.words) for command in access.commands)
        assert found.replace("\n", "⏎").replace("\t", "⇥") == row.judged


@pytest.mark.parametrize("line", [row.line for row in ROWS if "rm a.txt" in row.judged.split("; ")], ids=ascii)
def test_a_rule_reaches_a_command_wherever_it_stands(hands: Hands, line: str) -> None:
    access = hands.access("bash", command=line)
    rules = [parse_rule("bash(rm *)", "user", "deny")]
    assert {check(access, rules, mode).answer for mode in MODES} == {"deny"}


# What is taken for reading, run


FAKED = ("chmod", "cp", "curl", "dd", "less", "ln", "man", "mkdir", "mv", "rm", "sh", "ssh", "tee", "touch", "vim")


@pytest.fixture
def scene(hands: Hands, tmp_path: Path) -> Hands:
    """A repository in the workspace, and programs in front of the real ones that leave a trace when they are run."""
    faked = tmp_path / "faked"
    faked.mkdir()
    for name in FAKED:
        trap(faked / name, tmp_path / "canary")
    for name in ("a.txt", "b.txt", "src/a.py", "src/b.py"):
        hands.write(name, "needle,x\n" * 3)
    hands.write("a.json", '{"a": [{"b": 1}], "name": "x"}')
    git(hands, "init", "-q", "-b", "main")
    git(hands, "add", ".")
    git(hands, "commit", "-qm", "one")
    hands.write("a.txt", "changed\n")
    git(hands, "commit", "-qam", "two")
    hands.write("b.txt", "changed\n")
    hands.environment = {
        "PATH": f"{faked}:{os.environ['PATH']}",
        "HOME": str(tmp_path / "home"),
        "TMPDIR": str(tmp_path / "temporary"),
        "LANG": "C.UTF-8",
    }
    for folder in ("home", "temporary"):
        (tmp_path / folder).mkdir()
    return hands


def trap(path: Path, canary: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/bash\nprintf "%s\\n" "$0 $*" >> {canary}\n')
    path.chmod(0o755)
    return str(path)


def git(hands: Hands, *words: str, folder: str = ".") -> None:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "protocol.file.allow=always")
    subprocess.run(["git", *identity, *words], cwd=hands.root / folder, check=True, capture_output=True)


def state(folder: Path) -> dict[str, tuple[object, ...]]:
    """Everything about the files below a folder but when they were read."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(folder.rglob("*")):
        stat = path.lstat()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() and not path.is_symlink() else ""
        found[str(path)] = (stat.st_mode, stat.st_mtime_ns, stat.st_nlink, content)
    return found


@pytest.mark.parametrize("part", range(4))
async def test_what_reads_changes_nothing_and_runs_nothing(scene: Hands, tmp_path: Path, part: int) -> None:
    before = state(tmp_path)
    for line in READING[part::4]:
        await scene.use("bash", command=line, timeout=20)
        assert state(tmp_path) == before, line


HOSTILE = """
[core]
    fsmonitor = {trap}
    hooksPath = {hooks}
    pager = {trap}
    editor = {trap}
    sshCommand = {trap}
    alternateRefsCommand = {trap}
[diff]
    external = {trap}
    submodule = diff
[diff "evil"]
    command = {trap}
    textconv = {trap}
[merge "evil"]
    driver = {trap}
[gpg]
    program = {trap}
[gpg "ssh"]
    program = {trap}
[log]
    showSignature = true
    diffMerges = remerge
[pager]
    log = {trap}
    status = {trap}
[status]
    submoduleSummary = true
[submodule]
    recurse = true
[interactive]
    diffFilter = {trap}
[credential]
    helper = !{trap}
"""


def make_hostile(scene: Hands, tmp_path: Path, extra: str = "") -> Path:
    canary = tmp_path / "canary"
    trapped = trap(tmp_path / "trap", canary)
    for hook in ("post-index-change", "reference-transaction", "post-checkout", "pre-commit"):
        trap(tmp_path / "hooks" / hook, canary)
    config = scene.root / ".git" / "config"
    filled = (HOSTILE + extra).replace("{trap}", trapped).replace("{hooks}", str(tmp_path / "hooks"))
    config.write_text(config.read_text() + filled)
    (scene.root / ".git" / "info" / "attributes").write_text("* diff=evil merge=evil filter=evil\n")
    os.utime(scene.root / "a.txt", (time.time() + 5,) * 2)  # so that git looks at the content
    return canary


def with_submodule(scene: Hands, canary: Path, tmp_path: Path) -> None:
    inner = scene.root / "inner"
    inner.mkdir()
    (inner / "f.txt").write_text("x\n")
    git(scene, "init", "-q", folder="inner")
    git(scene, "add", ".", folder="inner")
    git(scene, "commit", "-qm", "inner", folder="inner")
    git(scene, "add", "inner")
    git(scene, "commit", "-qm", "outer")
    config = inner / ".git" / "config"
    trapped = trap(tmp_path / "inner-trap", canary)
    config.write_text(config.read_text() + f'[filter "evil"]\n clean = {trapped}\n[core]\n fsmonitor = {trapped}\n')
    (inner / ".git" / "info" / "attributes").write_text("* filter=evil\n")
    (inner / "f.txt").write_text("y\n")


async def test_git_that_reads_does_not_obey_the_repository(scene: Hands, tmp_path: Path) -> None:
    with_submodule(scene, tmp_path / "canary", tmp_path)
    canary = make_hostile(scene, tmp_path)
    lines = [line for line in READING if re.search(r"\bgit\b", line) and "which" not in line]
    assert len(lines) > 40
    for line in lines:
        os.utime(scene.root / "inner" / "f.txt")
        before = state(scene.root / "src")
        access = scene.access("bash", command=line)
        assert all(command.read_only for command in access.commands), line
        await scene.use("bash", command=line)
        assert not canary.exists(), (line, canary.read_text())
        assert state(scene.root / "src") == before, line


def test_the_traps_would_have_sprung(scene: Hands, tmp_path: Path) -> None:
    """Without the care that is taken: a change in git that makes the test above meaningless is noticed."""
    with_submodule(scene, tmp_path / "canary", tmp_path)
    canary = make_hostile(scene, tmp_path)
    for words in (["diff"], ["log", "-p"], ["status"], ["blame", "a.txt"]):
        subprocess.run(["git", *words], cwd=scene.root, capture_output=True, check=False)
        assert canary.exists(), words
        canary.unlink()


@pytest.mark.parametrize(
    ("written", "named"),
    [
        ('[filter "evil"]\n clean = {trap}\n', "filter.evil.clean"),
        ('[filter "evil"] clean = {trap}\n', "filter.evil.clean"),
        ('[core][filter "evil"]process={trap}\n', "filter.evil.process"),
        ('[core]\n x = 1 # \\\n[filter "evil"]\n clean = {trap}\n', "filter.evil.clean"),
        ('[FILTER "evil"]\r\n x = a \\\r\n[core]\r\nCLEAN = {trap}\r\n', "filter.evil.clean"),
        ("[filter.evil]\n smudge = {trap}\n", "filter.evil.smudge"),
        ("[include]\n path = ../x\n", "include.path"),
        ('[includeIf "gitdir:/"]\n path = ../x\n', "includeif.gitdir:/.path"),
        ("[core]\n worktree = /etc\n", "core.worktree"),
        ('[lfs "extension.x"]\n clean = {trap}\n', "lfs.extension.x.clean"),
        ("[core\n", "cannot be read"),
        ('[filter "lfs"]\n clean = git-lfs clean -- %f\n process = git-lfs filter-process\n', ""),
        ('[remote "origin"]\n url = x\n fetch = +refs/heads/*:refs/remotes/origin/*\n[user]\n name = "a # b"\n', ""),
    ],
)
async def test_what_cannot_be_overruled_asks(scene: Hands, tmp_path: Path, written: str, named: str) -> None:
    config = scene.root / ".git" / "config"
    config.write_text(config.read_text() + written.replace("{trap}", trap(tmp_path / "trap", tmp_path / "canary")))
    for line in ("git status", "cd src && git diff", "git -C src log", "ls; git --no-pager show"):
        verdict = check(scene.access("bash", command=line), (), "edits")
        assert verdict.answer == ("ask" if named else "allow"), line
        assert named in verdict.reason


async def test_other_git_in_the_same_line_keeps_its_hooks(scene: Hands, tmp_path: Path) -> None:
    trap(scene.root / ".git" / "hooks" / "pre-commit", tmp_path / "canary")
    result = await scene.use(
        "bash",
        command="git status -s && git -c user.name=a -c user.email=a@b commit -qam three && git log -1 --format=%s",
    )
    assert "three" in result.text
    assert (tmp_path / "canary").exists()


# Any arguments


@cache
def options_of(command: str) -> tuple[str, ...]:
    """Those that the program itself lists, and what has done damage somewhere."""
    words = command.split()
    asked = [*words, "-h"] if words[0] == "git" else [*words, "--help"]
    shown = subprocess.run(asked, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=20)
    found = set(re.findall(r"(?<![\w-])--?[A-Za-z][\w-]*=?", shown.stdout + shown.stderr))
    return (*sorted(found), "-o", "--output", "-delete", "-i", "-w", "-C", "-U", "--color", "--unified", "--format")


COMMANDS = sorted(
    [name for name in (*readonly.PLAIN, *readonly._OPTIONS, "find", "jq", "sed") if shutil.which(name)]
    + [f"git {name}" for name in (*readonly._GIT, "branch", "tag", "stash", "remote", "config", "reflog", "worktree")]
)
SLOW = {"sleep", "seq", "yes", "tail"}
VALUES = ("a.txt", "src", "out.txt", "1", "HEAD", "new", "x=y", "--", "5p", "w out.txt", ".", "'%G?'", "{}", "'*'", ":")


@given(st.data())
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_no_arguments_make_a_reading_command_write(scene: Hands, tmp_path: Path, data: st.DataObject) -> None:
    command = data.draw(st.sampled_from([name for name in COMMANDS if name not in SLOW]))
    word = st.one_of(
        st.sampled_from(VALUES),
        st.sampled_from(options_of(command)),
        st.tuples(st.sampled_from(options_of(command)), st.sampled_from(VALUES)).map("".join),
    )
    line = " ".join([command, *data.draw(st.lists(word, min_size=1, max_size=4))])
    access = scene.access("bash", command=line)
    if not all(each.read_only for each in access.commands) or access.opaque:
        return
    before = state(tmp_path)
    environment = {**scene.environment, "GIT_CONFIG_NOSYSTEM": "1", "GIT_OPTIONAL_LOCKS": "0"}
    subprocess.run(
        ["timeout", "-s", "KILL", "5", "/bin/bash", "-c", line],
        cwd=scene.root,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    assert state(tmp_path) == before, line
