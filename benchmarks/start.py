"""Starting: the command alone, the command with a warm daemon, the daemon, and what loading the models' libraries does to it."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time

from benchmarks.figures import Figure, median, milliseconds
from benchmarks.play import Play
from benchmarks.processes import COMMAND, Home, Started, daemon, home, model, ping
from quell.testing.providers import Dialect

HELLO = Play()
PROBE_SECONDS = 0.001
HEARTBEAT_LOAD = 0.2
"""What a timer of 1 ms costs at most, as a part of a processor."""
PROBE_LOAD = 0.5
"""The same of a request every millisecond."""
LOADING_BEGINS = 1.0
"""Seconds after the first answer by which the libraries have begun to load."""
LONGEST_LOAD = 20.0


async def measure(quick: bool) -> list[Figure]:
    with home({}, plays=[HELLO]) as made:
        return [
            *_version(made, 10 if quick else 40),
            *_warm_run(made, 10 if quick else 40),
            *_spawn(made, 4 if quick else 12),
            *(await _stall("openai", 2 if quick else 5)),
            *(await _stall("anthropic", 2 if quick else 5)),
        ]


def _time(made: Home, *command: str) -> float:
    begun = time.perf_counter()
    subprocess.run(command, cwd=made.workspace, env=made.environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def _version(made: Home, times: int) -> list[Figure]:
    bare, version = [], []
    for _ in range(times):  # in turns, so that both see the same machine
        bare.append(_time(made, sys.executable, "-c", "pass"))
        version.append(_time(made, str(COMMAND), "--version"))
    return [
        Figure(name="`quell --version`", value=milliseconds(median(version)), unit="ms"),
        Figure(
            name="`quell --version` over `python -c pass`", value=median(version) / median(bare), unit="×", target=1.5
        ),
    ]


def _warm_run(made: Home, times: int) -> list[Figure]:
    command = (str(COMMAND), "run", "--quiet", "--model", made.models["scripted"], HELLO.prompt)
    with daemon(made):
        _time(made, *command)
        took = [_time(made, *command) for _ in range(times)]
    return [
        Figure(
            name="`quell run`, warm daemon, model answering at once: whole command",
            value=milliseconds(median(took)),
            unit="ms",
            target=60,
        )
    ]


def _spawn(made: Home, times: int) -> list[Figure]:
    took = []
    for _ in range(times):
        with daemon(made) as started:
            took.append(started.answered)
    return [
        Figure(
            name="daemon: spawn to first answer",
            value=milliseconds(median(took)),
            unit="ms",
            target=150,
            elsewhere="136 ms (Codex)",
        )
    ]


async def _stall(dialect: Dialect, times: int) -> list[Figure]:
    outside, inside = [], []
    async with model(dialect) as loopback:
        with home({dialect: loopback.url}, default=dialect) as made:
            for _ in range(times):
                with daemon(made) as started:
                    outside.append(await asyncio.to_thread(_longest_ping, started))
                heart = made.folder / "heart"
                with daemon(made, ("-m", "benchmarks.beating", str(heart))) as started:
                    await started.process.quiet(HEARTBEAT_LOAD)
                inside.append(float(heart.read_text()))
    name = {"openai": "Chat Completions", "anthropic": "Anthropic"}[dialect]
    return [
        Figure(
            name=f"event loop stalled while the libraries load, {name}, seen from {where}",
            value=milliseconds(median(longest)),
            unit="ms",
            target=25,
        )
        for where, longest in (("outside (a request every ms)", outside), ("inside (a timer of 1 ms)", inside))
    ]


def _longest_ping(started: Started) -> float:
    """Ask every millisecond until the libraries are loaded: until the daemon does little more than answer."""
    begun = time.perf_counter()
    longest, window, used = 0.0, begun, started.process.processor
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(started.socket)
        while (now := time.perf_counter()) - begun < LONGEST_LOAD:
            longest = max(longest, ping(connection))
            time.sleep(PROBE_SECONDS)
            if now - window > 0.3:
                before, used = used, started.process.processor
                if now - begun > LOADING_BEGINS and used - before < PROBE_LOAD * (now - window):
                    return longest
                window = now
    raise RuntimeError("the daemon does not come to rest")
