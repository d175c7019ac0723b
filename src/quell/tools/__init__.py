"""What a model may do. Each tool is one module with its description for the model in a `.md` file beside it, and one line in `table`; two
that differ in a word share the module.

They are loaded when somebody first asks what there is: a server answers before.

Tools know the workspace by its port only. Whether a call may run is not decided here: a prepared call says what it would touch
(`access`), `core.permissions` judges that, and the engine asks.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Collection, Mapping, Sequence
from functools import cache, cached_property

from msgspec import structs

from quell.core.facts import Role
from quell.core.messages import ToolCall, ToolResult, ToolSpec
from quell.core.ports import JobState, PreparedCall, Workspace
from quell.tools import parameters
from quell.tools.tool import Options, Refused, Tool, failed

__all__ = ["LANGUAGE", "SUB_AGENTS", "Options", "Tools", "by_name"]

LANGUAGE = "lsp_"
"""Tools whose names begin so are there only where there is a language server."""

SUB_AGENTS: Mapping[Role, tuple[str, ...]] = {
    "agent": (
        "bash",
        "glob",
        "grep",
        "job_kill",
        "job_output",
        "ls",
        "lsp_definition",
        "lsp_diagnostics",
        "lsp_references",
        "lsp_symbols",
        "view",
    ),
    "web": ("glob", "grep", "view", "web_fetch", "web_search"),
}
"""What sub-agents have; mode `plan` keeps them from changing anything with it."""

_spec = cache(Tool.spec)


def by_name() -> Mapping[str, Tool]:
    """All tools, by their names. The first call loads them, which takes 10 ms, in whatever thread it is."""
    from quell.tools.table import TOOLS

    return TOOLS


class Tools:
    """Implements the port `Toolset`, with all tools or a selection of them. `close` ends what they have left running."""

    def __init__(self, selection: Collection[str] | None = None, options: Options | None = None) -> None:
        if selection is not None and (unknown := sorted(set(selection) - by_name().keys())):
            raise ValueError(f"there is no tool {unknown[0]!r}; the tools are {', '.join(by_name())}")
        self._selection = selection
        self._options = options or Options()
        self._selections: dict[tuple[str, ...], Tools] = {}

    @cached_property
    def _tools(self) -> Mapping[str, Tool]:
        return {name: tool for name, tool in by_name().items() if self._selection is None or name in self._selection}

    def only(self, selection: Collection[str]) -> Tools:
        """A selection of them: the same one when it is asked for again, as on every turn. Jobs are those of all."""
        key = tuple(selection)
        found = self._selections.get(key)
        if found is None:
            found = self._selections[key] = Tools(key, self._options)
        return found

    def specs(self) -> Sequence[ToolSpec]:
        """Made when they are first asked for, which takes a while, and kept."""
        return tuple(_spec(tool) for tool in self._tools.values())

    def jobs(self, session: str) -> Sequence[JobState]:
        return [job.state() for job in self._options.jobs.of(session)]

    def works_behind(self, session: str) -> bool:
        return self._options.jobs.running(session) > 0

    async def end_job(self, session: str, job: str) -> JobState:
        found = self._options.jobs.find(session, job)
        if found.ended is None:
            await found.stop()
        return found.state()

    async def forget(self, session: str) -> None:
        await self._options.jobs.forget(
            session, os.path.join(self._options.kept, session) if self._options.kept else ""
        )

    async def close(self) -> None:
        await self._options.jobs.close()

    def prepare(self, call: ToolCall, workspace: Workspace) -> PreparedCall | ToolResult:
        tool = self._tools.get(call.name.strip().lower())
        if tool is None:
            near = difflib.get_close_matches(call.name.lower(), self._tools, n=1)
            meant = f" Did you mean `{near[0]}`?" if near else ""
            return failed(f"There is no tool `{call.name}`.{meant} The tools are: {', '.join(self._tools)}.")
        try:
            prepared = tool.prepare(parameters.read(tool.input, call.input), workspace, self._options)
        except (parameters.Unreadable, Refused) as problem:
            return failed(f"`{tool.name}` was not run. {problem}")
        return structs.replace(prepared, access=structs.replace(prepared.access, own=self._options.own))
