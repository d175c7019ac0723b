"""`bash`: what the model is told of a command, and what a command sees."""

import asyncio
import os
import resource
import shutil
import time
from collections.abc import Callable

import pytest

from quell.core.messages import LONGEST_RESULT, ToolCall, ToolResult
from quell.core.ports import ToolContext
from quell.tools.output import Output, clean
from tests.tools.conftest import CountFrom, Hands


async def test_output_and_exit_code(hands: Hands) -> None:
    assert (await hands.use("bash", command="echo one; echo two >&2")).text == "one\ntwo"
    assert (await hands.use("bash", command="true")).text == "no output"
    result = await hands.use("bash", command="echo no >&2; exit 3")
    assert result.text == "no\nExit code 3"
    assert result.status == "completed"
    assert result.metadata["exit"] == 3
    assert (await hands.use("bash", command="kill -SEGV $$")).text == "Ended by signal 11 (SIGSEGV)"


async def test_it_is_bash_and_pipes_break_as_usual(hands: Hands) -> None:
    assert (await hands.use("bash", command="[[ a == a* ]] && echo ${BASH##*/}")).text == "bash"
    assert (await hands.use("bash", command="yes | head -1")).text == "y"


async def test_where_it_runs(hands: Hands) -> None:
    (hands.root / "sub").mkdir()
    assert (await hands.use("bash", command="pwd")).text == str(hands.root)
    assert (await hands.use("bash", command="pwd", working_dir="sub")).text == str(hands.root / "sub")
    assert "no folder nope" in (await hands.use("bash", command="pwd", working_dir="nope")).text


async def test_a_folder_that_has_gone(hands: Hands) -> None:
    shutil.rmtree(hands.root)
    result = await hands.use("bash", command="pwd")
    assert result.status == "failed"
    assert "no folder ." in result.text


async def test_nobody_is_asked(hands: Hands) -> None:
    assert (await hands.use("bash", command="cat; read x || echo closed")).text == "closed"
    result = await hands.use(
        "bash", command="echo $TERM $PAGER $GIT_TERMINAL_PROMPT $QUELL $AGENT; $EDITOR x || echo no editor"
    )
    assert result.text == "dumb cat 0 1 quell\nno editor"


async def test_git_neither_pages_nor_opens_an_editor(hands: Hands) -> None:
    hands.write("a", "x\n")
    setup = "git init -q . && git config user.email a@b.c && git config user.name n && git add a && git commit -qm one"
    assert (await hands.use("bash", command=setup)).metadata["exit"] == 0
    assert "one" in (await hands.use("bash", command="git log")).text
    assert (await hands.use("bash", command="git commit --amend", timeout=20)).metadata["exit"] != 0


async def test_the_environment_is_the_sessions_without_what_is_hidden(hands: Hands) -> None:
    hands.environment = {
        "PATH": os.environ["PATH"],
        "PROVIDER_KEY": "secret",
        "MINE": "1",
        "BASH_ENV": "/x",
        "PAGER": "less",
    }
    text = (await hands.use("bash", command="env")).text
    assert "MINE=1" in text
    assert "PAGER=cat" in text
    assert "secret" not in text
    assert "BASH_ENV" not in text


async def test_an_environment_that_cannot_be_passed_on(hands: Hands) -> None:
    hands.environment = {"PATH": os.environ["PATH"], "BAD": "a\0b"}
    result = await hands.use("bash", command="true")
    assert result.status == "failed"
    assert "environment" in result.text


async def test_a_command_too_long_for_the_system(hands: Hands) -> None:
    assert "was not run: argument list too long" in (await hands.use("bash", command="true " + "x" * 200_000)).text


async def test_the_time_limit(hands: Hands, count_from: CountFrom) -> None:
    count_from(lambda: hands.live)
    result = await hands.use("bash", command="echo begun; sleep 100", timeout=1)
    assert result.status == "failed"
    assert result.text.startswith("begun\nThe command was stopped after 1 s,")


async def test_a_cancelled_command_tells_what_it_had_printed(hands: Hands) -> None:
    begun = asyncio.Event()

    def show(text: str) -> None:
        hands.live.append(text)
        begun.set()

    async def run() -> None:
        prepared = hands.tools.prepare(
            ToolCall(id="c", name="bash", input='{"command": "echo begun; sleep 100"}'), hands.workspace
        )
        assert not isinstance(prepared, ToolResult)
        result = await prepared.run(ToolContext("s", "c", hands.workspace, hands.environment, {}, show))
        assert result.status == "cancelled"
        assert result.text.startswith("begun\nThe command was stopped because the run was cancelled")

    async with asyncio.TaskGroup() as group:
        task = group.create_task(run())
        await begun.wait()
        task.cancel()
    assert not task.cancelled()


async def test_what_stays_in_the_background_is_ended_and_said(hands: Hands) -> None:
    it_is_there = "until grep -q sleep /proc/$!/comm; do :; done"  # and no shell any more that is about to become it
    result = await hands.use("bash", command=f"sleep 100 & {it_is_there}; echo started")
    assert result.text == "started\nBackground processes were still running and were ended with the command: sleep."


async def test_long_output_loses_its_middle(hands: Hands) -> None:
    text = (await hands.use("bash", command="seq 1 100000")).text
    assert LONGEST_RESULT * 0.9 < len(text) < LONGEST_RESULT + 100
    assert text.startswith("1\n2\n3\n")
    assert text.endswith("99999\n100000")
    note = next(line for line in text.splitlines() if "truncated" in line)
    shown = len([line for line in text.splitlines() if line.isdigit()])
    assert f"[{100_000 - shown:,} lines truncated]" in note


async def test_output_that_is_no_text(hands: Hands) -> None:
    result = await hands.use("bash", command=r"printf 'a\xff\xc3\xa9\0b\n'; head -c 300000 /dev/urandom")
    assert result.text.startswith("a\ufffdé\ufffdb\n")
    assert len(result.text) < LONGEST_RESULT + 200
    result.text.encode()


async def test_it_is_shown_while_it_runs(hands: Hands) -> None:
    """It goes on when what it has said was shown."""

    class Shown(list[str]):
        def append(self, text: str) -> None:
            super().append(text)
            (hands.root / text.strip()).touch()

    hands.live = Shown()
    await hands.use("bash", command="for i in 1 2 3; do echo $i; until [ -e $i ]; do sleep 0.01; done; done; printf é")
    assert hands.live == ["1\n", "2\n", "3\n", "é"]


@pytest.mark.parametrize("command", ["yes", "head -c 400000000 /dev/zero"])
async def test_printing_without_end_neither_grows_nor_blocks_this_process(hands: Hands, command: str) -> None:
    await hands.use("bash", command="yes | head -c 3000000")  # so that the buffers have their size
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    used = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    latest = 0.0
    loop = asyncio.get_running_loop()
    begun = loop.time()

    async def measure() -> None:
        """The longest turn of the loop, in processor time: that the machine stands still is not our doing."""
        nonlocal latest
        while loop.time() < begun + 2:
            then = time.thread_time()
            await asyncio.sleep(0.01)
            latest = max(latest, time.thread_time() - then)

    async with asyncio.TaskGroup() as group:
        group.create_task(measure())
        group.create_task(hands.use("bash", command=command, timeout=2))
    took = loop.time() - begun
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # kilobytes
    assert resource.getrusage(resource.RUSAGE_SELF).ru_utime - used < 0.75 * took
    assert latest < 0.5
    assert len(hands.live) < 30 * took
    assert sum(map(len, hands.live)) < 4100 * len(hands.live)


def collect() -> tuple[Output, list[str]]:
    shown: list[str] = []
    show: Callable[[str], None] = shown.append
    return Output(show), shown


@pytest.mark.parametrize(
    "sizes", [[1] * 70_000, [7_000] * 10, [70_000], [59_999, 1, 10_000], [100_000, 300_000, 5]], ids=range(5)
)
async def test_beginning_and_end_are_kept_however_the_output_comes(sizes: list[int]) -> None:
    whole = "".join(f"{n:06}\n" for n in range(sum(sizes) // 7 + 1))[: sum(sizes)]
    output, _ = collect()
    at = 0
    for size in sizes:
        output.take(whole[at : at + size].encode())
        at += size
    output.close()
    text = output.text()
    first, _, last = text.partition("… [")
    assert whole.startswith(first.rstrip())
    assert whole.endswith(last.partition("…\n\n")[2])
    kept = text.count("\n") - 4  # those around the note, and the one that was stripped before it
    assert f"[{whole.count(chr(10)) - kept - 1:,} lines truncated]" in text


async def test_short_output_is_whole() -> None:
    output, shown = collect()
    for byte in "naïve – ü\n".encode() * 100:
        output.take(bytes([byte]))
    output.close()
    assert output.text() == "naïve – ü\n" * 100
    assert "".join(shown) == "naïve – ü\n" * 100


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("10%\r50%\r100%\ndone\n", "100%\ndone\n"),
        ("a\r\nb\r\n", "a\nb\n"),
        ("\x1b]0;title\x07x", "x"),
        ("bell\x07", "bell\ufffd"),
    ],
    ids=range(5),
)
def test_output_is_cleaned_as_a_terminal_would(raw: str, shown: str) -> None:
    assert clean(raw) == shown


async def test_git_runs_nothing_that_a_repository_brought_along(hands: Hands) -> None:
    """A bare repository can be committed as plain files; `git status` within would run what its configuration names."""
    root = hands.root
    hands.environment = {"PATH": os.environ["PATH"]}
    assert (await hands.use("bash", command="git init -q --bare sub")).status == "completed"
    (root / "evil").write_text("#!/bin/sh\ntouch ran\n")
    (root / "evil").chmod(0o755)
    with (root / "sub" / "config").open("a") as config:
        config.write("[core]\n\tbare = false\n\tworktree = .\n\tfsmonitor = ../evil\n")
    await hands.use("bash", command="cd sub && git status")
    assert not list(root.rglob("ran"))
