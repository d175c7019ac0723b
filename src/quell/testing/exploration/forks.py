"""Forks (contract K8): what a copy of any prefix of a journal is, and what it goes on with."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from msgspec.structs import replace

from quell.core import facts as f
from quell.core import inputs as i
from quell.core.decide import Decision, decide
from quell.core.evolve import fold
from quell.core.messages import ToolCall, ToolMessage, Usage
from quell.core.session import Session, Settlement, due
from quell.core.transcript import Transcript
from quell.core.view import CallItem, View, apply
from quell.testing.audit import unsendable
from quell.testing.exploration.search import explore
from quell.testing.exploration.worlds import CREATE, NOW, Budget, Taken, World, start

LATER = "2026-01-02T00:00:00.000Z"


def prefixes(size: Budget) -> list[tuple[f.Recorded, ...]]:
    """Every prefix of a journal that leads to each state, and on with each move from there."""
    created = decide(Session(), replace(CREATE, parent="above"), NOW).records
    paths = {start(): created}
    further: dict[World, list[tuple[f.Recorded, ...]]] = {start(): []}

    def walk(taken: Taken) -> None:
        paths.setdefault(taken.after, (*paths[taken.before], *taken.records))
        known = further.setdefault(taken.before, [])
        for at in range(len(taken.records)):
            if taken.records[: at + 1] not in known:
                known.append(taken.records[: at + 1])

    explore(size, walk)
    beginnings = [created[: at + 1] for at in range(len(created))]
    return beginnings + [(*paths[world], *records) for world, found in further.items() for records in found]


def fork(records: Sequence[f.Recorded]) -> Decision:
    return decide(Session(), i.Fork(session="new", source="s", records=tuple(records)), LATER)


def check_fork(records: Sequence[f.Recorded]) -> None:
    """At rest, acceptable after every fact, and ready for a prompt under an id that its source has used."""
    source, decision = fold(records), fork(records)
    session, transcript, view = decision.session, Transcript(), View()
    assert [recorded.seq for recorded in decision.records] == [*range(1, len(records) + 2)]
    assert fold(decision.records) == session
    assert [recorded.at for recorded in decision.records] == [*(recorded.at for recorded in records), LATER]
    for recorded in decision.records:
        transcript.add(recorded)
        apply(view, recorded)
    assert unsendable(transcript.to_send()) is None, "I5: a provider would refuse what a fork sends"
    assert (session.id, session.parent, session.created) == ("new", None, LATER)
    assert (session.busy, session.run, session.waiting, session.parked, due(session)) == (False, None, (), False, ())
    closing = decision.records[-1].fact
    assert isinstance(closing, f.Forked)
    assert (closing.source, closing.run) == ("s", source.run and source.run.id)
    assert closing.entries == tuple(entry.id for entry in source.waiting), "F1: it names what it empties the queue of"
    assert len(session.prompts) + len(session.requests) == 0
    assert (session.usage, session.cost) == (Usage(), Decimal(0)), "what its source has used is not used again"
    kept = (session.checkpoints, session.unkept, session.reverting, session.reverts, session.undoable)
    assert kept == (Session().checkpoints, None, None, (), 0), "K8: checkpoints are of its source's runs"
    assert (session.model, session.mode, session.rules) == (source.model, source.mode, source.rules)
    assert session.ended == (source.ended if source.run is None else source.run.id), "how its last run ended"
    if source.run is None:
        assert session.runs == source.runs
    else:
        assert session.runs == source.runs.insert(source.run.id, Settlement("interrupted", "interrupted"))
    assert (view.session, view.busy, view.run, view.queue, view.requests) == ("new", False, None, [], [])
    assert all(item.result is not None for item in view.items if isinstance(item, CallItem))
    called = [part.id for m in transcript.messages for part in getattr(m, "parts", ()) if isinstance(part, ToolCall)]
    assert sorted(called) == sorted(m.call for m in transcript.messages if isinstance(m, ToolMessage))
    goes_on = decide(session, i.Submit(prompt="p1", text="go on"), LATER)
    assert goes_on.session.run is not None
    assert goes_on.session.run.id not in session.runs
    for recorded in goes_on.records:
        transcript.add(recorded)
        apply(view, recorded)
    assert unsendable(transcript.to_send()) is None, "I5: a provider would refuse what a fork sends"
    assert view.busy
