"""One simulation, from its plan to its audit.

Clients act and things break until the plan's horizon; then everything is healed and the sessions have to come to rest by themselves, in
bounded time. They are audited as they are then (some parked), and again when a user has resumed what was parked.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import random as global_random
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random

from msgspec import Struct
from msgspec.structs import replace

from quell.core import inputs as i
from quell.core.errors import QuellError
from quell.core.evolve import fold
from quell.core.facts import AnyFact, Recorded, Reverted, RevertStarted, RevertUndone
from quell.core.messages import ModelRequest
from quell.core.session import Session, due
from quell.engine.owner import LOOK_SECONDS
from quell.testing.audit import CANCEL_SETTLES, Settled, audit, unsendable
from quell.testing.ghost import Ghost
from quell.testing.simulation import plan as p
from quell.testing.simulation.clients import Client, Follower, allowance, patiently
from quell.testing.simulation.disk import MemoryStore, SqliteStore, Store
from quell.testing.simulation.family import audit_families
from quell.testing.simulation.files import workspace
from quell.testing.simulation.loop import Stuck, VirtualLoop
from quell.testing.simulation.node import ConnectionLost, Node, Site
from quell.testing.simulation.nodes import Nodes
from quell.testing.simulation.screen import Screen
from quell.testing.simulation.story import Story
from quell.testing.simulation.world import World

LOOKS = 2.0
"""Virtual seconds in which a process has looked for what another has appended."""

REST = 300.0
"""Virtual seconds in which everything has to come to rest after it was healed."""


class Report(Struct, frozen=True):
    """What came of a plan. `digest` is of the whole story."""

    plan: p.Plan
    wrong: tuple[str, ...]
    story: tuple[str, ...]
    digest: str
    facts: int
    kills: int
    seconds: float


def simulate(plan: p.Plan, folder: Path | None = None) -> Report:
    """Let a plan happen: on SQLite in an empty folder, or in memory without one."""
    with _alone(plan.seed):
        loop = VirtualLoop(Random(f"{plan.seed} order"), plan.disorder)  # type: ignore[abstract]  # what it lacks raises NotImplementedError
        store: Store = MemoryStore() if folder is None else SqliteStore(folder / "journal.db")
        stage = Stage(plan, loop, store)
        try:
            try:
                loop.run(stage.play())
            except Stuck as stuck:
                stage.wrong.append(f"liveness: {stuck}")
            stage.wrong.extend([*loop.failures, *stage.world.witness.wrong])
            seconds = loop.time()
        finally:
            stage.world.over = True
            loop.close()
            stage.abandon()
    return Report(
        plan=plan,
        wrong=tuple(stage.wrong),
        story=tuple(stage.story.lines),
        digest=stage.story.digest(),
        facts=sum(len(landed) for landed in stage.landed.values()),
        kills=stage.kills,
        seconds=seconds,
    )


@contextmanager
def _alone(seed: int) -> Iterator[None]:
    """Nothing from outside decides anything: no collector at its own time, no other's random numbers. Planned failures are not logged."""
    state, collecting, disabled = global_random.getstate(), gc.isenabled(), logging.root.manager.disable
    hooks = sys.get_asyncgen_hooks()
    global_random.seed(seed)
    gc.disable()
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        global_random.setstate(state)
        logging.disable(disabled)
        sys.set_asyncgen_hooks(*hooks)
        if collecting:
            gc.enable()


class Stage:
    """All that takes part in one simulation. `wrong` is what must not have happened."""

    def __init__(self, plan: p.Plan, loop: VirtualLoop, store: Store) -> None:
        self.wrong: list[str] = []
        self.story = Story(loop.time)
        self.landed: dict[str, list[float]] = {session: [] for session in plan.sessions}
        self.kills = 0
        self.ghost = Ghost()
        self._plan = plan
        self._loop = loop
        self._records: dict[str, list[Recorded]] = {session: [] for session in plan.sessions}
        self._troubled: list[tuple[float, float]] = []
        self.world = World(plan.seed, plan.wild, loop, self._check_request)
        self._site = Site(plan, loop, store, self.world, self.story, self._land)
        self._node = Nodes(self._site)

    def _land(self, session: str, records: Sequence[Recorded]) -> None:
        for recorded in records:
            self.landed.setdefault(session, []).append(self._loop.time())
            self._records.setdefault(session, []).append(recorded)
            self.world.witness.landed(session, recorded, self._loop.time())
            self.story.recorded(session, recorded)
            self._check_files(session, recorded.fact)

    def _check_files(self, session: str, fact: AnyFact) -> None:
        """K8: when a revert is done, the files are as they were, but for those that it says it has left."""
        if isinstance(fact, Reverted | RevertUndone) and not fact.problem:
            begun = [record.fact for record in self._records[session] if isinstance(record.fact, RevertStarted)][-1]
            unlike = self._site.files.of(workspace(session)).unlike(begun.target)
            if wrong := [path for path in unlike if path.rpartition("/")[2] not in fact.left]:
                self.wrong.append(f"K8: {session}: a revert to {fact.to} is done, and {wrong} are not as they were")

    def _check_request(self, request: ModelRequest) -> None:
        if reason := unsendable(request.messages):
            self.wrong.append(f"I5: {request.message} was sent, and {reason}")

    async def play(self) -> None:
        plan = self._plan
        self._node.start()
        clients = {name: Client(name, self._node, self.ghost, self.story) for name in (*p.NAMES, "dora")}
        followers = [Follower(following, self._node, self.landed[following.session]) for following in plan.followings]
        screens = [Screen(planned, self._node) for planned in plan.screens]
        for session in plan.sessions:
            await clients["dora"].insist(
                session, i.Create(session=session, workspace=workspace(session), model="simulated/model")
            )
        async with asyncio.TaskGroup() as group:
            acting = [group.create_task(clients[act.who].act(act)) for act in plan.acts]
            following = [group.create_task(follower.follow()) for follower in followers]
            following += [group.create_task(screen.follow()) for screen in screens]
            breaking = group.create_task(self._break())
            await asyncio.sleep(plan.horizon)
            await asyncio.wait([breaking])
            self._heal()
            await asyncio.wait([breaking, *acting, *following])
        if plan.two:
            await asyncio.sleep(LOOKS)
        self._node.calm = True
        await self._come_to_rest(clients["dora"])
        if not self.wrong:
            await self._audit(followers, screens, final=False)
        for session in plan.sessions:
            await patiently(lambda session=session: self._resume(session), self._node)  # type: ignore[misc]  # bound now
        await self._come_to_rest(clients["dora"])
        if not self.wrong:
            await self._audit(followers, screens, final=True)
        await self._node.shut_down()

    def abandon(self) -> None:
        self._node.abandon()

    async def _resume(self, session: str) -> None:
        await self._node.request(lambda engine: engine.apply(session, i.Resume()))

    # What breaks

    async def _break(self) -> None:
        async with asyncio.TaskGroup() as group:
            for fault in self._plan.faults:
                await asyncio.sleep(max(0.0, fault.at - self._loop.time()))
                match fault:
                    case p.Kill():
                        await self._kill(fault)
                    case p.Shutdown():
                        await self._shut_down(fault)
                    case p.Pause():
                        group.create_task(self._pause(fault))
                    case p.Deaf():
                        group.create_task(self._cut(fault.seconds))
                    case p.Trouble():
                        group.create_task(self._trouble(fault))

    async def _kill(self, fault: p.Kill) -> None:
        began, node = self._loop.time(), self._node.part(fault.who)
        if node is None or not await node.kill(fault.steps):
            return
        self.kills += 1
        await self._rise(node, began, fault.down)

    async def _pause(self, fault: p.Pause) -> None:
        began, node = self._loop.time(), self._node.part(fault.who)
        if node is not None:
            self._troubled.append((began, began + fault.seconds + LOOKS))
            await self._node.pause(node, fault.steps, fault.seconds, dead=fault.dead)

    async def _cut(self, seconds: float) -> None:
        self.story.say("wire", f"is cut for {seconds} s")
        self._site.wire.cut = True
        await asyncio.sleep(seconds)
        self._site.wire.cut = False

    async def _shut_down(self, fault: p.Shutdown) -> None:
        began, node, deaf = self._loop.time(), self._node.part(fault.who), self._site.wire.cut
        if node is not None and await node.shut_down():
            if not self._troubled_since(began) and self._loop.time() - began > 5.0:
                self.wrong.append(f"K6: the shutdown took {self._loop.time() - began:.3f} s")
            if not (self._troubled_since(began) or deaf) and fault.who == "owner":
                self._check_left(began)
            await self._rise(node, began, fault.down)

    def _check_left(self, began: float) -> None:
        """K6: what had begun to show itself when the owner was told was settled. What a guest has recorded since is its successor's."""
        for session, records in self._records.items():
            known = [record for record, at in zip(records, self.landed[session], strict=True) if at <= began]
            run, now = fold(known).run, fold(records).run
            if run is not None and (run.replied or run.ending is not None) and now is not None and now.id == run.id:
                self.wrong.append(f"K6: the shutdown left {session} with {run.id} unsettled")

    def _troubled_since(self, began: float) -> bool:
        return any(end > began for _, end in self._troubled)

    async def _rise(self, node: Node, began: float, down: float) -> None:
        await asyncio.sleep(down)
        node.start()
        self._troubled.append((began, self._loop.time() + 0.1))

    async def _trouble(self, fault: p.Trouble) -> None:
        self.story.say("disk", f"{fault.kind} for {fault.seconds} s")
        span = (self._loop.time(), self._loop.time() + fault.seconds + 3.0)
        self._troubled.append(span)
        if fault.kind == "slow":
            self._node.naps.append(span)
        self.world.witness.trouble(self._loop.time() + fault.seconds + 3.0)
        self._site.weather[fault.kind] += 1
        await asyncio.sleep(fault.seconds)
        self._site.weather[fault.kind] -= 1

    def _heal(self) -> None:
        self.story.say("world", "everything is healed")
        self.world.healed.set()

    # Rest, and the audit

    async def _come_to_rest(self, person: Client) -> None:
        """Every request is answered, nothing else is done. What is busy for too long is busy for ever.

        A run may have settled before what it left was kept, and before its session had a title: those are facts, too.
        """
        until = self._loop.time() + REST
        for session in self._plan.sessions:
            while True:
                state = await patiently(lambda session=session: person.state(session), self._node)  # type: ignore[misc]  # bound now
                if state is None and await self._is_gone(session):
                    break
                if state is not None and not (state.busy or due(state)) and not await self._stalls(session):
                    break
                if self._loop.time() > until:
                    self.wrong.append(f"liveness: {session} is busy for ever: {_brief(state)}")
                    break
                for call in state.awaiting if state is not None else ():
                    await self._allow(session, allowance(call))
                await asyncio.sleep(0.25)
        # A parent that has waited long enough for a sub-agent on a slow disk settles before it (C7).
        while self._loop.time() < until:
            if not await self._node.journal.busy():
                break
            await asyncio.sleep(0.25)

    async def _stalls(self, session: str) -> bool:
        """Whether the journal may hold more than the engine has been told: its last answer may have been lost."""
        row = await patiently(lambda: self._node.request(lambda engine: engine.summary(session)), self._node)
        return row is not None and row.stalled is not None

    async def _is_gone(self, session: str) -> bool:
        """Whether a session that is not found is being deleted no more."""
        return await self._node.journal.summary(session) is None

    async def _allow(self, session: str, answer: i.Request) -> None:
        try:
            await self._node.request(lambda engine: engine.apply(session, answer))
        except (ConnectionLost, QuellError):
            pass

    async def _audit(self, followers: Sequence[Follower], screens: Sequence[Screen], *, final: bool) -> None:
        self.wrong.extend(self.ghost.restless)
        families = await audit_families(self._node.journal, self._plan.sessions, self.landed, self._troubled)
        self.wrong.extend(families)
        for session in self._plan.sessions:
            if session in self.ghost.deleted:
                await self._audit_deleted(session)
                continue
            records, row = await self._node.journal.read(session), await self._node.journal.summary(session)
            if not records:
                if session not in self.ghost.deleting:
                    self.wrong.append(f"A2: {session} is gone")
                continue
            if wrong := await self._node.agree(session, len(records)):
                self.wrong.append(wrong)
            # A cancel whose ring was lost is heard of within a second (E5).
            deaf = any(isinstance(fault, p.Deaf) for fault in self._plan.faults)
            settles = CANCEL_SETTLES + (LOOK_SECONDS if deaf else 0.0)
            troubled = sorted(self._troubled)
            settled = Settled(session, records, row, self.landed[session], troubled, final, settles=settles)
            self.wrong.extend(f"{session}: {finding}" for finding in audit(settled, self.ghost, self.world.asked))
            for follower in followers:
                if follower.session == session:
                    await follower.read_until(lambda f=follower, r=records: len(f.records) >= len(r), 60.0)  # type: ignore[misc]  # bound now
                    if follower.records != list(records):
                        self.wrong.append(
                            f"E1: a follower of {session} holds {len(follower.records)} of {len(records)}"
                        )
            for screen in screens:
                if screen.session == session:
                    await self._look(screen)
        self.wrong.extend(wrong for follower in followers for wrong in follower.wrong)
        self.wrong.extend(wrong for screen in screens for wrong in screen.wrong)
        for (session, call), times in self.world.executed.items():
            if times > 1:
                self.wrong.append(f"K3: {session}: {call} was started {times} times")

    async def _look(self, screen: Screen) -> None:
        """A cancel that was kept may still land: then what the screen shows is newer than what it is to be compared with."""
        while True:
            seq, view = await self._node.request(lambda engine: engine.view(screen.session))
            await screen.read_until(lambda: screen.seq >= seq, 60.0)  # noqa: B023  # called in this turn of the loop only
            if screen.seq <= seq:
                break
        screen.compare(seq, view)

    async def _audit_deleted(self, session: str) -> None:
        """K7: nothing is left, and nobody is told otherwise."""
        journal = self._node.journal
        records, row, draft = await journal.read(session), await journal.summary(session), await journal.draft(session)
        if records or row is not None or draft is not None:
            self.wrong.append(f"K7: {session} was deleted, and {len(records)} facts, {row}, {draft} are left")


def _brief(state: Session | None) -> str:
    if state is None:
        return "deleting"
    waiting = [(entry.id, entry.parked) for entry in state.waiting]
    return f"run {state.run}, waiting {waiting}, deleting {state.deleting}"


def shrink(plan: p.Plan, folder: Path | None = None, tries: int = 400) -> p.Plan:
    """Leave out of a failing plan whatever can be left out while it fails the same way, by the requirement that it names."""
    wanted = {wrong.split(":")[0] for wrong in _run(plan, folder, 0).wrong}
    count = 0
    smaller = True
    while smaller:
        smaller = False
        for candidate in _smaller(plan):
            count += 1
            if count > tries:
                return plan
            if wanted & {wrong.split(":")[0] for wrong in _run(candidate, folder, count).wrong}:
                plan, smaller = candidate, True
                break
    return plan


def _run(plan: p.Plan, folder: Path | None, number: int) -> Report:
    if folder is None:
        return simulate(plan)
    place = folder / str(number)
    place.mkdir()
    return simulate(plan, place)


def _smaller(plan: p.Plan) -> Iterator[p.Plan]:
    if plan.disorder:
        yield replace(plan, disorder=0.0)
    if plan.wild:
        yield replace(plan, wild=0.0)
    if plan.latency:
        yield replace(plan, latency=0.0)
    if plan.two:
        yield replace(
            plan, two=False, faults=tuple(fault for fault in plan.faults if not isinstance(fault, p.Pause | p.Deaf))
        )
    if plan.echo:
        yield replace(plan, echo=0.0)
    if plan.screens:
        yield replace(plan, screens=())
    if plan.followings:
        yield replace(plan, followings=())
    for size in (8, 4, 2, 1):
        for start in range(0, len(plan.acts), size):
            yield replace(plan, acts=plan.acts[:start] + plan.acts[start + size :])
    for number in range(len(plan.faults)):
        yield replace(plan, faults=plan.faults[:number] + plan.faults[number + 1 :])
    for session in plan.sessions[1:]:
        if not any(act.session == session for act in plan.acts):
            followings = tuple(following for following in plan.followings if following.session != session)
            screens = tuple(screen for screen in plan.screens if screen.session != session)
            sessions = tuple(s for s in plan.sessions if s != session)
            yield replace(plan, sessions=sessions, followings=followings, screens=screens)
