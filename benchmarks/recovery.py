"""A database that has been lived in: from the end of its server to a new one that is ready, what it costs at rest, and a second server beside it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from msgspec.structs import replace

from benchmarks.bench import Session
from benchmarks.figures import Figure, median, milliseconds, percentile
from benchmarks.play import Play
from benchmarks.processes import SERVE, Home, Process, Started, daemon, home
from benchmarks.wire import Follower, Line
from quell.config.paths import paths
from quell.core import facts as f
from quell.core import inputs as i
from quell.core.messages import Reply, Text
from quell.core.session import summary
from quell.store.sqlite import SqliteJournal
from quell.testing.journals import Author

ENDLESS = Play(None, 5)
MESSAGES = 200
RUNNING = 10
"""Sessions with a run when the server is killed."""
DRAFT_SECONDS = 1.5
"""A draft of what streams is on disk by then, so that the run is interrupted, and not begun again."""
IDLE_SECONDS = 10.0
STANDBY = (*SERVE, "--standby")


async def measure(quick: bool) -> list[Figure]:
    sessions = 100 if quick else 1000
    name = f"{sessions:,} sessions of {MESSAGES} messages in the database"
    with home({}, plays=[ENDLESS]) as made:
        await _live_in(made, sessions)
        ready, settled = [], []
        for _ in range(1 if quick else 5):
            took = await _killed(made)
            ready.append(took[0])
            settled.append(took[1])
        with daemon(made) as started:
            await started.process.quiet()
            alone = await _idle(started.process)
            with _standby(made) as standby:
                await standby.process.quiet()
                owner = started.process.processor
                guest = await _idle(standby.process)
                owner = started.process.processor - owner
                cancels = await _cancels(made, started, standby, 10 if quick else 100)
                took_over = await _taken_over(made, started, standby)
    return [
        Figure(name=f"{name}: kill -9 to ready", value=median(ready), unit="s", target=1.0),
        Figure(name=f"{name}, {RUNNING} with a run: kill -9 to all of these settled", value=median(settled), unit="s"),
        Figure(name=f"{name}: processor, idle for 10 s", value=milliseconds(alone), unit="ms", target=50),
        Figure(
            name=f"{name}: processor of the owner, idle beside a standby for 10 s", value=milliseconds(owner), unit="ms"
        ),
        Figure(
            name=f"{name}: processor of the standby, idle for 10 s", value=milliseconds(guest), unit="ms", target=100
        ),
        Figure(
            name="cancel at the standby to settled at the owner, p50",
            value=milliseconds(median(cancels)),
            unit="ms",
            target=10,
        ),
        Figure(
            name="cancel at the standby to settled at the owner, p99",
            value=milliseconds(percentile(cancels, 0.99)),
            unit="ms",
        ),
        Figure(
            name="kill -9 of the owner to its run settled by the standby",
            value=milliseconds(took_over),
            unit="ms",
            target=200,
        ),
    ]


async def _live_in(made: Home, sessions: int) -> None:
    """As many sessions as that, written by the journal itself: the same conversation each time."""
    journal = SqliteJournal.open(Path(paths(made.environment).database))
    author = Author(journal, "origin")
    await author.create(workspace=str(made.workspace))
    for number in range(MESSAGES // 2):
        await author.write(i.Submit(prompt=f"p{number}", text="What is the sum of these values? " * 4))
        run = author.session.run
        assert run is not None
        reply = Reply(parts=(Text("chunk of text " * 20),))
        await author.write(i.SampleReplied(run=run.id, turn=run.turn, attempt=run.attempt, reply=reply))
    records = list(await journal.read("origin"))
    row = summary(author.session)
    async with asyncio.TaskGroup() as group:
        for number in range(sessions - 1):
            id = f"lived-{number}"
            created = records[0].fact
            assert isinstance(created, f.SessionCreated)
            first = replace(records[0], fact=replace(created, session=id))
            group.create_task(journal.append(id, 0, [first, *records[1:]], replace(row, id=id)))
    await journal.close()


async def _killed(made: Home) -> tuple[float, float]:
    """Seconds from kill -9 to the first answer of the next server, and to the settlement of what ran."""
    with ExitStack() as stack:
        started = stack.enter_context(daemon(made))
        running = [await _session(made, started.socket) for _ in range(RUNNING)]
        runs = [await _start(session) for session in running]
        for session in running:
            session.close()
        await asyncio.sleep(DRAFT_SECONDS)
        begun = time.perf_counter()
        started.process.kill()
        with daemon(made) as again:
            ready = time.perf_counter() - begun
            for session, run in zip(running, runs, strict=True):
                await _until_settled(again.socket, session.id, run)
            return ready, time.perf_counter() - begun


async def _until_settled(socket: str, session: str, run: str) -> None:
    follower = await Follower.open(socket, session)
    await follower.settled(run)
    follower.close()


async def _session(made: Home, socket: str) -> Session:
    line = await Line.open(socket)
    body = {"workspace": str(made.workspace), "model": made.models["scripted"]}
    id = (await line.request("POST", "/v1/sessions", body)).text("id")
    return Session(id, line, await Follower.open(socket, id), None)


async def _start(session: Session) -> str:
    """A run that streams."""
    deltas = session.follower.deltas
    run = (await session.submit(ENDLESS)).text("run")
    await session.follower.streamed(deltas + 1)
    return run


async def _idle(process: Process) -> float:
    used = process.processor
    await asyncio.sleep(IDLE_SECONDS)
    return process.processor - used


@contextmanager
def _standby(made: Home) -> Iterator[Started]:
    with daemon(made, STANDBY, suffix=".2") as started:
        yield started


async def _cancels(made: Home, owner: Started, standby: Started, times: int) -> list[float]:
    """Seconds from asking at the standby to the settlement, as a follower of the owner sees it."""
    session = await _session(made, owner.socket)
    line = await Line.open(standby.socket)
    took = []
    for _ in range(times):
        run = await _start(session)
        begun = time.perf_counter()
        await line.request("POST", f"/v1/sessions/{session.id}/cancel", {})
        took.append((await session.follower.settled(run)).at - begun)
    session.close()
    line.close()
    return took


async def _taken_over(made: Home, owner: Started, standby: Started) -> float:
    """Seconds from kill -9 of the owner to what the standby makes of its run, as a follower of the standby sees it."""
    session = await _session(made, owner.socket)
    run = await _start(session)
    session.close()
    await asyncio.sleep(DRAFT_SECONDS)
    follower = await Follower.open(standby.socket, session.id)
    begun = time.perf_counter()
    owner.process.kill()
    settled = await follower.settled(run)
    follower.close()
    return settled.at - begun
