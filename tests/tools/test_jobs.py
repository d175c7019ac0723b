"""Background jobs (contract T2), through the tools that start, read and end them."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from quell.core.messages import LONGEST_RESULT, ToolCall, ToolResult
from quell.tools import Options, Tools
from quell.tools.jobs import MOST
from tests.tools.conftest import CountFrom, Hands


@pytest.fixture
async def working(hands: Hands, tmp_path: Path) -> AsyncIterator[Hands]:
    """Hands whose jobs end with the test."""
    hands.keep(tmp_path / "kept")
    yield hands
    await hands.tools.close()


WRITES_PID = "echo {} > .pid; mv .pid pid"


async def started(hands: Hands, command: str) -> str:
    result = await hands.use("bash", command=command, run_in_background=True)
    return str(result.metadata["job"])


async def test_t2_a_command_that_takes_long_goes_on_as_a_job_and_its_end_is_told(
    working: Hands, count_from: CountFrom
) -> None:
    count_from(lambda: working.live)
    assert (await working.use("bash", command="mkfifo gate")).metadata["exit"] == 0
    result = await working.use("bash", command="echo begun; read < gate; echo done; exit 3", auto_background_after=1)
    job = result.metadata["job"]
    assert result.text.startswith("begun\nThe command goes on in the background after 1 s")
    running = await working.use("job_output", shell_id=job)
    assert running.text == "Status: running\nbegun"
    assert f"{job}: running: echo begun" in (await working.use("job_output")).text
    assert working.notes == []
    await working.use("bash", command="echo > gate")
    ended = await working.use("job_output", shell_id=job, wait=True)
    assert ended.text == "Status: completed (exit code 3)\nbegun\ndone"
    assert [note.partition(" (`")[0] for note in working.notes] == [f"Background job {job}"]
    assert "exit code 3" in working.notes[0]


async def test_t2_a_job_is_ended_with_all_that_it_started_and_nobody_is_told_what_they_know(
    working: Hands, count_from: CountFrom
) -> None:
    count_from((working.root / "pid").exists)
    job = await started(working, f"(setsid sleep 1000 & {WRITES_PID.format('$!')}); sleep 1000")
    result = await working.use("job_kill", shell_id=job)
    assert result.text == f"Job {job} was ended."
    assert not Path(f"/proc/{(working.root / 'pid').read_text().strip()}").exists()
    assert "had ended already" in (await working.use("job_kill", shell_id=job)).text
    assert working.notes == []


async def test_what_fails_at_once_is_no_job(working: Hands, count_from: CountFrom) -> None:
    count_from(lambda: False)
    result = await working.use("bash", command="echo no; exit 7", run_in_background=True)
    assert result.text == "no\nExit code 7"
    assert (await working.use("job_output")).text == "There is no background job."


async def test_an_unknown_job_is_a_clear_refusal(working: Hands) -> None:
    assert "There is none" in (await working.use("job_output", shell_id="x")).text
    job = await started(working, "sleep 1000")
    result = await working.use("job_kill", shell_id="x")
    assert result.status == "failed"
    assert f"The jobs are: {job}" in result.text


async def test_t2_jobs_end_with_their_session_and_take_what_was_kept_with_them(
    working: Hands, count_from: CountFrom
) -> None:
    await working.use("bash", command=f"yes | head -c {2 * LONGEST_RESULT}")
    count_from((working.root / "pid").exists)
    await started(working, f"{WRITES_PID.format('$$')}; exec sleep 1000")
    assert [job.running for job in working.tools.jobs("session")] == [True]
    assert list(working.kept.iterdir())
    await working.tools.forget("session")
    assert working.tools.jobs("session") == []
    assert not Path(f"/proc/{(working.root / 'pid').read_text().strip()}").exists()
    assert not working.kept.exists()


async def test_jobs_are_bounded(working: Hands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quell.tools.bash.MOST", 1)
    await started(working, "sleep 1000")
    result = await working.use("bash", command="true")
    assert result.status == "failed"
    assert "End one with `job_kill` first" in result.text
    assert MOST == 50


async def test_what_is_too_long_for_a_result_is_in_a_file_that_may_be_read(working: Hands) -> None:
    result = await working.use("bash", command="seq 100000")
    path = working.kept / "call0.txt"
    assert f"lines truncated; all of it is in {path}" in result.text
    assert path.read_text().splitlines() == [str(n) for n in range(1, 100001)]
    assert path.stat().st_mode & 0o777 == 0o600 or path.parent.stat().st_mode & 0o777 == 0o700
    assert not working.access("view", file_path=str(path)).outside
    assert not working.access("grep", pattern="5", path=str(path)).outside
    assert working.access("write", file_path=str(path), content="x").outside
    assert "99999" in (await working.use("view", file_path=str(path), offset=99998)).text


async def test_a_file_is_cut_at_its_limit(working: Hands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quell.tools.output.FILE_LIMIT", 1024 * 1024)
    result = await working.use("bash", command="yes | head -c 3000000")
    assert "its first 1 MiB is in" in result.text
    assert (working.kept / "call0.txt").stat().st_size == 1024 * 1024


async def test_a_disk_that_refuses_the_file_costs_the_file_only(working: Hands) -> None:
    working.kept.parent.mkdir(exist_ok=True)
    working.kept.write_text("not a folder")
    result = await working.use("bash", command="seq 100000")
    assert "lines truncated]" in result.text
    assert result.status == "completed"


async def test_c7_a_cancel_ends_what_is_in_the_foreground_and_no_job(working: Hands) -> None:
    job = await started(working, "sleep 1000")
    call = working.tools.prepare(ToolCall("c", "bash", '{"command": "sleep 1000"}'), working.workspace)
    assert not isinstance(call, ToolResult)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(call.run(working.context()))
        await asyncio.sleep(0)
        task.cancel()
    assert task.result().status == "cancelled"
    assert [(state.id, state.running) for state in working.tools.jobs("session")] == [(job, True)]


def test_a_selection_of_tools_has_jobs_of_its_own() -> None:
    assert Tools(("bash",), Options()).jobs("s") == []
