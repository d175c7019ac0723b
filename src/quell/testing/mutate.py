"""The command of the mutants: `python -m quell.testing.mutate`. See `quell.testing.mutation`.

    make mutants                            every mutant of the machine, singly
    make mutants ARGS="--pairs 500"         a seeded sample of pairs, of those that are caught singly
    make mutants ARGS="--sample 50"         a sample of the single ones
    make mutants ARGS="decide_run.answer"   those with this in their names

Prints what survived, and how many were caught where. Exits with 1 when one survived that nobody has explained.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence

from quell.testing.mutation.changes import Mutant, mutants, pairs
from quell.testing.mutation.equivalent import EQUIVALENT
from quell.testing.mutation.trial import Trial


def main() -> int:
    parser = argparse.ArgumentParser(prog="mutants", description="Tries the proof on machines that are wrong.")
    parser.add_argument("words", nargs="*", metavar="NAME", help="only mutants with one of these in their names")
    parser.add_argument("--sample", type=int, metavar="N", help="only so many, chosen by the seed")
    parser.add_argument(
        "--pairs", type=int, metavar="N", help="so many pairs, chosen by the seed, instead of single ones"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the sample and of the pairs (0)")
    given = parser.parse_args()
    wanted = [m for m in mutants() if not given.words or any(word in m.name for word in given.words)]
    chosen: list[Sequence[Mutant]] = [(mutant,) for mutant in wanted]
    if given.pairs is not None:
        chosen = list(pairs([m for m in wanted if m.name not in EQUIVALENT], given.pairs, given.seed))
    elif given.sample is not None:
        chosen = random.Random(given.seed).sample(chosen, min(given.sample, len(chosen)))
    return report(chosen)


def report(chosen: Sequence[Sequence[Mutant]]) -> int:
    """Try these, one after the other."""
    began, trial = time.process_time(), Trial()
    caught: Counter[str] = Counter()
    equivalent, survived, wrong = 0, 0, 0
    for number, changes in enumerate(chosen, 1):
        world = trial.catches(changes)
        explained = all(mutant.name in EQUIVALENT for mutant in changes)
        if world is not None:
            caught[world] += 1
            wrong += explained
            if explained:
                _say(f"NOT EQUIVALENT  {changes[0].name}: caught in {world}")
        elif explained:
            equivalent += 1
        else:
            survived += 1
            _say("SURVIVED  " + "  AND  ".join(mutant.name for mutant in changes))
        if number % 100 == 0:
            sys.stderr.write(f"  … {number} of {len(chosen)}, {time.process_time() - began:.0f} s\n")
    for world, count in caught.most_common():
        _say(f"{count:6} caught in {world}")
    _say(
        f"{len(chosen)} tried: {caught.total()} caught, {equivalent} equivalent, {survived} survived; "
        f"{time.process_time() - began:.0f} s of processor time"
    )
    return 1 if survived or wrong else 0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
