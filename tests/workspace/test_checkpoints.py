"""Checkpoints on a real disk: what they keep, what they put back, and what they never do."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import stat
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quell.core.checkpoints import CheckpointRefused, Checkpoints, Plan
from quell.core.session import Checkpoint
from quell.testing.checkpoints import CHECKS, CheckpointCheck, Files, Ground, PlayedCheckpoints
from quell.workspace import snapshot
from quell.workspace.blobs import open_blobs
from quell.workspace.checkpoints import LocalCheckpoints
from quell.workspace.restore import restore
from quell.workspace.walk import Stop
from tests.workspace.kept import Place, S, remove


class OnDisk:
    def __init__(self, folder: Path) -> None:
        (folder / "root").mkdir()
        self.root = str(folder.resolve() / "root")
        self.checkpoints: Checkpoints = LocalCheckpoints(str(folder / "kept"))

    def write(self, path: str, text: str | None) -> None:
        where = Path(self.root, path)
        if text is None:
            where.unlink()
        else:
            where.write_text(text, encoding="utf-8")

    def read(self) -> Files:
        return {path.name: path.read_text("utf-8") for path in Path(self.root).iterdir()}


class InMind:
    root = "/root"

    def __init__(self) -> None:
        self._disk = PlayedCheckpoints()
        self.checkpoints: Checkpoints = self._disk

    def write(self, path: str, text: str | None) -> None:
        self._disk.files.pop(f"/root/{path}", None)
        if text is not None:
            self._disk.files[f"/root/{path}"] = text

    def read(self) -> Files:
        return {path.removeprefix("/root/"): text for path, text in self._disk.files.items()}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("kind", ["disk", "mind"])
async def test_checkpoints_keep_their_contract(
    kind: Literal["disk", "mind"], check: CheckpointCheck, tmp_path: Path
) -> None:
    ground: Ground = OnDisk(tmp_path) if kind == "disk" else InMind()
    await check(ground)


# On a real disk


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


NAMES = st.sampled_from(["a", "b", "d/a", "d/b", "d/e/a", "d/e/b", "f", "é\n", "link"])
WHATS = st.one_of(
    st.binary(max_size=6).map(lambda content: ("file", content)),
    st.sampled_from([("folder", b""), ("link", b"a"), ("link", b"d"), ("link", b"../elsewhere"), ("gone", b"")]),
    st.sampled_from([0o600, 0o644, 0o755]).map(lambda mode: ("mode", mode)),
)
CHANGES = st.lists(st.tuples(NAMES, WHATS), max_size=8)


def make(top: Path, changes: list[tuple[str, tuple[str, object]]]) -> None:
    """Do all of it, one over the other."""
    for name, (what, how) in changes:
        path = top / name
        if what == "mode":
            if path.is_file() and not path.is_symlink():
                path.chmod(int(str(how)))
            continue
        for above in reversed(path.relative_to(top).parents[:-1]):
            if not (top / above).is_dir() or (top / above).is_symlink():
                remove(top / above)
                (top / above).mkdir()
        remove(path)
        if what == "folder":
            path.mkdir()
        elif what == "link":
            path.symlink_to(bytes(how).decode())  # type: ignore[call-overload]  # it is bytes
        elif what == "file":
            path.write_bytes(bytes(how))  # type: ignore[call-overload]  # it is bytes


class Weary(Stop):
    """Stops what it is given to after it was looked at so often."""

    def __init__(self, looks: int) -> None:
        self._looks = looks
        super().__init__()

    @property
    def reason(self) -> Literal["time", "cancelled"] | None:
        self._looks -= 1
        return "cancelled" if self._looks < 0 else None

    @reason.setter
    def reason(self, value: object) -> None:
        pass


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=CHANGES, second=CHANGES, third=CHANGES, looks=st.integers(0, 30))
def test_whatever_runs_do_is_taken_back_and_comes_back_exactly(
    tmp_path_factory: pytest.TempPathFactory,
    first: list[tuple[str, tuple[str, object]]],
    second: list[tuple[str, tuple[str, object]]],
    third: list[tuple[str, tuple[str, object]]],
    looks: int,
) -> None:
    """Also when it was stopped on the way, and begins again."""

    async def story() -> None:
        folder = tmp_path_factory.mktemp("story")
        place = Place(folder)
        make(place.top, first)
        before = place.all()
        one = await place.run(lambda: make(place.top, second))
        two = await place.run(lambda: make(place.top, third))
        after = place.all()
        plan = await place.plan(one, two)
        assert plan.edited == ()
        if plan.target:
            stopped(folder / "kept", plan, looks)
            assert await place.restore(plan) == []
        assert place.all() == before
        await place.forth(plan)
        assert place.all() == after
        assert not list(place.top.rglob(".quell-*"))
        shutil.rmtree(folder)

    asyncio.run(story())


def stopped(kept: Path, plan: Plan, looks: int) -> None:
    (path,) = kept.glob("*.sqlite")
    with open_blobs(path, Stop()) as blobs:
        source, target = blobs.snapshot(S, plan.source), blobs.snapshot(S, plan.target)
        assert source is not None
        assert target is not None
        try:
            restore(blobs, source.single, target.single, Weary(looks))
        except CheckpointRefused:
            pass


async def test_a_file_that_was_changed_at_the_same_moment_is_read_again(place: Place) -> None:
    """Size and time are as before: only the change of the inode tells, or that it was too fresh."""
    file = place.write("a", "one")
    before = await place.checkpoints.keep(S, [str(place.top)])
    state = file.stat()
    file.write_bytes(b"two")
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    after = await place.checkpoints.keep(S, [str(place.top)])
    assert before != after


async def test_the_content_of_what_has_not_changed_is_there_once(place: Place) -> None:
    for n in range(20):
        place.write(f"d{n % 3}/{n}", os.urandom(2000))
    one = await place.checkpoints.keep(S, [str(place.top)])
    (path,) = (place.top.parent / "kept").glob("*.sqlite")
    size = path.stat().st_size
    assert await place.checkpoints.keep("another", [str(place.top)]) == one
    assert path.stat().st_size <= size + 8192


async def test_ignored_trees_are_not_kept_but_what_a_tool_names_is(place: Place) -> None:
    place.write(".gitignore", "out/\n*.log\n")
    place.write("out/made", "1")
    place.write("node_modules/x/index.js", "1")
    named, other = place.write("out/named", "1"), place.write("a.log", "1")

    def act() -> None:
        for path in (named, other, place.top / "node_modules/x/index.js"):
            path.write_bytes(b"2")
        place.write("out/new")

    run = await place.run(act, "out/named", "out/new")
    plan = await place.back(run)
    assert {change.path: change.change for change in plan.changes} == {"out/named": "modify", "out/new": "delete"}
    assert named.read_bytes() == b"1"
    assert other.read_bytes() == b"2"
    assert not (place.top / "out/new").exists()


async def test_files_that_are_seen_only_since_an_ignore_file_has_changed_are_not_taken_for_new(place: Place) -> None:
    """Nor are those that are not seen any more taken for gone."""
    ignore = place.write(".gitignore", "out/\n")
    place.write("out/mine", "mine")
    place.write("src/a", "1")

    def act() -> None:
        ignore.write_bytes(b"src/\n")
        place.write("src/a", "2")

    plan = await place.plan(await place.run(act))
    assert {change.path: change.edited for change in plan.changes} == {".gitignore": False, "src/a": True}
    await place.restore(plan)
    assert (place.top / "out/mine").read_bytes() == b"mine"
    assert (place.top / "src/a").read_bytes() == b"1"


async def test_a_tool_may_write_outside_of_the_workspace(place: Place) -> None:
    outside = place.top.parent / "outside.txt"
    outside.write_bytes(b"1")
    plan = await place.back(await place.run(lambda: outside.write_bytes(b"2"), "../outside.txt"))
    assert [change.path for change in plan.changes] == [str(outside)]
    assert outside.read_bytes() == b"1"


async def test_a_touched_file_is_known_to_all_runs_before(place: Place) -> None:
    place.write(".gitignore", "*.log\n")
    log = place.write("a.log", "1")
    one = await place.run(lambda: place.write("b"))
    two = await place.run(lambda: log.write_bytes(b"2"), "a.log")
    three = await place.run(lambda: log.write_bytes(b"3"))  # by a command
    await place.back(one, two, three)
    assert place.all() == {".gitignore": (b"*.log\n", 0o644), "a.log": (b"1", 0o644)}


async def test_what_is_too_large_stays_and_that_is_said(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "FILE_BYTES", 10)
    large = place.write("large", "x" * 11)
    place.write("grows", "x")

    def act() -> None:
        large.write_bytes(b"y" * 12)
        place.write("grows", "z" * 12)
        place.write("new", "z" * 12)

    plan = await place.plan(await place.run(act))
    assert plan.changes == ()
    assert [note.partition(" ")[0] for note in plan.notes] == ["grows", "large", "new"]
    assert all("too large" in note for note in plan.notes)


async def test_too_many_files_are_refused_before_any_is_read(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "NAMES", 3)
    for n in range(4):
        place.write(str(n))
    with pytest.raises(CheckpointRefused, match="more than 3 files"):
        await place.checkpoints.keep(S, [str(place.top)])


async def test_a_run_without_a_checkpoint_is_named(place: Place) -> None:
    plan = await place.plan(Checkpoint("", problem="the disk is full"), Checkpoint("lost", "lost"))
    assert plan.changes == ()
    assert len(plan.notes) == 2
    assert "the disk is full" in plan.notes[0]


async def test_pipes_sockets_and_what_cannot_be_read_are_left_alone(place: Place) -> None:
    os.mkfifo(place.top / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        os.chdir(place.top)
        listening.bind("socket")
        secret = place.write("secret", "1")
        secret.chmod(0)
        plan = await place.back(await place.run(lambda: place.write("a")))
        assert [change.path for change in plan.changes] == ["a"]
        assert sorted(os.listdir(place.top)) == ["pipe", "secret", "socket"]


async def test_nothing_is_written_through_a_link(place: Place) -> None:
    elsewhere = place.top.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "a").write_bytes(b"theirs")
    place.write("d/a", "ours")
    run = await place.run(lambda: place.write("d/a", "changed"))
    plan = await place.plan(run)
    shutil.rmtree(place.top / "d")
    (place.top / "d").symlink_to(elsewhere)
    assert await place.restore(plan) == ["d/a"]
    assert (elsewhere / "a").read_bytes() == b"theirs"


async def test_a_folder_that_became_a_link_becomes_a_folder_again(place: Place) -> None:
    elsewhere = place.top.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "a").write_bytes(b"theirs")
    place.write("d/a", "ours")

    def act() -> None:
        shutil.rmtree(place.top / "d")
        (place.top / "d").symlink_to(elsewhere)

    before = place.all()
    plan = await place.back(await place.run(act))
    assert place.all() == before
    assert (elsewhere / "a").read_bytes() == b"theirs"
    await place.forth(plan)
    assert os.readlink(place.top / "d") == str(elsewhere)


async def test_a_folder_of_the_run_stays_while_there_is_something_else_in_it(place: Place) -> None:
    run = await place.run(lambda: place.write("new/a"))
    mine = place.write("new/mine", "mine")
    await place.back(run)
    assert place.all() == {"new": None, "new/mine": (b"mine", stat.S_IMODE(mine.stat().st_mode))}


async def test_what_cannot_be_written_is_left_and_named(place: Place) -> None:
    if os.geteuid() == 0:
        pytest.skip("nothing is forbidden to root")
    place.write("d/a", "1")
    place.write("b", "1")

    def act() -> None:
        place.write("d/a", "2")
        place.write("b", "2")

    plan = await place.plan(await place.run(act))
    (place.top / "d").chmod(0o555)
    assert await place.restore(plan) == ["d/a"]
    (place.top / "d").chmod(0o755)
    assert (place.top / "b").read_bytes() == b"1"


async def test_names_that_are_no_text_are_kept(place: Place) -> None:
    odd = os.fsencode(place.top) + b"/\xff\xfe"

    def act() -> None:
        with open(odd, "wb") as file:
            file.write(b"x")

    plan = await place.back(await place.run(act))
    assert [change.path for change in plan.changes] == ["\ufffd\ufffd"]
    assert os.listdir(place.top) == []


async def test_our_own_places_are_not_looked_at(tmp_path: Path) -> None:
    """A workspace may hold all of them: somebody's home."""
    place = Place(tmp_path, (str(tmp_path / "work/.data"),))
    place.checkpoints = LocalCheckpoints(str(place.top / ".data/kept"), (str(place.top / ".data"),))
    place.write(".data/key", "1")

    def act() -> None:
        place.write(".data/key", "2")
        place.write("a")

    plan = await place.back(await place.run(act))
    assert [change.path for change in plan.changes] == ["a"]


async def test_further_folders_of_a_session_are_kept_too(tmp_path: Path) -> None:
    place, extra = Place(tmp_path), tmp_path.resolve() / "extra"
    extra.mkdir()
    (extra / "a").write_bytes(b"1")
    folders = [str(place.top), str(extra), str(place.top / "inside")]
    before = await place.checkpoints.keep(S, folders)
    (extra / "a").write_bytes(b"2")
    place.write("inside/b")
    plan = await place.checkpoints.plan(S, folders, [Checkpoint(before)])
    assert [change.path for change in plan.changes] == [str(extra / "a"), "inside/b"]
    await place.restore(plan)
    assert (extra / "a").read_bytes() == b"1"


async def test_what_only_a_deleted_session_needed_goes_with_it(place: Place) -> None:
    place.write("a", os.urandom(200_000))
    mine = await place.run(lambda: place.write("a", os.urandom(200_000)))
    await place.run(lambda: place.write("a", os.urandom(200_000)), "a", session="another")
    (path,) = (place.top.parent / "kept").glob("*.sqlite")
    size = path.stat().st_size
    await place.checkpoints.forget("another", [str(place.top)])
    plan = await place.plan(mine)
    assert [change.path for change in plan.changes] == ["a"]
    assert plan.edited == ("a",)
    await place.restore(plan)
    await place.checkpoints.forget(S, [str(place.top)])
    assert path.stat().st_size < size / 10
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    await place.checkpoints.forget(S, ["/never/heard/of"])


async def test_two_snapshots_at_once_are_one_after_the_other(place: Place) -> None:
    for n in range(200):
        place.write(f"{n}", os.urandom(100))
    other = LocalCheckpoints(str(place.top.parent / "kept"))
    names = await asyncio.gather(  # noqa: TID251  # what is asked for is asked for at once
        *(each.keep(f"s{n}", [str(place.top)]) for n in range(4) for each in (place.checkpoints, other))
    )
    assert len(set(names)) == 1


async def test_a_store_that_is_damaged_is_refused_and_not_a_fault(place: Place) -> None:
    await place.checkpoints.keep(S, [str(place.top)])
    (path,) = (place.top.parent / "kept").glob("*.sqlite")
    path.write_bytes(b"no database at all" * 1000)
    with pytest.raises(CheckpointRefused, match="sqlite"):
        await place.checkpoints.keep(S, [str(place.top)])
    with pytest.raises(CheckpointRefused):
        await place.plan(Checkpoint("a"))
