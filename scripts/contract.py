"""Writes docs/reference/contract-tests.md: each line of the run contract, and each of its races, with the tests that name it.

A test names lines at the beginning of its name (`test_c2_all_covers…`, `test_i2_i3_…`) or of its docstring (`C7, C8. …`), and a race as
`test_race_` and the words of it. What cannot be tested yet says why in NOT_YET. A line or race with neither, a name that is no line's or
race's, and an entry of ALSO that is no test are errors; so are a test of a race that no guard makes fail, and a guard that is not in the code
(`quell.testing.guards`, which takes them away and looks). `--check` compares with the page instead, and exits 1 when it is out of date.
"""

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from quell.testing.guards import GUARDS, missing

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reference" / "contract-tests.md"

LINES = {
    "A1": "What is rejected leaves nothing written",
    "A2": "Acknowledged means on disk",
    "A3": "A client-chosen id makes submission idempotent",
    "A4": "The run goes on without its caller",
    "C1": "Cancel when idle is a no-op, and no effect on the next prompt",
    "C2": "`all` covers the run and everything accepted before it, nothing later; `run` and `upto`",
    "C3": "`active` covers the run and parks what waits",
    "C4": "Repeats cover what was accepted since",
    "C5": "Cancelled before the first answer: the user's message and one assistant message",
    "C6": "What is dropped reaches no model; its fact keeps the text",
    "C7": "A cancelled run starts nothing, stops all, keeps what was true, settles within 5 s",
    "C8": "Cancel works in every phase",
    "C9": "Cancel is nobody's error",
    "C10": "Settling facts are written whoever is being cancelled",
    "I1": "Every accepted prompt ends exactly once; waits are answered",
    "I2": "One run per session at a time",
    "I3": "Order of acceptance",
    "I4": "Busy without a gap",
    "I5": "One result per call; any prefix can be sent",
    "I6": "A failed run does not strand, or burn, the queue",
    "I7": "A steer belongs to its run, or is a queued prompt",
    "I8": "Compaction is a queue entry, or a phase of the run that needs it",
    "I9": "Outcomes are truthful, stops are visible",
    "I10": "One process starts a session's effects",
    "Q1": "Edits of the queue are durable, and of waiting entries only",
    "Q2": "Parking, promoting, resuming",
    "Q3": "Only a user resumes a parked queue",
    "T1": "A command's whole process tree ends, also with the server",
    "T2": "Background jobs belong to a session",
    "T3": "A file write is atomic",
    "T4": "Sub-agents are cancelled with their call",
    "T5": "An MCP call is cancelled, then abandoned",
    "T6": "Requests are answered by id, once, and withdrawn with their call",
    "K1": "kill -9 at any point, any number of times",
    "K2": "Waiting prompts continue; parked ones, and old ones, do not",
    "K3": "What becomes of the run that was active",
    "K4": "Recovery wakes only unfinished work",
    "K5": "An append that is refused",
    "K6": "Shutdown",
    "K7": "Deletion",
    "K8": "Fork, revert, changes of mode and model",
    "E1": "The stream is the journal; resume without gap or repeat",
    "E2": "Deltas and drafts",
    "E3": "Who joins late sees requests and text so far",
    "E4": "A slow client loses its buffer, not events",
    "E5": "Another process's append reaches the owner",
    "F1": "Facts are versioned and never rewritten",
    "F2": "Folding is O(1) per fact; snapshots; blobs",
}

RACES = {
    "cancel right after acceptance": (),
    "cancel before the first byte": (),
    "cancel against a silent provider": (),
    "cancel between a tool result and the next sample": (),
    "cancel in retry back-off": (),
    "cancel during compaction, manual and automatic": (
        "cancel_during_a_manual_compaction",
        "cancel_during_an_automatic_compaction",
    ),
    "cancel during title generation": (),
    "cancel from another client": (),
    "double cancel from two clients": (),
    "cancel repeated after its answer was lost, with a new prompt between": (),
    "cancel meant for a run that has just settled": (),
    "`active`, then `all` while unwinding": (),
    "cancel of a prompt that has just been joined": (),
    "cancel against the first fact after a crash": ("cancel_against_the_first_fact", "cancel_then_a_crash"),
    "steer acknowledged, then cancel": (),
    "steer after the last turn": (),
    "steer to a run that dies with an older prompt waiting": (),
    "prompt while a cancelled run unwinds": (),
    "queue behind a provider error": (),
    "newer prompt against older queued ones at a run's end": (),
    "two compactions at once": (),
    "retry of the same submission": (),
    "late answer to a permission request": (),
    "answer to another request": (),
    "late outcome of an earlier turn whose provider reuses call ids": (),
    "tool that finishes after its cancel": (),
    "edit, reorder and promote against start": (),
    "deletion against start": (),
    "poster disconnecting": (),
    "subscriber joining in a burst": (),
    "two processes on one database, deciding at once": (),
    "owner paused and resumed": (),
    "crash between any two transactions, and between append and effect": (),
}
"""Each race, and how its tests begin where that is not with its words."""

NOT_YET: dict[str, str] = {}

ALSO = {
    "C9": ("tests/cli/test_run.py::test_a_signal_cancels_the_run_and_waits_for_it",),
    "I10": ("tests/store/test_refusals.py::test_a_second_owner_is_told_who_the_first_one_is",),
    "T3": (
        "tests/workspace/test_local.py::test_a_reader_sees_all_of_the_old_or_all_of_the_new",
        "tests/workspace/test_local.py::test_a_full_disk_leaves_the_old_file",
    ),
    "K5": ("tests/store/test_refusals.py::test_a_full_disk_is_called_by_its_name",),
    "K6": (
        "tests/server/test_daemon.py::test_a_signal_ends_it_at_once_with_a_reply_streaming",
        "tests/server/test_daemon.py::test_it_stays_while_somebody_follows_or_a_run_goes_on",
    ),
    "F1": (
        "tests/wire/test_facts.py::test_golden_journals_fold_to_what_they_meant",
        "tests/wire/test_facts.py::test_what_a_newer_quell_wrote_is_refused_by_name",
        "tests/client/test_follow.py::test_a_fact_that_only_a_newer_server_knows_begins_with_a_new_snapshot",
    ),
    "F2": ("tests/store/test_sqlite.py::test_long_bodies_are_kept_once_and_go_with_the_last_who_needs_them",),
}
"""Tests that are about a line and are not named after it."""

HEADER = """# The run contract, line by line

Made by `make contract` from the names of the tests; a test fails when this page is out of date. Each line of the contract is named
by the tests that hold it; each race by a test named for it, which fails without what stands beside it: `make guards` takes that away and
looks. Most of them are conversations of the public client with a real server, in `tests/interaction/`.
"""

NAMED = re.compile(r"[acikqtef]\d+(?=_)")
TOLD = re.compile(r"[ACIKQTEF]\d+(?:, [ACIKQTEF]\d+)*(?=[.:\n]|$)")


class Mistaken(Exception):
    """The names and the contract do not fit."""


def main() -> int:
    """Write the page, or check it."""
    try:
        page = render()
    except Mistaken as mistake:
        print(mistake, file=sys.stderr)
        return 1
    if "--check" in sys.argv[1:]:
        if PAGE.read_text(encoding="utf-8") == page:
            return 0
        print(f"{PAGE} is out of date: run `make contract`", file=sys.stderr)
        return 1
    PAGE.write_text(page, encoding="utf-8")
    return 0


def render() -> str:
    """The page as it should be. Raises `Mistaken`."""
    held: dict[str, dict[str, None]] = defaultdict(dict)
    tests = list(_tests())
    for place, name, doc in tests:
        for subject in _subjects(name, doc):
            if subject not in LINES and subject not in RACES:
                raise Mistaken(
                    f"{place}::{name} names {subject}, which is no line of the contract and none of its races"
                )
            held[subject][f"{place}::{name}"] = None
    known = {f"{place}::{name}" for place, name, _ in tests}
    for line, also in ALSO.items():
        for test in also:
            if test not in known:
                raise Mistaken(f"ALSO names {test} for {line}, which is no test")
            held[line][test] = None
    for subject in (*LINES, *RACES):
        if not held[subject] and subject not in NOT_YET:
            raise Mistaken(f"no test names {subject}, and NOT_YET does not say why")
    lines = [_row(f"**{line}** {says}", held[line], NOT_YET.get(line)) for line, says in LINES.items()]
    races = [_row(race, held[race], "; ".join(_guards(held[race]))) for race in RACES]
    under = "\n| --- | --- | --- |"
    return "\n".join(
        [
            *(HEADER, "## Lines", "", f"| line | tests | not yet |{under}", *lines),
            *("", "## Races", "", f"| race | tests | fail without |{under}", *races, ""),
        ]
    )


def _guards(tests: Iterable[str]) -> Iterator[str]:
    """What is taken away to make these fail. Raises `Mistaken`."""
    names = {test.partition("::test_race_")[2] for test in tests} - {""}
    if unguarded := names - {name for guard in GUARDS for name in guard.tests}:
        raise Mistaken(f"no guard makes {', '.join(unguarded)} fail: quell.testing.guards")
    for guard in GUARDS:
        if names & {*guard.tests}:
            yield guard.words
            if gone := missing(guard):
                raise Mistaken(f"the guard {guard.words!r} is not in the code: {gone!r}")


def _tests() -> Iterator[tuple[str, str, str]]:
    """Every test: its file, its name, its docstring."""
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                yield str(path.relative_to(ROOT)), node.name, ast.get_docstring(node) or ""


def _subjects(name: str, doc: str) -> Iterator[str]:
    """The lines and the race that a test is about."""
    told = TOLD.match(doc)
    found = dict.fromkeys(told[0].split(", ") if told else ())
    rest = name.removeprefix("test_")
    while named := NAMED.match(rest):
        found[named[0].upper()] = None
        rest = rest[named.end() + 1 :]
    yield from found
    if rest.startswith("race_"):
        words = rest.removeprefix("race_")
        races = [race for race, begins in RACES.items() if any(words.startswith(b) for b in begins or (_slug(race),))]
        yield races[0] if races else f"the race {words!r}"


def _slug(race: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", race.lower()).strip("_")


def _row(subject: str, tests: Iterable[str], remark: str | None) -> str:
    by_file: dict[str, list[str]] = defaultdict(list)
    for test in tests:
        place, _, name = test.partition("::")
        by_file[place].append(f"`{name}`")
    cell = "<br>".join(f"[{place}](../../{place}): {', '.join(names)}" for place, names in by_file.items())
    return f"| {subject} | {cell} | {remark or ''} |"


if __name__ == "__main__":
    sys.exit(main())
