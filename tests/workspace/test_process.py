"""Commands and their whole process trees: T1 of the contract, and what a command can do to its supervisor."""

import asyncio
import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from quell.core.ports import ProcessEnd
from quell.workspace import process

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")

# Fifty processes: plain children, children that ignore SIGTERM, and daemons that left the group, the session and their parent.
TREE = """
for i in $(seq 15); do
  sleep 1000 &
  (trap '' TERM; sleep 1000; sleep 1000) &
  (setsid bash -c 'trap "" TERM HUP; sleep 1000; sleep 1000' >/dev/null 2>&1 &)
  (setsid setsid env -i /bin/sleep 1000 &)
done
echo planted
wait
"""


async def execute(
    command: list[str],
    *,
    directory: str,
    environment: Mapping[str, str],
    output: Callable[[bytes], None],
    timeout: float | None = None,
) -> ProcessEnd:
    """To its end; a cancellation, or the timeout, stops it."""
    running = process.Running(output)
    running.start(command, directory, environment)
    try:
        return await running.wait(timeout) or await running.stop("timeout")
    except asyncio.CancelledError:
        return await running.stop("cancelled")


async def run(
    command: str, directory: Path, timeout: float | None = None, **environment: str
) -> tuple[ProcessEnd, str]:
    out: list[bytes] = []
    end = await execute(
        ["/bin/bash", "-c", command],
        directory=str(directory),
        environment={"PATH": os.environ["PATH"], **environment},
        output=out.append,
        timeout=timeout,
    )
    return end, b"".join(out).decode()


async def run_until_it_says(words: str, command: str, directory: Path) -> tuple[ProcessEnd, str]:
    """Its time is up as soon as it has said something: how long a command takes to get so far is up to the machine."""
    out: list[bytes] = []
    said = asyncio.Event()

    def output(piece: bytes) -> None:
        out.append(piece)
        if words.encode() in b"".join(out):
            said.set()

    running = process.Running(output)
    running.start(["/bin/bash", "-c", command], str(directory), {"PATH": os.environ["PATH"]})
    await said.wait()
    end = await running.wait(0) or await running.stop("timeout")
    return end, b"".join(out).decode()


def let_supervisors_wait(constant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """For ever, nearly: a test that depends on this wait being over hangs."""
    boot = process._BOOT.replace("supervisor.main()", f"supervisor.{constant} = 1000.0; supervisor.main()")
    assert boot != process._BOOT
    monkeypatch.setattr(process, "_BOOT", boot)


def alive(folder: Path) -> list[int]:
    """The processes that work in the folder: every one of a command's tree, whatever else it has changed."""
    found = []
    for each in Path("/proc").iterdir():
        try:
            if each.name.isdigit() and os.readlink(each / "cwd").startswith(str(folder)):
                found.append(int(each.name))
        except OSError:
            continue
    return found


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110  # reason: what is waited for are processes, which set no event
        await asyncio.sleep(0.005)


async def test_the_end_is_told(tmp_path: Path) -> None:
    assert await run("echo out; echo err >&2; exit 7", tmp_path) == (ProcessEnd(status=7), "out\nerr\n")
    assert await run("kill -9 $$", tmp_path) == (ProcessEnd(status=None, signal=9), "")
    assert await run("cat", tmp_path) == (ProcessEnd(status=0), "")


async def test_what_cannot_start_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as missing:
        await run("true", tmp_path / "nowhere")
    assert missing.value.filename == str(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError) as missing:
        await execute(["/no/such"], directory="/", environment={}, output=print)
    assert missing.value.filename == "/no/such"
    with pytest.raises(OSError, match="too long") as long:
        await run("x" * 200_000, tmp_path)
    assert long.value.errno == errno.E2BIG
    with pytest.raises(OSError, match="NUL"):
        await run("true\0", tmp_path)
    with pytest.raises(OSError, match="environment"):
        await run("true", tmp_path, NUL="\0")
    (tmp_path / "script").write_text("#!/bin/sh\n")
    with pytest.raises(PermissionError):
        await execute([str(tmp_path / "script")], directory="/", environment={}, output=print)


async def test_nothing_of_a_failed_start_stays_open(tmp_path: Path) -> None:
    await run("true", tmp_path)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        await run("true", tmp_path)
        with pytest.raises(OSError):
            await run("true", tmp_path, NUL="\0")
        with pytest.raises(FileNotFoundError):
            await run("true", tmp_path / "nowhere")
    assert len(os.listdir("/proc/self/fd")) == before


async def test_a_command_has_no_descriptor_but_the_three(tmp_path: Path) -> None:
    _, listed = await run("ls -l /proc/self/fd", tmp_path)
    numbers = {line.split(" -> ")[0].split()[-1] for line in listed.splitlines()[1:]}
    assert numbers == {"0", "1", "2", "3"}  # the last is of `ls` itself
    assert "0 -> /dev/null" in listed


async def test_background_processes_are_ended_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are told to end, and not waited for until they are killed."""
    let_supervisors_wait("PATIENCE", monkeypatch)
    sleeps = "sleeps() { until grep -q sleep /proc/$1/comm; do :; done; }"  # and is no shell any more that is about to
    end, said = await run(f"{sleeps}; sleep 1000 & sleeps $!; (setsid sleep 1000 & sleeps $!); echo done", tmp_path)
    assert (said, end.status, end.leftover) == ("done\n", 0, ("sleep", "sleep"))
    assert alive(tmp_path) == []


async def test_a_late_child_may_finish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    let_supervisors_wait("LINGER", monkeypatch)
    end, said = await run("(sleep 0.03; echo late) &", tmp_path)
    assert (said, end) == ("late\n", ProcessEnd(status=0))


async def test_t1_a_timeout_ends_fifty_processes(tmp_path: Path) -> None:
    begun = time.monotonic()
    end, said = await run_until_it_says("planted", TREE, tmp_path)
    assert (said, end.stopped, end.unkillable) == ("planted\n", "timeout", ())
    assert alive(tmp_path) == []
    assert time.monotonic() - begun < 60  # the processes would sleep for a thousand


async def test_t1_a_cancellation_ends_fifty_processes(tmp_path: Path) -> None:
    out: list[bytes] = []
    ends: list[ProcessEnd] = []

    async def command() -> None:
        ends.append(
            await execute(
                ["/bin/bash", "-c", TREE], directory=str(tmp_path), environment=dict(os.environ), output=out.append
            )
        )

    async with asyncio.TaskGroup() as group:
        task = group.create_task(command())
        await until(lambda: out)
        assert len(alive(tmp_path)) > 40
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()  # an impatient person
    assert ends[0].stopped == "cancelled"
    assert alive(tmp_path) == []


async def test_sigterm_comes_first(tmp_path: Path) -> None:
    command = "trap 'echo bye; exit 5' TERM; echo on; while :; do sleep 0.01; done"
    end, said = await run_until_it_says("on", command, tmp_path)
    assert said.endswith("bye\n")
    assert end == ProcessEnd(status=5, stopped="timeout")


async def test_a_stopped_process_is_ended_too(tmp_path: Path) -> None:
    end, _ = await run("kill -STOP $$", tmp_path, timeout=0.3)
    assert end == ProcessEnd(status=None, signal=15, stopped="timeout")


async def test_a_bounded_fork_bomb(tmp_path: Path) -> None:
    bomb = (
        "bomb() { [ $1 -le 0 ] && exec sleep 1000; bomb $(($1 - 1)) & bomb $(($1 - 1)) & wait; }; trap '' TERM; bomb 6"
    )
    end, _ = await run(bomb, tmp_path, timeout=0.4)
    assert (end.stopped, end.unkillable) == ("timeout", ())
    assert alive(tmp_path) == []


async def test_killing_the_supervisor_kills_the_command_and_its_daemons(tmp_path: Path) -> None:
    end, _ = await run("(setsid sleep 1000 &); sleep 0.05; kill -9 $PPID; sleep 1000", tmp_path)
    assert end == ProcessEnd(status=None, signal=9)
    await until(lambda: not alive(tmp_path))


async def test_stopping_the_supervisor_does_not_hold_up_a_timeout(tmp_path: Path) -> None:
    begun = time.monotonic()
    end, _ = await run("kill -STOP $PPID; sleep 1000", tmp_path, timeout=0.2)
    assert end.stopped == "timeout"
    assert time.monotonic() - begun < 60  # it would sleep for a thousand
    await until(lambda: not alive(tmp_path))


async def test_the_supervisor_is_not_found_by_the_text_of_the_command(tmp_path: Path) -> None:
    end, _ = await run("echo unlikely-needle; tr '\\0' ' ' < /proc/$PPID/cmdline | grep -c unlikely-needle", tmp_path)
    assert end.status == 1


async def test_signals_and_mask_are_as_in_a_fresh_shell(tmp_path: Path) -> None:
    _, mine = await run("grep -E 'Sig(Blk|Ign)' /proc/self/status", tmp_path)
    # Those that the C library keeps to itself (32, 33) may be ignored by whoever started us, and cannot be reset.
    known = sum(1 << (number - 1) for number in signal.valid_signals())
    assert [int(line.split()[1], 16) & known for line in mine.splitlines()] == [0, 0]


async def test_it_costs_little_more_than_its_supervisor(tmp_path: Path) -> None:
    """The best of each: tried until it shows, because on a busy machine it takes a while to meet a quiet moment."""
    supervised, bare = [], []
    for _ in range(150):
        begun = time.perf_counter()
        await run("true", tmp_path)
        supervised.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        await asyncio.to_thread(subprocess.run, [sys.executable, "-I", "-S", "-c", "pass"], check=True)
        bare.append(time.perf_counter() - begun)
        if len(bare) >= 15 and min(supervised) < 4 * min(bare):
            return
    pytest.fail(f"a command takes {min(supervised):.3f} s, and its supervisor alone {min(bare):.3f} s")


@pytest.mark.parametrize("command", ["yes", "while :; do echo y; done"])
async def test_output_is_not_taken_faster_than_it_is_used(tmp_path: Path, command: str) -> None:
    """At most one piece every five milliseconds, large or small, and what is left at the end."""
    sizes: list[int] = []
    begun = time.monotonic()
    await execute(
        ["/bin/bash", "-c", command],
        directory=str(tmp_path),
        environment=dict(os.environ),
        output=lambda b: sizes.append(len(b)),
        timeout=0.5,
    )
    assert max(sizes) <= 1 << 20
    assert len(sizes) < 10 + 2 * (time.monotonic() - begun) / 0.005  # timers are not exact


SERVER = """
import asyncio, os, sys
from quell.workspace import process

async def main():
    running = process.Running(lambda b: os.write(1, b))
    running.start(["/bin/bash", "-c", sys.argv[1]], sys.argv[2], dict(os.environ))
    await running.wait()

asyncio.run(main())
"""


def test_t1_killing_the_server_leaves_no_command_alive(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, TREE, str(work)], stdout=subprocess.PIPE, cwd=tmp_path
    ) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"planted\n"
        assert len(alive(work)) > 40
        server.send_signal(signal.SIGKILL)
    asyncio.run(until(lambda: not alive(work)))


def test_it_works_on_the_plain_loop(tmp_path: Path) -> None:
    async def main() -> None:
        assert await run("echo hi", tmp_path) == (ProcessEnd(status=0), "hi\n")
        end, _ = await run("yes", tmp_path, timeout=0.3)
        assert end.stopped == "timeout"
        end, _ = await run("kill -9 $PPID", tmp_path)
        assert end.signal == 9

    asyncio.run(main())
