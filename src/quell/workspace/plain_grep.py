"""A search program for machines without ripgrep: `python -P -m quell.workspace.plain_grep TARGET PATTERN [--fixed-strings]`.

It prints as `rg --null --line-number --column --no-heading` does, and complains with status 2. It is a process of its own because some
expressions take Python for ever, and meanwhile nothing else of a process would run; a process can be killed.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator

from quell.workspace.files import open_file
from quell.workspace.walk import Stop, files_below

_LARGEST = 32 * 1024 * 1024
"""Larger files are passed over."""
_LINE = 2000
"""Bytes of a line that are searched and printed."""


def main(arguments: list[str]) -> int:
    target, pattern, *options = arguments
    try:
        expression = re.compile((re.escape(pattern) if options else pattern).encode(errors="surrogateescape"))
    except re.error as error:
        sys.stderr.write(f"regex parse error: {error}\n")
        return 2
    for name in files_below(os.path.realpath(target), Stop()) if os.path.isdir(target) else [target]:
        for line in _lines(name, expression):
            sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
    return 0


def _lines(name: str, expression: re.Pattern[bytes]) -> Iterator[bytes]:
    try:
        file, size = open_file(os.path.realpath(name))
    except OSError:
        return
    with open(file, "rb") as reader:
        if size > _LARGEST or b"\0" in reader.read(8192):
            return
        reader.seek(0)
        for number, line in enumerate(reader, 1):
            if b"\0" in line:
                return
            text = line[:_LINE].rstrip(b"\r\n")
            if match := expression.search(text):
                yield b"%b\0%d:%d:%b\n" % (os.fsencode(name), number, match.start() + 1, text)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except BrokenPipeError:
        os._exit(1)  # whoever asked has seen enough
