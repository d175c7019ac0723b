"""The command of the exploration: `python -m quell.testing.explore`. See `quell.testing.exploration`.

    make explore                                        the worlds that every check explores
    make explore ARGS="--large --minutes 30"            larger ones, as far as they get in that time
    make explore ARGS="submits=3 cancels=2 calls=2"     one of your own

Exits with 1 when something does not hold, and tells the shortest story that led there.
"""

from __future__ import annotations

import argparse
import sys
import time

from quell.testing.exploration import Budget, Violation, searches
from quell.testing.exploration.nodes import TWO_NODES, explore_nodes
from quell.testing.exploration.search import Found
from quell.testing.exploration.table import LARGE, SMALL, WORLDS
from quell.testing.exploration.worlds import KINDS


def main() -> int:
    parser = argparse.ArgumentParser(prog="explore", description="Explores the session machine in every order.")
    parser.add_argument("budget", nargs="*", metavar="KIND=N", help=f"a world of your own: {', '.join(KINDS)}, crowded")
    parser.add_argument("--small", action="store_true", help="the worlds that mutants are tried in")
    parser.add_argument("--large", action="store_true", help="the worlds that are too large for every check")
    parser.add_argument("--minutes", type=float, metavar="N", help="stop each world after so many minutes of processor")
    given = parser.parse_args()
    worlds = LARGE if given.large else SMALL if given.small else WORLDS
    if given.budget:
        worlds = {" ".join(given.budget): _own(given.budget)}
    seconds = None if given.minutes is None else given.minutes * 60
    _say(f"{'world, and what it adds to those of its kind before it':52} {'states':>9} {'moves':>10} {'seconds':>8}")
    kinds = searches(worlds.values())
    before = dict.fromkeys(kinds, (0, 0))
    try:
        for name, size in worlds.items():
            found = kinds[size.kind].run(size, limit=100_000_000, seconds=seconds, progress=Progress())
            states, moves = before[size.kind]
            remark = "" if found.complete else "  (stopped: not complete)"
            _row(name, found.states - states, found.moves - moves, found.seconds, remark)
            before[size.kind] = found.states, found.moves
        if not given.budget:
            for name, nodes in TWO_NODES.items():
                states, moves, spent = explore_nodes(nodes)
                _row(name, states, moves, spent)
    except Violation as violation:
        _say(f"VIOLATION {violation}")
        return 1
    return 0


def _own(words: list[str]) -> Budget:
    return Budget(**{kind: int(count) for kind, _, count in (word.partition("=") for word in words)})  # type: ignore[arg-type]  # counts


class Progress:
    """Says how far it is, every ten seconds."""

    def __init__(self) -> None:
        self.said = time.monotonic()

    def __call__(self, found: Found) -> None:
        if time.monotonic() - self.said > 10:
            self.said = time.monotonic()
            sys.stderr.write(f"  … {found.states} states, {found.moves} moves, {found.seconds:.0f} s\n")


def _row(name: str, states: int, moves: int, seconds: float, remark: str = "") -> None:
    _say(f"{name:52} {states:9} {moves:10} {seconds:8.1f}{remark}")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
