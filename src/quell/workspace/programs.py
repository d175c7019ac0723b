"""Programs of the user's own, which are talked to: implements the ports of `core.programs`.

They run under a supervisor as commands do (`process`), in no sandbox, with their two outputs apart.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Mapping, Sequence

from quell.core.programs import Program
from quell.workspace.process import Running


class LocalPrograms:
    """The port `Programs`."""

    def start(
        self,
        command: Sequence[str],
        *,
        directory: str,
        environment: Mapping[str, str],
        output: Callable[[bytes], None],
        errors: Callable[[bytes], None],
        input: bytes | None = None,
    ) -> Program:
        stdin, writer = (_file(input), -1) if input is not None else os.pipe()
        program = LocalProgram(output, errors, writer)
        try:
            program.start(list(command), directory, environment, stdin)
        except OSError:
            program.close_input()
            raise
        finally:
            os.close(stdin)
        program.when_ended(program.close_input)
        return program


class LocalProgram(Running):
    """The port `Program`. `inlet` is the end of the program's standard input that is written to; -1: it has all of it."""

    def __init__(self, output: Callable[[bytes], None], errors: Callable[[bytes], None], inlet: int) -> None:
        super().__init__(errors, output)
        self._inlet = inlet
        self._unsent = bytearray()
        if inlet >= 0:
            os.set_blocking(inlet, False)

    @property
    def backlog(self) -> int:
        return len(self._unsent)

    def send(self, content: bytes) -> None:
        if self._inlet < 0:
            return
        begun = bool(self._unsent)
        self._unsent += content
        if not begun:
            self._write()

    def close_input(self) -> None:
        if self._inlet >= 0:
            if self._unsent:
                asyncio.get_running_loop().remove_writer(self._inlet)
            os.close(self._inlet)
            self._inlet = -1
            self._unsent.clear()

    def _write(self) -> None:
        try:
            while self._unsent:
                del self._unsent[: os.write(self._inlet, self._unsent[:65536])]
        except BlockingIOError:
            asyncio.get_running_loop().add_writer(self._inlet, self._write)
        except OSError:  # it reads no more: its end will tell
            self.close_input()
        else:
            asyncio.get_running_loop().remove_writer(self._inlet)


def _file(content: bytes) -> int:
    """A descriptor to read this from: nobody has to wait for a program that does not read."""
    if sys.platform == "linux":
        file = os.memfd_create("input")
    else:
        import tempfile  # not paid for where there is a better way

        with tempfile.TemporaryFile() as made:
            file = os.dup(made.fileno())
    with open(os.dup(file), "wb") as writing:
        writing.write(content)
    os.lseek(file, 0, os.SEEK_SET)
    return file
