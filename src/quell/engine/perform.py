"""Performs effects: each ends as one input to its session, whatever happens to it.

An effect that raises has a bug; it is logged under an id and becomes the failure that its session knows how to go on from
(AGENTS.md, rules 3 and 9). One that is cancelled reports nothing, but what it truly found out.
"""

from __future__ import annotations

import asyncio
import logging
import os
from typing import assert_never

from msgspec.structs import replace

from quell.core import inputs as i
from quell.core.errors import FailureCode, InvalidRequest, QuellError, StaleOwner, UnknownModel
from quell.core.messages import ToolResult
from quell.core.redaction import Redactor
from quell.core.session import Check, Compact, Effect, Erase, Execute, Expire, Keep, Restore, Sample, Title, Unwind
from quell.engine import keeping, sample, title, toolcall
from quell.engine.delegate import Delegates, Sessions
from quell.engine.environments import Environments
from quell.engine.inbox import RETRY_REFUSED
from quell.engine.options import Options, Ports
from quell.engine.owner import Ownership
from quell.engine.scene import Means, Scene
from quell.wire import times

log = logging.getLogger(__name__)


class Performer:
    """What every actor performs its effects with."""

    def __init__(self, ports: Ports, options: Options, sessions: Sessions) -> None:
        self.ports = ports
        self.options = options
        self.environments = Environments(ports.environment, ports.secrets)
        self.delegates = Delegates(sessions, ports.journal, ports.toolset, self.environments, options.sub_agents)
        self.ownership = Ownership()
        self._door = asyncio.Lock()

    async def perform(self, effect: Effect, scene: Scene) -> None:
        """Do it, and post its outcome. Raises nothing but cancellation."""
        try:
            await self._turn()
            outcome = await self._outcome(effect, scene)
        except InvalidRequest as refusal:  # the folder, its configuration or the model is not what it was
            reason: FailureCode = "unknown_model" if isinstance(refusal, UnknownModel) else "invalid_request"
            outcome = _failure(effect, reason, str(refusal))
        except Exception:  # the outermost loop of an effect
            incident = os.urandom(4).hex()
            log.exception("session %s: %r failed, incident %s", scene.ledger.id, effect, incident)
            outcome = _failure(effect, "internal", f"Quell has a bug: incident {incident} in its log.")
        if outcome is not None:
            scene.post(outcome)

    async def _turn(self) -> None:
        """One effect begins in each turn of the loop, so that a crowd of them does not keep those waiting who submit."""
        async with self._door:
            await asyncio.sleep(0)

    async def _outcome(self, effect: Effect, scene: Scene) -> i.Input | None:
        id = scene.ledger.id
        means = Means(self.ports, self.environments.of(id), self.environments.redactor(id))
        match effect:
            case Sample():
                await self._sleep_until(effect.not_before)
                outcome = _hidden(await sample.sample(effect, scene, means), means.redactor)
                return await self._with_snapshot(outcome, scene)
            case Compact():
                await self._sleep_until(effect.not_before)
                return _hidden(await sample.compact(effect, scene, means), means.redactor)
            case Check():
                return await toolcall.check(effect, scene, means)
            case Execute():
                child = self.delegates.of(scene.ledger.session, effect.call)
                return await toolcall.execute(effect, scene, means, child)
            case Title():
                return await title.title(effect, scene, means)
            case Expire():
                await self._sleep_until(times.later(effect.started, effect.seconds))
                return i.TimeUp(run=effect.run)
            case Erase():
                await self._erase(scene)
                return None
            case Keep():
                return await keeping.keep(effect, scene.ledger.session, self.ports)
            case Restore():
                return await keeping.restore(effect, scene.ledger.session, self.ports)
            case Unwind():
                raise AssertionError("the actor unwinds its own effects")
            case _:
                assert_never(effect)

    async def _with_snapshot(self, outcome: i.Input, scene: Scene) -> i.Input:
        """A run that ends is told when what it has left is kept: whoever changes a file then is somebody else."""
        if isinstance(outcome, i.SampleReplied) and not outcome.reply.calls:
            try:
                return replace(outcome, snapshot=await keeping.left(scene.ledger.session, self.ports))
            except asyncio.CancelledError:
                scene.post(outcome)  # it is true all the same
                raise
        return outcome

    async def _erase(self, scene: Scene) -> None:
        generation, told = self.ownership.generation, ""
        if generation is not None:
            await self.ports.toolset.forget(scene.ledger.id)
            await keeping.forget(scene.ledger.session, self.ports)
        while generation is not None:
            try:
                await self.delegates.erase(scene.ledger.id)
                await self.ports.journal.delete(scene.ledger.id, generation)
            except StaleOwner:
                self.ownership.lose(generation)
                return
            except QuellError as error:
                if str(error) != told:  # once: the log may be on the disk that is full
                    log.error("session %s cannot be deleted yet: %s", scene.ledger.id, error)
                told = str(error)
                await asyncio.sleep(RETRY_REFUSED)
            else:
                break
        else:
            return
        self.environments.forget(scene.ledger.id)
        scene.gone()
        if self.ports.doorbell is not None:
            self.ports.doorbell.ring(scene.ledger.id)

    async def _sleep_until(self, at: str | None) -> None:
        if at is not None:
            await self.ports.clock.sleep_until(at)


def _hidden(outcome: i.Input, redactor: Redactor) -> i.Input:
    """Providers name the key that they refuse."""
    if isinstance(outcome, i.SampleFailed):
        return replace(outcome, detail=redactor.text(outcome.detail))
    return outcome


def _failure(effect: Effect, reason: FailureCode, detail: str) -> i.Input | None:
    match effect:
        case Sample() | Compact():
            return i.SampleFailed(
                run=effect.run, turn=effect.turn, attempt=effect.attempt, failure=reason, detail=detail
            )
        case Check() | Execute():
            return i.CallReturned(run=effect.run, call=effect.call, result=ToolResult(text=detail, status="failed"))
        case Title():
            return i.TitleFound(prompt=effect.prompt, attempt=effect.attempt)
        case Expire():
            return i.TimeUp(run=effect.run)
        case Keep():
            return i.Kept(run=effect.run, after=effect.after, problem=detail)
        case Restore():
            return i.Restored(revert=effect.revert, problem=detail)
        case Erase() | Unwind():
            return None
        case _:
            assert_never(effect)
