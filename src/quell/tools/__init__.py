"""What a model may do. Each tool is one module with its description for the model in a `.md` file beside it, and one line here; two that
differ in a word share the module.

Tools know the workspace by its port only. Whether a call may run is not decided here: a prepared call says what it would touch
(`access`), `core.permissions` judges that, and the engine asks.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Collection, Mapping, Sequence
from functools import cache

from msgspec import structs

from quell.core.facts import Role
from quell.core.messages import ToolCall, ToolResult, ToolSpec
from quell.core.ports import JobState, PreparedCall, Workspace
from quell.tools import parameters
from quell.tools.agent import Agent, prepare_agent
from quell.tools.agentic_fetch import AgenticFetch, prepare_agentic_fetch
from quell.tools.bash import Bash, prepare_bash
from quell.tools.download import Download, prepare_download
from quell.tools.edit import Edit, prepare_edit
from quell.tools.fetch import Fetch, prepare_fetch
from quell.tools.glob import Glob, prepare_glob
from quell.tools.grep import Grep, prepare_grep
from quell.tools.in_force import InForce, prepare_quell_info
from quell.tools.job_kill import JobKill, prepare_job_kill
from quell.tools.job_output import JobOutput, prepare_job_output
from quell.tools.ls import List, prepare_ls
from quell.tools.lsp_diagnostics import Diagnostics, prepare_lsp_diagnostics
from quell.tools.lsp_places import Named, prepare_lsp_definition, prepare_lsp_references
from quell.tools.lsp_restart import Restart, prepare_lsp_restart
from quell.tools.lsp_symbols import Symbols, prepare_lsp_symbols
from quell.tools.multiedit import MultiEdit, prepare_multiedit
from quell.tools.quell_logs import QuellLogs, prepare_quell_logs
from quell.tools.question import Ask, prepare_question
from quell.tools.todos import Todos, prepare_todos
from quell.tools.tool import Options, Refused, Tool, failed
from quell.tools.view import View, prepare_view
from quell.tools.web_fetch import WebFetch, prepare_web_fetch
from quell.tools.web_search import WebSearch, prepare_web_search
from quell.tools.write import Write, prepare_write

__all__ = ["LANGUAGE_TOOLS", "SUB_AGENTS", "TOOLS", "Options", "Tools"]

TOOLS: Mapping[str, Tool] = {
    tool.name: tool
    for tool in (
        Tool("agent", "think", Agent, prepare_agent),
        Tool("agentic_fetch", "fetch", AgenticFetch, prepare_agentic_fetch),
        Tool("bash", "execute", Bash, prepare_bash),
        Tool("download", "fetch", Download, prepare_download),
        Tool("edit", "edit", Edit, prepare_edit),
        Tool("fetch", "fetch", Fetch, prepare_fetch),
        Tool("glob", "search", Glob, prepare_glob),
        Tool("grep", "search", Grep, prepare_grep),
        Tool("job_kill", "think", JobKill, prepare_job_kill),
        Tool("job_output", "think", JobOutput, prepare_job_output),
        Tool("ls", "read", List, prepare_ls),
        Tool("lsp_definition", "search", Named, prepare_lsp_definition),
        Tool("lsp_diagnostics", "read", Diagnostics, prepare_lsp_diagnostics),
        Tool("lsp_references", "search", Named, prepare_lsp_references),
        Tool("lsp_restart", "think", Restart, prepare_lsp_restart),
        Tool("lsp_symbols", "read", Symbols, prepare_lsp_symbols),
        Tool("multiedit", "edit", MultiEdit, prepare_multiedit),
        Tool("question", "think", Ask, prepare_question, attended=True),
        Tool("quell_info", "read", InForce, prepare_quell_info),
        Tool("quell_logs", "read", QuellLogs, prepare_quell_logs),
        Tool("todos", "think", Todos, prepare_todos),
        Tool("view", "read", View, prepare_view),
        Tool("web_fetch", "fetch", WebFetch, prepare_web_fetch),
        Tool("web_search", "fetch", WebSearch, prepare_web_search),
        Tool("write", "edit", Write, prepare_write),
    )
}


LANGUAGE_TOOLS = frozenset(name for name in TOOLS if name.startswith("lsp_"))
"""Those that there are only where there is a language server."""

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


class Tools:
    """Implements the port `Toolset`, with all tools or a selection of them. `close` ends what they have left running."""

    def __init__(self, selection: Collection[str] | None = None, options: Options | None = None) -> None:
        unknown = sorted(set(selection or ()) - TOOLS.keys())
        if unknown:
            raise ValueError(f"there is no tool {unknown[0]!r}; the tools are {', '.join(TOOLS)}")
        self._tools = {name: tool for name, tool in TOOLS.items() if selection is None or name in selection}
        self._options = options or Options()
        self._selections: dict[tuple[str, ...], Tools] = {}

    def only(self, selection: Collection[str]) -> Tools:
        """A selection of them: the same one when it is asked for again, as on every turn. Jobs are those of all."""
        key = tuple(selection)
        found = self._selections.get(key)
        if found is None:
            found = self._selections[key] = Tools(key, self._options)
        return found

    def specs(self) -> Sequence[ToolSpec]:
        """Made when they are first asked for, which takes 10 ms, and kept."""
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
