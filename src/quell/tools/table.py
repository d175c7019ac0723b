"""The table of all tools: a line each. Whoever imports it imports them all."""

from __future__ import annotations

from collections.abc import Mapping

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
from quell.tools.tool import Tool
from quell.tools.view import View, prepare_view
from quell.tools.web_fetch import WebFetch, prepare_web_fetch
from quell.tools.web_search import WebSearch, prepare_web_search
from quell.tools.write import Write, prepare_write

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
