"""What came of a torture, in figures; and the story of what went wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

from quell.core.facts import Recorded
from quell.testing.simulation.story import tell
from quell.testing.torture.inquest import Found
from quell.testing.torture.plan import KILLS

AROUND = 60
"""Lines of a story that are told: the last ones."""


class Report:
    """`ends`: how lives of the daemon ended, and what else was done to it. `jobs`: how often one was seen to run on."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.ends: Counter[str] = Counter()
        self.clients = 0
        self.children: set[str] = set()
        self.rounds = 0
        self.views = 0
        self.answers = 0
        self.recoveries: list[float] = []
        self.takeovers: list[float] = []
        self.jobs = 0
        self._current: dict[str, Found] = {}

    @property
    def kills(self) -> int:
        return sum(times for end, times in self.ends.items() if end in KILLS)

    def saw(self, session: str, found: Found) -> None:
        """What a session has come to; the last word counts."""
        self._current[session] = found

    def lines(self, seconds: float) -> list[str]:
        prompts, facts, reverts = Counter[str](), 0, 0
        for found in self._current.values():
            prompts += found.prompts
            facts += found.facts
            reverts += found.reverts
        ends = ", ".join(f"{times} {end}" for end, times in self.ends.most_common())
        outcomes = ", ".join(f"{times} {outcome}" for outcome, times in prompts.most_common())
        recovered, took = max(self.recoveries, default=0.0), max(self.takeovers, default=0.0)
        return [
            f"{self.kills} kills of the daemon survived ({ends}), {self.clients} clients killed, in {self.rounds} rounds",
            f"{prompts.total()} prompts audited ({outcomes}) in {len(self._current)} sessions, {facts} facts",
            f"{len(self.takeovers)} takeovers by a second server, the slowest {took:.1f} s; {self.jobs} jobs seen to run on",
            f"{len(self.children)} sub-agents audited, {reverts} times gone back",
            f"{self.answers} answers and {self.views} followers' views held against the journals",
            f"{seconds / 60:.1f} minutes, the slowest start {recovered:.1f} s; seed {self.seed}",
        ]


def story(session: str, records: Sequence[Recorded], told: Sequence[tuple[float, str]]) -> list[str]:
    """The journal of a session and what its clients were told, in order of time."""
    lines = [(datetime.fromisoformat(recorded.at).timestamp(), tell(session, recorded)) for recorded in records]
    return [f"{_clock(at)}  {line}" for at, line in sorted([*lines, *told], key=lambda line: line[0])[-AROUND:]]


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S.%f")[:-3]
