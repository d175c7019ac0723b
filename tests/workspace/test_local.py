"""Files of a workspace: where paths lead, what is read, and what a replacement keeps."""

import asyncio
import hashlib
import os
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import pairwise
from pathlib import Path

import pytest

from quell.workspace import LocalWorkspace, files


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path.resolve() / "root"
    folder.mkdir()
    return folder


@pytest.fixture
def workspace(root: Path) -> LocalWorkspace:
    (root.parent / "extra").mkdir()
    return LocalWorkspace(str(root), [str(root.parent / "extra")])


@pytest.mark.parametrize(
    ("path", "real", "shown", "inside"),
    [
        ("a/b", "{root}/a/b", "a/b", True),
        ("", "{root}", ".", True),
        (".", "{root}", ".", True),
        ("a/../../root/x", "{root}/x", "x", True),
        ("..", "{top}", "{top}", False),
        ("{top}/rootless", "{top}/rootless", "{top}/rootless", False),
        ("{top}/extra/x", "{top}/extra/x", "{top}/extra/x", True),
        ("/proc/self/cwd/../etc", "{cwd}/etc", "{cwd}/etc", False),
        ("/dev/null", "/dev/null", "/dev/null", False),
        ("~/x", "{home}/x", "{home}/x", False),
    ],
    ids=range(10),
)
def test_place(workspace: LocalWorkspace, root: Path, path: str, real: str, shown: str, inside: bool) -> None:
    names = {
        "root": str(root),
        "top": str(root.parent),
        "home": os.path.realpath(os.path.expanduser("~")),
        "cwd": os.path.dirname(os.path.realpath(os.getcwd())),
    }
    place = workspace.place(path.format_map(names))
    assert (place.path, place.shown, place.inside) == (real.format_map(names), shown.format_map(names), inside)


def test_place_follows_links_before_it_judges(workspace: LocalWorkspace, root: Path) -> None:
    (root / "out").symlink_to("/etc")
    (root / "deep").symlink_to("out")
    (root / "back").symlink_to(root)
    assert not workspace.place("out/passwd").inside
    assert not workspace.place("deep/new-file").inside
    assert workspace.place("back/back/a").path == str(root / "a")
    with pytest.raises(OSError, match="NUL"):
        workspace.place("a\0b")


async def test_read(workspace: LocalWorkspace, root: Path) -> None:
    path = root / "a"
    path.write_bytes(b"0123456789")
    assert await workspace.read(str(path)) == b"0123456789"
    assert await workspace.read(str(path), 3, 4) == b"3456"
    assert await workspace.read(str(path), 10, 4) == b""
    assert await workspace.read(str(path), limit=0) == b""
    large = os.urandom(1_000_000)
    path.write_bytes(large)
    assert await workspace.read(str(path)) == large
    assert await workspace.read(str(path), 500_000, 400_000) == large[500_000:900_000]
    assert (await workspace.read(workspace.place("/proc/self/status").path)).startswith(b"Name:")


async def test_only_regular_files_are_read(workspace: LocalWorkspace, root: Path) -> None:
    os.mkfifo(root / "pipe")
    (root / "link").symlink_to("pipe")
    for path, error in {"pipe": "not a file", "link": "link", ".": "directory", "none": "No such"}.items():
        with pytest.raises(OSError, match=error):
            await workspace.read(str(root / path))
    with pytest.raises(OSError, match="device"):
        await workspace.read("/dev/zero")


async def test_a_link_in_the_path_is_not_followed(workspace: LocalWorkspace, root: Path) -> None:
    (root / "real").mkdir()
    (root / "real/a").write_bytes(b"x")
    (root / "link").symlink_to("real")
    for path in ("link/a", "link/new"):
        with pytest.raises(OSError):
            await workspace.read(str(root / path))
        with pytest.raises(OSError):
            await workspace.write(str(root / path), b"y", replaces=digest(b"x") if path == "link/a" else None)
    assert os.listdir(root / "real") == ["a"]
    assert (root / "real/a").read_bytes() == b"x"


async def test_a_new_file_is_made_once(workspace: LocalWorkspace, root: Path) -> None:
    path = root / "deep/er/a"
    assert await workspace.write(str(path), b"one", replaces=None)
    assert not await workspace.write(str(path), b"two", replaces=None)
    assert path.read_bytes() == b"one"
    assert os.listdir(path.parent) == ["a"]
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask


async def test_only_the_content_that_was_known_is_replaced(workspace: LocalWorkspace, root: Path) -> None:
    path = root / "a"
    path.write_bytes(b"one")
    assert not await workspace.write(str(path), b"two", replaces=digest(b"other"))
    assert path.read_bytes() == b"one"
    assert await workspace.write(str(path), b"two", replaces=digest(b"one"))
    assert path.read_bytes() == b"two"
    path.unlink()
    assert not await workspace.write(str(path), b"three", replaces=digest(b"two"))
    assert os.listdir(root) == []


async def test_of_many_writers_one_wins(workspace: LocalWorkspace, root: Path) -> None:
    path = root / "a"
    path.write_bytes(b"0")
    for round_ in range(20):
        before = path.read_bytes()
        async with asyncio.TaskGroup() as group:
            writers = [
                group.create_task(workspace.write(str(path), b"%d %d" % (round_, n), replaces=digest(before)))
                for n in range(8)
            ]
        assert [writer.result() for writer in writers].count(True) == 1
        winner = next(n for n, writer in enumerate(writers) if writer.result())
        assert path.read_bytes() == b"%d %d" % (round_, winner)
    assert os.listdir(root) == ["a"]


async def test_mode_owner_and_attributes_are_kept(workspace: LocalWorkspace, root: Path) -> None:
    path = root / "a"
    path.write_bytes(b"one")
    path.chmod(0o4750)
    owner = (12345, 54321) if os.getuid() == 0 else (os.getuid(), os.getgid())
    os.chown(path, *owner)
    path.chmod(0o4750)
    try:
        os.setxattr(path, "user.note", b"kept")
        kept = b"kept"
    except (OSError, AttributeError):
        kept = b""
    assert await workspace.write(str(path), b"two", replaces=digest(b"one"))
    after = path.stat()
    assert (after.st_uid, after.st_gid) == owner
    assert stat.S_IMODE(after.st_mode) == 0o4750
    if kept:
        assert os.getxattr(path, "user.note") == kept


async def test_a_hard_link_keeps_the_old_content(workspace: LocalWorkspace, root: Path) -> None:
    (root / "a").write_bytes(b"one")
    os.link(root / "a", root / "b")
    assert await workspace.write(str(root / "a"), b"two", replaces=digest(b"one"))
    assert (root / "b").read_bytes() == b"one"


async def test_a_reader_sees_all_of_the_old_or_all_of_the_new(workspace: LocalWorkspace, root: Path) -> None:
    path = root / "a"
    contents = [bytes([65 + n]) * 300_000 for n in range(10)]
    path.write_bytes(contents[0])
    torn: list[int] = []
    writing = True

    async def reader() -> None:
        while writing:
            torn.append(len(set(await asyncio.to_thread(path.read_bytes))))

    async with asyncio.TaskGroup() as group:
        group.create_task(reader())
        for before, after in pairwise(contents):
            assert await workspace.write(str(path), after, replaces=digest(before))
        writing = False
    assert set(torn) == {1}


async def test_a_write_that_has_begun_is_finished_and_says_so(workspace: LocalWorkspace, root: Path) -> None:
    path = root / "a"
    answers: list[bool] = []

    async def write() -> None:
        answers.append(await workspace.write(str(path), b"x" * 5_000_000, replaces=None))

    async with asyncio.TaskGroup() as group:
        task = group.create_task(write())
        await asyncio.sleep(0)
        task.cancel()
    assert answers == [True]
    assert path.stat().st_size == 5_000_000


async def test_a_refusal_says_why(workspace: LocalWorkspace, root: Path) -> None:
    (root / "a").write_bytes(b"")
    (root / "a").chmod(0o444)
    with pytest.raises(PermissionError, match="marked read-only"):
        await workspace.write(str(root / "a"), b"x", replaces=digest(b""))
    with pytest.raises(IsADirectoryError):
        await workspace.write(str(root), b"x", replaces=digest(b""))
    with pytest.raises(OSError, match=r"Not a directory|File exists"):
        await workspace.write(str(root / "a/b"), b"x", replaces=None)
    with pytest.raises(OSError, match="too long"):
        await workspace.write(str(root / ("x" * 300)), b"x", replaces=None)
    assert os.listdir(root) == ["a"]


def test_a_read_only_folder_is_named(root: Path) -> None:
    folder = root / "locked"
    folder.mkdir()
    folder.chmod(0o555)
    program = (
        "import os, sys\nfrom quell.workspace import files\n"
        "if os.getuid() == 0: os.setgid(65534), os.setuid(65534)\n"
        "try: files.write(sys.argv[1], b'x', None)\nexcept PermissionError as error: print(error.strerror)\n"
    )
    for each in (root, *root.parents):
        if each.stat().st_uid == os.getuid() and str(each) != "/":
            each.chmod(each.stat().st_mode | 0o011)
    python = os.path.realpath(sys.executable)
    said = subprocess.run(
        [sys.executable, "-c", program, str(folder / "a")], capture_output=True, text=True, check=False
    )
    if not os.access(python, os.X_OK) or said.returncode:
        pytest.skip("another user cannot run this Python")
    assert said.stdout == f"the folder {folder} is read-only, and a file is replaced by renaming a new one over it\n"


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    mount = tmp_path / "small"
    mount.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "none", mount], capture_output=True, check=False
    ).returncode:
        pytest.skip("cannot mount a small disk")
    try:
        (mount / "a").write_bytes(b"one")
        with pytest.raises(OSError, match="No space left"):
            files.write(str(mount / "a"), b"x" * 200_000, digest(b"one"))
        assert os.listdir(mount) == ["a"]
        assert (mount / "a").read_bytes() == b"one"
    finally:
        subprocess.run(["umount", mount], check=True)


# What arrives in pieces


async def pieces(*content: bytes, then: Callable[[], Awaitable[None]] | None = None) -> AsyncIterator[bytes]:
    for piece in content:
        yield piece
    if then is not None:
        await then()


async def test_content_that_arrives_is_seen_when_all_of_it_is_there(workspace: LocalWorkspace, root: Path) -> None:
    seen: list[list[str]] = []

    async def look() -> None:
        seen.append([name for name in os.listdir(root / "new") if not name.startswith(".")])

    path = str(root / "new/file")
    assert await workspace.save(path, pieces(b"one", b"", b"two", then=look), replaces=None)
    assert seen == [[]]
    assert os.listdir(root / "new") == ["file"]
    assert (root / "new/file").read_bytes() == b"onetwo"
    assert not await workspace.save(path, pieces(b"x"), replaces=None)
    assert not await workspace.save(path, pieces(b"x"), replaces=digest(b"y"))
    assert await workspace.save(path, pieces(b"x"), replaces=digest(b"onetwo"))
    assert (root / "new/file").read_bytes() == b"x"


async def test_t3_content_that_does_not_arrive_leaves_everything_as_it_was(
    workspace: LocalWorkspace, root: Path
) -> None:
    async def lose() -> None:
        raise ConnectionError("lost")

    with pytest.raises(ConnectionError):
        await workspace.save(str(root / "file"), pieces(b"half", then=lose), replaces=None)
    waiting = asyncio.Event()

    async def hang() -> None:
        waiting.set()
        await asyncio.Event().wait()

    (root / "old").write_bytes(b"old")
    with pytest.raises(asyncio.CancelledError):
        async with asyncio.TaskGroup() as group:
            saving = group.create_task(
                workspace.save(str(root / "old"), pieces(b"half", then=hang), replaces=digest(b"old"))
            )
            await waiting.wait()
            saving.cancel()
        await saving
    assert os.listdir(root) == ["old"]
    assert (root / "old").read_bytes() == b"old"


def test_opening_leaks_no_descriptor(root: Path) -> None:
    (root / "a").write_bytes(b"x")
    (root / "link").symlink_to("a")
    before = len(os.listdir("/proc/self/fd"))
    for name in ("a", "link", "none/a", "a/b"):
        try:
            os.close(files.open_file(str(root / name))[0])
        except OSError:
            pass
    assert len(os.listdir("/proc/self/fd")) == before
