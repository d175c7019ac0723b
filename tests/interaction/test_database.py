"""Servers of several data directories on one PostgreSQL database: what a user has of it. I10, E5, K5, A1.

Both are `quell serve`, and PostgreSQL is a real server, which is stopped in the middle of a run.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from quell.cli.run import RECORDING
from quell.core import facts as f
from quell.core.errors import StorageRefused
from quell.testing.postgresql import Cluster, Server, programs
from tests.cli.command import Home
from tests.interaction.audit import audit
from tests.interaction.test_two_processes import Pair, streams
from tests.store.proxy import Proxy


@pytest.fixture
def homes() -> Iterator[tuple[Home, Home]]:
    with ExitStack() as stack:
        homes = Home(), Home()
        for home in homes:
            stack.callback(home.close)
        yield homes


def configure(homes: tuple[Home, Home], server: Server, database: str) -> None:
    for home in homes:
        home.configure(f'[server]\ndatabase = "{server.url(database)}"\n')


@pytest.mark.skipif(programs() is None, reason="there is no wheel of PostgreSQL for this machine")
async def test_k5_a_run_goes_on_when_the_database_was_restarted(homes: tuple[Home, Home]) -> None:
    """I10. Meanwhile what is asked for is refused in clear words; nothing is lost, and a standby server elsewhere takes part."""
    with Cluster() as cluster:
        configure(homes, cluster, cluster.database())
        there = Pair(homes[1])
        async with Pair(homes[0]).server() as owner:
            refused = await asyncio.to_thread(homes[1].quell, "serve")
            assert refused.status != 0
            assert f"process {owner.process.pid}" in refused.err
            assert "quell serve --standby" in refused.err
            async with there.server("--standby") as guest:
                chat = await there.new_chat(guest)
                here = owner.chat(chat)
                await chat.says("for ever", id="one")
                await streams(here)
                cluster.stop(signal.SIGINT)
                with pytest.raises(StorageRefused, match=f"the PostgreSQL database .* at {cluster.folder}"):
                    await here.says("lost", id="lost")
                cluster.start()
                while True:
                    try:
                        await here.says("two", id="two")
                        break
                    except StorageRefused:
                        continue
                assert (await here.prompt("one")).state == "running"
                await here.stops(prompt="one")
                assert (await here.ended("two")).outcome == "completed"
                assert (await here.ended("one")).outcome == "cancelled"
                await here.rests()
                records = await here.records()
                audit(records)
                while await chat.records() != records:
                    pass


async def test_c9_ctrl_c_while_the_database_is_silent_says_what_is_waited_for(
    homes: tuple[Home, Home], postgresql: Server
) -> None:
    """And the run settles as cancelled when the database is there again, whatever it was told meanwhile."""
    home, _ = homes
    async with Proxy(postgresql.folder) as proxy:
        home.configure(f'[server]\ndatabase = "{proxy.url(postgresql.database())}"\n')
        running = await asyncio.to_thread(home.start, "run", "--model", home.model, "for ever")
        await asyncio.to_thread(running.reads, "and on")
        proxy.silence()
        running.signal(signal.SIGINT)
        await asyncio.to_thread(running.complains, RECORDING)
        proxy.mend()
        assert (await asyncio.to_thread(running.end)).status == 130


async def test_i10_who_takes_over_a_session_without_its_folder_says_so(
    homes: tuple[Home, Home], postgresql: Server
) -> None:
    """K2. An owner that leaves gives its lease back: nobody waits for it. `doctor` names the database, and no password."""
    configure(homes, postgresql, postgresql.database())
    here, there = (Pair(home) for home in homes)
    async with here.server() as owner, there.server("--standby") as guest:
        chat = await here.new_chat(owner)
        await chat.says("for ever", id="one")
        await streams(chat)
        await chat.says("two", id="two")
        homes[0].workspace.rename(homes[0].root / "moved")
        owner.process.terminate()
        await owner.process.wait()
        elsewhere = guest.chat(chat)
        two = await elsewhere.ended("two")
        assert (two.outcome, await guest.role()) == ("failed", "owner")
        settled = [fact for fact in await elsewhere.facts() if isinstance(fact, f.RunSettled)]
        assert str(homes[0].workspace) in (settled[-1].detail or "")
        doctor = await asyncio.to_thread(
            lambda: homes[1].quell("doctor", environment={"QUELL_SOCKET": guest.socket, "PGPASSWORD": "s3cret"})
        )
        assert f"at {postgresql.folder}:5432 as user quell" in doctor.out
        assert "s3cret" not in doctor.out
