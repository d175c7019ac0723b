"""Judging a command: what a call waits for before anybody is asked, over the lines of the tests' table and over hostile ones."""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figures import Figure, median, milliseconds, percentile
from quell.core.permissions import check, parse_rule
from quell.tools import shell
from quell.tools.reach import access
from quell.workspace.local import LocalWorkspace

TABLE = Path(__file__).resolve().parent.parent / "tests" / "tools" / "judged.txt"
RULES = (
    *(parse_rule(text, "user", "allow") for text in ("bash(npm run *)", "bash(git commit *)")),
    *(parse_rule(text, "user", "deny") for text in ("bash(git push *)", "bash(rm *)", "kind:read(~/.ssh)")),
)
HOSTILE = ("|" * 100_000, "ls;" * 33_000, "$(" * 30_000, "cat <<A " * 10_000, "env " * 25_000)


async def measure(quick: bool) -> list[Figure]:
    return await asyncio.to_thread(_measure, quick)


def _measure(quick: bool) -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
        workspace = LocalWorkspace(folder)
        _judge("ls", workspace)  # loads the grammar
        taken = [_judge(line, workspace) for _ in range(1 if quick else 5) for line in _lines()]
        hostile = max(_judge(line, workspace) for line in HOSTILE)
    return [
        Figure(name="judging a command, median", value=milliseconds(median(taken)), unit="ms", target=1),
        Figure(name="… slowest of a hundred", value=milliseconds(percentile(taken, 0.99)), unit="ms", target=10),
        Figure(name="… hostile, 100 KB", value=milliseconds(hostile), unit="ms", target=1000),
    ]


def _lines() -> Iterator[str]:
    for text in TABLE.read_text(encoding="utf-8").splitlines():
        if text and not text.startswith("#"):
            yield text.partition("  →  ")[0].replace("⏎", "\n").replace("⇥", "\t")


def _judge(line: str, workspace: LocalWorkspace) -> float:
    shell.parse.cache_clear()
    begun = time.perf_counter()
    check(access(line, workspace.place("."), workspace), RULES, "edits")
    return time.perf_counter() - begun
