"""The search: every world that can be reached, the laws at every move, the probes in every state, and no state that hangs."""

from __future__ import annotations

import gc
import time
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from operator import ge

from msgspec import Struct
from msgspec.structs import replace

from quell.core import inputs as i
from quell.core.session import Calling, Compacting, Expire, Keep, Sampling, Session, Title, due
from quell.testing.exploration import laws
from quell.testing.exploration.moves import moves
from quell.testing.exploration.probes import Probes, check_before_creation
from quell.testing.exploration.reduce import key
from quell.testing.exploration.worlds import KINDS, Budget, Left, Move, Taken, Violation, World, start, take

BROKEN = (AssertionError, LookupError, StopIteration, TypeError, ValueError, AttributeError)
"""How a machine shows that it is broken: a law does not hold, or it stumbles over its own state."""


class Found(Struct):
    """What a search has seen: states, and moves between them. `complete`: nothing was left out for want of time."""

    states: int
    moves: int
    seconds: float
    complete: bool = True


Watch = Callable[[Taken], None]
Progress = Callable[[Found], None]


class Place(Struct):
    """A state that was reached: how, with which budgets left, and where its moves lead (None: nothing could pay for it yet)."""

    world: World
    came: tuple[int, Move] | None
    moves: tuple[Move, ...]
    leads: list[int | None]
    budgets: list[Left]


class Search:
    """One search, breadth first, so that the story of a violation is as short as any.

    A move is judged once in each state: the laws do not read the budget. And with less left to spend only less can happen, so a
    state is gone on from again only when it is reached with a budget that no earlier one covers. So worlds of one kind are explored by
    one search (`searches`), one after the other: what one of them has judged is judged for all.
    """

    def __init__(
        self, size: Budget, watch: Watch | None = None, *, reduced: bool = True, first: World | None = None
    ) -> None:
        self.size = size
        self.first = first or start()
        self.places: list[Place] = []
        self._moves = 0
        self._watch = watch
        self._reduced = reduced
        self._probes = Probes()
        self._numbers: dict[Hashable, int] = {}
        self._frontier: deque[tuple[int, Left]] = deque()

    def run(
        self,
        within: Budget | None = None,
        *,
        limit: int = 5_000_000,
        seconds: float | None = None,
        progress: Progress | None = None,
    ) -> Found:
        """Visit every state that can be reached within this budget. Raises `Violation`."""
        began = time.process_time()
        visited = 0

        def found(*, complete: bool) -> Found:
            return Found(len(self.places), self._moves, time.process_time() - began, complete)

        with uncollected():
            check_before_creation()
            self._frontier.clear()  # of what was not completed
            self._reach(self._arrive(self.first, None), (within or self.size).left)
            while self._frontier:
                number, budget = self._frontier.popleft()
                self._visit(number, budget)
                visited += 1
                if len(self.places) > limit:
                    raise Violation(f"more than {limit} states: the size is larger than stated")
                if visited % 100 == 0 and progress is not None:
                    progress(found(complete=False))
                if visited % 100 == 0 and seconds is not None and time.process_time() - began > seconds:
                    return found(complete=False)
            self._check_liveness()
        return found(complete=True)

    def _arrive(self, world: World, came: tuple[int, Move] | None) -> int:
        state = key(world.session, reverts=bool(self.size.reverts))
        known: Hashable = state if self._reduced else world.session
        number = self._numbers.get(known)
        if number is None:
            number = self._numbers[known] = len(self.places)
            possible = tuple(moves(world.session, self.size))
            self.places.append(Place(world, came, possible, [None] * len(possible), []))
            try:
                self._probes.check(world.session, state)
            except AssertionError as error:
                raise Violation(f"{error}\n{self._story(number)}") from None
        return number

    def _reach(self, number: int, left: Left) -> None:
        budgets = self.places[number].budgets
        if left in budgets or any(all(map(ge, other, left)) for other in budgets):
            return
        budgets[:] = [other for other in budgets if not all(map(ge, left, other))]
        budgets.append(left)
        self._frontier.append((number, left))

    def _visit(self, number: int, budget: Left) -> None:
        place = self.places[number]
        if budget not in place.budgets:
            return  # a larger one has come meanwhile
        made: dict[int, tuple[Taken, int]] = {}
        for index, move in enumerate(place.moves):
            left = budget
            if move.spends:
                at = KINDS.index(move.spends)
                if budget[at] < move.count:
                    continue
                left = (*budget[:at], budget[at] - move.count, *budget[at + 1 :])
            after = place.leads[index]
            if after is None:
                after = place.leads[index] = self._make(number, move, made)
            self._reach(after, left)

    def _make(self, number: int, move: Move, made: dict[int, tuple[Taken, int]]) -> int:
        """`made` are the moves from here that lead to different worlds, by the identity of those, and the numbers of those."""
        self._moves += 1
        world = self.places[number].world
        try:
            taken = take(world, move.input, (other for other, _ in made.values()))
            if self._watch is not None:
                self._watch(taken)
            laws.check(taken)
            if taken.after is world:
                return number
            if id(taken.after) in made:
                return made[id(taken.after)][1]
            laws.check_state(taken.after)
        except BROKEN as error:
            raise Violation(f"{error!r}\n{self._story(number)}\n  {move.input}") from error
        arrived = self._arrive(taken.after, (number, move))
        made[id(taken.after)] = taken, arrived
        return arrived

    def _check_liveness(self) -> None:
        """Whatever order the outcomes of what is due come in, every state comes to rest, unless somebody interferes.

        The system's own moves that cost nothing form no circle, and where there is none the session is at rest. What costs (a model
        that asks for more calls, a provider that fails) can only happen so often; so each chain of moves ends at rest.
        """
        followers = [
            [lead for move, lead in zip(place.moves, place.leads, strict=True) if move.system and not move.spends]
            for place in self.places
        ]
        arrivals = Counter(lead for leads in followers for lead in leads)
        ready = [number for number in range(len(self.places)) if not arrivals[number]]
        ordered = 0
        while ready:
            number = ready.pop()
            ordered += 1
            if not followers[number] and not at_rest(self.places[number].world.session):
                raise Violation(f"liveness: nothing goes on by itself\n{self._story(number)}")
            for lead in followers[number]:
                arrivals[lead] -= 1
                if lead is not None and not arrivals[lead]:
                    ready.append(lead)
        if ordered < len(self.places):
            circle = next(number for number, count in arrivals.items() if count)
            raise Violation(f"liveness: the system goes round in a circle\n{self._story(circle or 0)}")

    def _story(self, number: int) -> str:
        """How this state was come to, played again."""
        inputs: list[i.Input] = []
        came = self.places[number].came
        while came is not None:
            inputs.append(came[1].input)
            came = self.places[came[0]].came
        world, lines = self.first, []
        for input in reversed(inputs):
            taken = take(world, input)
            lines.append(f"  {input}")
            lines.extend(f"    -> {recorded.fact}" for recorded in taken.records)
            world = taken.after
        return "\n".join(lines)


def explore(size: Budget, watch: Watch | None = None) -> Found:
    """Visit every state that can be reached within the budget; `watch` sees every move. Raises `Violation`."""
    return Search(size, watch).run()


def searches(sizes: Iterable[Budget]) -> dict[Budget, Search]:
    """A search for each kind of these worlds, in which all of that kind can be run, one after the other."""
    kinds: dict[Budget, list[Left]] = {}
    for size in sizes:
        kinds.setdefault(size.kind, []).append(size.left)
    largest = {kind: map(max, zip(*lefts, strict=True)) for kind, lefts in kinds.items()}
    return {kind: Search(replace(kind, **dict(zip(KINDS, left, strict=True)))) for kind, left in largest.items()}


@contextmanager
def uncollected() -> Iterator[None]:
    """Nothing that a search makes goes round in a circle, and there is much of it: not to look for circles is a quarter of the time."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def at_rest(session: Session) -> bool:
    """Idle, parked, awaiting a person, or to be erased."""
    if session.run is None:
        return session.deleting or not session.busy
    return bool(session.awaiting) and all(isinstance(effect, Expire | Title | Keep) for effect in due(session))


def phase(session: Session) -> str:
    """The class of a state, as the documentation's table names it."""
    run = session.run
    if not session.id:
        return "not created"
    if session.deleting:
        return "deleting"
    if session.reverting is not None:
        return "reverting"
    if run is None:
        if any(not entry.parked for entry in session.waiting):
            return "stopped"
        return "parked" if session.waiting else "idle"
    if run.ending is not None:
        return "ending"
    match run.phase:
        case Sampling(not_before=None):
            return "sampling"
        case Sampling():
            return "backing off"
        case Compacting():
            return "compacting"
        case Calling():
            return "awaiting" if session.awaiting and not due(session) else "calling"
