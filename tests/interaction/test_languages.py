"""Language servers, as a client sees them, on the real server with real processes: C8 while one hangs, and what an edit's result says."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from quell.core.messages import AssistantMessage, ToolMessage
from tests.cli.command import Home, until
from tests.interaction.audit import audit
from tests.interaction.conversation import Chat, results
from tests.interaction.process import Server

SPOKEN = Path(__file__).parent.parent / "lsp" / "spoken.py"

SCRIPT = """
[[when]]
prompt = "write"
[[when.reply]]
step = [{ tool = "write", input = { file_path = "a.txt", content = "def go():\\n    bad\\ngo()\\n" } }]
[[when.reply]]
step = [{ text = "Written." }]

[[when]]
prompt = "ask"
[[when.reply]]
step = [
  { tool = "lsp_definition", input = { symbol = "go", path = "a.txt" } },
  { tool = "lsp_references", input = { symbol = "go" } },
  { tool = "lsp_symbols", input = { file_path = "a.txt" } },
  { tool = "lsp_diagnostics", input = { file_path = "a.txt" } },
  { tool = "lsp_diagnostics", input = {} },
]
[[when.reply]]
step = [{ tool = "lsp_restart", input = {} }]
[[when.reply]]
step = [{ text = "Asked." }]

[[when]]
prompt = "outline"
[[when.reply]]
step = [{ tool = "lsp_symbols", input = { file_path = "a.txt" } }]
[[when.reply]]
step = [{ text = "Outlined." }]
"""


PATIENT = "from quell.lsp import server; server.FIRST_SIGN = server.PATIENCE = server.ANSWER_WITHIN = 1000.0"
"""One that works is waited for, however slow the machine is, and one that hangs until the cancel comes."""


@pytest.fixture
def server() -> Iterator[Server]:
    home = Home()
    yield Server(home, SCRIPT, PATIENT)
    home.close()


def has(server: Server, behaviour: str, more: str = "") -> None:
    """Its user has configured a language server."""
    words = ", ".join(f'"{word}"' for word in ("-S", str(SPOKEN), behaviour))
    server.home.configure(f'[lsp.spoken]\ncommand = "{sys.executable}"\nargs = [{words}]\nfiletypes = ["txt"]\n{more}')


def spoken(server: Server) -> list[int]:
    return server.home.processes_with(b"spoken.py", server.home.workspace)


async def said(chat: Chat, prompt: str) -> list[tuple[str, str]]:
    """The results of the calls that have been made so far, in the order of the calls."""
    assert (await chat.ended(await chat.says(prompt))).outcome == "completed"
    calls = [message for message in await chat.said() if isinstance(message, ToolMessage)]
    calls.sort(key=lambda message: [int(part.strip("rc")) for part in message.call.split("-")])
    return results(calls)


async def test_an_edit_says_what_is_wrong_and_tools_know_the_code(server: Server) -> None:
    """And the process ends with the server, also when that is killed (T1)."""
    has(server, "good")
    async with server.life() as (client, process):
        chat = await server.chat(client)
        ((text, status),) = await said(chat, "write")
        assert (status, text.split("\n\n")[1:]) == (
            "completed",
            ["spoken finds 1 error in a.txt, as it is now:\nerror 2:5 bad is here (7)"],
        )
        _, definition, references, symbols, diagnostics, known, restarted = [
            text for text, _ in await said(chat, "ask")
        ]
        assert definition == "a.txt:1:5  def go():"
        assert references == "a.txt:1:5  def go():\na.txt:3:1  go()"
        assert symbols == "function go  1-1"
        assert diagnostics == "spoken: 1 error\nerror 2:5 bad is here (7)"
        assert known.startswith("spoken: ready\n\na.txt (spoken): 1 error")
        assert restarted.startswith("Ended: spoken.")
        await said(chat, "outline")
        assert len(spoken(server)) == 1
        audit(await chat.records())
        process.send_signal(signal.SIGKILL)
        await process.wait()
    await asyncio.to_thread(until, lambda: not spoken(server))


@pytest.mark.parametrize("behaviour", ["mute", "deaf"])
async def test_c8_c7_a_cancel_while_a_language_server_hangs_settles_and_the_edit_is_what_it_was(
    server: Server, behaviour: str
) -> None:
    """It was written, so that is its result; a hook that is told of results is not started for it."""
    told = "[[hooks.PostToolUse]]\ncommand = 'touch told'\n"
    has(server, behaviour, told)
    async with server.life() as (client, _):
        chat = await server.chat(client)
        await chat.says("write", id="p")
        await asyncio.to_thread(until, lambda: (server.home.workspace / "a.txt").exists() and spoken(server))
        await chat.stops()
        assert (await chat.ended("p")).outcome == "cancelled"
        ((text, status),) = results(await chat.said())
        assert (status, text.split(" (")[0]) == ("completed", "Created a.txt.")
        assert not (server.home.workspace / "told").exists()
        audit(await chat.records())


async def test_c8_a_cancel_while_a_tool_waits_for_a_language_server_settles(server: Server) -> None:
    (server.home.workspace / "a.txt").write_text("def go():\n")
    has(server, "stubborn")
    async with server.life() as (client, _):
        chat = await server.chat(client)
        await chat.says("outline", id="p")
        await asyncio.to_thread(until, lambda: spoken(server))
        await chat.stops()
        assert (await chat.ended("p")).outcome == "cancelled"
        ((_, status),) = results(await chat.said())
        assert status == "cancelled"
        assert spoken(server)  # it is the workspace's, not the run's
        audit(await chat.records())


async def test_doctor_says_how_one_stands_at_this_moment(server: Server) -> None:
    def row() -> tuple[str, str]:
        findings = json.loads(server.home.quell("doctor", "--json").out)
        (found,) = [each for each in findings if each["what"] == "lsp spoken"]
        return found["health"], found["found"]

    has(server, "dies")
    async with server.life() as (client, _):
        chat = await server.chat(client)
        await said(chat, "write")
        failed = ("bad", "failed when it was last needed: it has ended: spoken: out of memory")
        await asyncio.to_thread(until, lambda: row() == failed)
        has(server, "good")
        assert await asyncio.to_thread(row) == ("ok", "is started with the first file of its kind (txt)")
        await said(chat, "outline")
        assert await asyncio.to_thread(row) == ("ok", f"runs in {server.home.workspace}")


async def test_without_one_there_are_no_tools_for_it_and_a_project_cannot_name_one(server: Server) -> None:
    words = f'[lsp.spoken]\ncommand = "{sys.executable}"\nargs = ["{SPOKEN}"]\nfiletypes = ["txt"]\n'
    server.home.project(f"auto_lsp = true\n{words}")
    async with server.life() as (client, _):
        chat = await server.chat(client)
        ((text, _),) = await said(chat, "write")
        assert "\n" not in text
        assert (await said(chat, "outline"))[1][0].startswith("There is no tool `lsp_symbols`")
        assert spoken(server) == []
        assert [m.stop_reason for m in await chat.said() if isinstance(m, AssistantMessage)][-1] == "end_turn"
