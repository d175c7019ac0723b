"""What a sandbox costs: a command in it and without it, by turns, so that whatever else the machine does falls on both."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time

from benchmarks.figures import Figure, median, milliseconds
from quell.core.ports import Sandbox
from quell.workspace import LocalWorkspace, sandboxing

TIMES = 60


async def measure(quick: bool) -> list[Figure]:
    """Nothing where there is no sandbox."""
    if sandboxing.unavailable():
        return []
    taken: dict[str, list[float]] = {"off": [], "workspace": []}
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["git", "init", "-q"], cwd=folder, check=True)  # noqa: ASYNC221  # reason: nothing else runs yet
        workspace = LocalWorkspace(folder, kept=os.path.join(folder, "kept"))
        for _ in range(5 if quick else TIMES):
            for sandbox in (Sandbox(), Sandbox(mode="workspace")):
                taken[sandbox.mode].append(await _run(workspace, sandbox))
    alone, within = (milliseconds(median(values)) for values in taken.values())
    return [
        Figure(name="a command, from its start to its end, no sandbox", value=alone, unit="ms"),
        Figure(name="… what the sandbox adds", value=max(within - alone, 0), unit="ms", target=15),
    ]


async def _run(workspace: LocalWorkspace, sandbox: Sandbox) -> float:
    begun = time.perf_counter()
    process = workspace.start(
        ["/bin/bash", "-c", ":"],
        directory=workspace.root,
        environment={"PATH": os.environ.get("PATH", os.defpath), "HOME": os.environ.get("HOME", "")},
        output=lambda chunk: None,
        sandbox=sandbox,
    )
    end = await process.wait()
    assert end is not None
    assert end.status == 0
    return time.perf_counter() - begun
