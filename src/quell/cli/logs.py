"""`quell logs`: the end of the server's log, and what is added to it."""

from __future__ import annotations

import os
import sys
import time

import click

from quell.cli import daemon
from quell.cli.failure import CommandFailed

BLOCK = 1 << 16
PAUSE = 0.2


@click.command("logs")
@click.option("-f", "--follow", is_flag=True, help="Go on with what is added, until Ctrl-C.")
@click.option(
    "-n", "--lines", type=click.IntRange(min=0), default=100, show_default=True, help="How many lines of the end."
)
def logs(follow: bool, lines: int) -> None:
    """Print the end of the server's log."""
    path = daemon.here().log
    try:
        end, position = _end(path, lines)
    except FileNotFoundError:
        if not follow:
            raise CommandFailed(f"there is no log yet: no server has been started ({path})") from None
        end, position = b"", 0
    except OSError as error:
        raise CommandFailed(f"cannot read the log {path}: {error.strerror}") from None
    _write(end)
    while follow:
        position = _print_added(path, position)
        time.sleep(PAUSE)


def _end(path: str, lines: int) -> tuple[bytes, int]:
    """The last lines, and where they end. Reads from the back: a log may be large."""
    with open(path, "rb") as file:
        position = end = file.seek(0, os.SEEK_END)
        tail = b""
        while position > 0 and tail.count(b"\n") <= lines:
            start = max(0, position - BLOCK)
            file.seek(start)
            tail = file.read(position - start) + tail
            position = start
    return b"".join(tail.splitlines(keepends=True)[-lines:] if lines else []), end


def _print_added(path: str, position: int) -> int:
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size < position:  # begun anew
                position = 0
            file.seek(position)
            while block := file.read(BLOCK):
                _write(block)
            return file.tell()
    except FileNotFoundError:
        return 0


def _write(content: bytes) -> None:
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()
