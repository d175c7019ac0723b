"""The bench: a daemon with the loopback models that it needs, and what one does with it."""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from benchmarks.play import Play
from benchmarks.processes import Home, Model, Process, daemon, home, model
from benchmarks.wire import Answer, Follower, Line, Settled
from quell.testing.providers import Dialect

DIALECTS: dict[str, str] = {"openai": "Chat Completions", "anthropic": "Anthropic", "scripted": "scripted"}
"""What may answer, and how it is called in the table."""

LINES_SHOWN = 40


@dataclass(frozen=True)
class Ran:
    """One run: how it ended, the seconds from asking for it to its end, and the model's part of them."""

    settled: Settled
    took: float
    model: float

    @property
    def overhead(self) -> float:
        return self.took - self.model


class Session:
    """A session that is followed, with a connection of its own for requests."""

    def __init__(self, id: str, line: Line, follower: Follower, model: Model | None) -> None:
        self.id = id
        self.line = line
        self.follower = follower
        self.model = model

    async def submit(self, play: Play) -> Answer:
        return await self.line.request("POST", f"/v1/sessions/{self.id}/prompts", {"text": play.prompt})

    async def cancel(self) -> Answer:
        return await self.line.request("POST", f"/v1/sessions/{self.id}/cancel", {})

    async def run(self, play: Play) -> Ran:
        """Submit, and follow to the end. With others at work on the same model, its log is in a muddle: not for crowds."""
        begun = time.perf_counter()
        accepted = await self.submit(play)
        settled = await self.follower.settled(accepted.text("run"))
        taken = await self.model.time_taken() if self.model else ideal(play)
        return Ran(settled, settled.at - begun, taken)

    def close(self) -> None:
        self.line.close()
        self.follower.close()


def ideal(play: Play) -> float:
    """How long a model that is never late takes for it."""
    assert play.chunks is not None, "it never ends"
    return (play.chunks - 1) * play.interval / 1000


class Bench:
    """`session` opens one with a model, by dialect."""

    def __init__(self, home: Home, process: Process, models: dict[str, Model]) -> None:
        self.home = home
        self.process = process
        self.models = models

    async def line(self) -> Line:
        return await Line.open(self.home.socket)

    async def session(self, dialect: str) -> Session:
        line = await self.line()
        body = {"workspace": str(self.home.workspace), "model": self.home.models[dialect]}
        id = (await line.request("POST", "/v1/sessions", body)).text("id")
        return Session(id, line, await Follower.open(self.home.socket, id), self.models.get(dialect))


@asynccontextmanager
async def bench(*dialects: Dialect, load: str = "", plays: Sequence[Play] = ()) -> AsyncIterator[Bench]:
    """A daemon that has come to rest; `load` is the dialect whose libraries it has loaded by itself."""
    async with AsyncExitStack() as stack:
        models = {dialect: await stack.enter_async_context(model(dialect)) for dialect in dialects}
        made = stack.enter_context(home({name: each.url for name, each in models.items()}, load, plays))
        started = stack.enter_context(daemon(made))
        await started.process.quiet()
        stack.callback(_show_complaints, made)
        yield Bench(made, started.process, {str(name): each for name, each in models.items()})


def _show_complaints(home: Home) -> None:
    """What the daemon logged of trouble: nothing, if all went well; and its folder is about to go."""
    lines = [line for line in home.log.read_text().splitlines() if " INFO " not in line]
    if lines:
        print("the daemon said:", *lines[-LINES_SHOWN:], sep="\n", file=sys.stderr)
