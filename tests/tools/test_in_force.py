"""`quell_info` and `quell_logs`: what is told is laid out, and bounded."""

from __future__ import annotations

import json

from msgspec.structs import replace

from quell.core.messages import ToolCall, ToolResult
from quell.core.permissions import check
from quell.core.ports import Topic
from quell.tools import Options, Tools
from tests.tools.conftest import Hands


async def use(hands: Hands, options: Options, tool: str, **input: object) -> ToolResult:
    prepared = Tools(options=options).prepare(ToolCall("c", tool, json.dumps(input)), hands.workspace)
    assert not isinstance(prepared, ToolResult), prepared.text
    assert prepared.concurrent
    assert check(prepared.access, (), "plan").answer == "allow"
    context = replace(
        hands.context(),
        hide=lambda text: text.replace("key", "[hidden]"),
        describe=lambda: (Topic("Files", ("one", "two")), Topic("Limits", ("none",))),
    )
    return await prepared.run(context)


async def test_topics_are_laid_out(hands: Hands) -> None:
    assert (await use(hands, Options(), "quell_info")).text == "Files:\n- one\n- two\n\nLimits:\n- none"


async def test_the_log_is_asked_for_as_many_lines_as_wanted_and_no_more_than_a_hundred(hands: Hands) -> None:
    asked: list[int] = []

    def log(lines: int) -> list[str]:
        asked.append(lines)
        return ["a key", "x" * 9000]

    for input in ({}, {"lines": 7}, {"lines": 1000}):
        result = await use(hands, Options(log=log), "quell_logs", **input)
        assert result.text == "a [hidden]\n" + "x" * 500 + " …"
    assert asked == [50, 7, 100]


async def test_no_log_is_said(hands: Hands) -> None:
    def gone(lines: int) -> list[str]:
        raise FileNotFoundError(2, "No such file or directory")

    assert "There is no log here" in (await use(hands, Options(), "quell_logs")).text
    result = await use(hands, Options(log=gone), "quell_logs")
    assert (result.status, result.text) == ("failed", "Look at the end of Quell's log: no such file or directory.")
    assert (await use(hands, Options(log=lambda lines: []), "quell_logs")).text == "The log is empty."
