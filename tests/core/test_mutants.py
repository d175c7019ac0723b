"""Whether the exploration notices when the machine is wrong: a sample of mutants. `make mutants` tries all of them."""

from __future__ import annotations

import random

import pytest

from quell.testing.exploration import explore
from quell.testing.exploration.table import SMALL
from quell.testing.mutation.changes import mutants, pairs, planted
from quell.testing.mutation.equivalent import EQUIVALENT
from quell.testing.mutation.trial import Trial

SAMPLE = 16


@pytest.mark.processor(300)
def test_a_sample_of_mutants_and_of_pairs_is_caught() -> None:
    """Together, because a trial is a third of the work."""
    trial = Trial()
    suspects = [mutant for mutant in mutants() if mutant.name not in EQUIVALENT]
    chosen = random.Random(1).sample(suspects, SAMPLE)
    assert [mutant.name for mutant in chosen if trial.catches([mutant]) is None] == []
    assert [names for names in pairs(suspects, SAMPLE // 2, seed=1) if trial.catches(names) is None] == []


def test_what_is_called_equivalent_is_a_mutant() -> None:
    names = [mutant.name for mutant in mutants()]
    assert len(names) == len(set(names))
    assert [name for name in EQUIVALENT if name not in names] == []


def test_a_mutant_is_gone_when_it_was_tried() -> None:
    mutant = next(mutant for mutant in mutants() if mutant.name.startswith("decide_run.replied: leave out: _go_on"))
    with planted(mutant), pytest.raises(AssertionError):
        explore(SMALL["a call"])
    assert explore(SMALL["a call"]).complete
