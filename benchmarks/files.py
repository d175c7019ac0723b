"""Tools on a large tree and on a large file, beside ripgrep alone; and what a command that prints without end costs in memory."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from benchmarks.figures import Figure, median, milliseconds
from quell.core.messages import ToolCall, ToolResult
from quell.core.ports import ToolContext
from quell.tools import Tools
from quell.workspace.local import LocalWorkspace
from quell.workspace.search import ripgrep

FOLDERS = 1000
EACH = 100
LINE = b"a line of a log as there are many, with nothing in it\n"
LARGE = 1 << 30
PRINTED = 10 << 30
TIMES = 5


class Hands:
    """Calls tools as the engine does."""

    def __init__(self, root: Path) -> None:
        self._workspace = LocalWorkspace(str(root))
        self._tools = Tools()
        self._seen: dict[str, str] = {}

    async def use(self, tool: str, **input: object) -> ToolResult:
        prepared = self._tools.prepare(ToolCall("c", tool, json.dumps(input)), self._workspace)
        assert not isinstance(prepared, ToolResult), prepared.text
        context = ToolContext("s", "c", self._workspace, dict(os.environ), self._seen, lambda text: None)
        result = await prepared.run(context)
        assert result.status == "completed", result.text
        self._seen.update(result.metadata.get("seen", {}))
        return result

    async def close(self) -> None:
        await self._tools.close()


async def measure(quick: bool) -> list[Figure]:
    scale = 100 if quick else 1
    with tempfile.TemporaryDirectory() as folder:
        root = Path(LocalWorkspace(folder).root)
        hands = Hands(root)
        _plant(root, FOLDERS // scale, LARGE // min(scale, 10))  # one that could be edited is another matter
        try:
            return [*await _tree(hands, root), *await _large(hands, root), await _printing(hands, PRINTED // scale)]
        finally:
            await hands.close()


def _plant(root: Path, folders: int, large: int) -> None:
    for n in range(folders):
        (root / "tree" / f"d{n}").mkdir(parents=True)
        for m in range(EACH):
            (root / "tree" / f"d{n}" / f"f{m}.py").write_bytes(b"value = %d\n" % (n * EACH + m))
    (root / "tree" / "d1" / "edited.py").write_bytes(b"needle = 1\n")
    with (root / "large.log").open("wb") as file:
        for _ in range(large // (len(LINE) * 20_000)):
            file.write(LINE * 20_000)
        file.write(b"the needle at the end\n")


async def _tree(hands: Hands, root: Path) -> list[Figure]:
    async def edit() -> None:
        await hands.use("view", file_path="tree/d1/edited.py")
        await hands.use("edit", file_path="tree/d1/edited.py", old_string="needle", new_string="noodle")
        await hands.use("edit", file_path="tree/d1/edited.py", old_string="noodle", new_string="needle")

    return [
        _figure("100,000 files: ripgrep alone, searching", await _timed(lambda: _rg(root, "needle", "tree"))),
        _figure("… `grep`", await _timed(lambda: hands.use("grep", pattern="needle", path="tree"))),
        _figure("… ripgrep alone, listing", await _timed(lambda: _rg(root, "--files", "tree"))),
        _figure("… `glob` of one file", await _timed(lambda: hands.use("glob", pattern="**/edited.py", path="tree"))),
        _figure("… `glob` of all", await _timed(lambda: hands.use("glob", pattern="**/*.py", path="tree"))),
        _figure("… `view` and two times `edit`", await _timed(edit)),
    ]


async def _large(hands: Hands, root: Path) -> list[Figure]:
    before = _mark()
    lines = (root / "large.log").stat().st_size // len(LINE)

    def at(offset: int) -> Callable[[], Awaitable[object]]:
        return lambda: hands.use("view", file_path="large.log", offset=offset, limit=20)

    figures = [
        _figure("a file of 1 GB: ripgrep alone", await _timed(lambda: _rg(root, "needle", "large.log"))),
        _figure("… `grep`", await _timed(lambda: hands.use("grep", pattern="needle", path="large.log"))),
        _figure("… `view` of its beginning", await _timed(at(0))),
        _figure("… `view` of its end", await _timed(at(lines - 20))),
    ]
    return [*figures, Figure(name="… growth of memory", value=_peak() - before, unit="MiB", target=20)]


async def _printing(hands: Hands, size: int) -> Figure:
    before = _mark()
    await hands.use("bash", command=f"head -c {size} /dev/zero | tr '\\0' x", auto_background_after=600)
    return Figure(name="a command that prints 10 GB, growth of memory", value=_peak() - before, unit="MiB", target=20)


async def _rg(root: Path, *arguments: str) -> None:
    program = ripgrep()
    assert program is not None, "ripgrep is to be compared with"
    command = [program, "--no-config", "--hidden", "--no-require-git", *arguments]
    await asyncio.to_thread(subprocess.run, command, cwd=root, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)


async def _timed(work: Callable[[], Awaitable[object]]) -> float:
    await work()  # the disk is in memory then
    taken = []
    for _ in range(TIMES):
        begun = time.perf_counter()
        await work()
        taken.append(time.perf_counter() - begun)
    return median(taken)


def _figure(name: str, seconds: float) -> Figure:
    return Figure(name=name, value=milliseconds(seconds), unit="ms")


def _mark() -> float:
    """The memory that this process has now, in MiB; `_peak` counts from here on."""
    Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> float:
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024
