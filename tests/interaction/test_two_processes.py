"""Two real servers on one journal, a file or a database: contract I10, E5, K2, K3. One is the owner, the other is on standby.

Both are `quell serve` as users have it, with a scripted model; each is asked through its own socket.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import pytest

from quell.client.client import Client, NewSession, UnixSocket
from quell.config.paths import paths
from quell.core import facts as f
from quell.core.events import PartKind
from quell.core.messages import AssistantMessage
from quell.testing.postgresql import Server
from quell.testing.stopping import stop_between_writes
from tests.cli.command import Home, until
from tests.interaction.audit import audit
from tests.interaction.conversation import Chat, results, settlements

SCRIPT = """
[[when]]
prompt = "for ever"
[[when.reply]]
step = [{ endless = "and on… ", interval = 0.02 }]

[[when]]
prompt = "run a tree"
[[when.reply]]
step = [{ tool = "bash", input = { command = "setsid sleep 1000 & sleep 1001 & echo planted; wait" } }]
[[when.reply]]
step = [{ text = "It ended." }]

[[when]]
prompt = "leave one"
[[when.reply]]
step = [{ tool = "bash", input = { command = "sleep 1002", run_in_background = true } }]
[[when.reply]]
step = [{ text = "It runs on." }]

[[when]]
prompt = "(?s).*"
[[when.reply]]
step = [{ text = "Yes." }]
"""


@dataclass(frozen=True)
class Served:
    """One of the servers."""

    client: Client
    process: asyncio.subprocess.Process
    socket: str

    async def role(self) -> str:
        return (await self.client.health()).role

    async def becomes(self, role: str) -> None:
        while await self.role() != role:
            pass

    def chat(self, chat: Chat) -> Chat:
        """The same session, seen from here."""
        return Chat(self.client, chat.id)

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()


class Pair:
    """A home, and the servers in it. `stop` makes one of them sleep, `end_sign` takes away what says that the owner lives.

    On a database it is a lease, and so long that a machine that stands still does not end it; `set_lease` before a server is started."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.stop: Callable[[int], None] = lambda process: stop_between_writes(process, home.data / "quell.db")
        self.end_sign: Callable[[], object] = (home.data / "quell.db.lock").unlink
        self.set_lease: Callable[[int], object] = lambda seconds: None
        self.script = home.root / "two.toml"
        self.script.write_text(SCRIPT, encoding="utf-8")

    @asynccontextmanager
    async def server(self, *arguments: str) -> AsyncIterator[Served]:
        reading, writing = os.pipe()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "quell", "serve", *arguments, "--ready-fd", str(writing)),
            env=self.home.environment,
            pass_fds=(writing,),
            stderr=asyncio.subprocess.DEVNULL,
        )
        os.close(writing)
        said = await asyncio.to_thread(os.read, reading, 4096)
        os.close(reading)
        assert said == b"\n", said
        usual = paths(self.home.environment).socket
        socket = f"{usual}.2" if arguments else usual
        try:
            async with Client(UnixSocket(socket)) as client:
                yield Served(client, process, socket)
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            await process.wait()

    @asynccontextmanager
    async def both(self) -> AsyncIterator[tuple[Served, Served]]:
        """The owner, and the guest."""
        async with AsyncExitStack() as stack:
            owner = await stack.enter_async_context(self.server())
            guest = await stack.enter_async_context(self.server("--standby"))
            assert (await owner.role(), await guest.role()) == ("owner", "guest")
            yield owner, guest

    async def new_chat(self, server: Served) -> Chat:
        new = NewSession(workspace=str(self.home.workspace), model=f"scripted:{self.script}", mode="yolo")
        return Chat(server.client, (await server.client.create(new)).id)

    def sleepers(self) -> list[int]:
        """The processes of the command that are alive."""
        return self.home.processes_with(b"sleep", self.home.workspace)


@pytest.fixture
def home() -> Iterator[Home]:
    home = Home()
    yield home
    home.close()


@pytest.fixture
def pair(home: Home) -> Pair:
    """On a file."""
    return Pair(home)


@pytest.fixture(params=["sqlite", "postgres"])
def any_pair(home: Home, request: pytest.FixtureRequest) -> Pair:
    """On either."""
    pair = Pair(home)
    if request.param == "postgres":
        server: Server = request.getfixturevalue("postgresql")
        database = server.database()
        pair.set_lease = lambda seconds: home.configure(
            f'[server]\ndatabase = "{server.url(database)}"\nlease = {seconds}\n'
        )
        pair.set_lease(100)
        pair.stop = lambda process: os.kill(
            process, signal.SIGSTOP
        )  # a transaction that sleeps is ended by the database
        pair.end_sign = lambda: server.execute("UPDATE quell.owner SET expires = '-infinity'", database)
    return pair


async def streams(chat: Chat, kind: PartKind | None = None) -> None:
    """Something (of a kind) has arrived. Of what streams only the owner tells."""
    async with chat.follow() as following:
        while not any(kind in (None, draft.kind) for draft in following.drafts.open.values()):
            await anext(following)


async def test_race_two_processes_on_one_database_deciding_at_once(any_pair: Pair) -> None:
    """I1, I2, I3, I10. Each decides from what it knows; what comes second is decided again from what the first wrote.

    Fails when a stale decision is not taken again. That a guest performs nothing, `tests/engine/test_owner.py` sees.
    """
    async with any_pair.both() as (owner, guest):
        chat = await any_pair.new_chat(guest)
        await chat.says("first", id="first")
        there = owner.chat(chat)
        assert (await there.ended("first")).outcome == "completed"

        async def submit(side: Chat, name: str) -> None:
            for number in range(10):
                await side.says(f"{name}{number}", id=f"{name}{number}")

        async with asyncio.TaskGroup() as group:
            group.create_task(submit(there, "a"))
            group.create_task(submit(chat, "b"))
        for name, side in (("a", there), ("b", chat)):
            for number in range(10):
                assert (await side.ended(f"{name}{number}")).outcome == "completed"
        await there.rests()
        records = await there.records()
        while await chat.records() != records:  # a ring takes a moment
            pass
        audit(records)
        facts = [recorded.fact for recorded in records]
        accepted = [fact.prompt for fact in facts if isinstance(fact, f.PromptAccepted)]
        assert sorted(accepted) == sorted(["first", *(f"{name}{n}" for name in "ab" for n in range(10))])
        assert [fact.entry for fact in facts if isinstance(fact, f.RunStarted)] == accepted
        replies = [message for message in await chat.said() if isinstance(message, AssistantMessage)]
        assert len(replies) == 21


async def test_e5_c8_a_cancel_at_the_guest_stops_the_owner_s_run(pair: Pair) -> None:
    async with pair.both() as (owner, guest):
        chat = await pair.new_chat(owner)
        await chat.says("for ever", id="p")
        await streams(chat)
        there = guest.chat(chat)
        view = await there.until(lambda view: view.run)
        assert view.run is not None
        assert (await there.stops(run=view.run.id)).prompts == ("p",)
        assert (await chat.ended("p")).outcome == "cancelled"
        await there.rests()
        audit(await there.records())


async def test_k2_k3_a_guest_takes_over_when_the_owner_is_killed(any_pair: Pair) -> None:
    """What ran is interrupted, what waited goes on, what was parked stays so; followers of the guest see all of it."""
    any_pair.set_lease(5)
    async with any_pair.both() as (owner, guest):
        chat, parked = await any_pair.new_chat(owner), await any_pair.new_chat(owner)
        await parked.says("for ever", id="stopped")
        await streams(parked)
        await parked.says("parked", id="parked")
        await parked.stops(scope="active")
        await parked.rests()
        await chat.says("run a tree", id="one")
        await streams(chat, "output")
        await chat.says("two", id="two")
        there = guest.chat(chat)
        async with there.follow() as following:
            await owner.kill()
            while following.view.busy or not following.view.items or settled(following.view) < 1:
                await anext(following)
        await guest.becomes("owner")
        assert (await there.ended("one")).outcome == "interrupted"
        assert (await there.ended("two")).outcome == "completed"
        assert [status for _, status in results(await there.said())] == ["unknown"]
        await asyncio.to_thread(until, lambda: not any_pair.sleepers())
        view = await guest.chat(parked).view()
        assert (view.view.parked, [item.id for item in view.view.queue]) == (True, ["parked"])
        audit(await there.records())
        audit(await guest.chat(parked).records())
        answer = await asyncio.to_thread(any_pair.home.run, "say something")  # a command finds it
        assert (answer.status, answer.out.strip()) == (0, "You said something."), answer
        assert any_pair.home.servers() == [guest.process.pid]


def settled(view: object) -> int:
    return sum(getattr(item, "kind", "") == "run_settled" for item in getattr(view, "items", ()))


async def test_race_owner_paused_and_resumed_after_another_has_claimed(any_pair: Pair) -> None:
    """I10. It is stopped, its lock's file is taken away or its lease ends, and it wakes with a model that streams, a command that runs, and a job.

    Fails when what it records does not name its claim, or when it does not stop.
    """
    async with any_pair.both() as (owner, guest):
        chat, other = await any_pair.new_chat(owner), await any_pair.new_chat(owner)
        await chat.says("for ever", id="one")
        await streams(chat)
        await other.says("run a tree", id="tree")
        await streams(other, "output")
        third = await any_pair.new_chat(owner)
        await third.says("leave one", id="left")
        assert (await third.ended("left")).outcome == "completed"
        await asyncio.to_thread(until, lambda: any_pair.home.processes_with(b"1002", any_pair.home.workspace))
        await asyncio.to_thread(any_pair.stop, owner.process.pid)
        any_pair.end_sign()
        await guest.becomes("owner")
        there, tree = guest.chat(chat), guest.chat(other)
        assert (await tree.ended("tree")).outcome == "interrupted"
        await there.says("two", id="two")
        await there.stops(prompt="one")
        assert (await there.ended("two")).outcome == "completed"
        owner.process.send_signal(signal.SIGCONT)
        await owner.becomes("guest")
        await asyncio.to_thread(until, lambda: not any_pair.sleepers())
        await chat.says("three", id="three")
        assert (await chat.ended("three")).outcome == "completed"
        await there.rests()
        for here, elsewhere in ((chat, there), (other, tree)):
            records = await elsewhere.records()
            audit(records)
            await here.rests()
            assert await here.records() == records
        assert settlements(await there.facts())[-2:] == ["completed", "completed"]


async def test_i10_a_second_server_has_to_be_asked_for(pair: Pair) -> None:
    """One usual server per data directory; doctor says which part one has."""
    async with pair.both() as (_, guest):
        refused = await asyncio.to_thread(pair.home.quell, "serve")
        assert refused.status == 1
        assert "is there already" in refused.err
        told = await asyncio.to_thread(
            lambda: pair.home.quell("doctor", "--json", environment={"QUELL_SOCKET": guest.socket})
        )
        assert f"pid {guest.process.pid}" in told.out
        assert "on standby" in told.out


async def test_k6_a_guest_is_stopped_while_the_owner_works(pair: Pair) -> None:
    async with pair.both() as (owner, guest):
        chat = await pair.new_chat(owner)
        await chat.says("for ever", id="p")
        await streams(chat)
        await guest.chat(chat).until(lambda view: view.run)
        assert not (await guest.client.health()).busy
        await guest.client.shutdown()
        await guest.process.wait()
        assert (await owner.client.health()).busy
        await chat.stops()
        assert (await chat.ended("p")).outcome == "cancelled"
