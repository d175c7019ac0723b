"""The worlds that are explored: what each contains. A row is a world, searched to its end."""

from __future__ import annotations

from decimal import Decimal

from quell.core.facts import Limits
from quell.testing.exploration.worlds import Budget

SMALL: dict[str, Budget] = {
    "a call": Budget(submits=1, calls=1, cancels=1),
    "a failure": Budget(submits=1, failures=1, compactions=1),
    "a steer": Budget(submits=2, cancels=1),
    "an edit": Budget(submits=2, edits=1),
    "settings": Budget(submits=1, changes=1, loops=1),
    "a restart": Budget(submits=2, restarts=1, calls=1),
    "a compaction": Budget(submits=2, compactions=1, cancels=1),
    "a full window": Budget(submits=2, calls=1, failures=1, crowded=True),
    "a full window and a restart": Budget(submits=2, restarts=1, crowded=True),
    "a deletion": Budget(submits=2, deletions=1, calls=1, compactions=1),
    "a limit of turns": Budget(submits=1, calls=2, limits=Limits(turns=2)),
    "limits of cost and time": Budget(submits=1, calls=2, cancels=1, limits=Limits(cost=Decimal(2), seconds=1.0)),
    "three restarts": Budget(submits=2, restarts=3),
    "a compaction and two restarts": Budget(submits=1, compactions=1, restarts=2),
    "a parked queue and a restart": Budget(submits=3, cancels=1, restarts=1),
    "a parked queue and a failure": Budget(submits=3, cancels=1, failures=1),
    "a sub-agent": Budget(submits=2, calls=1, restarts=1, origin="parent", titled=True),
    "a title": Budget(submits=2, changes=1, restarts=2, deletions=1, origin="user", titled=True),
    "a full window and a compaction": Budget(submits=1, cancels=1, compactions=2, crowded=True),
    "edits and a cancel": Budget(submits=3, edits=2, cancels=1),
    "an edit, a cancel, a compaction": Budget(submits=2, edits=1, cancels=1, compactions=1),
    "two cancels": Budget(submits=3, cancels=2, origin="user"),
    "two failures": Budget(submits=2, failures=2, cancels=1, calls=1),
    "a request that was withdrawn": Budget(submits=2, calls=2, cancels=1),
    "a checkpoint and a restart": Budget(submits=1, calls=1, restarts=1, cancels=1, changing=True),
    "a checkpoint, and the next run": Budget(submits=2, calls=2, changing=True, deletions=1),
    "reverts": Budget(submits=2, reverts=2, crowded=True),
    "a revert and a restart": Budget(submits=2, reverts=1, restarts=1, cancels=1),
    "a revert and a deletion": Budget(submits=2, reverts=1, deletions=1),
    "two calls and a restart": Budget(submits=1, calls=2, restarts=1, cancels=1),
    "hooks": Budget(submits=2, calls=2, cancels=1, hooks=True),
    "hooks and a restart": Budget(submits=1, calls=1, restarts=1, cancels=1, hooks=True),
}
"""What every kind of input needs at least, smallest first: where mutants are caught quickly."""

WORLDS: dict[str, Budget] = {
    "three prompts, two cancels, two calls": Budget(submits=3, cancels=2, calls=2),
    "three prompts, a cancel, a call, a restart": Budget(submits=3, cancels=1, calls=1, restarts=1),
    "three prompts, a cancel, a failure, a compaction": Budget(submits=3, cancels=1, failures=1, compactions=1),
    "three prompts, a cancel, a failure, a restart": Budget(submits=3, cancels=1, failures=1, restarts=1),
    "three prompts, a cancel, two restarts": Budget(submits=3, cancels=1, restarts=2),
    "a sub-agent, a cancel, two restarts": Budget(submits=2, calls=1, cancels=1, restarts=2, origin="parent"),
    "one of each": Budget(submits=2, cancels=1, calls=1, failures=1, compactions=1, restarts=1),
    "four prompts, two edits, a cancel": Budget(submits=4, edits=2, cancels=1),
    "three prompts, two edits, a cancel, a restart": Budget(submits=3, edits=2, cancels=1, restarts=1),
    "a full window, a cancel, a call, a restart": Budget(submits=2, cancels=1, calls=1, restarts=1, crowded=True),
    "a deletion of all that": Budget(submits=2, deletions=1, calls=1, failures=1, compactions=1, restarts=1),
    "limits, two calls, a cancel": Budget(
        submits=2, calls=2, cancels=1, limits=Limits(turns=2, cost=Decimal(3), seconds=1.0)
    ),
    "a checkpoint, a revert, a cancel, a restart": Budget(
        submits=2, reverts=1, restarts=1, cancels=1, calls=1, changing=True
    ),
    "settings, loops, a cancel": Budget(submits=2, calls=1, changes=1, loops=1, cancels=1),
}
"""What every check explores."""

LARGE: dict[str, Budget] = {
    "two of each": Budget(submits=3, cancels=2, calls=2, failures=1, compactions=1, restarts=1),
    "everything, with edits": Budget(submits=3, cancels=2, calls=1, failures=1, compactions=1, restarts=1, edits=1),
    "five prompts": Budget(submits=5, cancels=3, edits=2),
    "four restarts": Budget(submits=3, calls=2, cancels=1, restarts=4),
}
"""What a command explores, for as long as it is given."""
