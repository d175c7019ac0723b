"""A2, K1: what was acknowledged is there after kill -9, in order; what was not is there whole or not at all."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from quell.core.evolve import fold
from quell.core.session import summary
from quell.store.sqlite import SqliteJournal
from tests.store import appender

KILLS = 20


def acknowledged_until_killed(path: Path, lines: int) -> dict[str, int]:
    """Let a process append, and kill it when it has acknowledged so many; all that it had acknowledged by then."""
    command = [sys.executable, appender.__file__, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        heard = [process.stdout.readline() for _ in range(lines)]
        process.kill()
        rest, errors = process.communicate()
    assert errors == b""
    acknowledged: dict[str, int] = {}
    for line in [*heard, *rest.splitlines(keepends=True)]:
        if line.endswith(b"\n"):
            id, seq = line.decode().split()
            acknowledged[id] = int(seq)
    return acknowledged


@pytest.mark.timeout(120)
async def test_what_was_acknowledged_survives_kill_9_at_any_moment(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    moments = random.Random(20)
    acknowledged: dict[str, int] = {}
    for _ in range(KILLS):
        acknowledged |= acknowledged_until_killed(path, moments.randint(1, 150))
        journal = SqliteJournal.open(path)
        busy: list[str] = []
        for id, seq in acknowledged.items():
            facts = await journal.read(id)
            session = fold(facts)
            assert [recorded.seq for recorded in facts] == list(range(1, len(facts) + 1))
            assert len(facts) >= seq
            assert await journal.summary(id) == summary(session)
            draft = await journal.draft(id)
            assert draft is None or (session.run is not None and draft.message == session.run.message)
            if session.busy:
                busy.append(id)
        assert set(busy) <= set(await journal.busy())
        await journal.close()
    assert len(acknowledged) == appender.SESSIONS
