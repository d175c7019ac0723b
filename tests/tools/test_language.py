"""Tools and language servers: what an edit says, whatever a server does, and what the tools that ask them find."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from quell.testing.languages import FakeLanguages
from quell.tools import Options, Tools
from tests.tools.conftest import Hands


def knows(hands: Hands, languages: FakeLanguages) -> FakeLanguages:
    hands.tools = Tools(options=Options(languages=languages))
    return languages


async def test_an_edit_tells_the_worst_of_its_file(hands: Hands) -> None:
    languages = knows(hands, FakeLanguages())
    result = await hands.use("write", file_path="a.txt", content="bad\n" * 12)
    assert result.text.startswith("Created a.txt. (+12 -0 lines)\n\nfake finds 12 errors in a.txt, as it is now:\n")
    assert result.text.endswith("error 10:1 bad is here (7)\n… and 2 more")
    path = str(hands.root / "a.txt")
    assert languages.heard == {path: "bad\n" * 12}
    edits = [{"old_string": "bad", "new_string": "good", "replace_all": True}]
    result = await hands.use("multiedit", file_path="a.txt", edits=edits)
    assert result.text == "Edited a.txt: 1 of 1 edits made. (+12 -12 lines)"
    result = await hands.use("edit", file_path="a.txt", old_string="good\n", new_string="", replace_all=True)
    assert languages.heard == {path: ""}


async def test_a_server_that_does_not_work_is_named_and_fails_nothing(hands: Hands) -> None:
    knows(hands, FakeLanguages(problem="it has ended"))
    result = await hands.use("write", file_path="a.txt", content="bad\n")
    assert result.status == "completed"
    assert result.text.endswith("[No diagnostics from the language server fake: it has ended.]")


async def test_what_is_outside_or_failed_is_no_server_s_business(hands: Hands, tmp_path: Path) -> None:
    languages = knows(hands, FakeLanguages())
    await hands.use("write", file_path=str(tmp_path / "out.txt"), content="bad")
    await hands.use("edit", file_path="none.txt", old_string="a", new_string="b")
    assert languages.heard == {}


async def test_a_cancel_while_one_is_waited_for_takes_nothing_of_the_edit_back(hands: Hands) -> None:
    languages = knows(hands, FakeLanguages(deaf=True))
    async with asyncio.TaskGroup() as group:
        editing = group.create_task(hands.use("write", file_path="a.txt", content="bad\n"))
        await languages.asked.wait()
        editing.cancel()
    assert editing.result().text == "Created a.txt. (+1 -0 lines)"
    assert editing.result().metadata["additions"] == 1


async def test_viewing_a_file_gets_its_server_ready(hands: Hands) -> None:
    languages = knows(hands, FakeLanguages())
    hands.write("a.txt", "x\n")
    await hands.use("view", file_path="a.txt")
    assert languages.heard == {str(hands.root / "a.txt"): ""}


@pytest.mark.parametrize(
    ("symbol", "path", "said"),
    [
        ("go", "", "a.txt:2:5  def go():"),
        ("Thing.go()", "a.txt", "a.txt:2:5  def go():"),
        ("lost", "", "`lost` stands nowhere in .. Ignored files are not searched."),
        ("other", "", "`other` was not found. The language server knows nothing of it where it was looked for."),
        ("only", "", "No language server is for"),
    ],
)
async def test_a_name_is_looked_up_and_asked_about(hands: Hands, symbol: str, path: str, said: str) -> None:
    knows(hands, FakeLanguages())
    hands.write("0.md", "go only\n")
    hands.write("a.txt", "\ndef go():\n    other\n")
    result = await hands.use("lsp_definition", symbol=symbol, **({"path": path} if path else {}))
    assert result.text.startswith(said)


async def test_a_server_that_does_not_answer_is_asked_once(hands: Hands) -> None:
    knows(hands, FakeLanguages(problem="it has ended"))
    hands.write("a.txt", "go go go\n")
    result = await hands.use("lsp_references", symbol="go")
    assert (result.status, result.text) == ("failed", "fake cannot answer: it has ended. Use `grep` instead.")


async def test_what_a_server_cannot_do_is_said_with_what_to_use_instead(hands: Hands) -> None:
    knows(hands, FakeLanguages(linter=True))
    hands.write("a.txt", "def go():\n    bad\ngo()\n")
    for tool, asked, said in (
        ("lsp_definition", {"symbol": "go"}, "fake cannot tell where a name is defined. Use `grep` instead."),
        ("lsp_references", {"symbol": "go"}, "fake cannot tell where a name is used. Use `grep` instead."),
        (
            "lsp_symbols",
            {"file_path": "a.txt"},
            "fake cannot tell what is in a file. Use `view`, or `grep` for the words with which definitions begin.",
        ),
    ):
        result = await hands.use(tool, **asked)
        assert (result.status, result.text) == ("failed", said)
    assert (await hands.use("lsp_diagnostics", file_path="a.txt")).text.startswith("fake: 1 error")


async def test_diagnostics_of_files_and_of_all(hands: Hands) -> None:
    knows(hands, FakeLanguages())
    hands.write("a.txt", "bad\n")
    hands.write("b.md", "bad\n")
    assert (await hands.use("lsp_diagnostics", file_path="a.txt")).text == "fake: 1 error\nerror 1:1 bad is here (7)"
    assert (await hands.use("lsp_diagnostics", file_path="b.md")).status == "failed"
    assert (await hands.use("lsp_diagnostics")).text == (
        "fake: ready\n\na.txt (fake): 1 error\nerror 1:1 bad is here (7)"
    )
    assert (await hands.use("lsp_restart", name="none")).status == "failed"


async def test_without_a_language_server_its_tools_say_so(hands: Hands) -> None:
    hands.write("a.txt", "go\n")
    result = await hands.use("lsp_symbols", file_path="a.txt")
    assert (result.status, result.text.split(".")[0]) == (
        "failed",
        "No language server is configured for this workspace",
    )
