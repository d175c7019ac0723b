"""What is done to the daemon, drawn from a seed: rounds of lives, each of which ends somehow, and what happens to disk and clients meanwhile.

A seed reproduces the plan, and not the outcome: when things happen is real time, and what happens then is up to the machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Literal, get_args

from msgspec import Struct
from msgspec.structs import replace

End = Literal["kill", "kill starting", "kill stopped", "terminate"]
"""kill: SIGKILL at a moment · starting: before it answers · stopped: in its sleep (SIGSTOP) · terminate: SIGTERM, and SIGKILL if it dawdles."""

Fate = Literal["owner killed", "owner leaves", "owner paused", "guest killed", "guest paused", "both live"]
"""owner paused: it is stopped until the guest has claimed what it owned, and wakes later."""

KILLS: frozenset[End] = frozenset({"kill", "kill starting", "kill stopped"})


class Beside(Struct, frozen=True):
    """A server on standby beside the one that owns: `after` so many seconds its `fate` comes, and both go on for as long as it `stays`.

    `sleeps`: how long the paused one is stopped, an owner from the takeover on. `full`: as in a life, from the guest's first answer on.
    """

    fate: Fate
    after: float
    sleeps: float
    stays: float
    full: tuple[float, float] | None = None


class Life(Struct, frozen=True):
    """One process of the server: `seconds` from its first answer (or its start) to its `end`.

    `full`: when the disk fills up, and for how long. `pause`: when it is stopped for a while, and for how long. `client`: when a client
    is killed. `hurry`: the next one starts while the commands of this one still end. `beside`: what happens with a second server after
    the `seconds`; a guest that is there at the end dies so long after the owner as it is `outlived`.
    """

    seconds: float
    end: End
    full: tuple[float, float] | None = None
    pause: tuple[float, float] | None = None
    client: float | None = None
    hurry: bool = False
    beside: Beside | None = None
    outlived: float = 0.0


class Round(Struct, frozen=True):
    """Lives one after another; then everything has to come to rest, and is held to account.

    `full`: the disk fills up for so long once more before that, and nobody dies of it. `retire`: the sessions are deleted at the end.
    `two`: a second server is there meanwhile.
    """

    lives: tuple[Life, ...]
    full: float | None
    retire: bool
    two: bool


def rounds(seed: int, lives: int | None = None, *, beside: bool = True) -> Iterator[Round]:
    """Without end. `lives`: so many in each round. `beside`: with a second server at times."""
    random, of_two = Random(f"torture {seed}"), Random(f"two servers {seed}")
    number = 0
    while True:
        number += 1
        count = random.choice((1, 2, 3, 4, 6)) if lives is None else lives
        lived = tuple(_beside(_life(random), of_two) if beside else _life(random) for _ in range(count))
        full = random.choice((None, random.uniform(0.1, 1.0)))
        yield Round(lived, full, retire=number % 4 == 0, two=beside and of_two.random() < 0.5)


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


def _beside(life: Life, random: Random) -> Life:
    fate = random.choices(get_args(Fate), (30, 6, 30, 8, 8, 8))[0]
    after, sleeps, stays = (min(random.expovariate(2.0), 2.0) for _ in range(3))
    full = _while(random, after, 0.8) if random.random() < 0.25 else None
    if random.random() < 0.5:
        return replace(life, outlived=random.choice((0.0, random.uniform(0.0, 0.4))))
    return replace(life, beside=Beside(fate, after, sleeps, stays, full), outlived=random.uniform(0.0, 0.4))


def _while(random: Random, seconds: float, longest: float) -> tuple[float, float]:
    return random.uniform(0, seconds), random.uniform(0.05, longest)
