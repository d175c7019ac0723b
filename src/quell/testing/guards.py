"""Takes away the guards against the races of the run contract, one at a time, and sees that the test named for the race fails.

    make guards                            all of them, in a copy of the code
    make guards ARGS="deletion crash"      those with these words

A guard is named by the text that it is in the code, and by what takes its place. `scripts/contract.py` lists them beside the races, and
refuses a test of a race that none of them makes fail, and a text that is not in the code any more. Exits with 1 when a test does not notice.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from msgspec import Struct

ROOT = Path(__file__).resolve().parents[3]
SECONDS = 30
"""What hangs without its guard has failed by then."""


class Guard(Struct, frozen=True):
    """What is taken away, in words; (file in `src/quell`, text, its place taken by); and the tests that have to fail, without `test_race_`."""

    words: str
    code: tuple[tuple[str, str, str], ...]
    tests: tuple[str, ...]


SESSION, STEP, EVOLVE = "core/session.py", "core/step.py", "core/evolve.py"
QUEUE, RUN, ACTOR = "core/decide_queue.py", "core/decide_run.py", "engine/actor.py"
ENDING = """    if run.ending is not None:
        return (Unwind(run.id),)
    effects: list[Effect] = []
"""
RESTARTED = """        if self.ledger.session.busy or self.ledger.session.titling is not None:
            await self._take(Letter(await _found(self.ledger, self._performer)))
"""
ENDS_CANCELLED = """        if run.ending is not None:
            _close(step, run, input, run.ending.stop_reason, "cancelled")
            _settle_quietly(step, run, run.ending.outcome, run.ending.stop_reason)
        elif"""

GUARDS = (
    Guard(
        "accepting and starting are one decision",
        ((QUEUE, "    step.start_next()\n    if not step.session.title:", "    if not step.session.title:"),),
        ("cancel_right_after_acceptance", "steer_after_the_last_turn_was_settled"),
    ),
    Guard(
        "of a run that ends nothing is due but its unwinding",
        ((SESSION, ENDING, "    effects: list[Effect] = [] if run.ending is None else [Unwind(run.id)]\n"),),
        (
            "cancel_before_the_first_byte",
            "cancel_between_a_tool_result_and_the_next_sample_that_is_due",
            "cancel_in_retry_back_off",
            "cancel_during_a_manual_compaction",
            "cancel_during_an_automatic_compaction",
        ),
    ),
    Guard(
        "what has streamed is kept when the run unwinds",
        (("engine/effects.py", "reply=scene.streams.fragment()", "reply=None"),),
        ("cancel_against_a_silent_provider",),
    ),
    Guard(
        "a result does not lead a run that ends to its next turn",
        ((RUN, "if run.ending is not None or any(", "if any("),),
        ("cancel_between_a_tool_result_and_the_next_sample",),
    ),
    Guard(
        "a run that unwinds does not wait for a title",
        (("engine/effects.py", "isinstance(effect, Title) or ", ""),),
        ("cancel_during_title_generation",),
    ),
    Guard(
        "a session that is being deleted has no title due",
        ((SESSION, "    if session.deleting:\n        return _due_run(session)\n    title", "    title"),),
        ("cancel_during_title_generation",),
    ),
    Guard(
        "a session has one actor, whoever asks",
        (("engine/actors.py", "actor = self._open.pop(session, None)", "actor = None"),),
        ("cancel_from_another_client",),
    ),
    Guard(
        "what was cancelled is not cancelled again",
        (
            (
                QUEUE,
                'if run is not None and (run.ending is None or run.ending.outcome != "cancelled"):',
                "if run is not None:",
            ),
        ),
        ("double_cancel_from_two_clients",),
    ),
    Guard(
        "`upto` leaves a run alone that was accepted later",
        ((QUEUE, "run.entry.seq > input.upto:", "run.entry.seq > input.upto + 1000:"),),
        ("cancel_repeated_after_its_answer_was_lost_with_a_new_prompt_between",),
    ),
    Guard(
        "`upto` leaves alone what waits and was accepted later",
        ((QUEUE, "if input.upto is None or entry.seq <= input.upto]", "]"),),
        ("cancel_repeated_after_its_answer_was_lost_with_a_new_prompt_between",),
    ),
    Guard(
        "`run` is compared with the run that there is",
        ((QUEUE, "(run is None or run.id != input.run)", "run is None"),),
        ("cancel_meant_for_a_run_that_has_just_settled",),
    ),
    Guard(
        "`all` drops also what is parked",
        (
            (
                QUEUE,
                '_drop(step, covered, "cancelled")',
                '_drop(step, [e for e in covered if not e.parked], "cancelled")',
            ),
        ),
        ("active_then_all_while_unwinding",),
    ),
    Guard(
        "`all` drops also steers",
        ((QUEUE, '_drop(step, covered, "cancelled")', '_drop(step, [e for e in covered if not e.run], "cancelled")'),),
        ("steer_acknowledged_then_cancel",),
    ),
    Guard(
        "a prompt that has joined does not stand for its run",
        ((QUEUE, "if run is not None and run.entry.id == prompt:", "if run is not None and prompt in run.prompts:"),),
        ("cancel_of_a_prompt_that_has_just_been_joined",),
    ),
    Guard(
        "it is decided first what a restart makes of the run",
        ((ACTOR, RESTARTED, ""),),
        (
            "cancel_against_the_first_fact_after_a_crash",
            "crash_between_any_two_transactions_and_between_append_and_effect",
        ),
    ),
    Guard(
        "a run that was being cancelled is cancelled, also after a crash",
        ((RUN, ENDS_CANCELLED, "        if"),),
        ("cancel_then_a_crash_before_it_has_settled",),
    ),
    Guard(
        "a steer keeps its run from settling",
        ((RUN, "if run.phase.calls or _steers(step, run):", "if run.phase.calls:"),),
        ("steer_after_the_last_turn",),
    ),
    Guard(
        "a steer that did not join has its place in the order of acceptance",
        (
            (
                EVOLVE,
                "if entry.run else entry for entry in session.waiting),\n        runs",
                "if entry.run else entry for entry in sorted(session.waiting, key=lambda e: e.run is None)),\n        runs",
            ),
        ),
        ("steer_to_a_run_that_dies_with_an_older_prompt_waiting",),
    ),
    Guard(
        "no run starts beside another",
        ((STEP, "if session.run is not None or session.reverting is not None:", "if session.reverting is not None:"),),
        ("prompt_while_a_cancelled_run_unwinds",),
    ),
    Guard(
        "no steer belongs to a run that ends",
        ((QUEUE, "if run is not None and run.ending is None else None", "if run is not None else None"),),
        ("prompt_while_a_cancelled_run_unwinds",),
    ),
    Guard(
        "the queue is parked for what would meet the next prompt too",
        ((STEP, "if failure in BLOCKING:", "if failure == BLOCKING:"),),
        ("queue_behind_a_provider_error",),
    ),
    Guard(
        "the oldest of what waits starts",
        (
            (
                STEP,
                "for entry in session.waiting if not entry.parked",
                "for entry in reversed(session.waiting) if not entry.parked",
            ),
        ),
        ("newer_prompt_against_older_queued_ones_at_a_run_s_end",),
    ),
    Guard(
        "a second waiting compaction is absorbed",
        ((QUEUE, "    if waiting is not None:\n", "    if waiting is None:\n        pass\n    elif not waiting:\n"),),
        ("two_compactions_at_once",),
    ),
    Guard(
        "a prompt that is known is not accepted again",
        ((QUEUE, "known = step.session.prompts.get(input.prompt)", "known = None"),),
        ("retry_of_the_same_submission",),
    ),
    Guard(
        "a run that ends awaits nobody",
        ((SESSION, "self.run is None or self.run.ending is not None or", "self.run is None or"),),
        ("late_answer_to_a_permission_request_while_its_run_unwinds",),
    ),
    Guard(
        "an answer names its request",
        ((RUN, "if call.request == request), None)", "if call.request), None)"),),
        ("answer_to_another_request",),
    ),
    Guard(
        "a call is one of the active run, by an id of ours",
        (
            (RUN, "active is None or active.id != run or", "active is None or"),
            (RUN, "if other.id == call), None)", 'if other.id.split("-")[3:] == call.split("-")[3:]), None)'),
        ),
        ("late_outcome_of_an_earlier_turn_whose_provider_reuses_call_ids",),
    ),
    Guard(
        "what really finishes while a run ends is recorded as it was",
        (
            (
                RUN,
                'call.status not in ("new", "started"):',
                'call.status not in ("new", "started") or not step.active(input.run):',
            ),
        ),
        ("tool_that_finishes_after_its_cancel",),
    ),
    Guard(
        "what has started does not wait any more",
        (
            (
                EVOLVE,
                "waiting=tuple(other for other in session.waiting if other is not entry),",
                "waiting=session.waiting,",
            ),
        ),
        ("edit_reorder_and_promote_against_start",),
    ),
    Guard(
        "a deletion ends the run that has just started",
        (
            (
                QUEUE,
                'step.add(f.DeletionStarted(session=step.session.id))\n    _end_run(step, "user")',
                "step.add(f.DeletionStarted(session=step.session.id))",
            ),
        ),
        ("deletion_against_start",),
    ),
    Guard(
        "what was posted is decided, whether its sender waits or not",
        (
            (
                ACTOR,
                "        self.ledger.doubt = letter.doubt\n",
                "        self.ledger.doubt = letter.doubt\n        if letter.answer is not None and letter.answer.cancelled():\n            return\n",
            ),
            (
                "server/route.py",
                "        return await self.engine.apply(self.session, request, environment)",
                "        work = asyncio.ensure_future(self.engine.apply(self.session, request, environment))\n        await first_of(work, self.gone())\n        return await work",
            ),
        ),
        ("poster_disconnecting",),
    ),
    Guard(
        "what was replayed is not sent again",
        (("engine/engine.py", "for event in _unseen(last, news) if", "for event in news if"),),
        ("subscriber_joining_in_a_burst",),
    ),
    Guard(
        "a decision that another writer outran is made again",
        (("engine/ledger.py", "if asyncio.get_running_loop().time() > deadline:", "if deadline:"),),
        (
            "two_processes_on_one_database_deciding_at_once",
            "two_processes_on_one_database_deciding_at_once_lose_and_double_nothing",
        ),
    ),
    Guard(
        "a guest performs nothing",
        (
            (
                ACTOR,
                "recovered = self._performer.ownership.owns and not self._recovering",
                "recovered = not self._recovering",
            ),
        ),
        ("two_processes_on_one_database_deciding_at_once_lose_and_double_nothing",),
    ),
    Guard(
        "an append names its writer's claim, and whoever was overtaken asks whether it still owns",
        (
            ("engine/ledger.py", "            await self._look_whether_we_own()\n", "            pass\n"),
            ("store/writing.py", "(? IS NULL OR ? = (SELECT generation FROM owner))", "(? IS NULL OR ? NOT NULL)"),
            ("store/memory.py", "        memory.check_owner(generation)\n", ""),
        ),
        ("owner_paused_and_resumed_records_nothing_and_stops",),
    ),
    Guard(
        "an owner that learns of another one stops what runs, jobs too",
        (("engine/actors.py", "        performer.ownership.on_loss = self._step_down\n", ""),),
        ("owner_paused_and_resumed_after_another_has_claimed",),
    ),
    Guard(
        "an owner that reads what another process has recorded asks whether it still owns",
        (("engine/ledger.py", "            await self._look_whether_we_own()\n", "            pass\n"),),
        ("owner_paused_and_resumed_begins_nothing_that_another_has_begun",),
    ),
    Guard(
        "the lock on the database is nobody else's",
        (("store/database.py", "fcntl.LOCK_EX | fcntl.LOCK_NB", "fcntl.LOCK_SH | fcntl.LOCK_NB"),),
        ("owner_paused_and_resumed",),
    ),
    Guard(
        "a restart gives each open call a result",
        ((RUN, '            _close(step, run, input, "interrupted", "interrupted")\n', ""),),
        ("crash_between_any_two_transactions_and_between_append_and_effect",),
    ),
    Guard(
        "an owner that loses its claim stops what runs although its sessions wait for the journal",
        (("engine/actor.py", "        self._effects.stop_ending(())\n", ""),),
        ("owner_paused_and_resumed_stops_in_time_also_while_an_append_gets_no_answer",),
    ),
    Guard(
        "an owner that cannot renew its claim stops before another can have it",
        (("engine/owner.py", "if left <= 0:", "if False:"),),
        (
            "owner_paused_and_resumed_stops_before_another_can_claim",
            "owner_paused_and_resumed_by_the_network_stops_before_another_can_claim",
        ),
    ),
)


def main() -> int:
    """Try them."""
    wanted = [guard for guard in GUARDS if _is_wanted(guard, sys.argv[1:])]
    places = {path: path.read_text(encoding="utf-8") for path in sorted((ROOT / "tests").rglob("test_*.py"))}
    unnoticed = 0
    with tempfile.TemporaryDirectory() as folder:
        for guard in wanted:
            source = Path(folder) / "src"
            shutil.rmtree(source, ignore_errors=True)
            shutil.copytree(ROOT / "src", source, ignore=shutil.ignore_patterns("__pycache__"))
            for file, text, other in guard.code:
                path = source / "quell" / file
                path.write_text(path.read_text(encoding="utf-8").replace(text, other), encoding="utf-8")
            for name in guard.tests:
                (place,) = [path for path, text in places.items() if f"def test_race_{name}(" in text]
                noticed = _fails(f"{place}::test_race_{name}", source)
                unnoticed += not noticed
                sys.stdout.write(f"{'noticed' if noticed else 'NOT NOTICED':12} {guard.words}: test_race_{name}\n")
                sys.stdout.flush()
    return 1 if unnoticed else 0


def missing(guard: Guard) -> str | None:
    """A text of it that is not in the code, if there is one."""
    texts = ((text, (ROOT / "src" / "quell" / file).read_text(encoding="utf-8")) for file, text, _ in guard.code)
    return next((text for text, code in texts if text not in code), None)


def _is_wanted(guard: Guard, words: list[str]) -> bool:
    return not words or any(word in f"{guard.words} {' '.join(guard.tests)}" for word in words)


def _fails(test: str, source: Path) -> bool:
    """Whether the test fails on this code: that it cannot be run at all does not count."""
    command = [sys.executable, "-m", "pytest", "-n0", "-x", f"--timeout={SECONDS}", "-p", "no:cacheprovider", test]
    environment = {**os.environ, "PYTHONPATH": str(source)}
    status = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False)
    return status.returncode == 1


if __name__ == "__main__":
    sys.exit(main())
