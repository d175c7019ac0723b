"""The real command in a home of its own: what the tests of this folder drive.

Nothing of the user's is seen or touched: settings, data, socket and keys are the home's own. Every server that was started for a home
notes its pid there, and is killed by it at the end: what /proc shows of a server it shows to root only (`config/scrub.py`).
"""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

SCRIPT = r"""
[[when]]
prompt = "say hello"
[[when.reply]]
step = [{ reasoning = "Politely." }, { text = "\n\nHello, " }, { text = "wörld.\n", chunk = 3 }]
usage = { input = 1200, output = 30 }
cost = "0.25"

[[when]]
prompt = "look around"
[[when.reply]]
step = [{ text = "I look." }, { tool = "ls", input = { path = "." } }]
[[when.reply]]
step = [{ text = "Nothing here." }]

[[when]]
prompt = "start a server"
[[when.reply]]
step = [{ tool = "bash", input = { command = "sleep 1000", run_in_background = true } }]
[[when.reply]]
step = [{ text = "It runs." }]

[[when]]
prompt = "write it"
[[when.reply]]
step = [{ tool = "write", input = { file_path = "made.txt", content = "made\n" } }]
[[when.reply]]
step = [{ text = "Written." }]

[[when]]
prompt = "touch it"
[[when.reply]]
step = [{ tool = "bash", input = { command = "touch touched.txt" } }]
[[when.reply]]
step = [{ text = "Tried." }]

[[when]]
prompt = "touch much"
[[when.reply]]
step = [{ tool = "bash", input = { command = "touch touched.txt" } }, { tool = "bash", input = { command = "touch touched.txt # and a comment that is longer than a line of a terminal, by far" } }]
[[when.reply]]
step = [{ tool = "ls", input = { path = "." } }]
[[when.reply]]
step = [{ text = "Tried." }]

[[when]]
prompt = "leave the sandbox"
[[when.reply]]
step = [{ tool = "bash", input = { command = "touch ~/left" } }]
[[when.reply]]
step = [{ tool = "bash", input = { command = "touch ~/left", outside_sandbox = true } }]
[[when.reply]]
step = [{ text = "Tried." }]

[[when]]
prompt = "fail it"
[[when.reply]]
step = [{ tool = "bash", input = { command = "exit 3" } }]
[[when.reply]]
step = [{ text = "Tried." }]

[[when]]
prompt = "for ever"
[[when.reply]]
step = [{ endless = "and on… ", interval = 0.02 }]

[[when]]
prompt = "look first"
[[when.reply]]
step = [{ text = "First I look." }, { tool = "ls", input = { path = "." } }]
[[when.reply]]
step = [{ endless = "and on… ", interval = 0.02 }]

[[when]]
prompt = "in silence"
[[when.reply]]
step = [{ text = "Hm." }, { silence = true }]

[[when]]
prompt = "again and again"
[[when.reply]]
step = [{ tool = "ls", input = { path = "." } }]

[[when]]
prompt = "be costly"
[[when.reply]]
step = [{ tool = "ls", input = { path = "." } }]
cost = "0.25"

[[when]]
prompt = "be flaky"
[[when.reply]]
step = [{ text = "Half" }, { fail = "overloaded", retry_after = 0.05 }, { text = " a word." }]

[[when]]
prompt = "wrong key"
[[when.reply]]
step = [{ fail = "unauthorized", detail = "the provider says 401" }]

[[when]]
prompt = "refuse"
[[when.reply]]
step = [{ text = "No." }]
stop_reason = "refusal"

[[when]]
prompt = "be cut"
[[when.reply]]
step = [{ text = "And so" }]
stop_reason = "max_tokens"

[[when]]
prompt = "escape"
[[when.reply]]
step = [{ text = "a\u001b[2Jb" }]

[[when]]
prompt = "ask around"
[[when.reply]]
step = [{ text = "I ask." }, { tool = "agent", input = { prompt = "Where is it?" } }, { tool = "agent", input = { prompt = "For ever?" } }]
cost = "0.25"
[[when.reply]]
step = [{ text = "It is here." }]
cost = "0.25"

[[agent]]
prompt = "Where"
[[agent.reply]]
step = [{ tool = "ls", input = { path = "." } }, { tool = "bash", input = { command = "touch not.txt" } }]
cost = "0.125"
usage = { input = 700, output = 3 }
[[agent.reply]]
step = [{ text = "In the workspace." }]
cost = "0.125"

[[agent]]
prompt = "For ever"
[[agent.reply]]
step = [{ tool = "bash", input = { command = "echo looking" } }]
cost = "0.25"
[[agent.reply]]
step = [{ endless = "and on… ", interval = 0.02 }]

[[when]]
prompt = "(?s).*"
[[when.reply]]
step = [{ text = "You said something." }]
"""


NOTES_PID = """
import os, sys

if "serve" in sys.orig_argv:
    with open({file!r}, "a") as file:
        file.write(f"{{os.getpid()}}\\n")
"""
"""What Python runs at its start in a home (as `sitecustomize`)."""


class Home:
    """A home, a workspace in it with the scripted model `model`, and the command."""

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="q", dir="/tmp"))  # short: socket paths have a limit
        self.workspace = self.root / "w"
        self.data = self.root / "data"
        self._pids = self.root / "pids"
        for folder in ("w", "run", "config", "start"):
            (self.root / folder).mkdir(mode=0o700)
        notes = NOTES_PID.format(file=str(self._pids))
        (self.root / "start" / "sitecustomize.py").write_text(notes, encoding="utf-8")
        (self.root / "script.toml").write_text(SCRIPT, encoding="utf-8")
        self.model = f"scripted:{self.root}/script.toml"
        hidden = ("QUELL_", "XDG_", "NO_COLOR", "PAGER", "COLUMNS", "OPENAI_", "ANTHROPIC_")
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith(hidden) and "_API_KEY" not in name
        } | {
            "HOME": str(self.root),
            "QUELL_DATA_DIR": str(self.data),
            "XDG_RUNTIME_DIR": str(self.root / "run"),
            "XDG_CONFIG_HOME": str(self.root / "config"),
            "PYTHONPATH": str(self.root / "start"),
        }

    def quell(
        self,
        *arguments: str,
        input: bytes | None = None,
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Ended:
        """Run it to its end."""
        done = subprocess.run(
            self.line(*arguments),
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            cwd=cwd or self.workspace,
            env=self.environment | dict(environment or {}),
            timeout=50,
            check=False,
        )
        return Ended(done.returncode, done.stdout.decode(), done.stderr.decode())

    def run(self, *arguments: str, input: bytes | None = None) -> Ended:
        """`quell run` with the scripted model."""
        return self.quell("run", "--model", self.model, *arguments, input=input)

    def start(self, *arguments: str, environment: Mapping[str, str] | None = None) -> Started:
        """Begin it, to do something to it meanwhile."""
        process = subprocess.Popen(
            self.line(*arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.workspace,
            env=self.environment | dict(environment or {}),
        )
        return Started(process)

    def on_terminal(self, *arguments: str, environment: Mapping[str, str] | None = None) -> tuple[int, str]:
        """Run it with a terminal as all three of its streams; the status, and everything that was shown."""
        master, slave = pty.openpty()
        process = subprocess.Popen(
            self.line(*arguments),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=self.workspace,
            env=self.environment | {"TERM": "xterm-256color"} | dict(environment or {}),
            start_new_session=True,
        )
        os.close(slave)
        shown = b""
        while True:
            try:
                piece = os.read(master, 4096)
            except OSError:  # Linux's way to say that the other end is closed
                break
            shown += piece
            if not piece:
                break
        os.close(master)
        return process.wait(), shown.decode()

    def configure(self, text: str) -> Path:
        """Write the user's configuration."""
        path = self.root / "config" / "quell" / "config.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def project(self, text: str) -> Path:
        """Write the workspace's configuration."""
        path = self.workspace / ".quell" / "config.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def line(self, *arguments: str) -> list[str]:
        return [sys.executable, "-P", "-m", "quell", *arguments]

    def sessions(self) -> list[dict[str, object]]:
        found = self.quell("sessions", "list", "--all", "--json")
        assert found.status == 0, found
        sessions: list[dict[str, object]] = json.loads(found.out)
        return sessions

    def servers(self) -> list[int]:
        """The pids of the servers of this home."""
        noted = self._pids.read_text(encoding="ascii").split() if self._pids.exists() else []
        found = []
        for pid in noted:
            try:
                if b"\0serve\0" in (Path("/proc") / pid / "cmdline").read_bytes():
                    found.append(int(pid))
            except OSError:
                continue
        return found

    def processes_with(self, word: bytes, folder: Path) -> list[int]:
        """The pids of what runs in a folder, with a word in its command line."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if os.readlink(process / "cwd") == str(folder) and word in (process / "cmdline").read_bytes():
                    found.append(int(process.name))
            except OSError:
                continue
        return found

    def kill_server(self) -> None:
        for pid in self.servers():
            with suppress(ProcessLookupError):  # it was leaving
                os.kill(pid, signal.SIGKILL)
        until(lambda: not self.servers())

    def close(self) -> None:
        self.kill_server()
        shutil.rmtree(self.root, ignore_errors=True)


class Ended:
    """What a command came to."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status = status
        self.out = out
        self.err = err

    def __repr__(self) -> str:
        return f"exit status {self.status}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"

    def json(self) -> dict[str, object]:
        value: dict[str, object] = json.loads(self.out)
        return value


class Started:
    """A command in progress."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._read = b""

    def reads(self, text: str) -> None:
        """Return when standard output has shown this."""
        assert self.process.stdout is not None
        while text.encode() not in self._read:
            piece = os.read(self.process.stdout.fileno(), 4096)
            assert piece, f"ended without saying {text!r}: {self.end()}"
            self._read += piece

    def complains(self, text: str) -> None:
        """The same of standard error. What was read is not in the end's again."""
        assert self.process.stderr is not None
        said = b""
        while text.encode() not in said:
            piece = os.read(self.process.stderr.fileno(), 4096)
            assert piece, f"ended without saying {text!r}: {self.end()}"
            said += piece

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self) -> Ended:
        out, err = self.process.communicate(timeout=40)
        return Ended(self.process.returncode, (self._read + out).decode(), err.decode())


def until(condition: Callable[[], object], seconds: float = 20) -> None:
    """Wait for something that another process does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)
