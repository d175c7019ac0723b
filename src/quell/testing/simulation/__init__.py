"""A seeded simulation of the engine on its journal: virtual time, a shuffled scheduler, faults, and an audit of what came of it.

`loop` is the time and the order, `plan` what will happen, `disk` and `world` the engine's ports, `node` a process that may be
killed, `nodes` those that there are, `clients` those who use it and remember what they were told, `screen` a front end that follows, `run` puts them together. What must hold is `quell.testing.audit`.
"""

from quell.testing.simulation.plan import Plan, draw
from quell.testing.simulation.run import Report, shrink, simulate

__all__ = ["Plan", "Report", "draw", "shrink", "simulate"]
