"""A rehearsal: one exchange with a provider that is not there, so that the first real one meets nothing that is made on first use.

Importing a dialect is not all that it takes: its libraries build validators, and import more, when the first answer comes. That is 20 to
30 ms, which would stop the event loop; here it happens in the loader's thread. Rules: nothing goes over a network, and a rehearsal that
fails costs no more than its benefit.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

import anyio.lowlevel
import httpx2

from quell.core.errors import ModelFailed
from quell.core.messages import ModelRequest, Reply, ToolSpec, UserMessage
from quell.core.ports import LanguageModel
from quell.llm.options import ModelOptions
from quell.llm.providers import Access

log = logging.getLogger(__name__)


class Connection(Protocol):
    """A pool of connections to one provider with one key."""

    def model(self, name: str, options: ModelOptions, window: int | None) -> LanguageModel: ...

    async def close(self) -> None: ...


class DialectModule(Protocol):
    """A module that speaks a protocol. `REHEARSAL` is an answer of that protocol; `via` takes the place of the network."""

    REHEARSAL: bytes

    def connect(self, access: Access, via: httpx2.AsyncBaseTransport | None = None) -> Connection: ...


def rehearse(dialect: DialectModule, access: Access) -> None:
    """Blocks for as long as it takes: not for the event loop's thread."""
    try:
        asyncio.run(exchange(dialect, access))
    except ModelFailed as failure:
        log.warning("the rehearsal for %s failed, its first answer will take longer: %s", access.provider.name, failure)


async def exchange(dialect: DialectModule, access: Access) -> Reply:
    """Ask the provider that is not there. Raises `ModelFailed`."""
    # anyio looks for its backend on first use, and that is below our stand-in for the network.
    await anyio.lowlevel.checkpoint()
    connection = dialect.connect(access, httpx2.MockTransport(lambda _: _answer(dialect)))
    try:
        model = connection.model(access.provider.default or "rehearsal", ModelOptions(), None)
        return await model.sample(REQUEST, lambda _: None)
    finally:
        await connection.close()


def _answer(dialect: DialectModule) -> httpx2.Response:
    return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=dialect.REHEARSAL)


REQUEST = ModelRequest(
    message="rehearsal",
    system="You are ready.",
    messages=(UserMessage(id="rehearsal", text="Ready?"),),
    tools=(ToolSpec(name="nothing", description="Does nothing.", schema={"type": "object", "properties": {}}),),
)
