"""Checkpoints for tests, of files that are a dict, and what all checkpoints must do.

disk = PlayedCheckpoints()
disk.files["/work/file"] = "text"       what there is
disk.held = asyncio.Event()             until it is set, nothing is kept or restored: whoever wants that hangs
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from quell.core.checkpoints import CheckpointRefused, Checkpoints, FileChange, Plan
from quell.core.session import Checkpoint

Files = dict[str, str]
State = str | None


class PlayedCheckpoints:
    """The `Checkpoints` port. `refuses`: why nothing can be kept. `waiting` is set while somebody waits for `held`."""

    def __init__(self) -> None:
        self.files: Files = {}
        self.held: asyncio.Event | None = None
        self.waiting = asyncio.Event()
        self.refuses = ""
        self.forgotten: list[str] = []
        self._snapshots: dict[str, dict[str, State]] = {}

    async def keep(self, session: str, folders: Sequence[str]) -> str:
        await self._hold()
        return self._name(dict(self.files))

    async def touch(self, session: str, folders: Sequence[str], paths: Sequence[str]) -> None:
        await self._hold()

    async def plan(self, session: str, folders: Sequence[str], runs: Sequence[Checkpoint]) -> Plan:
        found: list[tuple[str, State, bool]] = []
        kept = [run for run in runs if run.before]
        following: list[Mapping[str, State]] = [*(self._snapshots[run.before] for run in kept[1:]), self.files]
        states: list[Mapping[str, State]] = []
        for run, then in zip(kept, following, strict=False):
            states += [self._snapshots[run.before], self._snapshots[run.after] if run.after else then]
        for path in sorted({path for state in (*states, self.files) for path in state}):
            history = [state.get(path) for state in states]
            first = next((n for n in range(0, len(history), 2) if history[n] != history[n + 1]), None)
            if first is not None:
                later = [*history[first + 1 :], self.files.get(path)]
                edited = any(later[n] != later[n + 1] for n in range(0, len(later), 2))
                found.append((path, history[first], edited))
        return self._plan(folders, found)

    async def plan_undo(self, session: str, folders: Sequence[str], source: str, target: str) -> Plan:
        expected, wanted = self._snapshots.get(source, {}), self._snapshots.get(target, {})
        return self._plan(folders, [(path, wanted[path], self.files.get(path) != expected[path]) for path in wanted])

    async def restore(self, session: str, folders: Sequence[str], source: str, target: str) -> Sequence[str]:
        await self._hold()
        before, after = self._snapshots[source], self._snapshots[target]
        left = [path for path in after if self.files.get(path) not in (before[path], after[path])]
        for path in after.keys() - left:
            self._put(path, after[path])
        return [_shown(path, folders) for path in left]

    async def forget(self, session: str, folders: Sequence[str]) -> None:
        self.forgotten.append(session)

    async def _hold(self) -> None:
        if self.held is not None:
            self.waiting.set()
            await self.held.wait()
        if self.refuses:
            raise CheckpointRefused(self.refuses)

    def _plan(self, folders: Sequence[str], found: Sequence[tuple[str, State, bool]]) -> Plan:
        todo = [(path, state, edited) for path, state, edited in found if self.files.get(path) != state]
        if not todo:
            return Plan()
        return Plan(
            source=self._name({path: self.files.get(path) for path, _, _ in todo}),
            target=self._name({path: state for path, state, _ in todo}),
            changes=tuple(
                FileChange(
                    _shown(path, folders),
                    "create" if path not in self.files else "delete" if state is None else "modify",
                    edited=edited,
                )
                for path, state, edited in todo
            ),
        )

    def _name(self, state: Mapping[str, State]) -> str:
        name = f"snapshot {len(self._snapshots)}"
        self._snapshots[name] = dict(state)
        return name

    def _put(self, path: str, state: State) -> None:
        self.files.pop(path, None)
        if state is not None:
            self.files[path] = state


def _shown(path: str, folders: Sequence[str]) -> str:
    return path.removeprefix(folders[0] + "/")


class Ground(Protocol):
    """Where a check of the suite plays: checkpoints, and the files that they are of, by their path below `root`."""

    root: str
    checkpoints: Checkpoints

    def write(self, path: str, text: str | None) -> None:
        """None: remove it."""

    def read(self) -> Files: ...


CheckpointCheck = Callable[[Ground], Awaitable[None]]

SESSION = "s"


async def _run(ground: Ground, changes: dict[str, State]) -> Checkpoint:
    before = await ground.checkpoints.keep(SESSION, [ground.root])
    for path, text in changes.items():
        ground.write(path, text)
    return Checkpoint(before, await ground.checkpoints.keep(SESSION, [ground.root]))


async def _go(ground: Ground, plan: Plan) -> Sequence[str]:
    return await ground.checkpoints.restore(SESSION, [ground.root], plan.source, plan.target)


async def check_what_runs_have_changed_goes_back_and_comes_back(ground: Ground) -> None:
    ground.write("a", "1")
    ground.write("b", "1")
    first = await _run(ground, {"a": "2", "c": "new"})
    second = await _run(ground, {"a": "3", "b": None})
    after = ground.read()
    plan = await ground.checkpoints.plan(SESSION, [ground.root], [first, second])
    assert {change.path: change.change for change in plan.changes} == {"a": "modify", "b": "create", "c": "delete"}
    assert plan.edited == ()
    assert ground.read() == after, "a plan changes nothing"
    assert list(await _go(ground, plan)) == []
    assert ground.read() == {"a": "1", "b": "1"}
    undo = await ground.checkpoints.plan_undo(SESSION, [ground.root], plan.target, plan.source)
    assert undo.edited == ()
    assert list(await _go(ground, undo)) == []
    assert ground.read() == after


async def check_only_the_last_run_goes_back(ground: Ground) -> None:
    await _run(ground, {"a": "1"})
    second = await _run(ground, {"a": "2", "b": "2"})
    await _go(ground, await ground.checkpoints.plan(SESSION, [ground.root], [second]))
    assert ground.read() == {"a": "1"}


async def check_what_no_run_has_changed_is_left_alone(ground: Ground) -> None:
    ground.write("mine", "1")
    first = await _run(ground, {"a": "1"})
    ground.write("mine", "2")
    second = await _run(ground, {"b": "1"})
    ground.write("mine", "3")
    plan = await ground.checkpoints.plan(SESSION, [ground.root], [first, second])
    assert plan.edited == ()
    await _go(ground, plan)
    assert ground.read() == {"mine": "3"}


async def check_what_was_edited_since_is_named(ground: Ground) -> None:
    ground.write("a", "1")
    run = await _run(ground, {"a": "2", "b": "2"})
    ground.write("a", "mine")
    plan = await ground.checkpoints.plan(SESSION, [ground.root], [run])
    assert plan.edited == ("a",)
    await _go(ground, plan)
    assert ground.read() == {"a": "1"}
    undo = await ground.checkpoints.plan_undo(SESSION, [ground.root], plan.target, plan.source)
    await _go(ground, undo)
    assert ground.read() == {"a": "mine", "b": "2"}, "what was overwritten is not lost"


async def check_what_was_edited_between_two_runs_is_named(ground: Ground) -> None:
    first = await _run(ground, {"a": "1"})
    ground.write("a", "mine")
    second = await _run(ground, {"a": "2"})
    plan = await ground.checkpoints.plan(SESSION, [ground.root], [first, second])
    assert plan.edited == ("a",)
    assert (await ground.checkpoints.plan(SESSION, [ground.root], [second])).edited == ()


async def check_what_is_as_it_was_needs_nothing(ground: Ground) -> None:
    ground.write("a", "1")
    run = await _run(ground, {"a": "2"})
    ground.write("a", "1")
    assert await ground.checkpoints.plan(SESSION, [ground.root], [run]) == Plan()
    assert await ground.checkpoints.plan(SESSION, [ground.root], []) == Plan()
    assert await ground.checkpoints.plan_undo(SESSION, [ground.root], "", "") == Plan()


async def check_what_changes_after_the_plan_is_left_and_named(ground: Ground) -> None:
    run = await _run(ground, {"a": "1", "b": "1"})
    plan = await ground.checkpoints.plan(SESSION, [ground.root], [run])
    ground.write("a", "mine")
    assert list(await _go(ground, plan)) == ["a"]
    assert ground.read() == {"a": "mine"}


async def check_a_restore_can_be_repeated(ground: Ground) -> None:
    ground.write("a", "1")
    run = await _run(ground, {"a": "2", "b": "1"})
    plan = await ground.checkpoints.plan(SESSION, [ground.root], [run])
    ground.write("b", None)  # as if it had been stopped after this
    for _ in range(2):
        assert list(await _go(ground, plan)) == []
        assert ground.read() == {"a": "1"}


async def check_a_run_that_nobody_looked_after_left_what_the_next_one_found(ground: Ground) -> None:
    first = await _run(ground, {"a": "1"})
    second = await _run(ground, {"b": "1"})
    third = await _run(ground, {"a": "3"})
    lost = [Checkpoint(first.before), second, Checkpoint(third.before)]
    plan = await ground.checkpoints.plan(SESSION, [ground.root], lost)
    assert plan.edited == ()
    await _go(ground, plan)
    assert ground.read() == {}


CHECKS: tuple[CheckpointCheck, ...] = (
    check_what_runs_have_changed_goes_back_and_comes_back,
    check_only_the_last_run_goes_back,
    check_what_no_run_has_changed_is_left_alone,
    check_what_was_edited_since_is_named,
    check_what_was_edited_between_two_runs_is_named,
    check_what_is_as_it_was_needs_nothing,
    check_what_changes_after_the_plan_is_left_and_named,
    check_a_restore_can_be_repeated,
    check_a_run_that_nobody_looked_after_left_what_the_next_one_found,
)
