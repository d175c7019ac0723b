"""A server that is a program: a message a line, over its standard input and output.

The program runs under a supervisor as commands do, so that nothing of it survives the process that started it; the SDK's own way would
leave it running after a kill -9. What it prints beside the protocol is the last thing known of one that fails.

Memory is bounded: a server that sends faster than it is understood, or a message that never ends, is given up.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage
from mcp_types import jsonrpc_message_adapter

from quell.core.programs import Program, Programs

LONGEST = 32 << 20
"""Bytes that have arrived and are not understood yet: one message, or many."""
RATE = 4 << 20
"""Bytes a second that it may go on sending, after a first `LONGEST`."""
DEAF = 4 << 20
"""Bytes that it has not taken."""
LEAVES_WITHIN = 0.5
"""Seconds from the end of its input to being ended; it has two more then, as every command."""
_ERRORS = 4096

Streams = tuple[MemoryObjectReceiveStream[SessionMessage | Exception], MemoryObjectSendStream[SessionMessage]]


class StdioServer:
    """One life of the program."""

    def __init__(self) -> None:
        self.program: Program | None = None
        self._lines: deque[bytes] = deque()
        self._held = 0
        self._allowed = float(LONGEST)
        self._heard = asyncio.get_running_loop().time()
        self._rest = bytearray()
        self._errors = b""
        self._wake = asyncio.Event()
        self._ended = False
        self._by_itself = False
        self._problem = ""

    @asynccontextmanager
    async def opened(
        self, programs: Programs, command: Sequence[str], directory: str, environment: Mapping[str, str]
    ) -> AsyncIterator[Streams]:
        """Raises `OSError`, and at its end nothing: that it is over is to be seen at the streams."""
        self.program = program = programs.start(
            command, directory=directory, environment=environment, output=self._take, errors=self._complain
        )
        program.when_ended(self._end)
        inward, read = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        write, outward = anyio.create_memory_object_stream[SessionMessage](0)
        try:
            async with inward, read, write, outward, asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._read(inward)), group.create_task(self._write(program, outward))]
                try:
                    yield read, write
                finally:
                    for task in tasks:
                        task.cancel()
        finally:
            await self._leave(program)

    @property
    def deaf(self) -> bool:
        """Whether there is something that it does not take."""
        return self.program is not None and self.program.backlog > 0

    def how_ended(self) -> str:
        """Empty when it was ended from here, or is not over."""
        if self._problem or not self._by_itself or self.program is None:
            return self._problem
        try:
            end = self.program.end
        except OSError as error:
            return f"It cannot be started: {error.filename}: {(error.strerror or str(error)).lower()}."
        assert end is not None, "it has ended"
        if end.signal is not None:
            return f"It was ended by signal {end.signal}."
        return f"It ended by itself, with status {end.status}."

    def last_words(self) -> str:
        said = "\n".join(self._errors.decode("utf-8", "replace").strip().splitlines()[-5:])[-600:]
        return f" Its last words:\n{said}" if said else ""

    async def _leave(self, program: Program) -> None:
        """The end of its input tells a server to leave; whatever is left then is ended."""
        self._by_itself = self._ended
        program.close_input()
        try:
            if await program.wait(LEAVES_WITHIN) is None:
                await program.stop("cancelled")
        except OSError:
            return  # it never was there
        except asyncio.CancelledError:
            await program.stop("cancelled")
            raise

    # What it says

    def _take(self, chunk: bytes) -> None:
        now = asyncio.get_running_loop().time()
        self._allowed = min(self._allowed + RATE * (now - self._heard), LONGEST) - len(chunk)
        self._heard = now
        self._held += len(chunk)
        if self._held > LONGEST or self._allowed < 0:
            self._give_up(f"It sent more than {LONGEST >> 20} MiB at once.")
        if self._problem:
            return
        *lines, rest = chunk.split(b"\n")
        for line in lines:
            self._lines.append(bytes(self._rest) + line if self._rest else line)
            self._rest.clear()
        self._rest += rest
        self._wake.set()

    def _complain(self, chunk: bytes) -> None:
        self._errors = (self._errors + chunk)[-_ERRORS:]

    def _end(self) -> None:
        self._ended = True
        self._wake.set()

    def _give_up(self, why: str) -> None:
        self._problem = self._problem or why
        self._lines.clear()
        self._rest.clear()
        self._wake.set()

    async def _read(self, inward: MemoryObjectSendStream[SessionMessage | Exception]) -> None:
        async with inward:
            while not self._problem:
                if not self._lines:
                    if self._ended:
                        return
                    self._wake.clear()
                    await self._wake.wait()
                    continue
                line = self._lines.popleft()
                self._held -= len(line) + 1
                if (message := _message(line)) is None:
                    continue
                try:
                    await inward.send(message)
                except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                    return
                await asyncio.sleep(0)  # one that never stops has to let others work

    async def _write(self, program: Program, outward: MemoryObjectReceiveStream[SessionMessage]) -> None:
        async with outward:
            async for message in outward:
                text = message.message.model_dump_json(by_alias=True, exclude_unset=True)
                program.send(text.encode() + b"\n")
                if program.backlog > DEAF:
                    self._give_up("It does not take what it is sent.")
                    return


def _message(line: bytes) -> SessionMessage | None:
    """None for what is no message: programs greet, and warn, where they should not."""
    if not line.lstrip().startswith(b"{"):
        return None
    try:
        return SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False))
    except ValueError:
        return None
