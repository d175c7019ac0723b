"""The tool of the simulation: it behaves, and misbehaves, as the seed says, and changes files."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from quell.core.access import Access
from quell.core.errors import NotFound
from quell.core.messages import ToolCall, ToolKind, ToolResult, ToolSpec
from quell.core.ports import JobState, PreparedCall, ToolContext, Workspace
from quell.core.questions import Question
from quell.testing.simulation.files import SimulatedFiles
from quell.testing.simulation.loop import running
from quell.testing.simulation.world import STUBBORN, World
from quell.tools import Tools

QUESTIONS = (Question(type="yes_no", question="Go on?"),)


class Input(msgspec.Struct, frozen=True):
    kind: str
    outside: bool


class SimulatedCall:
    """A call of the tool: outside it has to be asked for; reading runs beside others, editing changes a file; a question is never run."""

    def __init__(self, world: World, files: SimulatedFiles, input: Input) -> None:
        self.kind: ToolKind = "read" if input.kind == "read" else "edit"
        self.concurrent = self.kind == "read"
        path = "/elsewhere/file" if input.outside else "/work/file"
        outside = (path,) if input.outside else ()
        self.questions = QUESTIONS if input.kind == "question" else ()
        self.reason = ""
        self.access = Access(tool="touch", kind=self.kind, title="touch a file", paths=(path,), outside=outside)
        self._world = world
        self._files = files

    async def run(self, context: ToolContext) -> ToolResult:
        world = self._world
        world.executed[context.session, context.call] += 1
        random = world.random(f"call {context.session} {context.call}")
        if self.kind == "edit":
            self._files.write(context.session, random.choice("ab"), context.call)
        late = ToolResult(text="touched, whatever was said")
        deaf = world.misbehaves(random)
        world.witness.begins(running().name, context.session, context.call, world.loop.time(), samples=False)
        try:
            for _ in range(random.randint(0, 3)):
                context.output("touching ")
                await world.idle(random.choice((0.0, 0.01, 1.0)))
            if world.misbehaves(random):
                await world.healed.wait()
        except asyncio.CancelledError:
            if not deaf or world.over:
                raise
            world.witness.is_deaf(running().name, context.session, context.call)
            await world.ignore_cancels(random.choice((0.2, 2.0, STUBBORN)))
            if random.random() < 0.5:
                raise
            return late
        finally:
            world.witness.ends(running().name, context.session, context.call)
        return ToolResult(text="touched", status=random.choice(("completed", "completed", "failed")))


class SimulatedTools:
    """The `Toolset` port: `touch`, and the real `agent`."""

    def __init__(self, world: World, files: SimulatedFiles) -> None:
        self._world = world
        self._files = files
        self._agent = Tools(("agent",))

    def specs(self) -> Sequence[ToolSpec]:
        return (ToolSpec("touch", "Touches a file.", {"type": "object"}),)

    def jobs(self, session: str) -> Sequence[JobState]:
        return ()

    def works_behind(self, session: str) -> bool:
        return False

    async def end_job(self, session: str, job: str) -> JobState:
        raise NotFound("A call of this tool leaves nothing behind.")

    async def forget(self, session: str) -> None:
        pass

    def prepare(self, call: ToolCall, workspace: Workspace) -> PreparedCall | ToolResult:
        if call.name == "agent":
            return self._agent.prepare(call, workspace)
        if call.name != "touch":
            return ToolResult(text=f"There is no tool {call.name}.", status="failed")
        return SimulatedCall(self._world, self._files, msgspec.json.decode(call.input, type=Input))
