"""Files and folders that somebody made to hurt: the tools answer, in bounded time and memory, and touch nothing but what was named."""

import asyncio
import os
import resource
import shlex
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from quell.core.messages import ToolCall, ToolResult
from tests.tools.conftest import Hands

READERS = ("view", "edit", "multiedit", "write")


@pytest.fixture
def hands(tmp_path: Path) -> Hands:
    root = tmp_path / "project"
    root.mkdir()
    return Hands(root.resolve())


async def on(hands: Hands, tool: str, name: str) -> ToolResult:
    inputs: dict[str, dict[str, object]] = {
        "view": {},
        "edit": {"old_string": "a", "new_string": "b"},
        "multiedit": {"edits": [{"old_string": "a", "new_string": "b"}]},
        "write": {"content": "x"},
        "grep": {"pattern": "x"},
    }
    path = {"path" if tool == "grep" else "file_path": name}
    return await hands.use(tool, **path, **inputs[tool])


@pytest.mark.parametrize("tool", READERS)
async def test_what_is_no_file_is_neither_waited_for_nor_written_to(hands: Hands, tool: str) -> None:
    os.mkfifo(hands.root / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        here = os.open(hands.root, os.O_RDONLY)
        listening.bind(f"/proc/self/fd/{here}/socket")  # the whole path may be too long for a socket
        os.close(here)
        for name in ("pipe", "socket", "/dev/zero", "/dev/null", "/dev/tty", "."):
            result = await on(hands, tool, name)
            assert result.status == "failed", name
    assert sorted(os.listdir(hands.root)) == ["pipe", "socket"]


async def test_kernel_files_lie_about_their_size(hands: Hands) -> None:
    assert (await on(hands, "view", "/proc/self/status")).status == "completed"
    assert (await on(hands, "view", "/proc/self/mem")).status in {"failed", "completed"}
    for tool in ("edit", "write"):
        result = await on(hands, tool, "/proc/self/comm")
        assert result.status == "failed"


async def test_ten_gigabytes_of_nothing_cost_no_memory(hands: Hands) -> None:
    os.truncate(hands.write("sparse", "text\n" * 4000), 10 << 30)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "     1|text" in (await hands.use("view", file_path="sparse", limit=3)).text
    for tool in ("edit", "multiedit", "write"):
        assert "too large" in (await on(hands, tool, "sparse")).text
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60 * 1024
    assert (hands.root / "sparse").stat().st_size == 10 << 30


async def test_a_file_that_grows_while_it_is_read(hands: Hands) -> None:
    path = hands.write("log", "line\n" * 10)
    with path.open("ab") as writer:

        async def grow() -> None:
            while True:
                writer.write(b"line\n" * 1000)
                writer.flush()
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as group:
            task = group.create_task(grow())
            for _ in range(20):
                result = await hands.use("view", file_path="log", limit=20)
                assert result.status == "completed"
                assert "     1|line" in result.text
            task.cancel()
    # What was seen is not what is there: an edit is refused, not made on a half-known file.
    path.write_bytes(path.read_bytes() + b"more\n")
    assert "has changed since" in (await hands.use("edit", file_path="log", old_string="more", new_string="x")).text


@pytest.mark.parametrize("tool", ["edit", "multiedit", "write"])
async def test_a_file_swapped_for_a_link_after_the_check_is_not_followed(
    hands: Hands, tmp_path: Path, tool: str
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("a\n")
    path = hands.write("file", "a\n")
    await hands.use("view", file_path="file")
    inputs = {
        "edit": '"old_string": "a", "new_string": "b"',
        "multiedit": '"edits": [{"old_string": "a", "new_string": "b"}]',
        "write": '"content": "b"',
    }
    call = ToolCall(id="c", name=tool, input=f'{{"file_path": "file", {inputs[tool]}}}')
    prepared = hands.tools.prepare(call, hands.workspace)
    assert not isinstance(prepared, ToolResult)
    path.unlink()
    path.symlink_to(victim)
    assert (await prepared.run(hands.context())).status == "failed"
    assert victim.read_text() == "a\n"
    assert path.is_symlink()


async def test_folders_that_lead_in_a_circle(hands: Hands) -> None:
    hands.write("a/needle.txt", "needle\n")
    (hands.root / "a" / "up").symlink_to("..")
    (hands.root / "a" / "self").symlink_to(".")
    (hands.root / "loop").symlink_to("loop")
    assert (await hands.use("grep", pattern="needle")).metadata["matches"] == 1
    assert (await hands.use("glob", pattern="**/needle.txt")).metadata["files"] == 1
    assert (await hands.use("ls")).metadata["entries"] == 5
    for tool in READERS:
        assert (await on(hands, tool, "loop")).status == "failed"


@pytest.mark.parametrize(
    "name",
    ["two\nlines", "-rf", "--pre=sh", "a" * 255, "sp ace'\"`$(x)", "tab\there", "\u202eexe.txt", "*", "[a]", "~"],
)
async def test_names(hands: Hands, name: str) -> None:
    path = hands.write(name, "needle\n")
    asked = f"./{name}"
    assert "     1|needle" in (await hands.use("view", file_path=asked)).text
    edited = await hands.use("edit", file_path=asked, old_string="needle", new_string="needles")
    assert edited.status == "completed", edited.text
    assert path.read_text() == "needles\n"
    assert (await hands.use("grep", pattern="needles")).metadata["matches"] == 1
    assert (await hands.use("grep", pattern="needles", path=asked)).metadata["matches"] == 1
    assert (await hands.use("glob", pattern="**")).metadata["files"] == 1
    for listed in (await hands.use("ls"), await hands.use("glob", pattern="**")):
        assert name in listed.text or "\\" in listed.text
    assert os.listdir(hands.root) == [name]


async def test_a_name_that_is_too_long_or_no_text(hands: Hands) -> None:
    for tool in READERS:
        assert (await on(hands, tool, "b" * 256)).status == "failed"
        assert (await on(hands, tool, "d/" * 3000 + "f")).status == "failed"
        assert (await on(hands, tool, "nul\0name")).status == "failed"
    hands.write(os.fsdecode(b"\xff\xfe"), "needle\n")
    assert (await hands.use("grep", pattern="needle")).metadata["matches"] == 1
    (await hands.use("ls")).text.encode()


@pytest.fixture
def deep_tree(hands: Hands) -> Iterator[None]:
    """Cleared away here: pytest, which does that some runs later, takes each folder for a call of itself, and fails."""
    folder = os.open(hands.root, os.O_RDONLY)
    for _ in range(1500):  # 3000 characters: what a path may have is 4096
        os.mkdir("d", dir_fd=folder)
        below = os.open("d", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = below
    os.close(os.open("needle.txt", os.O_WRONLY | os.O_CREAT, dir_fd=folder))
    os.close(folder)
    yield
    subprocess.run(["rm", "-rf", hands.root / "d"], check=True)


@pytest.mark.usefixtures("deep_tree")
async def test_a_deep_tree(hands: Hands) -> None:
    assert (await hands.use("ls")).status == "completed"
    assert (await hands.use("glob", pattern="**/needle.txt")).metadata["files"] == 1
    assert (await hands.use("grep", pattern="x")).status == "completed"


async def test_many_entries(hands: Hands) -> None:
    for n in range(20):
        folder = hands.root / f"d{n}"
        folder.mkdir()
        for m in range(500):
            os.close(os.open(folder / f"f{m}.txt", os.O_WRONLY | os.O_CREAT))
    listed = await hands.use("ls")
    assert listed.metadata["entries"] == 1000
    assert len((await hands.use("glob", pattern="**/*.txt")).text.splitlines()) == 101
    assert "Did you mean" in (await hands.use("view", file_path="d1/f1.tx")).text


async def test_a_full_line_of_fifty_megabytes(hands: Hands) -> None:
    hands.write("wide", b"x" * (50 << 20))
    hands.write("narrow", b"y" * (9 << 20) + b"\nneedle\n")
    assert len((await hands.use("view", file_path="wide")).text) < 10_000
    assert len((await hands.use("view", file_path="narrow")).text) < 10_000
    found = await hands.use("grep", pattern="xx|needle")
    assert found.status == "completed"
    assert len(found.text) < 10_000
    edited = await hands.use("edit", file_path="narrow", old_string="needles", new_string="x")
    assert len(edited.text) < 10_000


async def test_nul_bytes_late_in_a_file(hands: Hands) -> None:
    path = hands.write("late", b"text\n" * 4000 + b"\0\0\n")
    await hands.use("view", file_path="late", limit=1)
    await hands.use("edit", file_path="late", old_string="text\n\0", new_string="TEXT\n\0")
    assert path.read_bytes() in {b"text\n" * 3999 + b"TEXT\n\0\0\n", b"text\n" * 4000 + b"\0\0\n"}
    assert (await hands.use("write", file_path="new", content="a\0b")).status == "completed"


async def test_patterns_that_take_for_ever(hands: Hands) -> None:
    hands.write("a.txt", "a" * 1500 + "b\n")
    hands.write("a" * 200, "")
    begun = time.monotonic()
    for pattern in ("(a+)+$", "(a|aa)+$", "(.*)*x", "(" * 5000, "a{1000}{1000}{1000}"):
        await hands.use("grep", pattern=pattern)
    for pattern in ("*a" * 50 + "x", "**/" * 100 + "x", "{a,b}" * 30 + "x", "{" * 1000, "[" * 1000):
        await hands.use("glob", pattern=pattern)
    assert time.monotonic() - begun < 60  # five seconds each is what a search may take


async def test_files_that_vanish_during_a_walk(hands: Hands) -> None:
    command = "for i in 1 2 3 4 5 6 7 8 9; do mkdir -p v/$i; echo needle > v/$i/f; done; rm -rf v"
    stop = hands.root / "stop"
    script = f"while [ ! -e {shlex.quote(str(stop))} ]; do {command}; done"
    process = await asyncio.create_subprocess_exec("/bin/sh", "-c", script, cwd=hands.root)
    try:
        for _ in range(20):
            for tool, input in (("ls", {}), ("glob", {"pattern": "**/f"}), ("grep", {"pattern": "needle"})):
                result = await hands.use(tool, **input)
                assert result.status == "completed", result.text
    finally:
        stop.touch()
        await process.wait()


async def test_hard_links_and_unreadable_files(hands: Hands) -> None:
    path = hands.write("a", "a\n")
    os.link(path, hands.root / "b")
    await hands.use("view", file_path="a")
    assert (await hands.use("edit", file_path="a", old_string="a", new_string="A")).status == "completed"
    assert (hands.root / "b").read_text() == "a\n"  # documented: a replaced file is a new one
    closed = hands.root / "closed"
    closed.mkdir()
    (closed / "f").write_text("needle\n")
    closed.chmod(0)
    try:
        assert (await hands.use("ls")).status == "completed"
        assert (await hands.use("grep", pattern="needle")).status == "completed"
        assert (await hands.use("glob", pattern="**/f")).status == "completed"
        if os.geteuid():
            assert (await hands.use("view", file_path="closed/f")).status == "failed"
    finally:
        closed.chmod(0o700)
