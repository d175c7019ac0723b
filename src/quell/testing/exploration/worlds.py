"""What a world is: a session, what may still happen to it, and the ledger that is kept of it outside the machine."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct
from msgspec.structs import replace

from quell.core import facts as f
from quell.core import inputs as i
from quell.core.decide import decide
from quell.core.errors import QuellError
from quell.core.session import Session
from quell.testing.exploration.ledger import Ledger

NOW = "2026-01-01T00:00:00.000Z"
CREATE = i.Create(session="s", workspace="/w", model="m")


class Budget(Struct, frozen=True):
    """How much of each may still happen; what has no number (answers, resumes, moves of the system) may happen whenever it applies.

    Prompts come in either delivery, cancels in every form. `crowded`: a reply may say that the window is nearly full. `limits` are
    those of every prompt; so is `origin`: of a parent's nothing goes on by itself. `changing`: a call may change files. `hooks`: they have
    something to say to each call.
    """

    submits: int = 0
    cancels: int = 0
    edits: int = 0
    compactions: int = 0
    calls: int = 0
    failures: int = 0
    restarts: int = 0
    deletions: int = 0
    changes: int = 0
    loops: int = 0
    reverts: int = 0
    changing: bool = False
    hooks: bool = False
    crowded: bool = False
    limits: f.Limits = f.Limits()
    origin: f.Origin = "system"
    titled: bool = False

    @property
    def left(self) -> Left:
        return tuple(getattr(self, kind) for kind in KINDS)

    @property
    def kind(self) -> Budget:
        """What is the same in worlds that differ in how often things may happen, and in nothing else."""
        return replace(
            self, **dict.fromkeys(KINDS, 0) | {"reverts": min(self.reverts, 1)}
        )  # with them a state has more to it


Left = tuple[int, ...]
"""What is left of a budget, in the order of KINDS."""

KINDS = (
    "submits",
    "cancels",
    "edits",
    "compactions",
    "calls",
    "failures",
    "restarts",
    "deletions",
    "changes",
    "loops",
    "reverts",
)


class World(Struct, frozen=True):
    """A state, and what the ledger says of it."""

    session: Session
    ledger: Ledger


class Move(Struct, frozen=True):
    """An input, and what it takes from the budget. `system`: an outcome of what is due, so it happens by itself."""

    input: i.Input
    spends: str = ""
    count: int = 1
    system: bool = False


class Taken(Struct, frozen=True):
    """A move that was made: what it decided and answered, or what it was refused with. `along`: the ledger before each fact."""

    before: World
    input: i.Input
    records: tuple[f.Recorded, ...]
    after: World
    reaction: i.Reaction | None = None
    refused: str | None = None
    along: tuple[Ledger, ...] = ()


class Violation(AssertionError):
    """An invariant does not hold; the message tells the story that led there."""


def start() -> World:
    """A session that was just created."""
    created = decide(Session(), CREATE, NOW)
    return World(created.session, Ledger().after(created.records))


def take(world: World, input: i.Input, others: Iterable[Taken] = ()) -> Taken:
    """Make one move, and enter it into the ledger, which may refuse. `others` from here, with the same facts, lead to the same world."""
    try:
        decision = decide(world.session, input, NOW)
    except QuellError as refusal:
        return Taken(world, input, (), world, refused=refusal.code)
    records = decision.records
    if not records and decision.session is world.session:
        return Taken(world, input, (), world, decision.reaction)
    same = next((other for other in others if other.records == records), None)
    if same is not None:
        return Taken(world, input, records, same.after, decision.reaction, along=same.along)
    ledgers = [world.ledger]
    for recorded in records:
        ledgers.append(ledgers[-1].enter(recorded))
    after = World(decision.session, ledgers.pop())
    return Taken(world, input, records, after, decision.reaction, along=tuple(ledgers))
