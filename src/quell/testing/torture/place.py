"""Where the torture happens: folders, a small disk, the daemon's environment, and the processes that can be found there.

The small disk holds the data directory and the workspaces. It is a tmpfs where one may be mounted; elsewhere the daemon's own
limit on the size of files makes its writes fail while the disk is to be full.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from quell.config.paths import paths
from quell.testing.torture.script import script
from quell.workspace import supervisor

DISK = "128m"
SMALL = 4096
"""Bytes that a file may have where the disk is only said to be full: not even a page of the journal's log fits."""
TAG = "QUELL_TORTURE"
"""The variable in the daemon's environment, and so in that of all that it starts."""


class Place:
    """`mark` is found in everything that the daemon starts: in its environment, or in its command line.

    `sockets`: of the usual server, and of those on standby.
    """

    def __init__(self, *, resume_interrupted: bool) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="q-"))
        self.mark = f"86400.{os.getpid()}{self.root.stat().st_ino % 1000:03}"
        self.disk = self.root / "disk"
        for name in ("disk", "run", "config/quell", "numbers", "ledgers"):
            (self.root / name).mkdir(mode=0o700, parents=True)
        self.mounted = self._mount()
        self.workspaces = self.disk / "workspaces"
        self.workspaces.mkdir()
        path = self.root / "script.toml"
        path.write_text(script(self.mark), encoding="utf-8")
        self.model = f"scripted:{path}"
        (self.root / "config" / "quell" / "config.toml").write_text(
            f"resume_interrupted = {str(resume_interrupted).lower()}\n", encoding="utf-8"
        )
        hidden = ("QUELL_", "XDG_", "OPENAI_", "ANTHROPIC_")
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith(hidden) and "_API_KEY" not in name
        } | {
            "HOME": str(self.root),
            "QUELL_DATA_DIR": str(self.disk / "data"),
            "XDG_RUNTIME_DIR": str(self.root / "run"),
            "XDG_CONFIG_HOME": str(self.root / "config"),
            "PYTHONFAULTHANDLER": "1",
            TAG: self.mark,
        }
        found = paths(self.environment)
        self.database = Path(found.database)
        self.lock = self.database.with_name(f"{self.database.name}.lock")
        self.sockets = (found.socket, f"{found.socket}.2", f"{found.socket}.3")
        self.log = self.root / "daemon.log"
        self._ballast = self.disk / "ballast"

    # The disk

    def _mount(self) -> bool:
        command = ["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=0700", "tmpfs", str(self.disk)]
        try:
            return subprocess.run(command, capture_output=True, check=False).returncode == 0
        except OSError:
            return False

    def fill(self, daemons: Collection[int]) -> None:
        """From now on the daemons cannot write."""
        if not self.mounted:
            self._limit(daemons, SMALL)
            return
        with suppress(OSError), self._ballast.open("wb", buffering=0) as file:
            for size in (1 << 20, 1 << 12, 1):
                with suppress(OSError):
                    while file.write(bytes(size)) == size:
                        pass

    def free(self, daemons: Collection[int]) -> None:
        """There is room again."""
        self._ballast.unlink(missing_ok=True)
        if not self.mounted:
            self._limit(daemons, None)

    def _limit(self, daemons: Collection[int], size: int | None) -> None:
        for daemon in daemons:
            with suppress(OSError):
                limit = resource.prlimit(daemon, resource.RLIMIT_FSIZE)[1]
                resource.prlimit(daemon, resource.RLIMIT_FSIZE, (limit if size is None else size, limit))

    # The processes

    def processes(self, besides: Collection[int] = ()) -> dict[tuple[int, bytes], str]:
        """Everything that lives and came from the daemons, by number and birth; `besides` themselves."""
        return {
            (each.number, each.birth): each.name
            for each in supervisor.processes()
            if each.number not in besides and self._is_ours(each.number)
        }

    def _is_ours(self, number: int) -> bool:
        folder = Path("/proc") / str(number)
        try:
            return (
                f"{TAG}={self.mark}".encode() in (folder / "environ").read_bytes()
                or self.mark.encode() in (folder / "cmdline").read_bytes()
                or Path(os.readlink(folder / "cwd")).is_relative_to(self.workspaces)
            )
        except OSError:
            return False

    # What the daemon said

    def log_lines(self) -> list[str]:
        return self.log.read_text(encoding="utf-8", errors="replace").splitlines()

    # The end

    def keep(self) -> Path:
        """Leave everything in a folder, for whoever wants to find out."""
        folder = self.root.with_name(f"{self.root.name}-kept")
        shutil.copytree(
            self.root, folder, ignore=shutil.ignore_patterns("ballast", "run", "quell.db.bells"), dirs_exist_ok=True
        )
        return folder

    def close(self) -> None:
        if self.mounted:
            subprocess.run(["umount", "--lazy", str(self.disk)], capture_output=True, check=False)
        shutil.rmtree(self.root, ignore_errors=True)
