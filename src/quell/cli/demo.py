"""`quell demo`: an agent repairs a small failing project before your eyes, and a long run is stopped.

Only the model is scripted. The repository, its tests, the server, the journal, the permissions and the tools are real, in folders of
their own: nothing of the user's is touched. It fails if anything that it shows is not as it says.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

import click

from quell.cli import daemon, terminal
from quell.cli.failure import COMPLETED, CommandFailed
from quell.client.oneshot import Json
from quell.config.paths import Paths, paths

TESTS = ("python3", "-m", "unittest", "-q")
FILES = {"till.py": "till.py.txt", "test_till.py": "test_till.py.txt"}
CLOSING = """
Only the model was scripted: it said what was written down for it. Everything
else was real: the repository, its tests, the server, the journal, the
permissions and the tools. `quell demo --keep` keeps all of it to look at, and
docs/reference/scripted-model.md says how to write such a script.

With a model of your own, in a repository of yours:

  ANTHROPIC_API_KEY=… quell run "The tests fail. Find out why and repair it."
  OPENAI_API_KEY=…    quell run "Explain what this project does."
  quell run --model ollama/qwen3-coder "…"     a server on this machine, no key

Commands that may change something are denied unless you allow them, as above:
--allow 'bash(npm test)'. A run that was denied something says so at its end.
"""
SHOWN_LINES = 22
"""Of the recorded session."""


@click.command("demo")
@click.option("--keep", is_flag=True, help="Keep the folder, to look at it afterwards.")
def demo(keep: bool) -> int:
    """Watch an agent repair a project, with a scripted model. Needs no key, takes a few seconds."""
    with _stage(keep) as stage:
        stage.make_project()
        stage.show("A small repository. Its tests fail (without the tracebacks):", *TESTS, expected=1, keep=_verdicts)
        session = stage.repair()
        stage.show("What it changed:", "git", "--no-pager", "diff", "-U1", expected=0)
        stage.show("The same tests now:", *TESTS, expected=0, keep=_verdicts)
        recorded = (*stage.quell, "sessions", "show", session)
        stage.show("The session, as it was recorded:", *recorded, expected=0, keep=_beginning)
        stage.stop_a_long_run()
        print(CLOSING)
    return COMPLETED


class _Stage:
    """A folder with a repository and a data directory of its own, so that no other server is met."""

    def __init__(self, folder: Path) -> None:
        self.quell = (sys.executable, "-m", "quell")
        self._folder = folder
        self._project = folder / "till"
        self._colours = terminal.has_colours(sys.stdout)
        # Without a sandbox, whatever this machine has: what is shown is looked at from outside, by its process number.
        (folder / "config.toml").write_text('[sandbox]\nmode = "off"\n', encoding="utf-8")
        # And without what git is told for the person's own work: to sign, to run hooks, to show differences with another program.
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("QUELL_", "GIT_"))},
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            "QUELL_DATA_DIR": str(folder / "data"),
            "QUELL_CONFIG": str(folder / "config.toml"),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def script(self, name: str) -> Path:
        return self._folder / f"{name}.toml"

    def make_project(self) -> None:
        source = files("quell.cli") / "demo_files"
        self._project.mkdir()
        for name, template in FILES.items():
            (self._project / name).write_text((source / template).read_text(encoding="utf-8"), encoding="utf-8")
        for name in ("repair", "long"):
            self.script(name).write_text((source / f"{name}.toml").read_text(encoding="utf-8"), encoding="utf-8")
        for command in (
            ("git", "init", "-q"),
            ("git", "add", "."),
            ("git", "-c", "user.name=Quell", "-c", "user.email=demo@quell.invalid", "commit", "-qm", "A till"),
        ):
            self._run(command, expected=0)

    def show(
        self, title: str, *command: str, expected: int, keep: Callable[[list[str]], list[str]] | None = None
    ) -> None:
        """Run a command where everybody can see it, or what `keep` keeps of its output. Raises `CommandFailed` when it does not end as it
        should."""
        self._title(title)
        shown = ["quell", *command[3:]] if command[:3] == self.quell else command
        print(terminal.styled(f"$ {' '.join(shown)}", "dim", self._colours), flush=True)
        output = self._run(command, expected, captured=keep is not None)
        for line in keep(output.splitlines()) if keep else ():
            print(line, flush=True)

    def repair(self) -> str:
        """Have the agent do it; returns the session."""
        allowed = f"bash({' '.join(TESTS)})"
        prompt = "The tests fail. Find out why and repair it."
        self._title("The agent, started as anybody would start it:")
        options = ("--model", "scripted:../repair.toml", "--allow", allowed)
        line = f"$ quell run {shlex.join(options)} \\\n    {shlex.quote(prompt)}"
        print(terminal.styled(line, "dim", self._colours), flush=True)
        self._run((*self.quell, "run", *options, prompt), expected=0)
        return self._sessions()[0].text("id")

    def stop_a_long_run(self) -> None:
        """Start a run that would take an hour, interrupt it, and see that nothing of it is left."""
        self._title("A run that would take an hour, and Ctrl-C while its command runs:")
        options = ("--model", "scripted:../long.toml", "--allow", "bash")
        print(
            terminal.styled(f"$ quell run {shlex.join(options)} 'Work for an hour.'", "dim", self._colours), flush=True
        )
        command = (*self.quell, "run", *options, "Work for an hour.")
        with subprocess.Popen(command, cwd=self._project, env=self._environment) as run:
            try:
                pid = self._wait_for_the_command()
                began = time.monotonic()
                run.send_signal(signal.SIGINT)
                status = run.wait(timeout=20)
                took = time.monotonic() - began
            finally:
                run.kill()
        if status != 130 or daemon.alive(pid) or self._sessions()[0].flag("busy"):
            raise CommandFailed(f"the run did not stop as it should have: exit status {status}, process {pid}")
        print(
            f"\nStopped, settled and recorded {took * 1000:.0f} ms after Ctrl-C. Its command is gone; exit status 130."
        )

    def close(self) -> None:
        daemon.stop(self._place(), force=True)

    def _title(self, text: str) -> None:
        print(f"\n{terminal.styled(text, 'bold', self._colours)}", flush=True)

    def _run(self, command: Sequence[str], expected: int, *, captured: bool = False) -> str:
        """What it printed, if that was `captured` rather than shown."""
        try:
            done = subprocess.run(
                command,
                cwd=self._project,
                env=self._environment,
                stdout=subprocess.PIPE if captured else None,
                stderr=subprocess.STDOUT if captured else None,
                encoding="utf-8",
                check=False,
            )
        except FileNotFoundError:
            raise CommandFailed(f"the demonstration needs {command[0]}, which is not on your PATH") from None
        if done.returncode != expected:
            said = f":\n{done.stdout}" if captured else ""
            raise CommandFailed(f"`{' '.join(command)}` ended with {done.returncode} instead of {expected}{said}")
        return done.stdout or ""

    def _place(self) -> Paths:
        return paths(self._environment)

    def _sessions(self) -> list[Json]:
        with daemon.connect(self._place()) as connection:
            return connection.request("GET", "/v1/sessions").items("items")

    def _wait_for_the_command(self, patience: float = 15.0) -> int:
        """The process of the long command, once it has said which one it is."""
        deadline = time.monotonic() + patience
        said = self._project / "working.pid"
        while time.monotonic() < deadline:
            if said.exists() and (pid := said.read_text(encoding="utf-8").strip()):
                return int(pid)
            time.sleep(0.01)
        raise CommandFailed("the long command was never started")


@contextmanager
def _stage(keep: bool) -> Iterator[_Stage]:
    folder = Path(tempfile.mkdtemp(prefix="quell-demo-")).resolve()
    stage = _Stage(folder)
    try:
        yield stage
    finally:
        stage.close()
        if keep:
            print(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _verdicts(lines: list[str]) -> list[str]:
    """Of what the tests print: which of them fail, and the sum."""
    return [line for line in lines if line.startswith(("FAIL", "ERROR", "Ran ", "OK"))]


def _beginning(lines: list[str]) -> list[str]:
    more = len(lines) - SHOWN_LINES
    return [*lines[:SHOWN_LINES], f"… and {more} more lines"] if more > 0 else lines
