"""Forks: contract K8. Every prefix of many journals, copied: what the copy is, and what it goes on with."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from quell.core import inputs as i
from quell.core.decide import decide
from quell.core.errors import Conflict
from quell.core.evolve import fold
from quell.core.session import Session
from quell.testing.exploration import NOW, Budget
from quell.testing.exploration.forks import LATER, check_fork, fork, prefixes
from quell.testing.exploration.worlds import CREATE

WORLDS = {
    "a cancel": Budget(submits=1, cancels=1, calls=1),
    "a steer": Budget(submits=2, calls=1),
    "two calls": Budget(submits=1, calls=2),
    "a crash": Budget(submits=1, calls=1, failures=1, restarts=1),
    "edits": Budget(submits=3, edits=1),
    "compactions": Budget(submits=1, compactions=1, calls=1),
    "checkpoints": Budget(submits=1, calls=1, cancels=1, changing=True),
    "reverts": Budget(submits=2, reverts=2, crowded=True),
}


@pytest.mark.parametrize("name", WORLDS)
def test_k8_a_fork_at_any_fact_of_any_journal_is_at_rest_and_goes_on(name: str) -> None:
    journals = prefixes(WORLDS[name])
    assert len(journals) > 50
    for records in journals:
        check_fork(records)


def test_k8_a_fork_of_a_fork_is_a_fork() -> None:
    records = fork(decide(Session(), CREATE, NOW).records).records
    again = decide(Session(), i.Fork(session="newer", source="new", records=records), LATER)
    assert again.session.id == "newer"
    assert again.session == replace(fold(records), id="newer", seq=3)


def test_k8_what_is_there_is_not_forked_over() -> None:
    created = decide(Session(), CREATE, NOW)
    with pytest.raises(Conflict):
        decide(created.session, i.Fork(session="s", source="t", records=created.records), NOW)
