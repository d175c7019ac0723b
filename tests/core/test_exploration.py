"""The machine in every order that the worlds allow, against the invariants of the run contract; and whether the search would notice."""

from __future__ import annotations

import pytest

from quell.core.decide import decide
from quell.core.evolve import fold
from quell.core.facts import Recorded
from quell.core.messages import UserMessage
from quell.core.session import Session
from quell.core.transcript import Transcript
from quell.core.view import UserItem, View, apply
from quell.testing.audit import unsendable
from quell.testing.exploration import NOW, Budget, Search, Taken, Violation, World, explore, searches, start
from quell.testing.exploration.nodes import TWO_NODES, Nodes, explore_nodes
from quell.testing.exploration.reduce import key
from quell.testing.exploration.table import SMALL, WORLDS
from quell.testing.exploration.worlds import CREATE


@pytest.mark.processor(300)
@pytest.mark.parametrize("number", range(len({size.kind for size in WORLDS.values()})))
def test_every_order_keeps_the_invariants(number: int) -> None:
    """One kind of worlds after the other: those of one kind have most of their states in common."""
    kind, search = list(searches(WORLDS.values()).items())[number]
    for name, size in WORLDS.items():
        if size.kind == kind:
            found = search.run(size)
            print(f"{name}: with those before it {found.states} states, {found.moves} moves")
            assert found.complete
            assert found.states > 100


@pytest.mark.processor(300)
@pytest.mark.parametrize("name", TWO_NODES)
def test_i10_two_nodes_and_a_change_of_owner_keep_the_invariants(name: str) -> None:
    states, moves, _ = explore_nodes(TWO_NODES[name])
    print(f"{name}: {states} states, {moves} moves")
    assert states > 100


@pytest.mark.parametrize("rule", ["fenced", "reads_first", "restarts_first", "reads_owner"])
def test_i10_each_rule_of_two_nodes_is_needed(rule: str) -> None:
    """Without the rule something breaks: an old outcome is recorded, a cancel is answered from the past, a call is begun twice."""
    broken: dict[str, tuple[Nodes, str]] = {
        "fenced": (Nodes(Budget(submits=1), fenced=False), "I10"),
        "reads_first": (Nodes(Budget(submits=1, cancels=1), takeovers=0, reads_first=False), "C1"),
        "restarts_first": (Nodes(Budget(submits=1, calls=1), restarts_first=False), "K3"),
        "reads_owner": (Nodes(Budget(submits=1, calls=1), reads_owner=False), "K3"),
    }
    nodes, line = broken[rule]
    with pytest.raises(Violation, match=line):
        explore_nodes(nodes)


def test_leaving_out_what_cannot_matter_leaves_out_nothing() -> None:
    """The reduced search finds the same states and the same kinds of moves from them as the full one (`exploration.reduce`)."""
    for name in ("a call", "a failure", "a steer", "an edit"):
        kinds: list[set[object]] = [set(), set()]
        for seen, reduced in zip(kinds, (True, False), strict=True):

            def watch(taken: Taken, seen: set[object] = seen) -> None:
                facts = tuple(type(recorded.fact) for recorded in taken.records)
                before, after = key(taken.before.session), key(taken.after.session)
                seen.add((type(taken.input), before, facts, after, taken.refused))

            Search(SMALL[name], watch, reduced=reduced).run()
        assert kinds[0] == kinds[1], name


def test_folding_the_facts_again_gives_the_state_that_was_decided() -> None:
    def refold(taken: Taken) -> None:
        assert fold(taken.records, taken.before.session) == taken.after.session

    explore(SMALL["a compaction"], refold)


@pytest.mark.parametrize(
    "name",
    ["a restart", "a full window", "limits of cost and time", "two cancels", "reverts", "a revert and a restart"],
)
def test_i5_every_prefix_can_be_sent_and_the_view_agrees(name: str) -> None:
    """Along the first path to each state, with every move from there: the transcript after every single fact, and the view."""
    created = decide(Session(), CREATE, NOW).records
    journals: dict[World, tuple[Recorded, ...]] = {start(): created}

    def walk(taken: Taken) -> None:
        journal = journals[taken.before]
        journals.setdefault(taken.after, (*journal, *taken.records))
        view, transcript = View(), Transcript(journal)
        for recorded in (*journal, *taken.records):
            apply(view, recorded)
        for recorded in taken.records:
            transcript.add(recorded)
            assert unsendable(transcript.to_send()) is None
        session = taken.after.session
        assert [item.id for item in view.queue] == [entry.id for entry in session.waiting]
        assert [item.delivery for item in view.queue] == [entry.delivery for entry in session.waiting]
        assert [item.parked for item in view.queue] == [entry.parked for entry in session.waiting]
        assert (view.run.id if view.run else None) == (session.run.id if session.run else None)
        assert [request.call for request in view.requests] == [call.id for call in session.awaiting]
        assert (view.parked, view.usage, view.cost) == (session.parked, session.usage, session.cost)
        assert view.busy == session.busy
        undoable = session.reverts[len(session.reverts) - session.undoable :]
        assert [revert.to for revert in view.reverted] == [revert.to for revert in undoable]
        shown = [item.id for item in view.items if isinstance(item, UserItem)]
        said = [message.id for message in transcript.messages if isinstance(message, UserMessage)]
        assert shown == [id for id in said if id in session.prompts]
        assert [id for id in shown if not session.prompts[id].joined] == list(taken.after.ledger.conversation)

    explore(SMALL[name], walk)
