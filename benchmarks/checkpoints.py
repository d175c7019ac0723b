"""Checkpoints of 10,000 files: what a run's first change waits for, the first time and from then on; and what a revert takes."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from pathlib import Path

from benchmarks.figures import Figure, median, milliseconds
from quell.core.session import Checkpoint
from quell.workspace.checkpoints import LocalCheckpoints
from quell.workspace.local import LocalWorkspace

FOLDERS = 500
EACH = 20
BYTES = 4000
TIMES = 10
SETTLED = 0.2
"""Seconds after which a file that was written counts as known."""


async def measure(quick: bool) -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(LocalWorkspace(folder).root, "work")
        _plant(root, FOLDERS // (10 if quick else 1))
        checkpoints, folders = LocalCheckpoints(f"{folder}/kept"), [str(root)]
        await asyncio.sleep(SETTLED)
        begun = time.perf_counter()
        before = await checkpoints.keep("s", folders)
        first = time.perf_counter() - begun
        again = []
        for _ in range(3 if quick else TIMES):
            begun = time.perf_counter()
            assert await checkpoints.keep("s", folders) == before
            again.append(time.perf_counter() - begun)
        for n in range(50):
            (root / str(n) / "0").write_bytes(os.urandom(BYTES))
        after = await checkpoints.keep("s", folders)
        begun = time.perf_counter()
        plan = await checkpoints.plan("s", folders, [Checkpoint(before, after)])
        await checkpoints.restore("s", folders, plan.source, plan.target)
        back = time.perf_counter() - begun
        assert await checkpoints.keep("s", folders) == before
    return [
        Figure(name="first checkpoint of 10,000 files", value=milliseconds(first), unit="ms", target=2000),
        Figure(name="… of the same files, unchanged", value=milliseconds(median(again)), unit="ms", target=100),
        Figure(name="… taking 50 files back", value=milliseconds(back), unit="ms", target=1000),
    ]


def _plant(root: Path, folders: int) -> None:
    for folder in range(folders):
        (root / str(folder)).mkdir(parents=True)
        for n in range(EACH):
            (root / str(folder) / str(n)).write_bytes(os.urandom(BYTES))
