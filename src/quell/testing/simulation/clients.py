"""The clients of the simulation. What they remember is the ghost ledger that the audit holds the journal against.

A client does what the plan says, and notes when it asked, what it was told and when. It repeats a submission
whose answer was lost, with the same id, as a careful client does. A follower folds what it is sent and can go on after a lost connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar, assert_never

from quell.core import inputs as i
from quell.core.errors import QuellError, SessionNotFound, StorageRefused, Unavailable
from quell.core.events import Deleted, Delta, DraftPart, Reset
from quell.core.facts import Limits, Recorded
from quell.core.messages import Part, Text
from quell.core.questions import QuestionAnswer
from quell.core.session import Call, Session
from quell.engine import Event
from quell.engine.reverting import revert
from quell.testing.ghost import Cancelling, Ghost, Submission
from quell.testing.simulation import plan as p
from quell.testing.simulation.node import ConnectionLost
from quell.testing.simulation.nodes import Nodes
from quell.testing.simulation.story import Story

T = TypeVar("T")

SLOW = 12.0
"""Seconds in which a follower is told of a fact, even by a slow disk that has much to read at once."""

TRIES = 8
"""How often a request is repeated whose answer was lost, or that could not be recorded."""


class Client:
    """One user, who can do several things at once."""

    def __init__(self, name: str, node: Nodes, ghost: Ghost, story: Story) -> None:
        self.name = name
        self._node = node
        self._ghost = ghost
        self._story = story
        self._time = asyncio.get_running_loop().time

    async def act(self, act: p.Act) -> None:
        await asyncio.sleep(act.at)
        await self._node.up.wait()
        try:
            await self._do(act.session, act.deed)
        except ConnectionLost as lost:
            self._story.say(self.name, f"lost the connection: {lost}")
        except QuellError as refused:
            self._story.say(self.name, f"was refused: {refused.code}")

    async def _do(self, session: str, deed: p.Deed) -> None:
        match deed:
            case p.Submit():
                await self._submit(session, deed)
            case p.Cancel():
                await self._cancel(session, deed)
            case p.Edit():
                await self._edit(session, deed)
            case p.Answer():
                await self._answer(session, deed)
            case p.Compact():
                await self._apply(session, i.Compact(entry=f"compact {self.name} {self._time():.3f}"))
            case p.Resume():
                await self._apply(session, i.Resume())
            case p.Rename():
                await self._apply(session, i.Change(title=f"renamed at {self._time():.3f}"))
            case p.Delete():
                self._ghost.deleting.add(session)
                await self._apply(session, i.Delete())
                self._ghost.deleted.add(session)
            case p.Revert():
                await self._revert(session, deed)
            case p.Wait():
                await self._wait(session, deed)
            case _:
                assert_never(deed)

    async def _apply(self, session: str, request: i.Request) -> i.Reaction:
        self._story.say(self.name, f"{session}: {request}")
        reaction = await self._node.request(lambda engine: engine.apply(session, request))
        self._story.say(self.name, f"was told: {reaction}")
        return reaction

    async def state(self, session: str) -> Session:
        return await self._node.request(lambda engine: engine.state(session))

    async def _submit(self, session: str, deed: p.Submit) -> None:
        text = f"{session} {deed.prompt}"
        known = self._ghost.submissions.setdefault(deed.prompt, Submission(session, deed.prompt, text, []))
        request = i.Submit(
            prompt=deed.prompt,
            text=text,
            delivery=deed.delivery,
            limits=Limits(turns=deed.turns, seconds=deed.seconds),
            on_ask="deny" if deed.deny else "wait",
        )
        for _ in range(deed.tries):
            reaction = await self.insist(session, request)
            assert isinstance(reaction, i.Accepted), reaction
            known.answers.append(reaction)

    async def insist(self, session: str, request: i.Request) -> i.Reaction:
        """Repeat a request while its answer is lost or it cannot be recorded."""
        for _ in range(TRIES):
            await self._node.up.wait()
            try:
                return await self._apply(session, request)
            except (ConnectionLost, StorageRefused, Unavailable) as error:
                self._story.say(self.name, f"tries again: {type(error).__name__}")
                await asyncio.sleep(0.3)
        raise ConnectionLost("gave up")

    async def _cancel(self, session: str, deed: p.Cancel) -> None:
        state = await self.state(session)
        run, upto, prompt = None, None, None
        if deed.named == "run":
            run = state.run.id if state.run is not None else "r0"
        elif deed.named == "upto":
            upto = state.seq
        elif deed.named == "prompt" and (prompts := sorted(state.prompts)):
            prompt = prompts[int(deed.pick * len(prompts))]
        request = i.Cancel(scope=deed.scope, run=run, upto=upto, prompt=prompt)
        for _ in range(deed.tries):
            noted = Cancelling(session, request, self._time())
            self._ghost.cancels.append(noted)
            try:
                reaction = await self._apply(session, request)
                assert isinstance(reaction, i.Covered), reaction
                noted.covered = reaction
            finally:
                noted.ended = self._time()

    async def _edit(self, session: str, deed: p.Edit) -> None:
        state = await self.state(session)
        if not state.waiting:
            return
        entry = state.waiting[int(deed.pick * len(state.waiting))].id
        before = state.waiting[int(deed.other * len(state.waiting))].id
        request: i.Request
        match deed.kind:
            case "text":
                request = i.Edit(entry=entry, text=f"{session} {entry} edited")
            case "steer" | "queue":
                request = i.Edit(entry=entry, delivery=deed.kind)
            case "move":
                request = i.Move(entry=entry, before=before)
            case "last":
                request = i.Move(entry=entry)
            case "drop":
                request = i.Drop(entry=entry)
            case "drop all":
                request = i.Drop()
            case "promote":
                request = i.Promote(entry=entry)
            case "interrupt":
                request = i.Promote(entry=entry, interrupt=True)
            case _:
                assert_never(deed.kind)
        noted = Cancelling(session, i.Cancel(scope="active"), self._time())
        if deed.kind == "interrupt":
            self._ghost.interrupts.append(noted)
        try:
            await self._apply(session, request)
        finally:
            noted.ended = self._time()

    async def _answer(self, session: str, deed: p.Answer) -> None:
        state = await self.state(session)
        asking = [call for call in state.awaiting if call.questions]
        if asking and not deed.late:
            await self._apply(session, allowance(asking[int(deed.pick * len(asking))]))
            return
        requests = sorted(state.requests) if deed.late else sorted(call.request or "" for call in state.awaiting)
        if requests:
            request = requests[int(deed.pick * len(requests))]
            await self._apply(session, i.Answer(request=request, option=deed.option, note=deed.note))

    async def _revert(self, session: str, deed: p.Revert) -> None:
        """When the session rests, or after a while all the same; to a run that has changed files, if there is one."""
        state = await self.state(session)
        for _ in range(20):
            if not state.busy:
                break
            await asyncio.sleep(0.5)
            state = await self.state(session)
        started = sorted(prompt for prompt, record in state.prompts.items() if record.run is not None)
        prompts = [prompt for prompt in started if state.prompts[prompt].run in state.checkpoints] or started
        if not prompts:
            return
        to = None if deed.undo else prompts[int(deed.pick * len(prompts))]
        self._story.say(self.name, f"{session}: goes back to {to or 'where the last revert began'}")
        outcome = await self._node.request(lambda engine: revert(engine, session, to, force=deed.force))
        self._story.say(self.name, f"was told: {outcome}")

    async def _wait(self, session: str, deed: p.Wait) -> None:
        """I1: answered at the end, or when there is nothing to wait for, or when the time is up."""
        state = await self.state(session)
        prompts = sorted(state.prompts)
        if not prompts:
            return
        prompt = prompts[int(deed.pick * len(prompts))]
        began = self._time()
        self._story.say(self.name, f"{session}: waits for {prompt}, {deed.timeout} s")
        await self._node.request(lambda engine: engine.wait(session, prompt, deed.timeout))
        took = self._time() - began
        self._story.say(self.name, f"has waited for {prompt}, {took:.3f} s")
        if took > deed.timeout + 2.0 + self._node.slept(began):
            self._ghost.restless.append(f"I1: a wait of {deed.timeout} s for {prompt} took {took:.3f} s")


class Follower:
    """Holds the facts and the streamed text of one session, and whatever it finds wrong with them."""

    def __init__(self, following: p.Following, node: Nodes, landed: Sequence[float]) -> None:
        self.session = following.session
        self.records: list[Recorded] = []
        self.wrong: list[str] = []
        self.deleted = False
        self._following = following
        self._node = node
        self._landed = landed
        self._connected: float | None = None
        self._held: dict[tuple[str, int], str] = {}
        self._recorded: set[str] = set()

    async def follow(self) -> None:
        """As planned: connect, read, pause, leave; and again after the connection was lost."""
        await asyncio.sleep(self._following.at)
        await self.read_until(lambda: False, self._following.stays)
        self._check_lag(asyncio.get_running_loop().time() - 2 * self._following.pause - SLOW)

    def _check_lag(self, before: float) -> None:
        """E1, E4: whoever has been connected for a while has what was written until then."""
        if self._connected is None or self._connected > before or self.deleted:
            return
        expected = sum(at < before for at in self._landed)
        if len(self.records) < expected:
            self.wrong.append(f"E4: a follower of {self.session} has {len(self.records)} of {expected} facts")

    async def read_until(self, enough: Callable[[], bool], seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                while not (self.deleted or enough()):
                    await self._node.up.wait()
                    held = len(self.records)
                    await self._connection(enough)
                    await asyncio.sleep(0.001 if self._following.hasty and len(self.records) > held else 0.05)
        except TimeoutError:
            pass

    async def _connection(self, enough: Callable[[], bool]) -> None:
        self._held.clear()
        self._connected = None
        try:
            stream = await self._node.stream(self.session, len(self.records))
        except ConnectionLost:
            return
        self._connected = asyncio.get_running_loop().time()
        try:
            while not (self.deleted or enough()) and (batch := await stream.get()) is not None:
                for event in batch:
                    self._see(event)
                if self._following.hasty and self.records:
                    break
                await asyncio.sleep(self._following.pause)
        finally:
            self._node.hang_up(stream)

    def _see(self, event: Event) -> None:
        match event:
            case Recorded(seq=seq):
                if seq != len(self.records) + 1:
                    self.wrong.append(f"E1: fact {seq} came after {len(self.records)}")
                    return
                self.records.append(event)
                self._compare(event)
            case Delta():
                key = (event.message, event.part)
                if event.kind == "text" and len(self._held.get(key, "")) == event.offset:
                    self._held[key] = self._held.get(key, "") + event.text
            case DraftPart():
                if event.kind != "output" and event.message in self._recorded:
                    self.wrong.append(f"E2: a draft of {event.message}, which was recorded before")
                if event.kind == "text":
                    self._held[event.message, event.part] = event.text
            case Reset():
                self.wrong.append(f"E1: reset to {event.seq}, although only {len(self.records)} were seen")
            case Deleted():
                self.deleted = True
            case _:
                assert_never(event)

    def _compare(self, recorded: Recorded) -> None:
        """What was streamed and what was recorded of a message begin alike; which is longer depends on who was killed."""
        message = getattr(recorded.fact, "message", None)
        reply = getattr(recorded.fact, "reply", None)
        parts: tuple[Part, ...] = reply.parts if reply is not None else ()
        if message is not None:
            self._recorded.add(message)
        for (held_message, index), held in list(self._held.items()):
            if held_message == message:
                del self._held[held_message, index]
                texts = [part.text for part in parts if isinstance(part, Text)]
                if texts and not any(text.startswith(held) or held.startswith(text) for text in texts):
                    self.wrong.append(f"E2: {held!r} was streamed and {texts!r} was recorded of {message}")


def allowance(call: Call) -> i.Request:
    """What a call that awaits a person is to be told, so that it goes on."""
    if call.questions:
        return i.AnswerQuestions(request=call.request or "", answers=tuple(QuestionAnswer() for _ in call.questions))
    return i.Answer(request=call.request or "", option="allow_once")


async def patiently(ask: Callable[[], Awaitable[T]], node: Nodes) -> T | None:
    """Ask until there is an answer; None when the session is not there."""
    while True:
        await node.up.wait()
        try:
            return await ask()
        except SessionNotFound:
            return None
        except (ConnectionLost, StorageRefused, Unavailable):
            await asyncio.sleep(0.1)
