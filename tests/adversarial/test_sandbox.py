"""Attempts to get out of the sandbox. Each is a command that exits with 0 when it succeeds, and each has a twin: without the sandbox it does."""

from __future__ import annotations

import os
import pty
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from quell.core.ports import ProcessEnd, Sandbox, SandboxMode
from quell.workspace import LocalWorkspace, process, sandboxing
from tests.workspace.test_process import TREE, alive, until

pytestmark = pytest.mark.skipif(bool(sandboxing.unavailable()), reason=f"no sandbox: {sandboxing.unavailable()}")

PYTHON = shlex.quote(os.path.realpath(sys.executable)) + " -I -S -c "
ROOT = os.geteuid() == 0


class Yard:
    """A home with a repository in `project`, which is the workspace, and things in it that are none of a command's business."""

    def __init__(self, base: Path, name: str = "project") -> None:
        self.home = base / "home"
        self.project = self.home / "work" / name
        self.outside = self.home / "outside"
        self.state = base / "state"
        self.sandbox = Sandbox(mode="workspace", hidden=(str(self.state),))
        for folder in (self.project, self.outside, self.state, self.home / ".ssh", self.home / ".aws"):
            folder.mkdir(parents=True)
        for path in (".ssh/id", ".aws/credentials", ".netrc", ".bash_history", "outside/file", "../state/quell.db"):
            (self.home / path).write_text("secret\n")
        self.environment = {**os.environ, "HOME": str(self.home), "OUT": str(self.outside), "STATE": str(self.state)}
        self.environment |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
        self.environment |= {
            f"GIT_{who}_{what}": "x@y.z" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
        }

    def repository(self) -> None:
        subprocess.run(["git", "init", "-q", "."], cwd=self.project, check=True)
        (self.project / ".vscode").mkdir()
        (self.project / ".vscode" / "tasks.json").write_text("{}")

    def start(self, command: str, sandbox: Sandbox, out: list[bytes]) -> process.Running:
        workspace = LocalWorkspace(str(self.project))
        started = workspace.start(
            ["/bin/bash", "-c", command],
            directory=str(self.project),
            environment=self.environment,
            output=out.append,
            sandbox=sandbox,
        )
        assert isinstance(started, process.Running)
        return started

    async def run(self, command: str, sandbox: Sandbox | None = None) -> tuple[ProcessEnd, str]:
        out: list[bytes] = []
        started = self.start(command, self.sandbox if sandbox is None else sandbox, out)
        end = await started.wait(60)
        assert end is not None, "the command does not end"
        return end, b"".join(out).decode()

    async def free(self, command: str) -> tuple[ProcessEnd, str]:
        return await self.run(command, Sandbox())

    async def refused(self, attempt: str) -> None:
        """It fails in the sandbox, and then works without, which shows that it is one."""
        end, said = await self.run(attempt)
        assert end.status != 0, f"it got out: {attempt}\n{said}"
        end, said = await self.free(attempt)
        assert end.status == 0, f"no attempt at all: {attempt}\n{said}"


@pytest.fixture
def base() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="yard-")).resolve()  # short: the path of a socket has a limit
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def yard(base: Path) -> Yard:
    made = Yard(base)
    made.repository()
    return made


@pytest.fixture
def victim(yard: Yard) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "1000"], env={"PATH": os.environ["PATH"], "KEY": "secret"}) as started:
        yard.environment["VICTIM"] = str(started.pid)
        yield started
        started.kill()


# What has to work


@pytest.mark.parametrize("mode", ["workspace", "read-only", "strict"])
async def test_a_user_whose_home_does_not_exist(yard: Yard, mode: SandboxMode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/nonexistent")  # a service's, by its entry in the system's list of users
    assert await yard.run("echo hello", Sandbox(mode=mode)) == (ProcessEnd(status=0), "hello\n")


async def test_work_goes_on_as_usual(yard: Yard) -> None:
    work = (
        "echo x > a && mkdir b && mv a b/c && git add . && git commit -qm one && git checkout -qb two && git status -s"
    )
    end, said = await yard.run(f"{work} && git stash list && git log --oneline | wc -l && echo $(( $(id -u) ))")
    assert (end.status, said.split()) == (0, ["1", str(os.getuid())])
    assert (yard.project / "b" / "c").read_text() == "x\n"
    end, _ = await yard.run(
        PYTHON + "'print(1)' > /tmp/y && cat ../../outside/file /tmp/y && echo > ~/.cache/z || mkdir ~/.cache"
    )
    assert end.status != 127


async def test_programs_of_the_home_run(yard: Yard) -> None:
    tool = yard.home / "bin" / "tool"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\necho from home\n")
    tool.chmod(0o755)
    assert (await yard.run("~/bin/tool"))[1] == "from home\n"


async def test_the_exit_status_is_the_commands(yard: Yard) -> None:
    assert (await yard.run("exit 7"))[0].status == 7
    assert (await yard.run("kill -9 $$"))[0].status == 128 + 9


async def test_a_worktree_and_its_repository(yard: Yard) -> None:
    tree = yard.home / "tree"
    made = "git commit -q --allow-empty -m zero && git worktree add -q ../../tree"
    assert (await yard.free(made))[0].status == 0
    yard.project = tree
    assert (await yard.run("echo x > a && git add a && git commit -qm one"))[0].status == 0
    common = "$(git rev-parse --git-common-dir)"
    for name in ("hooks/x", "config", "worktrees/tree/commondir", "worktrees/tree/gitdir"):
        await yard.refused(f": >> {common}/{name}")


async def test_a_git_folder_elsewhere_is_not_believed_unless_it_names_this_one(yard: Yard) -> None:
    shutil.rmtree(yard.project / ".git")
    assert (await yard.free("git init -q $OUT"))[0].status == 0
    (yard.project / ".git").write_text(f"gitdir: {yard.outside}/.git\n")
    await yard.refused("echo x > $OUT/.git/description")


@pytest.mark.parametrize("name", ["a b", "-x", "--", "new\nline", "$(touch pwned)", "'; exit 9;'", "é\t*"])
async def test_odd_names_of_folders(base: Path, name: str) -> None:
    yard = Yard(base, name)
    end, said = await yard.run("pwd; echo x > here; [ ! -e pwned ]")
    assert (end.status, said) == (0, f"{yard.project}\n")
    assert (yard.project / "here").exists()
    await yard.refused("echo x > $OUT/new")


# Files


@pytest.mark.parametrize(
    "attempt",
    [
        "echo x > $OUT/new",
        "echo x >> $OUT/file",
        "rm $OUT/file",
        "chmod 777 $OUT/file",
        "echo x > ../../outside/new",
        "ln -sfn $OUT link && echo x > link/new",
        "ln -sfn ../../outside/file link && echo x > link",
        "ln -f $OUT/file hard && echo x > hard",
        "mv $OUT/file stolen",
        "echo x > /proc/self/root$OUT/new",
        "echo x > /proc/self/cwd/../../outside/new",
        "echo x > ~/.profile",
        "echo x > .git/hooks/pre-commit",
        "rm -r .git/hooks && mkdir .git/hooks && echo x > .git/hooks/pre-commit",
        "mv .git g && cp -r g .git && echo x > .git/hooks/pre-commit",
        "git config core.pager x",
        "echo x > c && mv c .git/config",
        "echo x > .vscode/tasks.json",
        "mv .vscode v && mkdir .vscode",
    ],
)  # fmt: skip
async def test_nothing_is_written_outside(yard: Yard, attempt: str) -> None:
    await yard.refused(attempt)


async def test_links_that_were_there_before(yard: Yard) -> None:
    (yard.project / "link").symlink_to(yard.outside)
    await yard.refused("echo x > link/new")


@pytest.mark.parametrize(
    "path",
    [
        "~/.ssh/id",
        "~/.aws/credentials",
        "~/.netrc",
        "~/.bash_history",
        "$STATE/quell.db",
        "/proc/self/root$STATE/quell.db",
    ],
)
async def test_secrets_and_the_agents_state_are_not_read(yard: Yard, path: str) -> None:
    await yard.refused(f"grep -q secret {path}")


async def test_a_secret_is_hidden_where_it_really_is(yard: Yard) -> None:
    (yard.home / ".ssh").rename(yard.outside / "keys")
    (yard.home / ".ssh").symlink_to(yard.outside / "keys")
    await yard.refused("grep -q secret $OUT/keys/id")


async def test_a_home_as_workspace(yard: Yard) -> None:
    yard.project = yard.home
    (yard.home / ".profile").write_text("")
    assert (await yard.run("echo x > new"))[0].status == 0
    await yard.refused("grep -q secret .ssh/id")
    await yard.refused("echo x > .profile")


@pytest.mark.parametrize("mode", ["read-only", "strict"])
async def test_narrower_modes(yard: Yard, mode: SandboxMode) -> None:
    yard.sandbox = replace(yard.sandbox, mode=mode)
    (yard.project / "file").write_text("mine\n")
    assert (await yard.run("cat file && echo x > /tmp/x && ls /usr > /dev/null"))[0].status == 0
    if mode == "read-only":
        await yard.refused("echo x > file")
        assert (await yard.run("git status && cat $OUT/file"))[0].status == 0
    else:
        await yard.refused("grep -q secret $OUT/file")
        assert (await yard.run("echo x > file && git add file"))[0].status == 0


# Rights


@pytest.mark.parametrize(
    "attempt",
    [
        "unshare -Ur true",
        "unshare -Urm sh -c 'mkdir m && mount --bind $OUT m && echo x > m/new'",
        "unshare -Urm mount -t tmpfs none $OUT",
        "unshare -Urn true",
    ],
)
async def test_no_further_namespaces(yard: Yard, attempt: str) -> None:
    await yard.refused(attempt)


@pytest.mark.skipif(not ROOT, reason="the twins need root")
@pytest.mark.parametrize(
    "attempt",
    [
        "unshare -m sh -c 'mkdir m && mount --bind $OUT m && echo x > m/new'",
        "unshare -m sh -c 'mount --bind $OUT $OUT && mount -o remount,bind,rw $OUT && echo x > $OUT/new'",
        "mknod dev b 7 0",
        "mknod dev c 1 1 && head -c 1 dev >/dev/null || [ -c dev ]",
        "chroot / true",
        "v=$(cat /proc/sys/kernel/core_pattern); echo $v > /proc/sys/kernel/core_pattern",
        "v=$(cat /proc/sys/vm/swappiness); echo $v > /proc/sys/vm/swappiness",
        "echo x > /proc/$PPID/root$OUT/new",
        "nsenter -t $PPID -m touch $OUT/new",
    ],
)
async def test_root_is_nobody_special(yard: Yard, attempt: str) -> None:
    await yard.refused(attempt)


async def test_what_is_mounted_over_cannot_be_taken_away(yard: Yard) -> None:
    end, _ = await yard.run(
        "umount ~/.ssh; umount -l ~/.ssh; mount -o remount,rw ~; ! grep -q secret ~/.ssh/id && ! touch ~/x"
    )
    assert end.status == 0


# Processes


@pytest.mark.parametrize(
    "attempt", ["kill -0 $VICTIM", "grep -qz KEY=secret /proc/$VICTIM/environ", "ls /proc/$VICTIM/root/"]
)
async def test_processes_outside_are_out_of_reach(yard: Yard, victim: subprocess.Popen[bytes], attempt: str) -> None:
    await yard.refused(attempt)
    assert victim.poll() is None


async def test_all_that_can_be_signalled_is_its_own(yard: Yard, victim: subprocess.Popen[bytes]) -> None:
    await yard.run("kill -9 -1; kill -9 $PPID")
    assert victim.poll() is None
    await yard.free("kill -9 $VICTIM")
    assert victim.wait(10) == -signal.SIGKILL


@pytest.mark.skipif(not ROOT, reason="Yama forbids the twin")
async def test_no_tracing(yard: Yard, victim: subprocess.Popen[bytes]) -> None:
    trace = "import ctypes,os; raise SystemExit(ctypes.CDLL(None).ptrace(16, int(os.environ['VICTIM']), 0, 0) != 0)"
    await yard.refused(PYTHON + shlex.quote(trace))
    assert victim.poll() is None


async def test_no_typing_into_the_terminal(yard: Yard) -> None:
    push = f"exec {PYTHON}" + shlex.quote(
        "import fcntl; fcntl.ioctl(open('/dev/tty'), 0x5412, b'x'); print('pushed'.upper())"
    )

    def on_terminal(words: list[str]) -> str:
        child, terminal = pty.fork()
        if child == 0:
            os.chdir(yard.project)
            os.execvpe(words[0], words, yard.environment)
        said = b""
        try:
            while select.select([terminal], [], [], 30)[0] and (chunk := os.read(terminal, 4096)):
                said += chunk
        except OSError:
            pass  # so a terminal ends
        os.waitpid(child, 0)
        os.close(terminal)
        return said.decode()

    command = ["/bin/bash", "-c", push]
    if "PUSHED" not in on_terminal(command):
        pytest.skip("this kernel forbids it to everybody")
    folders = (str(yard.project),)
    confined = sandboxing.confined(command, str(yard.project), yard.sandbox, folders, str(yard.home), "")
    assert "PUSHED" not in on_terminal(confined)


async def test_t1_the_whole_tree_is_stopped_in_a_sandbox(yard: Yard) -> None:
    out: list[bytes] = []
    started = yard.start(TREE, yard.sandbox, out)
    await until(lambda: b"planted" in b"".join(out) and len(alive(yard.project)) >= 50)
    end = await started.stop("cancelled")
    assert (end.stopped, end.unkillable, alive(yard.project)) == ("cancelled", (), [])


async def test_t1_a_command_in_a_sandbox_has_time_to_clean_up(yard: Yard) -> None:
    out: list[bytes] = []
    started = yard.start(
        "trap 'echo bye > cleaned; exit' TERM; echo ready; while :; do sleep 0.05; done", yard.sandbox, out
    )
    await until(lambda: b"ready" in b"".join(out))
    await started.stop("cancelled")
    assert (yard.project / "cleaned").read_text() == "bye\n"


async def test_t1_what_outlives_its_command_in_a_sandbox_is_ended_and_named(yard: Yard) -> None:
    sleeps = "sleeps() { until grep -q sleep /proc/$1/comm; do :; done; }"  # and is nothing any more that is about to
    end, _ = await yard.run(f"{sleeps}; setsid sleep 1000 & sleeps $!; (setsid sleep 1000 & sleeps $!); exit 3")
    assert (end.status, set(end.leftover), alive(yard.project)) == (3, {"sleep"}, [])


async def test_t1_nothing_is_left_in_a_sandbox_when_the_supervisor_is_killed(yard: Yard) -> None:
    out: list[bytes] = []
    started = yard.start(TREE, yard.sandbox, out)
    await until(lambda: b"planted" in b"".join(out))
    started._process.kill()
    await started.wait(30)
    await until(lambda: not alive(yard.project))


# The network


def connects(address: str, family: str = "AF_UNIX") -> str:
    return PYTHON + shlex.quote(f"import os, socket; socket.socket(socket.{family}).connect({address})")


@pytest.mark.parametrize(
    ("bound", "address"),
    [
        ("state/daemon.sock", "os.environ['STATE'] + '/daemon.sock'"),
        ("state/daemon.sock", "[l.split()[-1] for l in open('/proc/net/unix') if os.environ['STATE'] in l][0]"),
        ("\0quell-test-{pid}", "'\\0quell-test-{pid}'"),
    ],
)
async def test_sockets_of_the_machine(yard: Yard, base: Path, bound: str, address: str) -> None:
    bound, address = bound.replace("{pid}", str(os.getpid())), address.replace("{pid}", str(os.getpid()))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(bound if bound.startswith("\0") else str(base / bound))
        listener.listen()
        await yard.refused(connects(address))


async def test_no_network(yard: Yard) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        await yard.refused(connects(str(listener.getsockname()), "AF_INET"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waiting:
        waiting.bind(("127.0.0.1", 0))
        waiting.setblocking(False)
        send = f"import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', {waiting.getsockname()})"
        await yard.run(PYTHON + shlex.quote(send))
        with pytest.raises(BlockingIOError):
            waiting.recv(1)
        await yard.free(PYTHON + shlex.quote(send))
        assert waiting.recv(1) == b"x"
    far = "import socket\ntry: socket.socket().connect(('192.0.2.1', 53))\nexcept OSError as e: print(e.strerror)"
    assert (await yard.run(PYTHON + shlex.quote(far)))[1] == "Network is unreachable\n"
    name = "import socket\ntry: print(socket.getaddrinfo('example.com', 80))\nexcept OSError as e: print('refused')"
    assert (await yard.run(PYTHON + shlex.quote(name)))[1] == "refused\n"


async def test_loopback_works_inside(yard: Yard) -> None:
    talk = "import socket; s = socket.create_server(('127.0.0.1', 0)); socket.create_connection(s.getsockname()); print('ok')"
    assert (await yard.run(PYTHON + shlex.quote(talk)))[1] == "ok\n"


async def test_network_where_it_is_allowed(yard: Yard) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        attempt = connects(str(listener.getsockname()), "AF_INET")
        assert (await yard.run(attempt, replace(yard.sandbox, network=True)))[0].status == 0


# Without bubblewrap


async def test_a_sandbox_that_is_not_there_is_not_done_without(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(yard.home))
    with pytest.raises(OSError, match="not available"):
        yard.start("true", yard.sandbox, [])
