"""The commands of docs/guide/prompts.md, in its order, on a session in the state that the page tells of."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from tests.cli.command import Home, until

PAGE = Path(__file__).parents[2] / "docs" / "guide" / "prompts.md"


def commands() -> list[list[str]]:
    blocks = re.findall(r"```console\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    assert all(line.startswith("$ quell ") for line in lines), "a block holds commands only"
    return [shlex.split(line)[2:] for line in lines]


def test_what_the_page_on_prompts_says_can_be_typed(own_home: Home) -> None:
    own_home.configure(f'model = "{own_home.model}"\n')
    running = own_home.start("run", "for ever")
    running.reads("and on")
    session = str(own_home.sessions()[0]["id"])
    waiting = own_home.start("run", "--session", session, "--json", "for ever, too")
    until(lambda: own_home.sessions()[0]["queued"])
    prompt = own_home.quell("queue", "list").out.split("\t")[0]
    for words in commands():
        done = own_home.quell(*(word.replace("3f2a", session).replace("p81c", prompt) for word in words))
        assert done.status == 0, (words, done)
        if words[:2] == ["queue", "list"] and "parked" in done.out:
            assert own_home.sessions()[0]["parked"]
    assert [command.end().status for command in (running, waiting)] == [130, 0]
