"""Conversations with a real server: the harness of this folder.

    place = Place(tmp_path)
    async with place.life() as talk:                # server, engine and SQLite journal; a unix socket
        chat = await talk.chat()                    # a session, through the typed client
        one = await chat.says("hello")
        asked = await talk.asked()                  # the engine asks the model; the test is the model
        asked.say("hi")
        asked.reply()
        assert (await chat.ended(one)).outcome == "completed"
    async with place.life() as talk:                # the next process on the same journal
        …

Rules: a test says and sees what a client can; the model and the one tool are played by hand (`quell.testing.harness`). Nothing waits for
time: a run that is cancelled has no grace here, so that whatever does not stop hangs its test. Where an order of events is the point, the
journal holds an append until the test lets it go, and `waits_behind` knows when a request has arrived behind it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from quell.client.client import Cancellation, Client, NewPrompt, NewSession, Prompt, RemoteSession, UnixSocket
from quell.core import facts as f
from quell.core import inputs as i
from quell.core.errors import QuellError
from quell.core.messages import AssistantMessage, Message, ToolMessage, UserMessage, said
from quell.core.session import Summary
from quell.core.view import View
from quell.engine import Options
from quell.hooks import CommandHooks
from quell.server.daemon import Listener, serve
from quell.server.daemon import Options as ServerOptions
from quell.server.listen import unix_socket
from quell.store.sqlite import SqliteJournal
from quell.testing.faults import Fault, FaultyJournal, Hold, LoseAnswer, Refuse
from quell.testing.harness import Asked, Play, Touched, played
from quell.wire import sse
from tests.server.serving import PlayedChoices

T = TypeVar("T")

PATIENT = Options(unwind_grace=3600.0)


class GatedJournal(FaultyJournal):
    """Also says which sessions were read, and holds reading while its gate is closed."""

    def __init__(self, journal: SqliteJournal) -> None:
        super().__init__(journal)
        self.read_sessions: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.dead = asyncio.Event()
        self._last: int | None = None

    async def append(
        self,
        session: str,
        expected: int,
        records: Sequence[f.Recorded],
        summary: Summary,
        generation: int | None = None,
    ) -> None:
        last = self.appends + 1 == self._last
        try:
            await super().append(session, expected, records, summary, generation)
        finally:
            if last:
                self.die()

    async def read(self, session: str, after: int = 0, limit: int | None = None) -> Sequence[f.Recorded]:
        found = await super().read(session, after, limit)
        self.read_sessions.append(session)
        await self.gate.wait()
        return found

    def hold_next(self) -> int:
        """The next append waits, before it is written; its number, for `until_held` and `release`."""
        self.plan[self.appends + 1] = Hold()
        return self.appends + 1

    async def let_go(self) -> None:
        """Hold nothing any more: what is left of a test that failed must not hold up its end."""
        self.plan.clear()
        self.gate.set()
        await self.release()

    def die(self) -> None:
        """The process dies here: nothing more reaches the disk."""
        self.always = Refuse("the process died")
        self.dead.set()

    def die_at(self, number: int, *, written: bool) -> None:
        """It dies at that append: `written`, before anything is done that is due after it; else, before it is on disk."""
        self._last = number
        self.plan[number] = LoseAnswer() if written else Refuse("the process died")


class Chat(RemoteSession):
    """A session, with the words that conversations use."""

    async def says(self, text: str, **fields: Any) -> i.Accepted:
        return await self.submit(NewPrompt(text=text, **fields))

    async def steers(self, text: str) -> i.Accepted:
        return await self.says(text, delivery="steer")

    async def stops(self, **fields: Any) -> i.Covered:
        return await self.cancel(Cancellation(**fields))

    async def ended(self, prompt: i.Accepted | str) -> Prompt:
        """What has become of a prompt, once it has ended."""
        id = prompt if isinstance(prompt, str) else prompt.prompt
        while (found := await self.prompt(id, wait=30)).state not in ("settled", "dropped"):
            pass
        return found

    async def until(self, holds: Callable[[View], object]) -> View:
        """The first view for which a condition holds."""
        async with self.follow() as following:
            while not holds(following.view):
                await anext(following)
            return following.view

    async def rests(self) -> View:
        """The view, once nothing runs and nothing will by itself."""
        return await self.until(lambda view: not view.busy)

    async def records(self) -> list[f.Recorded]:
        """Everything that has happened, as any client can read it."""
        end = (await self.show()).seq
        async with self.events(0) as pieces:
            return await facts_upto(facts_of(pieces), end)

    async def facts(self) -> list[f.AnyFact]:
        return [recorded.fact for recorded in await self.records()]

    async def said(self) -> tuple[Message, ...]:
        return (await self.messages()).items

    async def waiting(self) -> list[str]:
        """The texts of what waits, in order."""
        return [item.text for item in (await self.queue()).items]

    async def asked_prompts(self) -> list[str]:
        """The texts that are part of the conversation."""
        return [message.text for message in await self.said() if isinstance(message, UserMessage)]


@dataclass(frozen=True)
class Talk:
    """One life of the server: its client, and both hands in its engine."""

    play: Play
    client: Client
    path: str
    journal: GatedJournal

    async def chat(self, **fields: Any) -> Chat:
        created = await self.client.create(NewSession(**{"workspace": "/work", **fields}))
        return Chat(self.client, created.id)

    def again(self, chat: Chat) -> Chat:
        """The same session, in this life."""
        return Chat(self.client, chat.id)

    @asynccontextmanager
    async def another_client(self, chat: Chat) -> AsyncIterator[Chat]:
        async with Client(UnixSocket(self.path)) as client:
            yield Chat(client, chat.id)

    async def asked(self) -> Asked:
        return await self.play.asked()

    async def touched(self) -> Touched:
        return await self.play.touched()

    @property
    def nothing_asked(self) -> bool:
        return self.play.nothing_asked

    async def answers(self, text: str = "done") -> None:
        """The model answers what it is asked next."""
        asked = await self.asked()
        asked.say(text)
        asked.reply()

    async def calls(self, **input: object) -> Touched:
        """The model calls the tool in its next reply, and the tool has started."""
        asked = await self.asked()
        asked.call("touch", **input)
        asked.reply()
        return await self.touched()

    async def wants(self, chat: Chat) -> str:
        """The model wants something that a person has to allow; the id of the request."""
        asked = await self.asked()
        asked.call("touch", outside=True)
        asked.reply()
        view = await chat.until(lambda view: view.requests)
        return view.requests[0].id

    async def waits_behind(self, chat: Chat, letters: int = 1) -> None:
        """So many inputs wait behind what the session is recording. The one thing here that a client cannot see."""
        actor = self.play.engine._actors.find(chat.id)
        assert actor is not None, "the session is not open"
        inbox = actor._inbox
        while len(inbox._letters) < letters:
            await self.client.health()


class Place:
    """A folder with a journal, and the lives of the servers on it, one after another."""

    def __init__(self, folder: Path, hooks: CommandHooks | None = None) -> None:
        folder.chmod(0o700)
        self._hooks = hooks
        self._database = folder / "quell.db"
        self._socket = str(folder / "s")

    @asynccontextmanager
    async def life(
        self, options: Options = PATIENT, *, dies: bool = False, plan: Mapping[int, Fault] | None = None
    ) -> AsyncIterator[Talk]:
        """A server until the end of the block. With `dies` it ends as by kill -9: what is on disk then is all that is left."""
        async with AsyncExitStack() as stack:
            inner = SqliteJournal.open(self._database)
            stack.push_async_callback(inner.close)
            if self._hooks is not None:
                stack.push_async_callback(self._hooks.close)
            journal = GatedJournal(inner)
            journal.plan.update(plan or {})
            talk = await stack.enter_async_context(served(journal, self._socket, options, self._hooks))
            try:
                yield talk
            finally:
                if dies:
                    talk.journal.die()
                await talk.journal.let_go()


@asynccontextmanager
async def served(
    journal: GatedJournal, path: str, options: Options = PATIENT, hooks: CommandHooks | None = None
) -> AsyncIterator[Talk]:
    """A server on a journal."""
    async with AsyncExitStack() as stack:
        socket = stack.enter_context(unix_socket(path))
        play = await stack.enter_async_context(played(journal, options, hooks=hooks))
        group = await stack.enter_async_context(asyncio.TaskGroup())
        ready = asyncio.Event()
        task = group.create_task(
            serve(play.engine, PlayedChoices(), [Listener(socket)], ServerOptions(version="1.2.3"), ready.set)
        )
        await ready.wait()
        async with Client(UnixSocket(path), patience=0.5) as client:
            yield Talk(play, client, path, journal)
            if not task.done():
                with contextlib.suppress(QuellError):  # it may be leaving already
                    await client.shutdown(force=True)


def question(asked: Asked) -> str:
    """The prompt that the model is asked about."""
    return next(m.text for m in reversed(asked.request.messages) if isinstance(m, UserMessage))


def settlements(facts: Sequence[f.AnyFact]) -> list[str]:
    """The outcomes of the runs, in order."""
    return [fact.outcome for fact in facts if isinstance(fact, f.RunSettled)]


def results(messages: Sequence[Message]) -> list[tuple[str, str]]:
    """What became of the calls: text and status."""
    return [(m.result.text, m.result.status) for m in messages if isinstance(m, ToolMessage)]


def last_reply(messages: Sequence[Message]) -> tuple[str, str]:
    """Text and stop reason of the last assistant message."""
    message = next(m for m in reversed(messages) if isinstance(m, AssistantMessage))
    return said(message.parts), message.stop_reason


async def facts_of(pieces: AsyncIterator[bytes]) -> AsyncIterator[f.Recorded]:
    """The facts of an event stream."""
    decoder = sse.Decoder()
    async for piece in pieces:
        for frame in decoder.feed(piece):
            value = sse.parse(frame)
            if isinstance(value, f.Recorded):
                yield value


async def facts_upto(stream: AsyncIterator[f.Recorded], end: int) -> list[f.Recorded]:
    """The next facts of a stream, until the one numbered `end`."""
    found: list[f.Recorded] = []
    while not found or found[-1].seq < end:
        found.append(await anext(stream))
    return found


@asynccontextmanager
async def meanwhile(*works: Coroutine[Any, Any, T]) -> AsyncIterator[list[asyncio.Task[T]]]:
    """Runs requests beside the block; at its end they have been answered."""
    async with asyncio.TaskGroup() as group:
        yield [group.create_task(work) for work in works]
