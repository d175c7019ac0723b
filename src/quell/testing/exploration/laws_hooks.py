"""The law of what hooks say: recorded as it was, before what follows from it."""

from __future__ import annotations

from quell.core import facts as f
from quell.core import inputs as i
from quell.core.session import Calling
from quell.testing.exploration.worlds import Taken


def of_hooks(
    taken: Taken, input: i.CallAllowed | i.CallNeedsAnswer | i.CallAsks | i.CallReturned
) -> tuple[f.Recorded, ...]:
    """What is recorded beside what hooks said."""
    said, records = input.hooked, taken.records
    if said is None:
        assert not any(isinstance(r.fact, f.HooksAnswered) for r in records), "hooks that nobody asked"
        return records
    first = records[0].fact
    assert isinstance(first, f.HooksAnswered), "what hooks said is not recorded"
    found = (first.run, first.call, first.event, first.hooks, first.input, first.context)
    assert found == (input.run, input.call, said.event, said.hooks, said.input, said.context), "C7: as it was"
    phase = taken.after.session.run.phase if taken.after.session.run is not None else None
    for call in phase.calls if isinstance(phase, Calling) and said.event == "PreToolUse" else ():
        if call.id == input.call:
            assert (call.input, call.context) == (said.input, said.context), "the call runs with what hooks made of it"
    return records[1:]
