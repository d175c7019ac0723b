"""The newest changes in this repository's own history, made once more by the tools: `replay` has the manners, and the long run of it."""

import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.tools.replay import Changed, from_git, hunks, replay, replay_all, report

REPOSITORY = Path(__file__).resolve().parents[2]
ENOUGH = 200
SOME = 40


@pytest.fixture(scope="module")
def changes() -> list[Changed]:
    if shutil.which("git") is None or not (REPOSITORY / ".git").exists():
        pytest.skip("this is not a git repository: there is no history to replay")
    try:
        found = from_git(REPOSITORY, ENOUGH)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"git does not tell the history: {error.stderr.decode(errors='replace').strip()}")
    if len(found) < ENOUGH:
        pytest.skip(f"the clone is shallow: its history has {len(found)} changes of files, and {ENOUGH} are wanted")
    return found


async def test_real_changes_come_out_to_the_byte(changes: list[Changed]) -> None:
    outcomes = await replay_all(changes, ["multiedit"])
    assert Counter(outcome.how for outcome in outcomes) == {"exact": ENOUGH}, report(outcomes)


@pytest.mark.parametrize(("manner", "how"), [("edit", "exact"), ("write", "exact"), ("numbered", "fallback")])
async def test_real_changes_in_other_manners(changes: list[Changed], manner: str, how: str) -> None:
    outcomes = await replay_all(changes[:SOME], [manner])
    assert Counter(outcome.how for outcome in outcomes) == {how: SOME}, report(outcomes)


async def test_real_changes_with_damaged_white_space(changes: list[Changed]) -> None:
    """Where a change is one of white space, what the model means cannot be known any more: that may be one in fifty."""
    outcomes = await replay_all(changes, ["damaged"])
    counts = Counter(outcome.how for outcome in outcomes)
    assert counts["exact"] + counts["fallback"] >= 0.98 * ENOUGH, report(outcomes)
    assert counts["fallback"] > ENOUGH // 4, report(outcomes)


async def test_a_replay_sees_what_comes_out_wrong(tmp_path: Path) -> None:
    """What judges the tools is judged itself."""
    change = Changed("a", b"a  b\nc\n", b"a b\nc\n")
    assert (await replay(change, "multiedit", tmp_path)).how == "exact"
    assert (await replay(change, "damaged", tmp_path)).how == "exact"
    lost = Changed("a", b"if x:\n  a  \n  b\n", b"if x:\n  a\n  b\n")  # the damage takes away what the change is about
    assert (await replay(lost, "damaged", tmp_path)).how == "refused"
    assert [hunk.old for hunk in hunks("x\ny\nx\n", "x\ny\nz\n", 0)] == ["y\nx\n"]
