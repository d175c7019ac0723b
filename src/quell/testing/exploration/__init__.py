"""Explores the session machine exhaustively: every order in which users, effects and crashes can reach it, at a stated size.

A world has a budget of what users and crashes may still do. From each state, every such move and every outcome of everything that is
due is tried. Nothing is simulated: `decide`, `evolve` and `due` are the real ones.

`worlds` is what a world is, `moves` what can happen in it, `ledger` what is written down of it outside the machine, `laws` what must hold
of each move, `probes` what must decide nothing in any state, `reduce` when two states are the same, `search` puts them together.
"""

from quell.testing.exploration.search import Found, Search, explore, phase, searches
from quell.testing.exploration.worlds import NOW, Budget, Taken, Violation, World, start

__all__ = ["NOW", "Budget", "Found", "Search", "Taken", "Violation", "World", "explore", "phase", "searches", "start"]
