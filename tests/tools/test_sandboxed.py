"""`bash` in a sandbox: what its result says of it, and the way out. Getting out otherwise is tried in `tests/adversarial`."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from quell.core.ports import Sandbox
from quell.workspace import LocalWorkspace, sandboxing
from tests.tools.conftest import CountFrom, Hands

pytestmark = pytest.mark.skipif(bool(sandboxing.unavailable()), reason=f"no sandbox: {sandboxing.unavailable()}")

HINT = "`outside_sandbox`"


@pytest.fixture
def boxed(hands: Hands, tmp_path: Path) -> Hands:
    home = tmp_path / "home"
    home.mkdir()
    hands.environment = {**hands.environment, "HOME": str(home)}
    hands.workspace = LocalWorkspace(
        str(hands.root), kept=str(tmp_path / "kept"), sandbox=lambda: Sandbox(mode="workspace")
    )
    return hands


async def test_a_command_that_needs_no_more_says_nothing_of_it(boxed: Hands) -> None:
    result = await boxed.use("bash", command="echo x > a; cat a")
    assert (result.text, result.metadata["sandbox"]) == ("x", "workspace")
    assert (await boxed.use("bash", command="echo Permission denied")).text == "Permission denied"


@pytest.mark.parametrize(
    "command",
    [
        "touch ~/x",
        "touch ~/x | cat",
        f"{'python3'} -c 'import socket; socket.create_connection((\"192.0.2.1\", 80))' 2>&1 | tail -1",
        "git init -q . && git config --global user.name x",
    ],
)
async def test_one_that_fails_because_of_it_says_so(boxed: Hands, command: str) -> None:
    boxed.environment = {name: value for name, value in boxed.environment.items() if not name.startswith("GIT_CONFIG")}
    result = await boxed.use("bash", command=command)
    assert HINT in result.text, result.text
    assert "no network" in result.text


async def test_other_failures_do_not(boxed: Hands) -> None:
    assert HINT not in (await boxed.use("bash", command="ls nothing; exit 2")).text
    boxed.workspace = LocalWorkspace(str(boxed.root))
    assert HINT not in (await boxed.use("bash", command="cat /proc/1/mem; echo Read-only file system; exit 1")).text


async def test_outside(boxed: Hands, tmp_path: Path) -> None:
    result = await boxed.use("bash", command="touch ~/x", outside_sandbox=True)
    assert (result.text, result.metadata.get("sandbox")) == ("no output", None)
    assert (tmp_path / "home" / "x").exists()


async def test_what_is_judged_says_where_it_runs(boxed: Hands) -> None:
    within, without = (boxed.access("bash", command="make", outside_sandbox=outside) for outside in (False, True))
    assert (within.sandboxed, within.title) == (True, "Run make")
    assert (without.sandboxed, without.title) == (False, "Run outside of the sandbox: make")
    boxed.workspace = LocalWorkspace(str(boxed.root))
    assert not boxed.access("bash", command="make").sandboxed


async def test_tmp_is_shared_by_the_commands_of_a_session_only(boxed: Hands, tmp_path: Path) -> None:
    await boxed.use("bash", command="mktemp -d > name; echo kept > /tmp/file")
    assert (await boxed.use("bash", command="ls -d $(cat name); cat /tmp/file")).text.endswith("kept")
    sandbox = boxed.workspace.sandbox
    boxed.workspace = LocalWorkspace(str(boxed.root), kept=str(tmp_path / "other"), sandbox=lambda: sandbox)
    assert "No such file" in (await boxed.use("bash", command="cat /tmp/file")).text


async def test_what_was_too_long_can_be_read_inside(boxed: Hands) -> None:
    result = await boxed.use("bash", command="seq 100000")
    path = result.text.partition("is in ")[2].partition(",")[0]
    assert (await boxed.use("bash", command=f"tail -1 {path}")).text == "100000"


async def test_a_job_runs_in_it_and_ends_whole(boxed: Hands, count_from: CountFrom) -> None:
    count_from(lambda: "ready" in "".join(boxed.live))
    started = await boxed.use("bash", command="touch ~/x; echo ready; sleep 1000", run_in_background=True)
    assert "Read-only file system" in started.text
    ended = await boxed.use("job_kill", shell_id=started.metadata["job"])
    assert ended.status == "completed"


async def test_nothing_is_changed_in_mode_plan(boxed: Hands) -> None:
    boxed.read_only = True
    result = await boxed.use("bash", command="touch x")
    assert result.metadata["sandbox"] == "read-only"
    assert HINT in result.text
    boxed.workspace.sandbox = replace(boxed.workspace.sandbox, mode="strict")
    assert (await boxed.use("bash", command="true")).metadata["sandbox"] == "strict"


async def test_programs_can_tell(boxed: Hands) -> None:
    assert (await boxed.use("bash", command="echo $QUELL_SANDBOX $TMPDIR")).text == "workspace /tmp"
