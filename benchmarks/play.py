"""What the model is to do, written into the prompt: `play:500x2` is 500 chunks 2 ms apart, `play:endlessx5` never ends.

The loopback model and the script of the scripted model both go by the last prompt, so that one session can have quick runs and endless ones.
"""

from __future__ import annotations

import re

from msgspec import Struct

WORD = "chunk of text "
ENDLESS = "endless"
_WRITTEN = re.compile(rb"play:(\d+|endless)x(\d+)")


class Play(Struct, frozen=True):
    """`chunks` of text, None for ever, `interval` milliseconds apart."""

    chunks: int | None = 1
    interval: int = 0

    @property
    def prompt(self) -> str:
        return f"play:{ENDLESS if self.chunks is None else self.chunks}x{self.interval}"

    @property
    def text(self) -> str:
        """What the model says when it is done."""
        assert self.chunks is not None, "it never ends"
        return WORD * self.chunks


def wanted(body: bytes) -> Play:
    """What the last prompt of a request asks for."""
    found = _WRITTEN.match(body, body.rfind(b"play:"))
    if found is None:
        return Play()
    chunks, interval = found.groups()
    return Play(None if chunks == ENDLESS.encode() else int(chunks), int(interval))


def script(*plays: Play) -> str:
    """The same as a file for the scripted model."""
    return "\n".join(
        f'[[when]]\nprompt = "{play.prompt}\\\\b"\n[[when.reply]]\nstep = [{_step(play)}]\n' for play in plays
    )


def _step(play: Play) -> str:
    interval = play.interval / 1000
    if play.chunks is None:
        return f'{{ endless = "{WORD}", interval = {interval} }}'
    return f'{{ text = "{WORD}", repeat = {play.chunks}, interval = {interval} }}'
