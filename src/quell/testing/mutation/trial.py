"""Tries mutants: the small worlds are explored with the changed machine, until something does not hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack

from quell.testing.exploration import Budget, Search, searches
from quell.testing.exploration.forks import check_fork, prefixes
from quell.testing.exploration.nodes import ONE_TAKEOVER, Nodes, explore_nodes
from quell.testing.exploration.table import SMALL
from quell.testing.mutation.changes import Mutant, planted

FORKED = (
    Budget(submits=2, cancels=1, calls=1, deletions=1, origin="user", titled=True),
    Budget(submits=1, calls=1, reverts=1, changing=True),
)
"""The worlds of whose journals every prefix is forked."""


class Trial:
    """The small worlds, and how large they are with the machine as it is: a mutant in which they are far larger goes on for ever."""

    def __init__(self, worlds: Mapping[str, Budget] = SMALL, nodes: Mapping[str, Nodes] = ONE_TAKEOVER) -> None:
        kinds = searches(worlds.values())
        self._worlds = {name: (size, kinds[size.kind].run(size).states) for name, size in worlds.items()}
        self._nodes = {name: (size, explore_nodes(size)[0]) for name, size in nodes.items()}

    def catches(self, mutants: Iterable[Mutant]) -> str | None:
        """The world in which these changes, made together, are caught; None: in none."""
        with ExitStack() as stack:
            for mutant in mutants:
                stack.enter_context(planted(mutant))
            kinds: dict[Budget, Search] = {}
            for name, (size, states) in self._worlds.items():
                try:
                    kinds = kinds or searches(size for size, _ in self._worlds.values())
                    kinds[size.kind].run(size, limit=5 * states + 100)
                except Exception:  # noqa: BLE001  # however it breaks, it was noticed
                    return name
            for name, (nodes, states) in self._nodes.items():
                try:
                    explore_nodes(nodes, limit=5 * states + 100)
                except Exception:  # noqa: BLE001  # however it breaks, it was noticed
                    return name
            try:
                for size in FORKED:
                    for records in prefixes(size):
                        check_fork(records)
            except Exception:  # noqa: BLE001  # however it breaks, it was noticed
                return "forks"
        return None
