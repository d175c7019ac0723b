"""Playing scripts: which reply, at what pace, and how it can be stopped."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from random import Random

import pytest

from quell.core.errors import ModelFailed
from quell.core.messages import (
    AssistantMessage,
    Message,
    ModelRequest,
    PartDelta,
    SummaryMessage,
    Text,
    ToolMessage,
    ToolResult,
    Usage,
    UserMessage,
)
from quell.llm import ProviderModels
from quell.llm.script import parse_script
from quell.llm.scripted import ScriptedModel
from quell.testing.simulation.loop import VirtualLoop

PAGE = Path(__file__).parents[2] / "docs/reference/scripted-model.md"


def model(source: str) -> ScriptedModel:
    return ScriptedModel("scripted:test", parse_script(source, "test"))


def user(text: str, number: int = 1) -> UserMessage:
    return UserMessage(id=f"u{number}", text=text)


def said(number: int = 0) -> AssistantMessage:
    return AssistantMessage(id=f"m{number}", parts=(Text("…"),))


def result(text: str) -> ToolMessage:
    return ToolMessage(call="m0-c0", name="bash", result=ToolResult(text=text))


async def answer(scripted: ScriptedModel, *messages: Message, system: str = "", sub_agent: bool = False) -> str:
    request = ModelRequest(message="m9", system=system, messages=messages, sub_agent=sub_agent)
    reply = await scripted.sample(request, lambda _: None)
    return "".join(part.text for part in reply.parts if isinstance(part, Text))


def numbered(*texts: str) -> str:
    return "\n".join(f'[[reply]]\nstep = [{{ text = "{text}" }}]' for text in texts)


async def test_replies_are_given_in_order() -> None:
    scripted = model(numbered("one", "two", "three"))
    assert await answer(scripted, user("?")) == "one"
    assert await answer(scripted, user("?"), said(), result("")) == "two"
    assert await answer(scripted, user("?"), said(), result(""), said(1), user("?", 2)) == "three"


async def test_the_same_request_has_the_same_answer() -> None:
    scripted = model(numbered("one", "two"))
    assert [await answer(scripted, user("?")) for _ in range(3)] == ["one"] * 3


async def test_a_prompt_that_was_never_answered_has_used_its_reply_up() -> None:
    assert await answer(model(numbered("one", "two")), user("?"), user("?", 2)) == "two"


async def test_a_steer_after_a_result_uses_nothing_up() -> None:
    scripted = model(numbered("one", "two", "three"))
    assert await answer(scripted, user("?"), said(), result(""), user("and …", 2)) == "two"


async def test_after_the_last_reply_it_fails() -> None:
    with pytest.raises(ModelFailed, match="has 1 replies and this is request 2") as failed:
        await answer(model(numbered("one")), user("?"), said(), user("?", 2))
    assert failed.value.reason == "invalid_request"


ROLES = """
[[agent]]
prompt = "parser"
reply = [{ step = [{ text = "looking" }] }, { step = [{ text = "in parse.py" }] }]
[[agent]]
result = "nothing"
reply = [{ step = [{ text = "not there" }] }]
[[when]]
prompt = "parser"
reply = [{ step = [{ text = "I ask somebody" }] }]
"""


async def test_sub_agents_play_their_own_roles_and_nobody_elses() -> None:
    scripted = model(ROLES)
    assert await answer(scripted, user("the parser?"), sub_agent=True) == "looking"
    assert await answer(scripted, user("the parser?"), said(), result("x"), sub_agent=True) == "in parse.py"
    assert await answer(scripted, user("the lexer?"), said(), result("nothing"), sub_agent=True) == "not there"
    assert await answer(scripted, user("the parser?")) == "I ask somebody"
    with pytest.raises(ModelFailed, match=r"no \[\[agent\]\]") as failed:
        await answer(scripted, user("the lexer?"), sub_agent=True)
    assert failed.value.reason == "invalid_request"
    anything = model(numbered("mine") + '\n[[agent]]\nreply = [{ step = [{ text = "whatever" }] }]')
    assert await answer(anything, user("?"), sub_agent=True) == "whatever"
    assert await answer(anything, user("?")) == "mine"


BRANCHES = """
[[when]]
system = "title"
reply = [{ step = [{ text = "a title" }] }]
[[when]]
result = "exit status: [1-9]"
reply = [{ step = [{ text = "it failed" }] }]
[[when]]
prompt = "count"
reply = [{ step = [{ text = "first" }] }, { step = [{ text = "second" }] }]
[[reply]]
step = [{ text = "otherwise" }]
"""


@pytest.mark.parametrize(
    ("messages", "system", "expected"),
    [
        ((user("?"),), "", "otherwise"),
        ((user("please count"),), "", "first"),
        ((user("please count"), said(), result("ok")), "", "second"),
        ((user("please count"), said(), result("ok"), said(1), result("ok")), "", "second"),
        ((user("?"), said(), user("count", 2)), "", "first"),
        ((user("count"), said(), result("exit status: 2")), "", "it failed"),
        ((user("count"),), "Give a title.", "a title"),
        ((SummaryMessage(id="s", text="count"), user("?")), "", "otherwise"),
    ],
)
async def test_branches(messages: tuple[Message, ...], system: str, expected: str) -> None:
    assert await answer(model(BRANCHES), *messages, system=system) == expected


@pytest.mark.parametrize(
    ("source", "expected"), [(BRANCHES.replace("exit", "no"), "second"), (BRANCHES, "it failed"), ("", "three")]
)
async def test_what_a_session_was_told_is_no_prompt(source: str, expected: str) -> None:
    """Wherever it comes, the same is played as without it."""
    told = UserMessage(id="n1", text="[A job has ended: ls]", noted=True)
    conversation: list[Message] = [user("please count"), said(), result("ok"), said(1), result("exit status: 2")]
    for at in range(len(conversation) + 1):
        messages = [*conversation[:at], told, *conversation[at:]]
        assert await answer(model(source or numbered("one", "two", "three")), *messages) == expected


async def test_a_failure_is_passed_although_something_was_told_meanwhile() -> None:
    scripted = model('[[reply]]\nstep = [{ fail = "overloaded" }, { text = "passed" }]')
    with pytest.raises(ModelFailed):
        await answer(scripted, user("?"))
    assert await answer(scripted, user("?"), UserMessage(id="n1", text="[A job has ended.]", noted=True)) == "passed"


async def test_a_failure_is_met_as_often_as_it_says_and_then_passed() -> None:
    scripted = model('[[reply]]\nstep = [{ fail = "rate_limit", retry_after = 7, times = 2 }, { text = "at last" }]')
    for _ in range(2):
        with pytest.raises(ModelFailed) as failed:
            await answer(scripted, user("?"))
        assert (failed.value.reason, failed.value.retry_after) == ("rate_limit", 7)
    assert await answer(scripted, user("?")) == "at last"


async def test_usage_cost_and_stop_reason_are_told() -> None:
    source = '[[reply]]\nusage = { input = 5, output = 2 }\ncost = "0.25"\nstop_reason = "max_tokens"'
    reply = await model(source).sample(ModelRequest(message="m", system="", messages=(user("?"),)), lambda _: None)
    assert (reply.usage, reply.cost, reply.stop_reason) == (Usage(input=5, output=2), Decimal("0.25"), "max_tokens")


def test_the_pace_does_not_drift() -> None:
    """A follower that is slow once delays nothing that comes after. In virtual time: a machine that is slow would not tell."""
    loop = VirtualLoop(Random(0), 0.0)  # type: ignore[abstract]  # what it lacks raises NotImplementedError
    scripted = model('[[reply]]\nstep = [{ text = "tick ", repeat = 100, interval = 0.002 }]')
    moments: list[float] = []

    def emit(_: PartDelta) -> None:
        moments.append(loop.time())
        if len(moments) == 10:
            loop._now += 0.15

    loop.run(scripted.sample(ModelRequest(message="m", system="", messages=(user("?"),)), emit))
    loop.close()
    assert len(moments) == 100
    assert moments[-1] - moments[0] == pytest.approx(99 * 0.002)


@pytest.mark.parametrize("step", ["silence = true", 'endless = "and "', "wait = 1000"])
async def test_what_never_ends_can_be_cancelled(step: str) -> None:
    begun = asyncio.Event()

    async def run() -> None:
        source = f'[[reply]]\nstep = [{{ text = "a" }}, {{ {step} }}]'
        await model(source).sample(ModelRequest(message="m", system="", messages=(user("?"),)), lambda _: begun.set())

    async with asyncio.TaskGroup() as group:
        task = group.create_task(run())
        await begun.wait()
        task.cancel()
    assert task.cancelled()


async def test_a_script_is_read_again_when_it_has_changed(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    models = ProviderModels()
    file.write_text(numbered("old"))
    first = await models.open(f"scripted:{file}", {})
    assert await models.open(f"scripted:{file}", {}) is first
    file.write_text(numbered("newer"))
    assert await models.open(f"scripted:{file}", {}) is not first


def test_the_example_in_the_documentation_plays(tmp_path: Path) -> None:
    """In a process of its own, which shows as well that no provider's library is needed."""
    example = re.search(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert example is not None
    (tmp_path / "example.toml").write_text(example[1])
    program = """
import asyncio, sys
from quell.core.messages import *
from quell.llm import ProviderModels

async def main():
    model = await ProviderModels().open("scripted:example.toml", {"PWD": sys.argv[1]})
    ask = lambda *messages: model.sample(ModelRequest(message="m1", system="", messages=messages), lambda _: None)
    first = await ask(UserMessage(id="u", text="Are the tests fine?"))
    asked = AssistantMessage(id="m1", parts=first.parts)
    result = ToolMessage(call=first.calls[0].id, name="bash", result=ToolResult(text="ok"))
    second = await ask(UserMessage(id="u", text="Are the tests fine?"), asked, result)
    print(first.calls[0].input, second.parts[0].text, second.stop_reason)

asyncio.run(main())
heavy = {"pydantic", "pydantic_ai", "openai", "anthropic", "httpx2", "genai_prices"} & set(sys.modules)
assert not heavy, heavy
"""
    command = [sys.executable, "-c", program, str(tmp_path)]
    shown = subprocess.run(command, capture_output=True, text=True, check=False)
    assert shown.stdout == '{"command": "python -m pytest -q"} They pass: nothing to do. end_turn\n', shown.stderr


async def test_a_title_is_no_part_of_the_script_unless_it_says_so() -> None:
    """`title` and branches on the system prompt answer; others, and the replies in order, are for the conversation."""
    request = ModelRequest(
        message="p1-title", system="Give a title.", messages=(UserMessage(id="p1", text="hello"),), purpose="title"
    )
    conversation = (
        '[[reply]]\nstep = [{ text = "hi" }]\n[[when]]\nprompt = "."\nreply = [{ step = [{ silence = true }] }]\n'
    )
    for head, tail, said in (
        ('title = "Greeting"\n', "", "Greeting"),
        ("", '[[when]]\nsystem = "title"\nreply = [{ step = [{ text = "Branch" }] }]\n', "Branch"),
    ):
        model = ScriptedModel("scripted:x", parse_script(head + conversation + tail, "x"))
        assert (await model.sample(request, lambda delta: None)).parts == (Text(said),)
    with pytest.raises(ModelFailed, match="no title"):
        await ScriptedModel("scripted:x", parse_script(conversation, "x")).sample(request, lambda delta: None)
