"""Searching text, and listing files fast: ripgrep where there is one, else a plain program of ours.

Synchronous, for a thread; a `Stop` ends it. ripgrep is told to use no configuration of the user's (`--pre` in it would run a program),
and what only we ignore (`.quellignore`) is taken out of its answer here. Both ways give the same matches for the expressions that Rust
and Python share.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from functools import cache
from itertools import islice

from msgspec import Struct

from quell.core.ports import Match, Matches
from quell.workspace.globs import compile_glob
from quell.workspace.ignore import DEFAULTS, OWN, Ignored
from quell.workspace.walk import Stop, files_below

LINE = 500
"""Characters of a matching line that are kept."""
_CONSIDERED = 2000
"""Matches that are collected before they are put in order: beyond that, which ones are shown depends on the disk."""
_PASSED = frozenset({"PATH", "HOME", "XDG_CONFIG_HOME", "PYTHONPATH"})
"""Of the environment."""
_BINARY = re.compile(rb"\A(?:[^\n]*: )?binary file matches \([^\n]*\)\n")
"""What ripgrep says, among its matches, of a file that turned out to be no text."""


@cache
def ripgrep() -> str | None:
    """The `rg` of the user, or the one installed beside this Python."""
    import shutil

    return shutil.which("rg") or shutil.which("rg", path=os.path.dirname(sys.executable))


class Query(Struct, frozen=True):
    """What a line has to fit, and, with `include`, the file's path."""

    pattern: str
    literal: bool = False
    include: str = ""

    def files(self) -> Callable[[str], object]:
        return compile_glob(self.include).fullmatch if self.include else bool


def list_files(top: str, stop: Stop, program: str | None) -> Iterator[str]:
    """Paths of the files below `top` that are not ignored, relative to it, in no order. Without a ripgrep `program`, in Python."""
    if program is None:
        yield from files_below(top, stop)
        return
    ignored = Ignored(top)
    rest = b""
    for chunk in _output([program, "--files", "--null", *_quiet(top)], top, stop):
        *names, rest = (rest + chunk).split(b"\0")
        for name in names:
            relative = os.fsdecode(name).removeprefix("./")
            if not ignored.hides(os.path.join(top, relative)):
                yield relative


def search(path: str, query: Query, limit: int, stop: Stop, program: str | None) -> Matches:
    """As `Workspace.search` in the port."""
    os.stat(path)  # a missing path is an error, not an empty answer
    lines = _matches(path, query, stop, program)
    found = list(islice(lines, _CONSIDERED))
    lines.close()
    found.sort(key=lambda match: (match.path, match.line))
    return Matches(tuple(found[:limit]), cut="limit" if len(found) > limit else stop.cut)


def _matches(path: str, query: Query, stop: Stop, program: str | None) -> Generator[Match]:
    fits = query.files()
    folder, target = (path, "./") if os.path.isdir(path) else os.path.split(path)
    command = _plainly(target, query) if program is None else _by_ripgrep(program, folder, target, query)
    ignored = Ignored(folder)
    for head, number, column, text in _parsed(_output(command, folder, stop)):
        relative = os.fsdecode(head).removeprefix("./")
        full = os.path.join(folder, relative)
        if not fits(relative) or (path == folder and ignored.hides(full)):
            continue
        line = text.removesuffix(b"\r")
        position = len(line[: column - 1].decode(errors="replace")) + 1
        yield Match(full, number, position, _around(line.decode(errors="replace"), position))


def _quiet(folder: str) -> list[str]:
    """Options for every use. Of our own ignore files, that of the folder itself may bring back what the built-in patterns take."""
    options = [
        "--no-config",
        "--no-messages",
        "--hidden",
        "--no-require-git",
        "--color=never",
        f"--ignore-file={DEFAULTS}",
    ]
    own = os.path.join(folder, OWN)
    return [*options, f"--ignore-file={own}"] if os.path.isfile(own) else options


def _by_ripgrep(program: str, folder: str, target: str, query: Query) -> list[str]:
    command = [
        program,
        "--null",
        "--line-number",
        "--column",
        "--no-heading",
        "--with-filename",
        "--crlf",
        *_quiet(folder),
    ]
    command += [f"--max-columns={4 * LINE}", "--max-columns-preview"]
    beginning, _, name = query.include.rpartition("/")
    if name.strip("*") and "{" not in beginning:
        # A type, unlike a glob, does not bring back what is ignored; the rest of the path is compared here.
        command += ["--type-add", f"asked:{name}", "--type", "asked"]
    command += ["--fixed-strings"] if query.literal else []
    return [*command, "--regexp", query.pattern, "--", target]


def _plainly(target: str, query: Query) -> list[str]:
    # -P: the folder that is searched may hold a module with the name of one of ours.
    command = [sys.executable, "-P", "-m", "quell.workspace.plain_grep", target, query.pattern]
    return [*command, "--fixed-strings"] if query.literal else command


def _parsed(chunks: Iterator[bytes]) -> Generator[tuple[bytes, int, int, bytes]]:
    """Path, line, column in bytes, and text. A path is ended by NUL, because it may have line breaks in it."""
    rest = b""
    for chunk in chunks:
        rest += chunk
        done = 0
        while (middle := rest.find(b"\0", done)) >= 0 and (end := rest.find(b"\n", middle)) >= 0:
            number, column, text = rest[middle + 1 : end].split(b":", 2)
            yield _BINARY.sub(b"", rest[done:middle]), int(number), int(column), text
            done = end + 1
        rest = rest[done:]


def _output(command: list[str], folder: str, stop: Stop) -> Generator[bytes]:
    """What the program prints, in pieces. Raises `ValueError` with its complaint about the pattern."""
    environment = {name: value for name, value in os.environ.items() if name in _PASSED}
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        stop.also = process.kill
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            while stop.reason is None and (chunk := os.read(process.stdout.fileno(), 1 << 18)):
                yield chunk
            complaint = b"" if stop.reason is not None else process.stderr.read()
        finally:
            stop.also = None
            process.kill()
    if process.returncode == 2 and complaint:
        raise ValueError(complaint.decode(errors="replace").strip().removeprefix("rg: "))


def _around(line: str, column: int) -> str:
    """At most `LINE` characters of the line, those around the match."""
    if len(line) <= LINE:
        return line
    start = max(0, min(column - 1 - LINE // 4, len(line) - LINE))
    return ("…" if start else "") + line[start : start + LINE] + "…"
