"""What is done to the daemon, drawn from a seed: rounds of lives, each of which ends somehow, and what happens to disk and clients meanwhile.

A seed reproduces the plan, and not the outcome: when things happen is real time, and what happens then is up to the machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Literal

from msgspec import Struct

End = Literal["kill", "kill starting", "kill stopped", "terminate"]
"""kill: SIGKILL at a moment · starting: before it answers · stopped: in its sleep (SIGSTOP) · terminate: SIGTERM, and SIGKILL if it dawdles."""

KILLS: frozenset[End] = frozenset({"kill", "kill starting", "kill stopped"})


class Life(Struct, frozen=True):
    """One process of the server: `seconds` from its first answer (or its start) to its `end`.

    `full`: when the disk fills up, and for how long. `pause`: when it is stopped for a while, and for how long. `client`: when a client
    is killed. `hurry`: the next one starts while the commands of this one still end.
    """

    seconds: float
    end: End
    full: tuple[float, float] | None = None
    pause: tuple[float, float] | None = None
    client: float | None = None
    hurry: bool = False


class Round(Struct, frozen=True):
    """Lives one after another; then everything has to come to rest, and is held to account.

    `full`: the disk fills up for so long once more before that, and nobody dies of it. `retire`: the sessions are deleted at the end.
    """

    lives: tuple[Life, ...]
    full: float | None
    retire: bool


def rounds(seed: int, lives: int | None = None) -> Iterator[Round]:
    """Without end. `lives`: so many in each round."""
    random = Random(f"torture {seed}")
    number = 0
    while True:
        number += 1
        count = random.choice((1, 2, 3, 4, 6)) if lives is None else lives
        lived = tuple(_life(random) for _ in range(count))
        yield Round(lived, random.choice((None, random.uniform(0.1, 1.0))), retire=number % 4 == 0)


def _life(random: Random) -> Life:
    end = random.choices(("kill", "kill starting", "kill stopped", "terminate"), (70, 10, 8, 12))[0]
    seconds = random.uniform(0.0, 0.5) if end == "kill starting" else min(random.expovariate(1.0), 3.0)
    return Life(
        seconds=seconds,
        end=end,  # type: ignore[arg-type]  # of those above
        full=_while(random, seconds, 0.8) if random.random() < 0.25 else None,
        pause=_while(random, seconds, 0.6) if random.random() < 0.1 else None,
        client=random.uniform(0, seconds) if random.random() < 0.3 else None,
        hurry=random.random() < 0.5,
    )


def _while(random: Random, seconds: float, longest: float) -> tuple[float, float]:
    return random.uniform(0, seconds), random.uniform(0.05, longest)
