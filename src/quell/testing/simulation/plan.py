"""What will happen in a simulation: what clients try, what breaks, and when. Made from a seed, before anything runs.

A plan is a value: leaving something out of it gives a smaller story, which is how a failing one is minimised. What a thing is done
to (which prompt, which request) is a `pick` among those that there are when its time comes.
"""

from __future__ import annotations

from random import Random
from typing import Literal

from msgspec import Struct

from quell.core.facts import Delivery, PermissionOption


class Submit(Struct, frozen=True, tag=True):
    """`tries`: how often it is sent, with the same id, although it was answered. `seconds` and `turns` are the run's limits."""

    prompt: str
    delivery: Delivery = "queue"
    tries: int = 1
    turns: int | None = None
    seconds: float | None = None
    deny: bool = False


class Cancel(Struct, frozen=True, tag=True):
    """`named`: with the run that the client sees, or up to what it has seen, or one prompt of its own."""

    scope: Literal["all", "active"]
    named: Literal["", "run", "upto", "prompt"] = ""
    pick: float = 0.0
    tries: int = 1


class Edit(Struct, frozen=True, tag=True):
    kind: Literal["text", "steer", "queue", "move", "last", "drop", "drop all", "promote", "interrupt"]
    pick: float
    other: float = 0.0


class Answer(Struct, frozen=True, tag=True):
    """To an open request, or to one that was open."""

    pick: float
    option: PermissionOption
    note: str | None = None
    late: bool = False


class Compact(Struct, frozen=True, tag=True):
    pass


class Resume(Struct, frozen=True, tag=True):
    pass


class Rename(Struct, frozen=True, tag=True):
    pass


class Delete(Struct, frozen=True, tag=True):
    pass


class Revert(Struct, frozen=True, tag=True):
    """Back to before a prompt of one's own, or (`undo`) to where the last revert began."""

    pick: float
    undo: bool = False
    force: bool = False


class Wait(Struct, frozen=True, tag=True):
    """For the end of a prompt of one's own."""

    pick: float
    timeout: float


Deed = Submit | Cancel | Edit | Answer | Compact | Resume | Rename | Delete | Revert | Wait


class Act(Struct, frozen=True):
    """A client does something, at a time, in a session."""

    at: float
    who: str
    session: str
    deed: Deed


Part = Literal["owner", "guest"]
"""Which of two processes; one alone is the owner."""


class Kill(Struct, frozen=True, tag=True):
    """The process dies `steps` callbacks after the time, and is started again after `down` seconds."""

    at: float
    steps: int
    down: float
    who: Part = "owner"


class Shutdown(Struct, frozen=True, tag=True):
    at: float
    down: float
    who: Part = "owner"


class Pause(Struct, frozen=True, tag=True):
    """The process takes no step for a while, from `steps` callbacks after the time on. `dead`: another one may claim meanwhile."""

    at: float
    steps: int
    seconds: float
    who: Part
    dead: bool


class Deaf(Struct, frozen=True, tag=True):
    """No process hears the other's doorbell for a while."""

    at: float
    seconds: float


Ailment = Literal["full", "slow", "lost answers"]


class Trouble(Struct, frozen=True, tag=True):
    """With the disk, for a while: full, slow, or its answers get lost although it has written."""

    at: float
    kind: Ailment
    seconds: float


Fault = Kill | Shutdown | Pause | Deaf | Trouble


class Following(Struct, frozen=True):
    """A follower: `pause` seconds between two batches, and for how long it follows. A `hasty` one connects anew after each batch."""

    who: str
    session: str
    at: float
    pause: float
    stays: float
    hasty: bool = False


class Plan(Struct, frozen=True, kw_only=True):
    """`disorder`: of the scheduler. `wild`: how often the model and the tools misbehave. `echo`: how often an outcome comes twice.

    `screens` follow as a front end does: by `client.follow`, from a snapshot on. `two` processes: one owns, and clients ask either.
    """

    seed: int
    sessions: tuple[str, ...]
    acts: tuple[Act, ...]
    faults: tuple[Fault, ...]
    followings: tuple[Following, ...]
    disorder: float = 0.5
    wild: float = 0.3
    latency: float = 0.002
    horizon: float = 30.0
    resume_interrupted: bool = False
    recover_within: float = 3600.0
    idle_actors: int = 64
    screens: tuple[Following, ...] = ()
    echo: float = 0.0
    two: bool = False


NAMES = ("ann", "bob", "cleo")
TWO = 0.4
"""How often there are two processes."""


def draw(seed: int) -> Plan:
    """The plan of a seed."""
    random = Random(f"plan {seed}")
    sessions = tuple(f"s{n}" for n in range(1, random.choice((1, 1, 2, 3)) + 1))
    horizon = random.choice((2.0, 10.0, 30.0))
    acts = sorted(
        (
            Act(_when(random, horizon), random.choice(NAMES), random.choice(sessions), _deed(random, number))
            for number in range(random.randint(4, 28))
        ),
        key=lambda act: act.at,
    )
    faults = sorted(
        (_fault(random, horizon) for _ in range(random.choice((0, 1, 1, 2, 3, 4)))), key=lambda fault: fault.at
    )
    followings = tuple(
        Following(
            who=name,
            session=session,
            at=random.uniform(0, horizon),
            pause=random.choice((0.0, 0.0, 0.5, 5.0)),
            stays=random.uniform(0.1, horizon),
            hasty=random.random() < 0.3,
        )
        for session in sessions
        for name in NAMES[: random.randint(1, 2)]
    )
    two = Random(f"two processes {seed}")
    if both := two.random() < TWO:
        faults = sorted(
            [*faults, *(_of_two(two, horizon) for _ in range(two.randint(1, 4)))], key=lambda fault: fault.at
        )
    return Plan(
        seed=seed,
        sessions=sessions,
        acts=tuple(acts),
        faults=tuple(faults),
        followings=followings,
        disorder=random.choice((0.0, 0.1, 0.5, 1.0)),
        wild=random.choice((0.0, 0.2, 0.5)),
        latency=random.choice((0.0, 0.002, 0.2)),
        horizon=horizon,
        resume_interrupted=random.random() < 0.3,
        recover_within=random.choice((3600.0, 3600.0, 2.0)),
        idle_actors=random.choice((64, 1)),
        screens=tuple(_screen(random, session, horizon) for session in sessions if random.random() < 0.5),
        echo=random.choice((0.0, 0.0, 0.3)),
        two=both,
    )


def _screen(random: Random, session: str, horizon: float) -> Following:
    pause = random.choice((0.0, 0.0, 0.05, 1.0))
    return Following("eve", session, random.uniform(0, horizon), pause, random.uniform(0.1, horizon))


def _when(random: Random, horizon: float) -> float:
    """Half of everything comes in a few crowded moments: that is where races are."""
    moment = random.choice((0.1, 0.3, 0.6)) * horizon
    return moment + random.uniform(0, 0.05) if random.random() < 0.5 else random.uniform(0, horizon)


def _deed(random: Random, number: int) -> Deed:
    tries = random.choice((1, 1, 1, 2))
    pick, other = random.random(), random.random()
    kind = random.choices(
        ("submit", "cancel", "edit", "answer", "compact", "resume", "rename", "delete", "revert", "wait"),
        (40, 16, 20, 12, 3, 4, 2, 1, 8, 6),
    )[0]
    match kind:
        case "submit":
            return Submit(
                f"p{number}",
                random.choice(("queue", "queue", "steer")),
                tries,
                random.choice((None, None, None, 1, 2)),
                random.choice((None, None, None, 0.5, 4.0)),
                random.random() < 0.2,
            )
        case "cancel":
            named = random.choice(("", "", "", "run", "upto", "prompt"))
            return Cancel(random.choice(("all", "active")), named, pick, tries)  # type: ignore[arg-type]  # of those above
        case "edit":
            change = random.choice(
                ("text", "steer", "queue", "move", "last", "drop", "drop all", "promote", "promote", "interrupt")
            )
            return Edit(change, pick, other)  # type: ignore[arg-type]  # of those above
        case "answer":
            option = random.choice(("allow_once", "allow_once", "allow_always", "reject_once", "reject_always"))
            return Answer(pick, option, random.choice((None, "not so")), random.random() < 0.2)  # type: ignore[arg-type]  # of those above
        case "compact":
            return Compact()
        case "resume":
            return Resume()
        case "rename":
            return Rename()
        case "delete":
            return Delete()
        case "revert":
            return Revert(pick, other < 0.3, random.random() < 0.5)
        case _:
            return Wait(pick, random.choice((0.0, 1.0, 60.0)))


def _of_two(random: Random, horizon: float) -> Fault:
    at, who = _when(random, horizon), random.choice(("owner", "owner", "guest"))
    steps = random.randint(1, 60)
    kind = random.choices(("kill", "leave", "pause", "deaf"), (30, 10, 45, 15))[0]
    match kind:
        case "kill":
            return Kill(at, steps, random.choice((0.0, 0.5, 3.0)), who)  # type: ignore[arg-type]  # of those above
        case "leave":
            return Shutdown(at, random.choice((0.0, 1.0)), who)  # type: ignore[arg-type]  # of those above
        case "pause":
            return Pause(at, steps, random.choice((0.05, 0.4, 2.0, 6.0)), who, random.random() < 0.8)  # type: ignore[arg-type]  # of those above
        case _:
            return Deaf(at, random.choice((0.5, 5.0)))


def _fault(random: Random, horizon: float) -> Fault:
    at = _when(random, horizon)
    chance = random.random()
    if chance < 0.5:
        return Kill(at, random.randint(1, 60), random.choice((0.0, 0.1, 3.0)))
    if chance < 0.65:
        return Shutdown(at, random.choice((0.0, 1.0)))
    kind = random.choice(("full", "slow", "lost answers"))
    return Trouble(at, kind, random.choice((0.02, 0.5, 4.0)))  # type: ignore[arg-type]  # of those above
