"""Tools of MCP servers: the real composition, a scripted model, and servers that are real programs (contract T5, C7, C8).

One server of ours serves all tests of this file, because the protocol's SDK takes a second to import. Each has a folder of its own, whose
project file leaves it the servers that it is about.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from quell.client.client import Client, NewPrompt, NewSession, UnixSocket
from quell.config.paths import paths
from quell.core.messages import ToolMessage
from quell.core.view import NoticeItem
from quell.wire.api import WorkspaceStatus
from tests.cli.command import Home, until
from tests.interaction.conversation import Chat, results, settlements

TESTS = Path(__file__).parents[1] / "mcp"
WAYS = ("good", "brittle", "late", "silent", "deaf", "flooding", "stubborn", "mute", "nonsense", "dying")
ENV = 'env = { TOKEN_OF_MINE = "$MINE" }'


class Servers:
    """A home whose settings have a server for each way to be one, and `kit`, which the SDK has made."""

    def __init__(self) -> None:
        self.home = Home()
        self.seen = self.home.root / "seen"
        self.seen.mkdir()
        self.home.environment["MINE"] = "a-token-of-mine"
        self.home.environment["OPENAI_API_KEY"] = "sk-not-for-servers"
        quick = {"mute": "start_timeout = 1", "dying": "start_timeout = 20"}
        self.home.configure(
            "".join(
                f'[mcp.{way}]\ncommand = "{sys.executable}"\nargs = ["-S", "{TESTS}/raw.py", "{self.seen}", "{way}", "{way}"]\n{quick.get(way, "")}\n'
                for way in WAYS
            )
            + f'[mcp.again]\ncommand = "{sys.executable}"\nargs = ["-S", "{TESTS}/raw.py", "{self.seen}", "again", "good"]\n'
            + '[mcp.unset]\nurl = "http://127.0.0.1:1/${NOBODY_HAS_SET_THIS}"\n'
            + f'[mcp.kit]\ncommand = "{sys.executable}"\nargs = ["{TESTS}/kit.py", "{self.seen}"]\n{ENV}\n'
        )
        self.names = (*WAYS, "again", "unset", "kit")

    def start(self) -> None:
        done = self.home.quell("models")
        assert done.status == 0, done

    def folder(self, *wanted: str) -> Path:
        """A workspace with these servers."""
        folder = self.home.root / "-".join(wanted)
        (folder / ".quell").mkdir(parents=True, exist_ok=True)
        hidden = [f"[mcp.{name}]\ndisabled = true\n" for name in self.names if name not in wanted]
        (folder / ".quell" / "config.toml").write_text("".join(hidden))
        return folder

    def got(self, name: str) -> list[dict[str, Any]]:
        """What a server has been sent."""
        path = self.seen / name
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def calls(self, name: str) -> list[dict[str, Any]]:
        return [message for message in self.got(name) if message.get("method") == "tools/call"]

    def running(self, folder: Path) -> list[int]:
        return self.home.processes_with(b"/mcp/", folder)


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    made = Servers()
    made.start()
    yield made
    made.home.close()


class Hands:
    """A session in a folder, and the calls that its model makes."""

    def __init__(self, servers: Servers, client: Client, chat: Chat, folder: Path) -> None:
        self.servers = servers
        self.client = client
        self.chat = chat
        self.folder = folder

    async def calls(self, tool: str, input: str = "", **fields: Any) -> tuple[str, str]:
        """The model calls a tool; its result."""
        id = await self.begins(tool, input, **fields)
        assert (await self.chat.ended(id)).outcome == "completed"
        return results(await self.chat.said())[-1]

    async def begins(self, tool: str, input: str = "", **fields: Any) -> str:
        """The same, without waiting."""
        (self.servers.home.root / f"{self.folder.name}.toml").write_text(
            f"[[when]]\nprompt = '^call {tool}$'\n[[when.reply]]\nstep = [{{ tool = '{tool}', input = {{ {input} }} }}]\n"
            "[[when.reply]]\nstep = [{ text = 'Done.' }]\n"
        )
        return (await self.chat.submit(NewPrompt(text=f"call {tool}", **{"on_ask": "deny", **fields}))).prompt

    async def reached(self, holds: Callable[[], object]) -> None:
        """Something has happened in a server: of other processes there is no event to wait for."""
        await asyncio.to_thread(until, holds)


@asynccontextmanager
async def hands(servers: Servers, *wanted: str, mode: str = "yolo") -> AsyncIterator[Hands]:
    folder = servers.folder(*wanted)
    script = servers.home.root / f"{folder.name}.toml"
    script.write_text("[[reply]]\nstep = [{ text = 'Hm.' }]\n")
    async with Client(UnixSocket(paths(servers.home.environment).socket)) as client:
        new = NewSession(
            workspace=str(folder),
            model=f"scripted:{script}",
            mode=mode,  # type: ignore[arg-type]  # the test's
            environment=servers.home.environment,
        )
        yield Hands(servers, client, Chat(client, (await client.create(new)).id), folder)


async def test_a_call_works_and_what_comes_back_is_shown(servers: Servers) -> None:
    async with hands(servers, "kit") as hand:
        assert await hand.calls("mcp_kit_add", "a = 1, b = 2") == ("3", "completed")
        assert await hand.calls("mcp_kit_fail") == ("Error executing tool fail", "failed")
        text, status = await hand.calls("mcp_kit_add", "a = 'x'")
        assert status == "failed"
        assert "validation error" in text
        text, status = await hand.calls("mcp_kit_write_much")
        assert status == "completed"
        assert text.startswith("line 0\n")
        assert text.endswith("line 9999")
        assert len(text) < 31_000
        kept = text.partition("all of it is in ")[2].partition(", for")[0]
        assert Path(kept).read_text().splitlines()[5_000] == "line 5000"
        assert await hand.calls("list_mcp_resources") == ("kit:\n- memo://one memo", "completed")
        assert await hand.calls("read_mcp_resource", "mcp_name = 'kit', uri = 'memo://one'") == (
            "remember the milk",
            "completed",
        )
        assert await hand.calls("mcp_kit_learn") == ("learnt", "completed")
        while (told := await hand.calls("mcp_kit_know"))[1] == "failed":
            assert "There is no tool" in told[0]
        assert told == ("I know", "completed")
        names = (servers.seen / "environment").read_text().split("\n")
        assert "TOKEN_OF_MINE" in names
        assert "OPENAI_API_KEY" not in names


async def test_an_image_is_shown_to_who_sees(servers: Servers) -> None:
    async with hands(servers, "kit") as hand:
        text, status = await hand.calls("mcp_kit_pixel")
        assert status == "completed"
        assert text in (
            "[image/png, 1×1 pixels]",
            "[an image: image/png, 70 bytes. The model in use is not known to see images]",
        )
        message = [m for m in await hand.chat.said() if isinstance(m, ToolMessage)][-1]
        assert bool(message.result.images) == ("pixels" in text)


async def test_t5_c7_a_cancelled_call_is_told_to_its_server_and_the_run_settles_cancelled(servers: Servers) -> None:
    async with hands(servers, "kit") as hand:
        prompt = await hand.begins("mcp_kit_hang")
        async with hand.chat.follow() as following:
            while not any(d.kind == "output" and "1/2 half of it" in d.text for d in following.drafts.open.values()):
                await anext(following)
        assert not (servers.seen / "cancelled").exists()
        await hand.chat.stops()
        assert (await hand.chat.ended(prompt)).outcome == "cancelled"
        await hand.reached((servers.seen / "cancelled").exists)
        text, status = results(await hand.chat.said())[-1]
        assert status == "cancelled"
        assert "half of it" in text
        assert await hand.calls("mcp_kit_add", "a = 2, b = 2") == ("4", "completed")  # of the same server


@pytest.mark.parametrize("way", ["silent", "deaf", "flooding", "stubborn"])
async def test_t5_c7_c8_a_hanging_call_is_abandoned_whatever_its_server_does(servers: Servers, way: str) -> None:
    async with hands(servers, way) as hand:
        prompt = await hand.begins(f"mcp_{way}_echo")
        await hand.reached(lambda: servers.calls(way))
        number = servers.calls(way)[0]["id"]
        await hand.chat.stops()
        assert (await hand.chat.ended(prompt)).outcome == "cancelled"
        assert settlements(await hand.chat.facts()) == ["cancelled"]
        text, status = results(await hand.chat.said())[-1]
        assert status == "cancelled"
        assert text.startswith("Stopped before it was finished"), (
            "by the call itself, not when the run's own patience was over"
        )
        if way in ("silent", "stubborn"):
            cancelled = "notifications/cancelled"
            await hand.reached(lambda: any(m.get("method") == cancelled for m in servers.got(way)))
            told = [m for m in servers.got(way) if m.get("method") == cancelled]
            assert [m["params"]["requestId"] for m in told] == [number]


async def test_t5_c7_what_was_really_done_when_the_cancel_came_is_recorded_as_it_is(servers: Servers) -> None:
    async with hands(servers, "late") as hand:
        prompt = await hand.begins("mcp_late_echo")
        await hand.reached(lambda: servers.calls("late"))
        await hand.chat.stops()
        assert (await hand.chat.ended(prompt)).outcome == "cancelled"
        assert results(await hand.chat.said()) == [("it is done all the same", "completed")]


async def test_c7_c8_a_cancel_while_a_server_hangs_at_its_start(servers: Servers) -> None:
    async with hands(servers, "mute") as hand:
        prompt = await hand.begins("mcp_mute_echo")
        await hand.reached(lambda: servers.got("mute"))
        await hand.chat.stops()
        assert (await hand.chat.ended(prompt)).outcome == "cancelled"


async def test_a_server_that_cannot_be_had_is_told_once_and_holds_up_nobody(servers: Servers) -> None:
    async with hands(servers, "dying", "unset") as hand:
        text, status = await hand.calls("mcp_dying_echo")
        assert status == "failed"
        assert "There is no tool `mcp_dying_echo`" in text
        await hand.calls("mcp_dying_echo")
        view = await hand.chat.rests()
        notices = [item.text for item in view.items if isinstance(item, NoticeItem)]
        assert [notice for notice in notices if "`dying`" in notice] == [
            "The tool server `dying` is not there, and its tools are missing. It ended by itself, with status 1. Its last words:\nno licence"
        ]
        assert [notice for notice in notices if "`unset`" in notice] == [
            "The tool server `unset` is not there, and its tools are missing. $NOBODY_HAS_SET_THIS is not set, which its settings name."
        ]
        found = await hand.client.ask("GET", f"/v1/workspaces/status?workspace={hand.folder}", WorkspaceStatus)
        states = {server.name: server for server in found.mcp}
        assert states["dying"].state == "failed"
        assert states["kit"].state == "disabled"
        info, _ = await hand.calls("quell_info")
        assert "- dying: failed: It ended by itself" in info
        findings = json.loads(servers.home.quell("doctor", "--json", cwd=hand.folder).out)
        told = {finding["what"]: finding for finding in findings}
        assert told["mcp dying"]["health"] == "bad"
        assert told["mcp dying"]["found"].startswith("failed when it was last started: It ended by itself")
        assert told["mcp dying"]["found"].endswith("no licence")
        # What was known of other settings is not told of these.
        project = hand.folder / ".quell" / "config.toml"
        project.write_text(project.read_text() + '[mcp.dying]\ndisabled_tools = ["echo"]\n')
        findings = json.loads(servers.home.quell("doctor", "--json", cwd=hand.folder).out)
        told = {finding["what"]: finding for finding in findings}
        assert told["mcp dying"]["found"] == "is started when a session needs it"


async def test_names_that_are_no_tools_of_a_server_are_told(servers: Servers) -> None:
    async with hands(servers, "late", "good") as hand:
        project = hand.folder / ".quell" / "config.toml"
        project.write_text(project.read_text() + '[mcp.good]\ndisabled_tools = ["ech"]\n')
        assert (await hand.calls("mcp_good_echo"))[1] == "completed"
        done = await asyncio.to_thread(lambda: servers.home.quell("doctor", "--json", cwd=hand.folder))
        told = {finding["what"]: finding for finding in json.loads(done.out)}
        assert told["mcp good"]["health"] == "note"
        assert (
            "but `disabled_tools` names `ech`, which it does not have. Its tools are `echo`"
            in told["mcp good"]["found"]
        )
        assert "`disabled_tools` names `ech`" in (await hand.calls("quell_info"))[0]


async def test_a_server_that_ends_in_a_call_is_back_for_the_next_one(servers: Servers) -> None:
    async with hands(servers, "brittle") as hand:
        text, status = await hand.calls("mcp_brittle_echo", "end = true")
        assert status == "failed"
        assert "It ended by itself, with status 1. Its last words:\nout of coffee" in text
        assert (await hand.calls("mcp_brittle_echo"))[1] == "completed"


async def test_two_servers_may_have_a_tool_of_one_name_and_schemas_that_are_none(servers: Servers) -> None:
    async with hands(servers, "good", "again", "nonsense") as hand:
        assert await hand.calls("mcp_good_echo", "a = 1") == ('good: echo {"a": 1}', "completed")
        assert await hand.calls("mcp_again_echo") == ("again: echo {}", "completed")
        assert await hand.calls("MCP_nonsense_echo") == ("nonsense: echo {}", "completed")
        assert await hand.calls("mcp_nonsense_odd_one_", "x = 2") == ('nonsense: odd one! {"x": 2}', "completed")
        assert "Did you mean `mcp_good_echo`?" in (await hand.calls("mcp_good_ecko"))[0]


async def test_what_a_call_may_do_is_for_rules_and_modes_to_say(servers: Servers) -> None:
    async with hands(servers, "good", mode="edits") as hand:
        before = len(servers.calls("good"))
        text, status = await hand.calls("mcp_good_echo")
        assert status == "denied"
        assert "--allow mcp_good_echo" in text.replace("'", "")
        assert len(servers.calls("good")) == before
        assert (await hand.calls("mcp_good_echo", allow=("mcp_good_*",)))[1] == "completed"
        prompt = await hand.begins("mcp_good_echo", on_ask="wait")
        view = await hand.chat.until(lambda view: view.requests)
        await hand.chat.answer(view.requests[0].id, "allow_always")
        await hand.chat.ended(prompt)
        assert (await hand.calls("mcp_good_echo"))[1] == "completed"
    async with hands(servers, "good", mode="plan") as hand:
        assert (await hand.calls("mcp_good_echo", allow=("mcp_good_echo",)))[1] == "denied"


async def test_t1_a_server_ends_with_the_process_that_started_it_also_by_kill_9() -> None:
    own = Servers()
    try:
        own.start()
        async with hands(own, "stubborn") as hand:
            await hand.begins("mcp_stubborn_echo")
            await hand.reached(lambda: own.calls("stubborn"))
            assert own.running(hand.folder)
            own.home.kill_server()
            await hand.reached(lambda: not own.running(hand.folder))
    finally:
        own.home.close()
