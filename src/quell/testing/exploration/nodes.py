"""Two nodes and one session: both fold the same journal, each as far as it has read; one at a time owns the effects.

What is modelled around the real `decide`, `evolve` and `due`: an append names the `seq` that it was decided from and is refused when
another one was first; outcomes and drafts carry the generation of their owner and are refused when it is not the present one; the owner
may change at any point, also to a node that dies and begins again, and the old one goes on as if nothing had happened until it reads
the journal or is refused. Its effects really run.

Two things lose nothing. A refused append is not remembered: deciding it again is the same move, later, from the newest state. And of
what a node knows that lags, only what is due by it counts, because nothing that it decides is recorded.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Hashable, Iterator

from msgspec import Struct
from msgspec.structs import replace

from quell.core import inputs as i
from quell.core.decide import decide
from quell.core.errors import QuellError
from quell.core.session import Compact, Effect, Execute, Sample, Session, due
from quell.testing.exploration import laws
from quell.testing.exploration.moves import DRAFT, moves
from quell.testing.exploration.reduce import key
from quell.testing.exploration.search import BROKEN, at_rest, uncollected
from quell.testing.exploration.worlds import KINDS, NOW, Budget, Left, Move, Violation, World, start, take


class Nodes(Struct, frozen=True):
    """A world of two nodes, and how often the owner changes. The rest are rules; each is there to be broken in a test.

    `fenced`: what an owner reports carries its generation, and is refused when it is old. `reads_first`: a node that lags does not
    answer that nothing is decided. `restarts_first`: a new owner starts nothing before it has decided what it found. `reads_owner`: who
    reads the journal reads the generation with it, so that an old owner never begins what a new one has recorded.
    """

    budget: Budget
    takeovers: int = 1
    fenced: bool = True
    reads_first: bool = True
    restarts_first: bool = True
    reads_owner: bool = True


ONE_TAKEOVER: dict[str, Nodes] = {
    "two nodes: a call, a change of owner": Nodes(Budget(submits=1, calls=1), takeovers=1),
}
TWO_NODES: dict[str, Nodes] = {
    **ONE_TAKEOVER,
    "two nodes: two prompts, a cancel, a change of owner": Nodes(Budget(submits=2, cancels=1), takeovers=1),
    "two nodes: a call, two changes of owner": Nodes(Budget(submits=1, calls=1), takeovers=2),
}


MORE_NODES: dict[str, Nodes] = {
    "two nodes: a call, a cancel, two changes of owner": Nodes(Budget(submits=1, calls=1, cancels=1), takeovers=2),
    "two nodes: two prompts, a call, a failure": Nodes(Budget(submits=2, calls=1, failures=1), takeovers=1),
}


class Node(Struct, frozen=True):
    """What a node has folded, the generation that it believes to own (0: none), and the effects that it runs."""

    session: Session
    generation: int = 0
    restarted: bool = False
    running: frozenset[Effect] = frozenset()


class Both(Struct, frozen=True):
    """The journal, its owner's generation, the draft that is kept, the calls that were ever begun, and two nodes."""

    journal: World
    nodes: tuple[Node, Node]
    generation: int = 1
    takeovers: int = 0
    draft: str | None = None
    begun: frozenset[str] = frozenset()

    def with_node(self, at: int, node: Node) -> Both:
        return replace(self, nodes=(node, self.nodes[1]) if at == 0 else (self.nodes[0], node))

    def lags(self, node: Node) -> bool:
        return node.session.seq != self.journal.session.seq


Words = tuple[object, ...]
Step = tuple[Words, Both, Left, bool]
"""What is done (the words of a story), what comes of it, what is left of the budget, and whether it happens by itself."""


BEGINS = {drafted: i.Restarted(reply=DRAFT if drafted else None, resume_interrupted=True) for drafted in (False, True)}
"""What a new owner decides first, without and with a draft that was kept."""


class Seen:
    """What was found out of a session, or of a journal, is found out once: most states differ only in what the nodes have read and run."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._sessions: dict[int, tuple[Session, tuple[Move, ...], frozenset[Effect], Hashable]] = {}
        self._worlds: dict[tuple[int, int], tuple[World, i.Input, World]] = {}

    def _session(self, session: Session) -> tuple[Session, tuple[Move, ...], frozenset[Effect], Hashable]:
        found = self._sessions.get(id(session))
        if found is None:
            effects = frozenset(effect for effect in due(session) if hasattr(effect, "run"))
            found = session, tuple(moves(session, self._budget)), effects, key(session)
            self._sessions[id(session)] = found  # which it holds, so that no other one has this identity
        return found

    def moves(self, session: Session) -> tuple[Move, ...]:
        return self._session(session)[1]

    def due(self, session: Session) -> frozenset[Effect]:
        """Of a run: what a node starts and stops."""
        return self._session(session)[2]

    def key(self, session: Session) -> Hashable:
        return self._session(session)[3]

    def after(self, journal: World, input: i.Input) -> World:
        """What this decides, which has to keep the laws."""
        found = self._worlds.get((id(journal), id(input)))
        if found is None:
            taken = take(journal, input)
            if taken.records or not isinstance(input, i.Report):
                laws.check(taken)
                laws.check_state(taken.after)
            found = self._worlds[id(journal), id(input)] = journal, input, taken.after
        return found[2]


def explore_nodes(nodes: Nodes, limit: int = 5_000_000) -> tuple[int, int, float]:
    """Visit every state. Returns how many there are, how many moves, and seconds. Raises `Violation`."""
    with uncollected():
        return _explore(nodes, limit)


def _explore(nodes: Nodes, limit: int) -> tuple[int, int, float]:
    began = time.process_time()
    world = start()
    owner = Node(world.session, 1, restarted=True)
    first = Both(world, (owner, Node(world.session)), takeovers=nodes.takeovers)
    seen = Seen(nodes.budget)
    known: dict[Hashable, int] = {_key(first, nodes.budget.left, seen): 0}
    came: list[tuple[int, Words]] = [(0, ("created",))]
    frontier = deque([(first, nodes.budget.left)])
    goes_on: list[tuple[int, int]] = []
    rests: list[int] = []
    number = count = 0
    while frontier:
        both, left = frontier.popleft()
        if at_rest(both.journal.session):
            rests.append(number)
        try:
            for name, after, spare, system in _steps(both, left, nodes, seen):
                count += 1
                found = known.setdefault(_key(after, spare, seen), len(known))
                if found == len(came):
                    came.append((number, name))
                    frontier.append((after, spare))
                if system:
                    goes_on.append((number, found))
        except BROKEN as error:
            raise Violation(f"{error!r}\n{_story(came, number)}") from error
        if len(known) > limit:
            raise Violation(f"more than {limit} states: the size is larger than stated")
        number += 1
    _check_liveness(goes_on, rests, came)
    return len(known), count, time.process_time() - began


def _check_liveness(goes_on: list[tuple[int, int]], rests: list[int], came: list[tuple[int, Words]]) -> None:
    """From every state what the nodes do by themselves can lead to rest, with whoever owns the session now."""
    before: dict[int, list[int]] = {}
    for first, then in goes_on:
        before.setdefault(then, []).append(first)
    live, ready = set(rests), list(rests)
    while ready:
        for number in before.get(ready.pop(), ()):
            if number not in live:
                live.add(number)
                ready.append(number)
    if len(live) < len(came):
        stuck = next(number for number in range(len(came)) if number not in live)
        raise Violation(f"liveness: it does not come to rest by itself\n{_story(came, stuck)}")


def _story(came: list[tuple[int, Words]], number: int) -> str:
    lines = []
    while number:
        number, words = came[number]
        lines.append(f"  {' '.join(map(str, words))}")
    return "\n".join(reversed(lines))


def _key(both: Both, left: Left, seen: Seen) -> Hashable:
    """Runs are renamed by age; generations are the present one, an older one or none."""
    wanted = [seen.due(node.session) for node in both.nodes]
    runs = {_run(effect) for effects in (*wanted, *(node.running for node in both.nodes)) for effect in effects}
    present = both.journal.session.run
    if present is not None:
        runs.add(present.id)
    rank = {run: number for number, run in enumerate(sorted(runs, key=lambda run: int(run[1:])))}

    def named(effects: frozenset[Effect]) -> Hashable:
        return frozenset((type(effect).__name__, rank[_run(effect)], *_rest(effect)) for effect in effects)

    nodes = tuple(
        (
            node.generation and (node.generation == both.generation) + 1,
            node.restarted,
            named(effects) if both.lags(node) else None,
            named(node.running),
        )
        for node, effects in zip(both.nodes, wanted, strict=True)
    )
    begun = frozenset(
        (rank[call.split("-")[0]], call.split("-")[1:][-1]) for call in both.begun if call.split("-")[0] in rank
    )
    where = present and (rank[present.id], present.turn, present.attempt)
    drafted = both.draft is not None and present is not None and both.draft == present.message
    return seen.key(both.journal.session), where, nodes, both.takeovers, drafted, begun, left


def _run(effect: Effect) -> str:
    """The run that it is of: no other effects are looked at here."""
    return getattr(effect, "run", "")


def _rest(effect: Effect) -> tuple[object, ...]:
    if isinstance(effect, Sample | Compact):
        return effect.turn, effect.attempt
    return (getattr(effect, "call", "-").split("-", 1)[1],)


# What can happen


def _steps(both: Both, left: Left, nodes: Nodes, seen: Seen) -> Iterator[Step]:
    for at, node in enumerate(both.nodes):
        other = "AB"[at]
        if both.lags(node):
            lost = nodes.reads_owner and node.generation != both.generation
            read = Node(both.journal.session) if lost else _read(both, node)
            yield (other, "reads the journal"), both.with_node(at, read), left, True
        yield from _requests(both, at, left, nodes, seen)
        if node.generation:
            yield from _owned(both, at, left, nodes, seen)
        if both.takeovers:
            generation = both.generation + 1
            taken = replace(_read(both, node), generation=generation, restarted=not both.journal.session.busy)
            after = replace(both, generation=generation, takeovers=both.takeovers - 1)
            yield (other, "becomes the owner"), after.with_node(at, replace(taken, running=frozenset())), left, False


def _read(both: Both, node: Node) -> Node:
    return replace(node, session=both.journal.session)


def _record(both: Both, at: int, journal: World) -> Both:
    """The node, which has the newest state, has decided from it and appended."""
    after = replace(both, journal=journal)
    return after.with_node(at, replace(both.nodes[at], session=journal.session))


def _requests(both: Both, at: int, left: Left, nodes: Nodes, seen: Seen) -> Iterator[Step]:
    """Anybody may decide a request; from an old state the append is refused, and a "nothing" is not believed."""
    node = both.nodes[at]
    for move in seen.moves(node.session):
        if isinstance(move.input, i.Report):
            continue
        spare = _spent(left, move)
        if spare is None:
            continue
        if not both.lags(node):
            recorded = _record(both, at, seen.after(both.journal, move.input))
            yield ("AB"[at], "decides", move.input), recorded, spare, False
        elif not nodes.reads_first and not _decides(node.session, move.input):
            same = (
                decide(node.session, move.input, NOW).reaction == decide(both.journal.session, move.input, NOW).reaction
            )
            assert same, f"C1, C2: answered from an old state: {move.input}"


def _decides(session: Session, input: i.Input) -> bool:
    try:
        return bool(decide(session, input, NOW).records)
    except QuellError:
        return False


def _spent(left: Left, move: Move) -> Left | None:
    if not move.spends:
        return left
    at = KINDS.index(move.spends)
    return (*left[:at], left[at] - move.count, *left[at + 1 :]) if left[at] >= move.count else None


def _owned(both: Both, at: int, left: Left, nodes: Nodes, seen: Seen) -> Iterator[Step]:
    """What an owner does, or one that believes to be it."""
    node, name = both.nodes[at], "AB"[at]
    present = node.generation == both.generation
    if not present:
        yield (name, "is told that it owns nothing"), both.with_node(at, Node(node.session)), left, True
    if not node.restarted:
        if present and not both.lags(node):
            run = node.session.run
            drafted = both.draft is not None and run is not None and both.draft == run.message
            restarted = _record(both, at, seen.after(both.journal, BEGINS[drafted]))
            after = restarted.with_node(at, replace(restarted.nodes[at], restarted=True))
            yield (name, "decides that it begins"), after, left, True
        if nodes.restarts_first:
            return
    wanted = seen.due(node.session)
    if wanted != node.running:
        yield (name, "starts and stops effects"), _reconciled(both, at, wanted), left, True
    yield from _reports(both, at, left, nodes, seen)
    for effect in node.running:
        if isinstance(effect, Sample) and (present or not nodes.fenced):
            message = f"{effect.run}-{effect.turn}-{effect.attempt}"
            assert present, "I10: a draft of an old generation is kept"
            if both.draft != message:
                yield (name, "saves a draft of", message), replace(both, draft=message), left, False


def _reconciled(both: Both, at: int, wanted: frozenset[Effect]) -> Both:
    node = both.nodes[at]
    new = {effect.call for effect in wanted - node.running if isinstance(effect, Execute)}
    twice = new & both.begun
    assert not twice, f"K3: {twice} is begun twice"
    return replace(both, begun=both.begun | new).with_node(at, replace(node, running=wanted))


def _reports(both: Both, at: int, left: Left, nodes: Nodes, seen: Seen) -> Iterator[Step]:
    """What the effects that this node runs may report, whoever owns the session now."""
    node, name = both.nodes[at], "AB"[at]
    present = node.generation == both.generation
    for move in seen.moves(node.session):
        spare = _spent(left, move)
        effect = _effect(move.input, node)
        if spare is None or effect is None:
            continue
        if not present and nodes.fenced:
            yield (name, "is refused: it is not the owner"), both.with_node(at, Node(node.session)), left, True
        elif not both.lags(node):
            assert present, "I10: an outcome of an old generation is recorded"
            recorded = _record(both, at, seen.after(both.journal, move.input))
            done = replace(recorded.nodes[at], running=node.running - {effect})
            yield (name, "reports", move.input), recorded.with_node(at, done), spare, move.system


def _effect(input: i.Input, node: Node) -> Effect | None:
    """The effect that this is an outcome of, if it runs here."""
    if not isinstance(input, i.Report) or isinstance(input, i.Restarted | i.Note | i.TitleFound | i.Kept | i.Restored):
        return None
    for effect in node.running:
        call = getattr(input, "call", None)
        if getattr(effect, "run", None) == input.run and getattr(effect, "call", None) == call:
            turn = getattr(input, "turn", None)
            if turn is None or (turn, getattr(input, "attempt", None)) == _rest(effect):
                return effect
    return None
