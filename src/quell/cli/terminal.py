"""What the command knows of the terminal: colours, width, what is safe to show, tables and paging.

Rules: colours only on a terminal, and never with NO_COLOR set or TERM=dumb; a listing that is not for a terminal has one line a row,
with tabs between its columns and nothing cut. Text of models and tools is shown without its control characters, which could rewrite
the screen.
"""

from __future__ import annotations

import errno
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO

STYLES = {"dim": "2", "bold": "1", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
NARROWEST = 20

_BIDI = (0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A))
"""What changes the direction of text, or ends a line or paragraph without looking like it: a name could read as another."""

_CONTROLS = {code: None for code in (*range(32), *range(127, 160), *_BIDI) if chr(code) not in "\n\t"}


def same_place(one: TextIO, other: TextIO) -> bool:
    """Whether what is written to both is read as one text: a terminal, or a file or pipe that both lead to."""
    if is_terminal(one) and is_terminal(other):
        return True
    try:
        return os.path.sameopenfile(one.fileno(), other.fileno())
    except (OSError, ValueError):  # no file at all, or closed
        return False


def is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except ValueError:  # closed
        return False


def somebody_is_there() -> bool:
    """A person who can read a question and type: on a terminal, in its foreground. A shell's background job would be stopped by reading."""
    try:
        return is_terminal(sys.stdin) and is_terminal(sys.stderr) and os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (OSError, ValueError):
        return False


def hung_up() -> bool:
    """Whether a terminal that we have is gone: its window was closed, or its connection lost. It reads as an end of input, and cannot be written.

    A shell passes on the SIGHUP that it gets for that; until it has, this is all there is to see.
    """
    import termios  # only where reading or writing has failed

    for number in (0, 1, 2):
        try:
            termios.tcgetattr(number)
        except termios.error as error:
            if error.args[0] == errno.EIO:
                return True
    return False


def has_colours(stream: TextIO) -> bool:
    return is_terminal(stream) and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "") not in ("", "dumb")


def width(stream: TextIO) -> int | None:
    """Columns of the terminal; None when it is none."""
    try:
        return max(NARROWEST, os.get_terminal_size(stream.fileno()).columns or 80)
    except (OSError, ValueError):
        return None


def styled(text: str, style: str, colours: bool) -> str:
    return f"\x1b[{STYLES[style]}m{text}\x1b[0m" if colours and text and style else text


def visible(text: str) -> str:
    """Without control characters, but with line ends and tabs."""
    return text.translate(_CONTROLS)


def one_line(text: str) -> str:
    """The whole text in one line, without what could rewrite the screen: it may be a model's."""
    return " ".join(visible(text).split())


def columns(text: str) -> int:
    """How wide it is on a screen."""
    if text.isascii():
        return len(text)
    import unicodedata  # only for those who write so

    return sum(
        0 if unicodedata.combining(each) else 2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in text
    )


def clip(text: str, room: int | None) -> str:
    """At most `room` columns, with `…` where something was left out; None: all of it."""
    if room is None or columns(text) <= room:
        return text
    kept, used = [], 0
    for each in text:
        used += columns(each)
        if used > room - 1:
            break
        kept.append(each)
    return "".join(kept) + "…"


def table(rows: Sequence[Sequence[str]], *, flexible: int, titles: Sequence[str] = ()) -> list[str]:
    """Lines for standard output: aligned, and the column `flexible` cut to the terminal's width; without a terminal, tabs."""
    room = width(sys.stdout)
    lines = [[one_line(cell) for cell in row] for row in rows]
    if room is None:
        return ["\t".join(row) for row in lines]
    shown = [list(titles), *lines] if titles else lines
    widths = [max((columns(row[at]) for row in shown), default=0) for at in range(len(shown[0]))] if shown else []
    if widths:
        others = sum(widths) - widths[flexible] + 2 * (len(widths) - 1)
        widths[flexible] = max(8, min(widths[flexible], room - others))
    found = []
    for number, row in enumerate(shown):
        cells = [clip(cell, wide) for cell, wide in zip(row, widths, strict=True)]
        line = "  ".join(cell + " " * (wide - columns(cell)) for cell, wide in zip(cells, widths, strict=True)).rstrip()
        found.append(styled(line, "dim", has_colours(sys.stdout)) if titles and not number else line)
    return found


def show(lines: Sequence[str]) -> None:
    """Print; what is longer than the terminal goes through $PAGER (`less -FRX` when it is not set)."""
    if is_terminal(sys.stdout) and is_terminal(sys.stdin):
        import shlex
        import subprocess

        try:
            tall = len(lines) >= os.get_terminal_size(sys.stdout.fileno()).lines
        except OSError:
            tall = False
        pager = shlex.split(os.environ.get("PAGER") or "less -FRX")
        if tall and pager:
            try:
                subprocess.run(
                    pager, input="\n".join(lines) + "\n", text=True, encoding="utf-8", errors="replace", check=False
                )
            except OSError:
                pass  # no such pager: print it
            else:
                return
    for line in lines:
        print(line)
