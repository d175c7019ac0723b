"""The real engine on the real journal, in seeded stories of crashes, full disks and impatient people; audited at the end.

`make simulate SEEDS=n` plays more of them than fit here.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from quell.core import decide_run
from quell.core.facts import CallFinished
from quell.core.inputs import CallReturned
from quell.core.messages import AssistantMessage, ToolCall, ToolMessage, ToolResult
from quell.core.step import Step
from quell.engine.inbox import Inbox
from quell.engine.live import Streams
from quell.store.memory import _Memory
from quell.testing.audit import unsendable
from quell.testing.simulation import draw, shrink, simulate
from quell.testing.simulation.files import Folder
from quell.testing.simulation.loop import Process, Stuck, VirtualLoop
from quell.testing.simulation.screen import Line

DIGESTS = """
from quell.testing.simulation import draw, simulate
print([simulate(draw(seed)).digest for seed in range(10)])
"""


@pytest.mark.parametrize("block", range(30))
def test_ten_seeds_on_sqlite_keep_the_contract(block: int, tmp_path: Path) -> None:
    for seed in range(block * 10, block * 10 + 10):
        folder = tmp_path / str(seed)
        folder.mkdir()
        report = simulate(draw(seed), folder)
        assert not report.wrong, "\n".join([f"seed {seed}", *report.story, *report.wrong])


def test_a_seed_replays_exactly_in_another_process() -> None:
    """Whatever the hashes of strings and the addresses of objects are there."""

    def digests(hashes: str) -> str:
        environment = {**os.environ, "PYTHONHASHSEED": hashes}
        done = subprocess.run(
            [sys.executable, "-c", DIGESTS], capture_output=True, text=True, env=environment, check=True
        )
        return done.stdout

    assert digests("1") == digests("2")


def test_a_lost_wakeup_is_found_and_its_story_made_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    """The audit sees what it is there for: an outcome that was refused, and then forgotten."""
    monkeypatch.setattr(Inbox, "keep", lambda self, letter: None)
    seeds = (*range(17, 1000), *range(17))  # one of the first of these meets it
    failing = next(report for seed in seeds if (report := simulate(draw(seed))).wrong)
    smaller = shrink(failing.plan, tries=25)
    assert simulate(smaller).wrong
    assert len(smaller.acts) < len(failing.plan.acts)


def test_streamed_text_that_a_cancel_loses_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Streams, "fragment", lambda self: None)
    assert any("C7" in wrong for seed in range(100) for wrong in simulate(draw(seed)).wrong)


def test_an_outcome_that_counts_twice_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """I5. Outcomes come twice, and late; the machine without its guard takes them."""

    def returned(step: Step, input: CallReturned) -> None:
        if decide_run._call(step, input.run, input.call) is not None:
            step.add(CallFinished(run=input.run, call=input.call, result=input.result, spent=input.spent))
            decide_run._go_on(step, "tool_use")

    monkeypatch.setattr(decide_run, "call_returned", returned)
    seeds = (*range(50, 200), *range(50))  # one of the first of these meets it
    assert any("I5" in wrong for seed in seeds for wrong in simulate(draw(seed)).wrong)


def test_a_screen_that_misses_a_fact_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """E1. It would mend itself by a new snapshot; that it has to is what is wrong."""
    connect = Line.events
    monkeypatch.setattr(Line, "events", lambda self, after: connect(self, after + (after > 3)))
    assert any("began anew" in wrong for seed in range(100) for wrong in simulate(draw(seed)).wrong)


def test_a_revert_that_leaves_the_files_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """K8"""

    async def nothing(*_: object) -> tuple[str, ...]:
        return ()

    monkeypatch.setattr(Folder, "restore", nothing)
    stories = (*range(650, 1000), *range(650))  # few go back over a file that matters: one of the first does
    assert any("K8" in wrong for seed in stories for wrong in simulate(draw(seed)).wrong)


def test_a_former_owner_that_goes_on_recording_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """I10"""
    monkeypatch.setattr(_Memory, "check_owner", lambda self, generation: None)
    plans = (plan for seed in itertools.count() if (plan := draw(seed)).two)
    assert any("I10" in wrong for plan in itertools.islice(plans, 100) for wrong in simulate(plan).wrong)


def test_a_paused_process_takes_no_step_until_it_is_woken() -> None:
    steps: list[float] = []

    async def sleeper() -> None:
        while True:
            steps.append(loop.time())
            await asyncio.sleep(1)

    async def main() -> None:
        loop.run_in(process, sleeper())
        await asyncio.sleep(0.5)
        process.paused = True
        await asyncio.sleep(10)
        assert steps == [0.0]
        loop.wake(process)
        await asyncio.sleep(1.5)
        assert steps == [0.0, 10.5, 11.5]

    loop, process = _loop(0.0), Process("sleeper")
    loop.run(main())
    loop.close()


def test_time_jumps_to_the_next_timer_and_never_back() -> None:
    seen: list[float] = []

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for delay in (3600.0, 0.5, 7.0):
                group.create_task(note(delay))

    async def note(delay: float) -> None:
        await asyncio.sleep(delay)
        seen.append(loop.time())

    loop = _loop(1.0)
    loop.run(main())
    assert seen == [0.5, 7.0, 3600.0]


def test_the_order_of_what_is_ready_is_the_seeds() -> None:
    def order(seed: int, disorder: float) -> list[int]:
        seen: list[int] = []

        async def main() -> None:
            async with asyncio.TaskGroup() as group:
                for number in range(10):
                    group.create_task(note(number))

        async def note(number: int) -> None:
            await asyncio.sleep(0)
            seen.append(number)

        _loop(disorder, seed).run(main())
        return seen

    assert order(1, 0.0) == list(range(10))
    assert order(1, 1.0) == order(1, 1.0) != order(2, 1.0)


def test_a_killed_process_takes_no_further_step_not_even_a_finally() -> None:
    steps: list[str] = []

    async def mortal() -> None:
        try:
            steps.append("begun")
            await asyncio.sleep(1)
            steps.append("went on")
        finally:
            steps.append("cleaned up")

    async def main() -> None:
        loop.run_in(process, mortal())
        await asyncio.sleep(0.5)
        process.exit()
        await asyncio.sleep(10)
        assert steps == ["begun"]

    loop, process = _loop(0.0), Process("mortal")
    loop.run(main())
    loop.close()
    assert steps == ["begun", "cleaned up"]


@pytest.mark.parametrize("wait", [asyncio.Event().wait, lambda: _spin()], ids=["for ever", "spinning"])
def test_a_loop_that_gets_nowhere_is_stuck(wait: Callable[[], object]) -> None:
    async def main() -> None:
        await wait()  # type: ignore[misc]  # a coroutine

    loop = _loop(0.0)
    with pytest.raises(Stuck):
        loop.run(main())
    loop.close()


async def _spin() -> None:
    while await asyncio.sleep(0, True):
        pass


def test_what_no_provider_would_accept_is_recognised() -> None:
    call = AssistantMessage(id="m", parts=(ToolCall("m-c0", "touch", "{}"),), stop_reason="tool_use")
    result = ToolMessage(call="m-c0", name="touch", result=ToolResult(text="touched"))
    assert unsendable([call, result]) is None
    assert unsendable([call]) is not None
    assert unsendable([result]) is not None
    assert unsendable([call, result, result]) is not None
    assert unsendable([AssistantMessage(id="m")]) is not None


def _loop(disorder: float, seed: int = 0) -> VirtualLoop:
    return VirtualLoop(Random(seed), disorder)  # type: ignore[abstract]  # what it lacks raises NotImplementedError
