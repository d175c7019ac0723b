"""Facts as JSON: what is written can be read again, by this version and by every later one."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quell.core import facts as f
from quell.core.errors import StorageRefused
from quell.core.evolve import fold
from quell.core.messages import Reply, Text, Usage
from quell.core.session import Session, summary
from quell.testing.journals import moment
from quell.wire import facts as wire
from quell.wire.facts import UnknownFact, decode, encode

GOLDEN = sorted((Path(__file__).parent.parent / "golden").glob("journal-*.jsonl"))
PRESENT = GOLDEN[-1]


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines()


def structs(value: object) -> Iterator[msgspec.Struct]:
    """Every value of ours in a value, itself included."""
    if isinstance(value, msgspec.Struct):
        yield value
        for name in value.__struct_fields__:
            yield from structs(getattr(value, name))
    elif isinstance(value, tuple):
        for item in value:
            yield from structs(item)


def filled(value: msgspec.Struct) -> set[tuple[str, str]]:
    """The fields that hold something else than their default."""
    fields = msgspec.structs.fields(value)
    return {(type(value).__name__, field.name) for field in fields if getattr(value, field.name) != field.default}


def described(session: Session) -> object:
    """What a session is, in the words of its public face."""
    row = msgspec.to_builtins(summary(session))
    return row | {
        "waiting": [[entry.id, entry.kind, entry.text, entry.delivery, entry.parked] for entry in session.waiting],
        "run": session.run and [session.run.id, session.run.entry.id, session.run.turn, *session.run.prompts],
        "runs": {run: [end.outcome, end.stop_reason] for run, end in sorted(session.runs.items())},
        "prompts": {id: [prompt.seq, prompt.run, prompt.dropped] for id, prompt in sorted(session.prompts.items())},
        "requests": {
            id: answer and (answer.option if isinstance(answer, f.PermissionAnswered) else len(answer.answers))
            for id, answer in sorted(session.requests.items())
        },
        "rules": [[rule.answer, rule.pattern] for rule in session.rules],
        "deleting": session.deleting,
    }


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_golden_journals_fold_to_what_they_meant(path: Path) -> None:
    """F1. The states after some facts of them, by number, were written down with the journal."""
    records = [decode(line) for line in lines(path)]
    assert [recorded.seq for recorded in records] == list(range(1, len(records) + 1))
    pinned = json.loads(path.with_suffix(".states.json").read_text("utf-8"))
    for seq, state in pinned.items():
        present = json.loads(json.dumps(described(fold(records[: int(seq)]))))
        assert {name: present[name] for name in state} == state  # what was added since has a default


def test_the_present_golden_journal_is_written_the_same_today() -> None:
    """A renamed field is read as its default, or not at all, and is missing or new in what is written."""
    for line in lines(PRESENT):
        assert encode(decode(line)) == line


def test_the_present_golden_journal_holds_every_kind_and_every_field() -> None:
    records = [decode(line) for line in lines(PRESENT)]
    assert {type(recorded.fact) for recorded in records} == set(get_args(f.AnyFact))
    values = [value for recorded in records for value in structs(recorded.fact)]
    every = {(type(value).__name__, name) for value in values for name in value.__struct_fields__}
    assert every - set().union(*map(filled, values)) == set()


def test_a_fact_is_one_flat_line() -> None:
    recorded = f.Recorded(17, moment(0), f.RunStarted(run="r17", entry="p1", entry_kind="prompt"))
    assert encode(recorded) == (
        b'{"seq":17,"at":"2026-11-02T09:30:00.000Z","kind":"run_started","v":1,'
        b'"run":"r17","entry":"p1","entry_kind":"prompt"}'
    )
    assert encode(f.Recorded(1, moment(0), f.QueueResumed())).endswith(b'"kind":"queue_resumed","v":1}')


@given(st.text(), st.text(), st.integers(1, 2**53), st.decimals(0, 10**6, places=6))
def test_any_text_survives(text: str, at: str, seq: int, cost: object) -> None:
    reply = msgspec.convert({"parts": [{"type": "text", "text": text}], "cost": str(cost)}, Reply)
    recorded = f.Recorded(seq, at, f.Replied(run="r1", turn=1, attempt=1, message=text, reply=reply))
    line = encode(recorded)
    assert decode(line) == recorded
    assert b"\n" not in line
    assert json.loads(line)["message"] == text


@pytest.mark.parametrize(
    "line",
    [
        b'{"seq":9,"at":"2026-11-02T09:30:00.000Z","kind":"time_travelled","v":1,"to":3}',
        b'{"seq":9,"at":"2026-11-02T09:30:00.000Z","kind":"run_recovered","v":2,"run":"r4"}',
        b'{"seq":9,"at":"2026-11-02T09:30:00.000Z","kind":"run_recovered","v":0,"run":"r4"}',
    ],
    ids=["kind", "version", "older than any"],
)
def test_what_a_newer_quell_wrote_is_refused_by_name(line: bytes) -> None:
    with pytest.raises(UnknownFact, match="newer quell") as refused:
        decode(line)
    assert isinstance(refused.value, StorageRefused)
    assert refused.value.seq == 9
    assert refused.value.kind in str(refused.value)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\x00" * 40,
        b'{"seq":9,"at":"2026-11-02',
        b'{"kind":"run_recovered","run":"r4"}',
        b'{"seq":9,"at":"2026-11-02T09:30:00.000Z","kind":"run_recovered","v":1}',
        b'{"seq":9,"at":"2026-11-02T09:30:00.000Z","kind":"run_recovered","v":1,"run":4}',
    ],
)
def test_damage_is_refused_clearly(line: bytes) -> None:
    with pytest.raises(StorageRefused, match="no readable fact") as refused:
        decode(line)
    assert not isinstance(refused.value, UnknownFact)


def test_an_older_version_is_brought_up_to_date_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if `run_recovered` had been `run_revived` with a `run_id`, then had had an `id`, before it got a `run`."""
    monkeypatch.setitem(wire.VERSIONS, "run_recovered", 3)
    monkeypatch.setitem(
        wire.UPCASTS, ("run_revived", 1), lambda raw: raw | {"kind": "run_recovered", "v": 2, "id": raw["run_id"]}
    )
    monkeypatch.setitem(wire.UPCASTS, ("run_recovered", 2), lambda raw: raw | {"v": 3, "run": raw["id"]})
    expected = f.Recorded(9, moment(0), f.RunRecovered(run="r4"))
    old = b'{"seq":9,"at":"2026-11-02T09:30:00.000Z","kind":"run_revived","v":1,"run_id":"r4"}'
    newer = b'{"seq":9,"at":"2026-11-02T09:30:00.000Z","kind":"run_recovered","v":2,"id":"r4"}'
    assert decode(old) == decode(newer) == expected
    with pytest.raises(UnknownFact):
        decode(newer.replace(b'"v":2', b'"v":1'))


def test_defaults_are_left_out() -> None:
    reply = Reply(parts=(Text("Hi."),), usage=Usage(output=2))
    line = encode(f.Recorded(5, moment(0), f.Replied(run="r4", turn=1, attempt=1, message="r4-1-1", reply=reply)))
    assert json.loads(line)["reply"] == {"parts": [{"type": "text", "text": "Hi."}], "usage": {"output": 2}}
