"""A model's hands: tools on a real folder, called as the engine calls them, with what was seen remembered between the calls."""

import asyncio
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from quell.core.access import Access
from quell.core.messages import ToolCall, ToolResult
from quell.core.ports import ProcessEnd, ToolContext
from quell.core.todos import Todo
from quell.tools import Options, Tools
from quell.workspace import LocalWorkspace
from quell.workspace.process import Running

CountFrom = Callable[[Callable[[], object]], None]


class Hands:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.workspace = LocalWorkspace(str(root))
        self.tools = Tools(options=Options(hidden=frozenset({"PROVIDER_KEY"})))
        self.seen: dict[str, str] = {}
        self.todos: tuple[Todo, ...] = ()
        self.live: list[str] = []
        self.notes: list[str] = []
        self.calls = 0
        self.read_only = False
        self.vision = False
        self.environment: Mapping[str, str] = dict(os.environ)

    def keep(self, folder: Path) -> None:
        """Long outputs are kept in a folder from now on."""
        self.kept = folder / "session"
        self.workspace = LocalWorkspace(str(self.root), kept=str(self.kept))
        self.tools = Tools(options=Options(hidden=frozenset({"PROVIDER_KEY"}), kept=str(folder)))

    def context(self) -> ToolContext:
        call = f"call{self.calls}"
        self.calls += 1
        return ToolContext(
            "session",
            call,
            self.workspace,
            self.environment,
            dict(self.seen),
            self.live.append,
            self.todos,
            self.notes.append,
            read_only=self.read_only,
            vision=self.vision,
        )

    async def use(self, tool: str, **input: object) -> ToolResult:
        return await self.send(tool, json.dumps(input))

    async def send(self, tool: str, input: str) -> ToolResult:
        prepared = self.tools.prepare(ToolCall(id="call", name=tool, input=input), self.workspace)
        if isinstance(prepared, ToolResult):
            return prepared
        result = await prepared.run(self.context())
        self.seen.update(result.metadata.get("seen", {}))
        return result

    def access(self, tool: str, **input: object) -> Access:
        prepared = self.tools.prepare(ToolCall(id="call", name=tool, input=json.dumps(input)), self.workspace)
        assert not isinstance(prepared, ToolResult), prepared.text
        return prepared.access

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path


@pytest.fixture
def count_from(monkeypatch: pytest.MonkeyPatch) -> CountFrom:
    """Count the time that is given to commands from when a condition holds, or they have ended: a slow machine needs some to begin with."""

    def count_from(begun: Callable[[], object]) -> None:
        wait = Running.wait

        async def wait_then(running: Running, timeout: float | None = None) -> ProcessEnd | None:
            while not begun() and running.end is None:  # noqa: ASYNC110  # of what a command does there is no event
                await asyncio.sleep(0.005)
            return await wait(running, timeout)

        monkeypatch.setattr(Running, "wait", wait_then)

    return count_from


@pytest.fixture
def hands(tmp_path: Path) -> Hands:
    root = tmp_path / "project"
    root.mkdir()
    return Hands(root.resolve())
