"""Hooks in memory, the fake of the port `Hooks`; and what every such port does.

@pytest.mark.parametrize("check", HOOKS, ids=name)
async def test_hooks(check):
    await check(make)               # `make(said)` is a port with one hook that says this; None: one that hangs
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from quell.core.hooks import HookAnswer, Hooked, HookEvent, HookPlace, HookReport, Hooks, RunEnd, together
from quell.core.messages import ResultStatus, ToolCall

CALL = ToolCall("c0", "bash", '{"command":"make"}')
ANSWERS: Mapping[str, HookAnswer] = {
    "nothing": HookAnswer(HookReport(name="h")),
    "deny": HookAnswer(HookReport(name="h", decision="deny", reason="why")),
    "change": HookAnswer(HookReport(name="h", decision="allow"), "more", {"command": "true"}),
}
Make = Callable[[HookAnswer | None], Hooks]
HooksCheck = Callable[[Make, HookPlace], Awaitable[None]]


class FakeHooks:
    """One hook, which says always the same to every call, or hangs. `ended` are the runs that it was told of."""

    def __init__(self, answer: HookAnswer | None) -> None:
        self.ended: list[RunEnd] = []
        self._answer = answer

    async def before(self, call: ToolCall, place: HookPlace, environment: Mapping[str, str]) -> Hooked | None:
        return await self._say("PreToolUse", call)

    async def after(
        self, call: ToolCall, status: ResultStatus, text: str, place: HookPlace, environment: Mapping[str, str]
    ) -> Hooked | None:
        return await self._say("PostToolUse", call)

    def settled(self, end: RunEnd, place: HookPlace, environment: Mapping[str, str]) -> None:
        self.ended.append(end)

    async def _say(self, event: HookEvent, call: ToolCall) -> Hooked | None:
        if self._answer is None:
            await asyncio.Event().wait()
            raise AssertionError("nothing ends this")
        return together(event, (self._answer,), call.input)


async def nothing_said_is_nothing(make: Make, place: HookPlace) -> None:
    assert await make(ANSWERS["nothing"]).before(CALL, place, {}) is None


async def a_denial_has_a_name_and_a_reason(make: Make, place: HookPlace) -> None:
    said = await make(ANSWERS["deny"]).before(CALL, place, {})
    assert said is not None
    assert (said.event, said.decision, said.because("deny")) == ("PreToolUse", "deny", "the hook `h`: why")


async def changes_are_put_into_the_whole_input(make: Make, place: HookPlace) -> None:
    said = await make(ANSWERS["change"]).before(CALL, place, {})
    assert said is not None
    assert (said.decision, said.input) == ("allow", '{"command":"true"}')
    assert said.context == "[From the user's hook `h`] more"


async def one_that_hangs_is_cancelled(make: Make, place: HookPlace) -> None:
    async with asyncio.TaskGroup() as group:
        asking = group.create_task(make(None).before(CALL, place, {}))
        await asyncio.sleep(0)
        asking.cancel()
    assert asking.cancelled()


HOOKS: tuple[HooksCheck, ...] = (
    nothing_said_is_nothing,
    a_denial_has_a_name_and_a_reason,
    changes_are_put_into_the_whole_input,
    one_that_hangs_is_cancelled,
)
