"""The processes that are measured or that help to: the daemon, and the model on loopback. Started here, ended here, by their pids.

home(…)        a folder of its own: settings, data, socket, a small git repository to work in
daemon(home)   the real one, as the command starts it
model(dialect) the loopback model of `benchmarks.provider`
"""

from __future__ import annotations

import asyncio
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.play import Play, script
from quell.config.paths import paths
from quell.testing.providers import Dialect

ROOT = Path(__file__).resolve().parent.parent
COMMAND = Path(sys.executable).parent / "quell"
START_SECONDS = 20.0
STOP_SECONDS = 10.0
QUIET_SECONDS = 0.5
"""Without processor time for so long, a process has done what it had to do: longer than a daemon waits before it loads its libraries."""


@dataclass(frozen=True)
class Home:
    """`models` are specs, by dialect."""

    folder: Path
    environment: Mapping[str, str]
    models: dict[str, str]

    @property
    def workspace(self) -> Path:
        return self.folder / "project"

    @property
    def log(self) -> Path:
        return self.folder / "daemon.log"

    @property
    def socket(self) -> str:
        return paths(self.environment).socket


@contextmanager
def home(addresses: Mapping[Dialect, str], default: str = "", plays: Sequence[Play] = ()) -> Iterator[Home]:
    """`addresses` are those of the loopback models; `default` is the dialect of the model that the daemon loads at its start."""
    folder = Path(tempfile.mkdtemp(prefix="quell-bench-"))  # short: the path of a socket has a limit
    models = {"scripted": f"scripted:{folder / 'script.toml'}"} | {name: f"bench-{name}/loopback" for name in addresses}
    try:
        (folder / "script.toml").write_text(script(*plays))
        lines = [f'model = "{models[default]}"\n'] if default else []
        lines += [
            f'[providers.bench-{name}]\ndialect = "{name}"\nbase_url = "{url}"\n' for name, url in addresses.items()
        ]
        (folder / "config.toml").write_text("\n".join(("titles = false", *lines)))
        for name in ("data", "run"):
            (folder / name).mkdir(mode=0o700)
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "QUELL_CONFIG": str(folder / "config.toml"),
            "QUELL_DATA_DIR": str(folder / "data"),
            "XDG_RUNTIME_DIR": str(folder / "run"),
        }
        made = Home(folder, environment, models)
        _make_repository(made)
        yield made
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _make_repository(made: Home) -> None:
    made.workspace.mkdir()
    (made.workspace / "AGENTS.md").write_text("Run the tests with `python -m unittest`.\n")
    (made.workspace / "sums.py").write_text("def total(values):\n    return sum(values)\n")
    for arguments in (["init", "--quiet"], ["add", "."]):
        subprocess.run(["git", *arguments], cwd=made.workspace, env=made.environment, check=True)


class Process:
    """What Linux tells of a process that runs."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    @property
    def processor(self) -> float:
        """Seconds of processor time so far, of all its threads."""
        return time.clock_gettime(
            (~self.pid << 3) | 2
        )  # CPUCLOCK_SCHED of a process, as clock_getcpuclockid(3) makes it

    def kill(self) -> None:
        """-9. Whoever started it waits for its end."""
        os.kill(self.pid, signal.SIGKILL)

    @property
    def memory(self) -> float:
        """Resident, in MiB."""
        return self._status("VmRSS")

    @property
    def peak(self) -> float:
        """The most that was ever resident, in MiB."""
        return self._status("VmHWM")

    def _status(self, key: str) -> float:
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{key}:"))

    async def quiet(self, load: float = 0.01) -> None:
        """Return when it has had nothing to do for a while, but for a `load` that is always there (part of a processor)."""
        async with asyncio.timeout(START_SECONDS):
            await asyncio.sleep(QUIET_SECONDS)
            before = -1.0
            while (now := self.processor) - before > load * QUIET_SECONDS:
                before = now
                await asyncio.sleep(QUIET_SECONDS)


@dataclass(frozen=True)
class Started:
    """`answered` is how many seconds the first answer took, from the moment of the spawn."""

    process: Process
    socket: str
    answered: float


SERVE = ("-P", "-m", "quell", "serve")


@contextmanager
def daemon(home: Home, command: Sequence[str] = SERVE, suffix: str = "") -> Iterator[Started]:
    """A daemon in a home, until the block ends. Blocks until it has answered. `suffix` is what its socket has after the usual name."""
    ready, told = os.pipe()
    begun = time.perf_counter()
    with home.log.open("ab") as log:
        server = subprocess.Popen(
            [sys.executable, *command, "--ready-fd", str(told)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=ROOT,
            env=home.environment,
            start_new_session=True,
            pass_fds=(told,),
        )
    os.close(told)
    try:
        if not (select.select([ready], [], [], START_SECONDS)[0] and os.read(ready, 1)):
            raise RuntimeError(f"the daemon does not start:\n{home.log.read_text()}")
        ask_health(home.socket + suffix)
        yield Started(Process(server.pid), home.socket + suffix, time.perf_counter() - begun)
    finally:
        os.close(ready)
        _end(server)


def ask_health(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(START_SECONDS)
        connection.connect(path)
        ping(connection)


def ping(connection: socket.socket) -> float:
    """How many seconds the smallest request takes."""
    begun = time.perf_counter()
    connection.sendall(b"GET /v1/health HTTP/1.1\r\nhost: localhost\r\n\r\n")
    answer = b""
    while not answer.endswith(b"}"):  # head and body may come apart
        piece = connection.recv(65536)
        assert piece, "the daemon closed the connection"
        answer += piece
    assert answer.startswith(b"HTTP/1.1 200"), answer
    return time.perf_counter() - begun


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Model:
    """A loopback model that runs; its log, in order."""

    def __init__(self, dialect: Dialect, process: asyncio.subprocess.Process, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}" + ("/v1" if dialect == "openai" else "")
        self._process = process

    async def time_of(self, what: str) -> float:
        """The moment of the next thing of that kind; what is logged before it is skipped."""
        assert self._process.stdout is not None
        async with asyncio.timeout(60):
            while line := await self._process.stdout.readline():
                kind, moment, _ = line.split()
                if kind.decode() == what:
                    return float(moment)
        raise RuntimeError("the loopback model has ended")

    async def time_taken(self) -> float:
        """How long the next request takes it, from having read it to having written the answer."""
        asked = await self.time_of("asked")
        return await self.time_of("done") - asked

    async def skip(self, what: str, number: int) -> None:
        for _ in range(number):
            await self.time_of(what)


@asynccontextmanager
async def model(dialect: Dialect) -> AsyncIterator[Model]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks.provider",
        dialect,
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 24,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(START_SECONDS):
            port = int(await process.stdout.readline())
        yield Model(dialect, process, port)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()
