"""Writes docs/reference/machine.md: what the session machine decides, found by exploring it rather than by reading it.

`--check` compares instead, and exits 1 when the file is not what the machine does.
"""

import sys
from collections import defaultdict
from pathlib import Path

from quell.core import inputs as i
from quell.core.messages import Reply
from quell.core.session import due
from quell.testing.exploration import Budget, Taken, explore, phase

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "machine.md"

WORLDS = (
    Budget(submits=2, cancels=1, calls=1, failures=1),
    Budget(submits=2, calls=1, restarts=1),
    Budget(submits=3, cancels=1, edits=1),
    Budget(submits=2, calls=1, failures=1, compactions=1, crowded=True),
    Budget(submits=1, cancels=1, calls=1, restarts=1, deletions=1),
    Budget(submits=2, reverts=2, restarts=1),
    Budget(submits=1, reverts=1, calls=1, changing=True, deletions=1),
)

STATES = {
    "idle": "no run, nothing waits",
    "parked": "no run; what waits stays until a user resumes it",
    "sampling": "the model is asked",
    "backing off": "the model is asked again at a stated time",
    "calling": "calls of the reply are checked or executed",
    "awaiting": "a person has to answer before anything goes on",
    "compacting": "the conversation is summarised",
    "ending": "the run starts nothing more and waits until what it started has stopped",
    "stopped": "no run, and something waits that the next start of the process goes on with",
    "reverting": "files are restored, then the conversation goes back",
    "deleting": "the session is to be forgotten",
}

HEADER = """# The session machine

Made by `make machine` from the machine itself: every order in which small worlds can unfold is explored, and what was decided is
written down. A test fails when this page and the machine disagree. The words are those of the run contract; facts are explained in
`src/quell/core/facts.py`, inputs in `inputs.py`, effects in `session.py`.
"""


def main() -> int:
    """Write the page, or check it."""
    page = render()
    if "--check" in sys.argv[1:]:
        if PAGE.read_text(encoding="utf-8") == page:
            return 0
        print(f"{PAGE} is not what the machine does: run `make machine`", file=sys.stderr)
        return 1
    PAGE.write_text(page, encoding="utf-8")
    return 0


def render() -> str:
    """The page as it should be."""
    decided: dict[str, dict[str, set[tuple[str, ...]]]] = defaultdict(lambda: defaultdict(set))
    effects: dict[str, set[str]] = defaultdict(set)

    def watch(taken: Taken) -> None:
        before = phase(taken.before.session)
        effects[before].add(
            " + ".join(sorted(type(effect).__name__ for effect in due(taken.before.session))) or "nothing"
        )
        facts = tuple(type(recorded.fact).__name__ for recorded in taken.records)
        decided[name(taken.input)][before].add((f"*refused: {taken.refused}*",) if taken.refused else facts)

    for budget in WORLDS:
        explore(budget, watch)
    return "\n".join([HEADER, *_states(effects), *_inputs(decided)]) + "\n"


def name(input: i.Input) -> str:
    """An input as the table names it: its kind, and what decides between its rows."""
    kind = type(input).__name__
    match input:
        case i.Submit(delivery=delivery):
            return f"{kind} ({delivery})"
        case i.Cancel(prompt=str()):
            return f"{kind} (one prompt)"
        case i.Cancel(run=str()):
            return f"{kind} (another run)"
        case i.Cancel(scope=scope):
            return f"{kind} ({scope})"
        case i.SampleReplied(reply=Reply(stop_reason="tool_use")):
            return f"{kind} (calls)"
        case i.SampleFailed(retry_at=str()):
            return f"{kind} (to be repeated)"
        case i.SampleFailed(failure=failure):
            return f"{kind} ({failure})"
        case i.Answer(option=option, note=note):
            return f"{kind} ({option}{', with a note' if note else ''})"
        case i.Revert(to=None):
            return f"{kind} (undo)"
        case i.Kept(after=after):
            return f"{kind} ({'after' if after else 'before'} a run)"
        case i.Restarted(stopping=True):
            return f"{kind} (stopping)"
        case _:
            return kind


def _states(effects: dict[str, set[str]]) -> list[str]:
    rows = [f"| {state} | {meaning} | {'; or '.join(sorted(effects[state]))} |" for state, meaning in STATES.items()]
    return ["## States, and the effects due in them", "", "| state | meaning | due |", "| --- | --- | --- |", *rows, ""]


def _inputs(decided: dict[str, dict[str, set[tuple[str, ...]]]]) -> list[str]:
    lines = [
        "## Inputs × states → facts",
        "",
        "Where several lines stand in a cell, it depends on the rest of the state: what waits, other calls, the draft.",
        "A state that is not listed for an input was not reached with it, or the input decides nothing there.",
        "",
        "| input | state | facts |",
        "| --- | --- | --- |",
    ]
    for input in sorted(decided):
        for state in STATES:
            found = decided[input].get(state, set()) - {()}
            if found:
                cell = "<br>".join(", ".join(facts) for facts in sorted(found))
                lines.append(f"| {input} | {state} | {cell} |")
    return lines


if __name__ == "__main__":
    sys.exit(main())
