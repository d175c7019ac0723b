"""E5: the doorbells between processes, ours and the fake; and what only a bell on disk has."""

import asyncio
import os
import sys
from asyncio import create_subprocess_exec
from asyncio.subprocess import PIPE
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from quell.core.ports import Doorbell
from quell.store.doorbell import PipeDoorbell
from quell.store.postgres.doorbell import NotifyDoorbell
from quell.testing.doorbells import BELLS, BellCheck, Wire
from tests.store.postgres import Place

Fixture = pytest.FixtureRequest


def pipes(request: Fixture) -> Callable[[], Doorbell]:
    database = request.getfixturevalue("tmp_path") / "journal.db"
    return lambda: PipeDoorbell(database)


def notices(request: Fixture) -> Callable[[], Doorbell]:
    place = Place(request.getfixturevalue("postgresql"))
    return lambda: NotifyDoorbell(place.address, place.options, asyncio.get_running_loop())


KINDS: dict[str, Callable[[Fixture], Callable[[], Doorbell]]] = {
    "wire": lambda request: Wire().bell,
    "pipes": pipes,
    "postgres": notices,
}


@pytest.fixture
def hung() -> Iterator[list[Doorbell]]:
    bells: list[Doorbell] = []
    yield bells
    for bell in bells:
        bell.close()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("check", BELLS, ids=lambda check: getattr(check, "__name__", ""))
async def test_e5_a_doorbell_is_heard(check: BellCheck, kind: str, request: Fixture, hung: list[Doorbell]) -> None:
    make = KINDS[kind](request)

    def hang_up() -> Doorbell:
        hung.append(make())
        return hung[-1]

    await check(hang_up)


RING_AND_DIE = """
import asyncio, os, sys
from pathlib import Path
from quell.store.doorbell import PipeDoorbell

async def main():
    bell = PipeDoorbell(Path(sys.argv[1]))
    bell.ring("from another process")
    print("rung", flush=True)
    os.kill(os.getpid(), 9)

asyncio.run(main())
"""


async def test_e5_another_process_is_heard_and_its_bell_goes_with_it(tmp_path: Path, hung: list[Doorbell]) -> None:
    database = tmp_path / "journal.db"
    bell = PipeDoorbell(database)
    hung.append(bell)
    process = await create_subprocess_exec(sys.executable, "-c", RING_AND_DIE, str(database), stdout=PIPE)
    heard: set[str] = set()
    while "from another process" not in heard:
        heard |= set(await bell.rung())
    await process.communicate()
    bell.ring("")
    assert len(os.listdir(tmp_path / "journal.db.bells")) == 1


async def test_a_place_without_pipes_is_silent(tmp_path: Path, hung: list[Doorbell]) -> None:
    (tmp_path / "journal.db.bells").write_text("in the way")
    bell = PipeDoorbell(tmp_path / "journal.db")
    hung.append(bell)
    bell.ring("s1")
    bell.close()
