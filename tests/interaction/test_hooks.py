"""Hooks, as a client sees them, with real commands: what each answer leads to, and what a cancel, a crash and a failure do (C8, T1)."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from quell.core import facts as f
from quell.core.messages import ToolMessage
from quell.core.view import CallItem
from quell.hooks import CommandHooks, Hook
from quell.workspace.programs import LocalPrograms
from tests.cli.command import Home, until
from tests.interaction.audit import audit
from tests.interaction.conversation import Chat, Place, Talk, results
from tests.interaction.process import Server


def hook(command: str, **fields: Any) -> Hook:
    return Hook(**{"event": "PreToolUse", "name": "guard", **fields}, command=command)


def says(**members: object) -> str:
    """A command that answers so."""
    return f"cat > /dev/null; echo '{json.dumps(members)}'"


def place(folder: Path, *hooks: Hook) -> Place:
    return Place(folder, CommandHooks(hooks, LocalPrograms()))


async def begins(talk: Talk, folder: Path, **input: object) -> Chat:
    """A session in which the model has called the tool."""
    chat = await talk.chat(workspace=str(folder))
    await chat.says("touch it", id="p")
    asked = await talk.asked()
    asked.call("touch", **input)
    asked.reply()
    return chat


async def answered(chat: Chat) -> list[f.HooksAnswered]:
    return [fact for fact in await chat.facts() if isinstance(fact, f.HooksAnswered)]


async def blamed(chat: Chat) -> list[object]:
    """The hooks that each call was denied for."""
    return [fact.result.metadata.get("hooks") for fact in await chat.facts() if isinstance(fact, f.CallFinished)]


async def goes_on(talk: Talk, chat: Chat) -> tuple[str, str]:
    """The model answers, and the run has ended; the result of its call."""
    await talk.answers()
    assert (await chat.ended("p")).outcome == "completed"
    audit(await chat.records())
    (result,) = results(await chat.said())
    return result


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("echo 'not on a Friday' >&2; exit 2", "not on a Friday"),
        (says(decision="deny", reason="not today"), "not today"),
        (says(decision="block", reason="not so"), "not so"),
        (
            says(
                hookSpecificOutput={
                    "hookEventName": "PreToolUse",
                    "permissionDecision": "deny",
                    "permissionDecisionReason": "no",
                }
            ),
            "no",
        ),
        ("exit 3", "exit status 3"),
        ("kill -9 $$", "signal 9"),
        (says(decision="dney"), "cannot be understood"),
        (says(decison="deny"), "decison"),
        ("echo '{\"decision\": '", "cannot be understood"),
        ("echo '{'; head -c 3000000 /dev/zero | tr '\\0' x", "longer than"),
    ],
)
async def test_a_hook_denies(tmp_path: Path, command: str, reason: str) -> None:
    """Said to the model and in the facts, with the hook's name. What cannot be understood is no consent."""
    async with place(tmp_path, hook(command)).life() as talk:
        chat = await begins(talk, tmp_path)
        text, status = await goes_on(talk, chat)
        assert status == "denied"
        assert "the hook `guard`" in text
        assert reason in text
        ((report,),) = [fact.hooks for fact in await answered(chat)]
        assert (report.name, report.decision) == ("guard", "deny")
        assert reason in report.reason
        assert await blamed(chat) == [["guard"]]


@pytest.mark.parametrize("command", ["exit 3", says(decision="dney")])
async def test_a_hook_whose_failures_are_ignored_is_named_all_the_same(tmp_path: Path, command: str) -> None:
    async with place(tmp_path, hook(command, on_failure="ignore")).life() as talk:
        chat = await begins(talk, tmp_path)
        (await talk.touched()).finish()
        assert await goes_on(talk, chat) == ("touched", "completed")
        ((report,),) = [fact.hooks for fact in await answered(chat)]
        assert (report.decision, report.failed) == ("none", True)


async def test_a_hook_that_is_too_slow_is_stopped_and_has_failed(tmp_path: Path) -> None:
    async with place(tmp_path, hook("exec sleep 1000", timeout=0.05)).life() as talk:
        chat = await begins(talk, tmp_path)
        text, status = await goes_on(talk, chat)
        assert (status, "did not answer within 0.05 s" in text) == ("denied", True)


@pytest.mark.parametrize(
    "command", ["true", "echo looks good", "head -c 3000000 /dev/zero", says(), says(decision=None)]
)
async def test_a_hook_with_no_opinion_leaves_no_trace(tmp_path: Path, command: str) -> None:
    async with place(tmp_path, hook(command)).life() as talk:
        chat = await begins(talk, tmp_path)
        (await talk.touched()).finish()
        assert await goes_on(talk, chat) == ("touched", "completed")
        assert await answered(chat) == []


async def test_a_hook_allows_what_would_be_asked_about(tmp_path: Path) -> None:
    async with place(tmp_path, hook(says(decision="allow", reason="known"))).life() as talk:
        chat = await begins(talk, tmp_path, outside=True)
        (await talk.touched()).finish()
        assert (await goes_on(talk, chat))[1] == "completed"
        assert not [fact for fact in await chat.facts() if isinstance(fact, f.PermissionRequested)]


async def test_no_hook_opens_mode_plan(tmp_path: Path) -> None:
    async with place(tmp_path, hook(says(decision="allow"))).life() as talk:
        chat = await talk.chat(workspace=str(tmp_path), mode="plan")
        await chat.says("touch it", id="p")
        asked = await talk.asked()
        asked.call("touch")
        asked.call("touch", kind="read", outside=True)
        asked.reply()
        view = await chat.until(lambda view: view.requests)  # what plan asks about is asked about
        await chat.answer(view.requests[0].id, "reject_once", "no")
        await talk.answers()
        await chat.ended("p")
        denied, rejected = results(await chat.said())
        assert "mode plan is read only" in denied[0]
        assert rejected[1] == "denied"


async def test_a_hook_asks_about_what_is_allowed(tmp_path: Path) -> None:
    async with place(tmp_path, hook(says(decision="ask", reason="sure?"))).life() as talk:
        chat = await begins(talk, tmp_path)
        view = await chat.until(lambda view: view.requests)
        assert "the hook `guard`: sure?" in view.requests[0].reason
        await chat.answer(view.requests[0].id, "allow_once")
        (await talk.touched()).finish()
        assert (await goes_on(talk, chat))[1] == "completed"


async def test_a_hook_s_question_is_a_denial_where_nobody_is(tmp_path: Path) -> None:
    async with place(tmp_path, hook(says(decision="ask", reason="sure?"))).life() as talk:
        chat = await talk.chat(workspace=str(tmp_path), mode="yolo")
        await chat.says("touch it", id="p", on_ask="deny")
        asked = await talk.asked()
        asked.call("touch")
        asked.reply()
        text, status = await goes_on(talk, chat)
        assert (status, "sure?" in text) == ("denied", True)
        assert await blamed(chat) == [["guard"]]


async def test_what_is_denied_anyhow_is_not_blamed_on_a_hook(tmp_path: Path) -> None:
    async with place(tmp_path, hook(says(decision="deny"))).life() as talk:
        chat = await talk.chat(workspace=str(tmp_path), mode="plan")
        await chat.says("touch it", id="p")
        asked = await talk.asked()
        asked.call("touch")
        asked.reply()
        assert (await goes_on(talk, chat))[1] == "denied"
        assert await blamed(chat) == [None]


@pytest.mark.parametrize(
    "command",
    ["echo enough >&2; exit 49", says(halt=True, reason="enough"), says(**{"continue": False, "stopReason": "enough"})],
)
@pytest.mark.parametrize("event", ["PreToolUse", "PostToolUse"])
async def test_i9_a_hook_stops_the_run_visibly(tmp_path: Path, command: str, event: str) -> None:
    async with place(tmp_path, hook(command, event=event)).life() as talk:
        chat = await begins(talk, tmp_path)
        if event == "PostToolUse":
            (await talk.touched()).finish()
        ended = await chat.ended("p")
        assert (ended.outcome, ended.stop_reason) == ("completed", "hook")
        ((text, status),) = results(await chat.said())
        assert "the hook `guard`: enough" in text
        assert status == ("denied" if event == "PreToolUse" else "completed")
        audit(await chat.records())
        assert talk.nothing_asked


async def test_the_changed_input_is_what_is_asked_about_what_runs_and_what_is_shown(tmp_path: Path) -> None:
    """The model's own words stay what they were; it is told with the result."""
    changed = says(updated_input={"outside": True}, context="moved")
    async with place(tmp_path, hook(changed)).life() as talk:
        chat = await begins(talk, tmp_path, kind="edit")
        view = await chat.until(lambda view: view.requests)
        (item,) = [item for item in view.items if isinstance(item, CallItem)]
        assert json.loads(item.input) == {"kind": "edit", "outside": True}
        await chat.answer(view.requests[0].id, "allow_once")
        touched = await talk.touched()
        assert touched.input == {"kind": "edit", "outside": True}
        touched.finish()
        text, _ = await goes_on(talk, chat)
        assert '[A hook has changed the input of this call to {"kind":"edit","outside":true}]' in text
        assert "[From the user's hook `guard`] moved" in text
        (reply, *_) = [fact.reply for fact in await chat.facts() if isinstance(fact, f.Replied)]
        assert json.loads(reply.calls[0].input) == {"kind": "edit"}


async def test_an_input_that_cannot_be_understood_any_more_fails_the_call(tmp_path: Path) -> None:
    """With a real tool: `touch` takes anything."""
    home = Home()
    server = Server(home, script("touch made.txt"))
    home.configure(f"[[hooks.PreToolUse]]\ncommand = '''{says(updated_input={'comand': 'x'})}'''\n")
    try:
        async with server.life() as (client, _):
            chat = await server.chat(client)
            await chat.ended(await chat.says("go"))
            ((text, status),) = results(await chat.said())
            assert (status, "A hook has changed the input" in text) == ("failed", True)
            assert not (home.workspace / "made.txt").exists()
    finally:
        home.close()


async def test_several_are_asked_at_the_same_time_and_the_strictest_answers(tmp_path: Path) -> None:
    """Each waits for the other to have begun; what they say is put together in the order of their configuration."""
    (tmp_path / "w").mkdir()
    meet = "touch {0}; while [ ! -e {1} ]; do sleep 0.01; done; "
    one = meet.format("a", "b") + says(decision="allow", updated_input={"kind": "edit", "one": 1}, context="first")
    two = meet.format("b", "a") + says(updated_input={"one": 2}, context="second")
    async with place(tmp_path, hook(one, name="one"), hook(two, name="two")).life() as talk:
        chat = await begins(talk, tmp_path / "w", outside=True)
        touched = await talk.touched()
        assert touched.input == {"outside": True, "kind": "edit", "one": 2}
        touched.finish()
        text, _ = await goes_on(talk, chat)
        assert text.index("first") < text.index("second")
    hooks = [hook(says(decision=each), name=each) for each in ("allow", "deny", "ask")]
    async with place(tmp_path, *hooks).life() as talk:
        chat = await begins(talk, tmp_path / "w")
        text, status = await goes_on(talk, chat)
        assert (status, "the hook `deny`" in text) == ("denied", True)
        ((reports),) = [fact.hooks for fact in await answered(chat)]
        assert [report.name for report in reports] == ["allow", "deny", "ask"]


async def test_a_hook_is_told_what_it_needs(tmp_path: Path) -> None:
    command = "cat > told.json; env | grep ^QUELL_ > variables"
    async with place(
        tmp_path, hook(command, event="PostToolUse"), hook("exit 2", matcher=None, event="Stop")
    ).life() as talk:
        chat = await begins(talk, tmp_path, command="make", file_path="a.py")
        (await talk.touched()).finish("all of it")
        await goes_on(talk, chat)
    told = json.loads((tmp_path / "told.json").read_text())
    assert (told["event"], told["hook_event_name"]) == ("PostToolUse", "PostToolUse")
    assert (told["session_id"], told["cwd"], told["permission_mode"]) == (chat.id, str(tmp_path), "edits")
    assert (told["tool_name"], told["tool_input"]) == ("touch", {"command": "make", "file_path": "a.py"})
    assert told["tool_response"] == {"status": "completed", "text": "all of it"}
    variables = dict(line.split("=", 1) for line in (tmp_path / "variables").read_text().splitlines())
    assert (
        variables.items()
        >= {
            "QUELL_EVENT": "PostToolUse",
            "QUELL_TOOL_NAME": "touch",
            "QUELL_SESSION_ID": chat.id,
            "QUELL_CWD": str(tmp_path),
            "QUELL_PROJECT_DIR": str(tmp_path),
            "QUELL_TOOL_INPUT_COMMAND": "make",
            "QUELL_TOOL_INPUT_FILE_PATH": "a.py",
        }.items()
    )


async def test_afterwards_a_hook_has_more_for_the_model_and_undoes_nothing(tmp_path: Path) -> None:
    hooks = (
        hook(says(context="2 tests fail"), event="PostToolUse", name="tests"),
        hook("echo 'not formatted' >&2; exit 2", event="PostToolUse", name="format"),
        hook("exit 1", event="PostToolUse", name="broken"),
    )
    async with place(tmp_path, *hooks).life() as talk:
        chat = await begins(talk, tmp_path)
        (await talk.touched()).finish()
        text, status = await goes_on(talk, chat)
        assert status == "completed"
        assert text.startswith("touched\n")
        assert "[From the user's hook `tests`] 2 tests fail" in text
        assert "[Objected to by the hook `format`: not formatted]" in text
        ((reports),) = [fact.hooks for fact in await answered(chat)]
        assert [(report.name, report.failed) for report in reports] == [("format", False), ("broken", True)]


async def test_hooks_see_what_sub_agents_do(tmp_path: Path) -> None:
    """A guard that could be got around by giving the work to another would be none."""
    async with place(tmp_path, hook("cat > told.json; exit 2", matcher=re.compile("touch"))).life() as talk:
        chat = await talk.chat(workspace=str(tmp_path))
        await chat.says("ask around", id="p")
        asked = await talk.asked()
        asked.call("agent", prompt="touch it")
        asked.reply()
        sub = await talk.asked()
        sub.call("touch", kind="read")
        sub.reply()
        after = await talk.asked()
        denied = next(m.result for m in after.request.messages if isinstance(m, ToolMessage))
        assert (denied.status, "the hook `guard`" in denied.text) == ("denied", True)
        after.say("I was not let.")
        after.reply()
        assert (await goes_on(talk, chat))[1] == "completed"
    told = json.loads((tmp_path / "told.json").read_text())
    assert (told["parent_session_id"], told["tool_name"]) == (chat.id, "touch")


TREE = "echo begun > begun; setsid sleep 1000 & trap '' TERM; sleep 1001 & wait; sleep 1002"
"""Ignores SIGTERM, and leaves a child that left its group."""


def sleepers(folder: Path) -> list[int]:
    return Home.processes_with(None, b"sleep", folder)  # type: ignore[arg-type]  # it needs no home


@pytest.mark.parametrize("event", ["PreToolUse", "PostToolUse"])
async def test_c8_t1_a_cancel_while_a_hook_hangs_ends_its_whole_tree(tmp_path: Path, event: str) -> None:
    """The run settles when nothing is left of it; afterwards, what the call did is what is recorded."""
    async with place(tmp_path, hook(TREE, event=event, timeout=1000)).life() as talk:
        chat = await begins(talk, tmp_path)
        if event == "PostToolUse":
            (await talk.touched()).finish("truly touched")
        while not (tmp_path / "begun").exists() or len(sleepers(tmp_path)) < 2:  # noqa: ASYNC110  # of other processes there is no event
            await asyncio.sleep(0.005)
        await chat.stops()
        assert (await chat.ended("p")).outcome == "cancelled"
        assert sleepers(tmp_path) == []
        ((text, status),) = results(await chat.said())
        assert status == ("cancelled" if event == "PreToolUse" else "completed")
        assert ("Not started" in text) == (event == "PreToolUse")
        audit(await chat.records())


async def test_stop_is_told_beside_and_holds_up_nothing(tmp_path: Path) -> None:
    """The next run begins and ends while a hook of the last one still runs."""
    command = "cat > told.$$; mv told.$$ told.json; while [ ! -e go ]; do sleep 0.01; done; touch gone"
    async with place(tmp_path, hook(command, event="Stop")).life() as talk:
        chat = await begins(talk, tmp_path)
        (await talk.touched()).finish()
        await goes_on(talk, chat)
        again = await chat.says("again")
        await talk.answers()
        assert (await chat.ended(again)).outcome == "completed"
        assert not (tmp_path / "gone").exists()
        (tmp_path / "go").touch()
        await asyncio.to_thread(until, (tmp_path / "gone").exists)
    told = json.loads((tmp_path / "told.json").read_text())
    assert (told["event"], told["outcome"], told["stop_reason"]) == ("Stop", "completed", "end_turn")
    assert told["last_assistant_message"] == "done"


def script(command: str, tool: str = "bash") -> str:
    return f"""
[[when]]
prompt = "go"
[[when.reply]]
step = [{{ tool = "{tool}", input = {{ command = "{command}" }} }}]
[[when.reply]]
step = [{{ text = "Tried." }}]
"""


@pytest.fixture
def home() -> Iterator[Home]:
    home = Home()
    yield home
    home.close()


async def test_t1_k1_kill_9_of_the_server_ends_its_hooks_and_the_call_was_never_started(home: Home) -> None:
    server = Server(home, script("touch made.txt"))
    home.configure(f'[[hooks.PreToolUse]]\ncommand = "{TREE}"\n')
    async with server.life() as (client, process):
        chat = await server.chat(client)
        await chat.says("go", id="p")
        await asyncio.to_thread(until, lambda: len(server.sleepers()) >= 2)
        process.send_signal(signal.SIGKILL)
        await process.wait()
    await asyncio.to_thread(until, lambda: not server.sleepers())
    home.configure("")
    async with server.life() as (client, _):
        chat = Chat(client, chat.id)
        assert (await chat.ended("p")).outcome == "interrupted"
        ((text, status),) = results(await chat.said())
        assert (status, "Not started" in text) == ("interrupted", True)
        assert not (home.workspace / "made.txt").exists()
        audit(await chat.records())


async def test_a_rewritten_command_is_what_runs_and_rules_hold_for_it(home: Home) -> None:
    """Configured in the user's file, with what a client's environment has, but for keys."""
    server = Server(home, script("touch made.txt", " Bash "))
    home.environment |= {"OPENAI_API_KEY": "sk-0123456789abcdef"}
    told = "env > env.txt; "
    rewrite = says(decision="allow", updated_input={"command": "touch other.txt"})
    home.configure(f"[[hooks.PreToolUse]]\nmatcher = 'Bash'\ncommand = '''{told}{rewrite}'''\n")
    async with server.life() as (client, _):
        chat = await server.chat(client)
        await chat.ended(await chat.says("go"))
        assert (home.workspace / "other.txt").exists()
        assert not (home.workspace / "made.txt").exists()
        assert "OPENAI_API_KEY" not in (home.workspace / "env.txt").read_text()
        (home.workspace / "other.txt").unlink()
        denied = "[permissions.rules]\ndeny = ['bash(touch other.txt)']\n"
        home.configure(f"{denied}[[hooks.PreToolUse]]\nmatcher = 'bash'\ncommand = '''{rewrite}'''\n")
        again = await server.chat(client)
        await again.ended(await again.says("go"))
        ((text, status),) = results(await again.said())
        assert (status, "Denied by the rule `deny bash(touch other.txt)`" in text) == ("denied", True)
        assert not (home.workspace / "other.txt").exists()
