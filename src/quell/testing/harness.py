"""A model and a tool that a test plays by hand, and an engine around them. Sub-agents are real, and are played like everybody else.

    async with played() as play:
        session = await play.session()
        await play.submit(session, "hello")
        asked = await play.asked()              # the engine asks the model; the test is the model
        asked.say("hi")
        asked.reply()
        assert (await play.settled(session)).outcome == "completed"

Every wait is for a condition, and the test's time-out is the only clock.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from quell.core import facts as f
from quell.core import inputs as i
from quell.core.access import Access
from quell.core.checkpoints import Checkpoints
from quell.core.errors import FailureCode, ModelFailed, NoModel, NotFound
from quell.core.hooks import Hooks
from quell.core.messages import (
    ModelRequest,
    Part,
    PartDelta,
    Reply,
    StopReason,
    Text,
    ToolCall,
    ToolKind,
    ToolResult,
    ToolSpec,
    call_id,
)
from quell.core.ports import Doorbell, JobState, Journal, PreparedCall, ToolContext, Workspace
from quell.core.questions import Question
from quell.core.session import Session
from quell.engine import Engine, Options, Ports
from quell.engine.clock import WallClock
from quell.store.memory import MemoryJournal
from quell.testing.faults import FaultyJournal, Refuse
from quell.tools import Tools


class Asked:
    """One sample in progress. `closed` is set when the engine has let go of it."""

    def __init__(self, request: ModelRequest, emit: Callable[[PartDelta], None]) -> None:
        self.request = request
        self.closed = asyncio.Event()
        self._emit = emit
        self._parts: list[Part] = []
        self._held: asyncio.Event | None = None
        self._end: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

    def hold(self, until: asyncio.Event) -> None:
        """Do not let go, when told to, before an event."""
        self._held = until

    def say(self, text: str) -> None:
        """Stream a text part, or more of it."""
        if self._parts and isinstance(self._parts[-1], Text):
            self._parts[-1] = Text(self._parts[-1].text + text)
        else:
            self._parts.append(Text(text))
        self._emit(PartDelta(len(self._parts) - 1, "text", text))

    def call(self, name: str = "touch", **input: object) -> str:
        """Ask for a tool; returns the call's id."""
        calls = sum(isinstance(part, ToolCall) for part in self._parts)
        call = ToolCall(call_id(self.request.message, calls), name, msgspec.json.encode(input).decode())
        self._parts.append(call)
        self._emit(PartDelta(len(self._parts) - 1, "tool_input", call.input, call.id, name))
        return call.id

    def reply(self, stop_reason: StopReason | None = None, **fields: Any) -> None:
        """End the message."""
        calls = any(isinstance(part, ToolCall) for part in self._parts)
        reason = stop_reason or ("tool_use" if calls else "end_turn")
        self._end.set_result(Reply(parts=tuple(self._parts), stop_reason=reason, **fields))

    def fail(self, reason: FailureCode, detail: str = "it failed", retry_after: float | None = None) -> None:
        self._end.set_exception(ModelFailed(reason, detail, retry_after))

    async def play(self) -> Reply:
        try:
            return await self._end
        except asyncio.CancelledError:
            if self._held is not None:
                await self._held.wait()
            raise
        finally:
            self.closed.set()


class PlayedModel:
    """The `Models` and `LanguageModel` ports: every sample goes to the test. `opened`: the models that were asked for."""

    name = "played/model"
    window: int | None = None
    vision = False

    def __init__(self) -> None:
        self.samples: asyncio.Queue[Asked] = asyncio.Queue()
        self.opened: list[str] = []

    def check(self, spec: str) -> None:
        if not spec:
            raise NoModel("No model is configured.")

    def sees(self, spec: str) -> bool:
        return self.vision

    async def open(self, spec: str, environment: Mapping[str, str]) -> PlayedModel:
        self.opened.append(spec)
        return self

    async def sample(self, request: ModelRequest, emit: Callable[[PartDelta], None]) -> Reply:
        asked = Asked(request, emit)
        self.samples.put_nowait(asked)
        return await asked.play()


class Touched:
    """One execution of the played tool, in progress."""

    def __init__(self, input: Mapping[str, object], context: ToolContext) -> None:
        self.input = input
        self.context = context
        self.stopped = asyncio.Event()
        self._held: asyncio.Event | None = None
        self._end: asyncio.Future[ToolResult] = asyncio.get_running_loop().create_future()

    def output(self, text: str) -> None:
        self.context.output(text)

    def finish(self, text: str = "touched", status: f.Outcome | str = "completed") -> None:
        self._end.set_result(msgspec.convert({"text": text, "status": status}, ToolResult))

    def hold(self, until: asyncio.Event) -> None:
        """Do not stop, when told to, before an event."""
        self._held = until

    async def play(self) -> ToolResult:
        try:
            return await self._end
        except asyncio.CancelledError:
            if self._held is not None:
                await self._held.wait()
            self.stopped.set()
            raise


class PlayedCall:
    """A call of the played tool: `{"outside": true}` has to be asked for, `{"kind": "read"}` runs beside others, `{"questions": […]}` asks."""

    def __init__(self, input: dict[str, object], started: asyncio.Queue[Touched]) -> None:
        self.kind: ToolKind = "read" if input.get("kind") == "read" else "edit"
        self.concurrent = self.kind == "read"
        path = "/elsewhere/file" if input.get("outside") else "/work/file"
        outside = (path,) if input.get("outside") else ()
        self.questions = msgspec.convert(input.get("questions", ()), tuple[Question, ...])
        self.reason = ""
        self.access = Access(tool="touch", kind=self.kind, title="touch a file", paths=(path,), outside=outside)
        self._input = input
        self._started = started

    async def run(self, context: ToolContext) -> ToolResult:
        touched = Touched(self._input, context)
        self._started.put_nowait(touched)
        return await touched.play()


class PlayedTools:
    """The `Toolset` port: `touch`, whose work the test does, and the tools that are given, which are real."""

    def __init__(self, started: asyncio.Queue[Touched], real: Tools | None = None) -> None:
        self.started = started
        self._real = real

    def specs(self) -> Sequence[ToolSpec]:
        real = self._real.specs() if self._real is not None else ()
        return (ToolSpec("touch", "Touches a file.", {"type": "object"}), *real)

    def jobs(self, session: str) -> Sequence[JobState]:
        return ()

    def works_behind(self, session: str) -> bool:
        return False

    async def end_job(self, session: str, job: str) -> JobState:
        raise NotFound("A call of this tool leaves nothing behind.")

    async def forget(self, session: str) -> None:
        pass

    def prepare(self, call: ToolCall, workspace: Workspace) -> PreparedCall | ToolResult:
        if self._real is not None and call.name != "touch":
            return self._real.prepare(call, workspace)
        if call.name != "touch":
            return ToolResult(text=f"There is no tool {call.name}.", status="failed")
        return PlayedCall(msgspec.json.decode(call.input, type=dict[str, object]), self.started)


class Play:
    """An engine, and both hands in it."""

    def __init__(self, engine: Engine, model: PlayedModel, tools: PlayedTools, name: str = "") -> None:
        self.engine = engine
        self._name = name
        self._model = model
        self._tools = tools
        self.opened = model.opened
        self._ids = itertools.count(1)

    async def session(self, **fields: Any) -> str:
        session = f"{self._name}s{next(self._ids)}"
        await self.engine.apply(session, i.Create(session=session, workspace="/work", model="played/model", **fields))
        return session

    async def submit(self, session: str, text: str, **fields: Any) -> i.Accepted:
        prompt = fields.pop("prompt", None) or f"{self._name}p{next(self._ids)}"
        answer = await self.engine.apply(session, i.Submit(prompt=prompt, text=text, **fields))
        assert isinstance(answer, i.Accepted), answer
        return answer

    async def cancel(self, session: str, **fields: Any) -> i.Covered:
        answer = await self.engine.apply(session, i.Cancel(**fields))
        assert isinstance(answer, i.Covered), answer
        return answer

    async def asked(self) -> Asked:
        """The next sample that the engine asks for."""
        return await self._model.samples.get()

    async def touched(self) -> Touched:
        """The next execution of the tool."""
        return await self._tools.started.get()

    @property
    def asks(self) -> int:
        """How many samples have been asked for, and are not taken by `asked` yet."""
        return self._model.samples.qsize()

    @property
    def nothing_asked(self) -> bool:
        return self._model.samples.empty()

    @property
    def nothing_touched(self) -> bool:
        return self._tools.started.empty()

    async def until(self, session: str, holds: Callable[[Session], bool]) -> Session:
        """The first state for which a condition holds."""
        async with self.engine.follow(session, 0) as events:
            state = await self.engine.state(session)
            while not holds(state):
                await anext(events)
                state = await self.engine.state(session)
            return state

    async def idle(self, session: str) -> Session:
        return await self.until(session, lambda state: not state.busy)

    async def facts(self, session: str) -> list[f.AnyFact]:
        """Every fact so far."""
        seq = (await self.engine.state(session)).seq
        facts: list[f.AnyFact] = []
        async with self.engine.follow(session, 0) as events:
            async for batch in events:
                facts.extend(event.fact for event in batch if isinstance(event, f.Recorded))
                if len(facts) >= seq:
                    break
        return facts

    async def settled(self, session: str) -> f.RunSettled:
        """The last settlement, once the session is idle."""
        await self.idle(session)
        return [fact for fact in await self.facts(session) if isinstance(fact, f.RunSettled)][-1]


@asynccontextmanager
async def played(
    journal: Journal | None = None,
    options: Options = Options(),
    doorbell: Doorbell | None = None,
    name: str = "",
    checkpoints: Checkpoints | None = None,
    hooks: Hooks | None = None,
) -> AsyncIterator[Play]:
    """An engine on a journal (in memory by default), with a model and a tool that the test plays.

    What it makes has ids that begin with `name`, so that two engines on one journal do not use the same.
    """
    model, started = PlayedModel(), asyncio.Queue[Touched]()
    tools, sub_tools = PlayedTools(started, Tools(("agent",))), PlayedTools(started)

    async def prompt(session: Session, workspace: Workspace) -> str:
        return "You are being tested."

    ports = Ports(
        journal=journal or MemoryJournal(),
        models=model,
        toolset=tools,
        tools=lambda session: tools if session.parent is None else sub_tools,
        clock=WallClock(),
        rules=lambda root: (),
        open_workspace=_no_workspace,
        system_prompt=prompt,
        compaction_prompt="Summarise.",
        retry_delay=lambda attempt, failure: failure.retry_after if attempt < 3 else None,
        is_crowded=lambda tokens, window: window is not None and tokens > window,
        environment={},
        doorbell=doorbell,
        checkpoints=None if checkpoints is None else lambda: checkpoints,
        hooks=lambda: hooks,
    )
    async with Engine(ports, options) as engine:
        yield Play(engine, model, tools, name)


@asynccontextmanager
async def crashed(
    journal: Journal, options: Options = Options(), checkpoints: Checkpoints | None = None
) -> AsyncIterator[Play]:
    """As `played`, and at the end the process dies: what is in the journal at that moment is all that is left."""
    mortal = FaultyJournal(journal)
    async with played(mortal, options, checkpoints=checkpoints) as play:
        yield play
        mortal.always = Refuse("the process died")


def _no_workspace(session: Session) -> Workspace:
    return _NoWorkspace()  # type: ignore[return-value]  # the played tool never looks


class _NoWorkspace:
    """Stands for a workspace where nothing is looked at."""
