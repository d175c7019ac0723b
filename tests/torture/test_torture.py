"""The torture in its short form, and that its inquest finds what it is there for.

`make torture MINUTES=n` goes on for longer.
"""

from __future__ import annotations

import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

from quell.core import facts as f
from quell.core import inputs as i
from quell.core.decide import decide
from quell.core.messages import Reply, Text, ToolCall, ToolResult
from quell.core.session import Session, Summary, summary
from quell.core.view import View, apply
from quell.llm.script import parse_script
from quell.testing.stopping import stop_between_writes
from quell.testing.torture import ledger as l
from quell.testing.torture.inquest import Inquest, compare
from quell.testing.torture.place import Place
from quell.testing.torture.plan import KILLS, rounds
from quell.testing.torture.script import DONE, JOBS, KINDS, NUMBERS, SMALL, executed, script
from quell.wire import api

AT = "2026-01-01T00:00:00.000Z"
BEFORE, AFTER = 1767225500.0, 1767225700.0


@pytest.mark.timeout(300)
def test_k1_ten_kills_of_the_real_server_leave_everything_right() -> None:
    command = [sys.executable, "-m", "quell.testing.torture", "--kills", "10", "--lives", "5", "--seed", "605601"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    told = {
        what: int(re.findall(rf"^(\d+) {what}", done.stdout, re.MULTILINE)[-1])
        for what in ("kills", "prompts", "takeovers")
    }
    assert told["kills"] >= 10
    assert told["prompts"] > 0
    assert told["takeovers"] > 0


WRITES = """
import sys
for line in sys.stdin:
    try:
        with open(sys.argv[1], "ab", buffering=0) as file:
            print(file.write(bytes(100_000)) == 100_000, flush=True)
    except OSError:
        print(False, flush=True)
"""


@pytest.mark.parametrize("mounted", [True, False], ids=["by itself", "by a limit"])
def test_a_full_disk_refuses_writes_until_there_is_room(mounted: bool) -> None:
    place = Place(resume_interrupted=False)
    was, place.mounted = place.mounted, place.mounted and mounted
    command = [sys.executable, "-c", WRITES, str(place.disk / "file")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:

        def writes() -> bool:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("\n")
            return process.stdout.readline() == "True\n"

        try:
            assert writes()
            place.fill([process.pid])
            assert not writes()
            place.free([process.pid])
            assert writes()
        finally:
            process.kill()
            place.mounted = was
            place.close()


COMMITS = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("CREATE TABLE lines (line)")
print(flush=True)
while True:
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("INSERT INTO lines VALUES (1)")
    time.sleep(0.02)
    connection.execute("COMMIT")
    time.sleep(0.01)
"""


def test_who_is_stopped_between_writes_leaves_the_database_to_others(tmp_path: Path) -> None:
    """Two thirds of the time it is within a transaction."""
    database = tmp_path / "some.db"
    with closing(sqlite3.connect(database, timeout=0, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode=WAL")
        with subprocess.Popen([sys.executable, "-c", COMMITS, str(database)], stdout=subprocess.PIPE) as process:
            try:
                assert process.stdout is not None
                process.stdout.readline()
                for _ in range(5):
                    stop_between_writes(process.pid, database)
                    other.execute("INSERT INTO lines VALUES (2)")
                    process.send_signal(signal.SIGCONT)
            finally:
                process.kill()


def test_a_seed_draws_the_same_plan_and_another_one_another() -> None:
    def first(seed: int) -> list[object]:
        plan = rounds(seed)
        return [next(plan) for _ in range(20)]

    assert first(1) == first(1) != first(2)
    ends = {life.end for round in first(1) for life in round.lives}  # type: ignore[attr-defined]  # rounds
    assert ends > KILLS


def test_the_model_has_a_part_for_every_prompt() -> None:
    branches = parse_script(script("1"), "script").when
    for kind in KINDS | JOBS:
        for number in (0, NUMBERS - 1):
            found = next(b for b in branches if b.prompt and re.search(b.prompt, f"{kind} {number}"))
            assert found.prompt != ".*"


class Case:
    """A session that ran one command, and what was noted of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.inquest = Inquest()
        self.session = Session()
        self.records: list[f.Recorded] = []
        self.decide(i.Create(session="s", workspace=str(folder), model="m", mode="yolo"))
        self.decide(i.Submit(prompt="s-0", text="work 0"))
        call = ToolCall("r3-1-1-c0", "bash", f'{{"command": "echo 0 >> {DONE} && echo worked"}}')
        self.decide(i.SampleReplied(run="r3", turn=1, attempt=1, reply=Reply(parts=(call,), stop_reason="tool_use")))
        self.decide(i.CallAllowed(run="r3", call=call.id))
        self.decide(i.CallReturned(run="r3", call=call.id, result=ToolResult(text="worked")))
        self.decide(i.SampleReplied(run="r3", turn=2, attempt=1, reply=Reply(parts=(Text("done"),))))
        self.executed("0")
        self.noted(l.Submitting("s-0", "work 0", "queue"), i.Accepted("s-0", 2, "r3"))
        self.noted(l.Waiting("s-0", 1.0), api.Prompt(prompt="s-0", state="settled", run="r3", outcome="completed"))

    def decide(self, input: i.Input) -> None:
        decision = decide(self.session, input, AT)
        self.session = decision.session
        self.records += decision.records

    def executed(self, *numbers: str) -> None:
        executed(str(self.folder)).write_text("".join(f"{number}\n" for number in numbers), encoding="utf-8")

    def noted(self, what: l.What, answer: object) -> None:
        path = self.folder / "ledger"
        notes, reader = l.Ledger(path), l.Reader(path)
        list(reader.news())
        number = notes.asks("s", what)
        notes.told(number, answer)
        self.inquest.learn(
            "ann", (replace(line, at=BEFORE if isinstance(line, l.Asked) else AFTER) for line in reader.news())
        )

    def wrong(self, records: Sequence[f.Recorded] | None = None, row: Summary | None = None) -> str:
        """What an inquest finds at rest."""
        found, _ = self.inquest.session(
            row or summary(self.session), self.records if records is None else records, resting=True, final=True
        )
        return "\n".join([*found, *self.inquest.wrong])


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def test_nothing_is_wrong_where_nothing_is(case: Case) -> None:
    assert case.wrong() == ""


def test_an_acknowledged_prompt_that_is_not_in_the_journal_is_found(case: Case) -> None:
    case.noted(l.Submitting("s-1", "talk 1", "queue"), i.Accepted("s-1", 99, None))
    assert "A2: s-1" in case.wrong()


def test_a_session_that_is_lost_with_its_prompts_is_found(case: Case) -> None:
    assert [*case.inquest.missing([summary(case.session)])] == []
    assert any("A2" in wrong for wrong in case.inquest.missing([]))


def test_a_command_that_was_executed_twice_or_not_at_all_is_found(case: Case) -> None:
    case.executed("0", "0")
    assert "K3" in case.wrong()
    case.executed()
    assert "I5" in case.wrong()


def test_a_command_of_a_prompt_that_nobody_accepted_is_found(case: Case) -> None:
    case.executed("0", "1")
    assert "K3" in case.wrong()


def test_a_wait_that_was_told_something_else_is_found(case: Case) -> None:
    case.noted(
        l.Waiting("s-0", 1.0),
        api.Prompt(prompt="s-0", state="settled", run="r3", outcome="failed", stop_reason="error"),
    )
    assert "I9" in case.wrong()


def test_a_cancel_that_nobody_asked_for_is_found(case: Case) -> None:
    case.decide(i.Submit(prompt="s-1", text="talk 1"))
    run = case.session.run
    assert run is not None
    case.decide(i.Cancel(scope="all"))
    case.decide(i.Unwound(run=run.id))
    assert "C1" in case.wrong()
    case.noted(l.Cancelling(api.Cancellation()), i.Covered(case.session.seq, run.id, ("s-1",)))
    assert case.wrong() == ""


def test_an_interruption_without_a_death_is_found(case: Case) -> None:
    case.decide(i.Submit(prompt="s-1", text="talk 1"))
    case.decide(i.Restarted(reply=Reply(parts=(Text("half"),))))
    assert "I9" in case.wrong()
    case.inquest.deaths.append((BEFORE, AFTER))
    assert case.wrong() == ""


def test_a_session_that_is_busy_for_ever_is_found(case: Case) -> None:
    case.decide(i.Submit(prompt="s-1", text="talk 1"))
    assert "liveness" in case.wrong()


def test_a_row_that_is_not_the_fold_is_found(case: Case) -> None:
    assert "The machine" in case.wrong(row=replace(summary(case.session), busy=True))


def test_a_half_written_file_is_found(case: Case) -> None:
    path = case.folder / "small.txt"
    path.write_text(SMALL["one"], encoding="utf-8")
    assert case.wrong() == ""
    path.write_text(SMALL["one"][:7], encoding="utf-8")
    assert "T3" in case.wrong()


def test_a_follower_that_holds_something_else_is_found(case: Case) -> None:
    server, theirs = View(), View()
    for recorded in case.records:
        apply(server, recorded)
    for recorded in case.records:
        apply(theirs, recorded)
    held = l.Held(AFTER, "s", "facts", case.session.seq, 0, theirs)
    assert compare(held, server) is None
    assert compare(replace(held, start=1, view=replace(theirs, items=theirs.items[1:])), server) is None
    theirs.title = "of something else"
    assert "title" in (compare(held, server) or "")


def test_the_last_line_of_a_client_that_was_killed_may_be_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    notes, reader = l.Ledger(path), l.Reader(path)
    notes.wrong("s", "one")
    with path.open("ab") as file:
        file.write(b'{"type": "Wro')
    assert len(list(reader.news())) == 1
    assert list(reader.news()) == []
