"""The rehearsal: an exchange that comes to its end, over no network, for each dialect."""

from __future__ import annotations

import importlib
import subprocess
import sys
from typing import cast, get_args

import pytest

from quell.core.messages import Text
from quell.llm.loading import MODULES
from quell.llm.options import Dialect
from quell.llm.providers import Access, Provider
from quell.llm.rehearsal import DialectModule, exchange

DIALECTS: tuple[Dialect, ...] = get_args(Dialect)


def nowhere(dialect: Dialect) -> Access:
    """Port 1 refuses connections: whatever were sent there would fail."""
    provider = Provider(name="nowhere", dialect=dialect, base_url="http://127.0.0.1:1", local=True)
    return Access(provider=provider, base_url=provider.base_url, api_key=None)


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_rehearsal_is_answered_in_full(dialect: Dialect) -> None:
    module = cast("DialectModule", importlib.import_module(MODULES[dialect]))
    reply = await exchange(module, nowhere(dialect))
    assert (reply.parts, reply.stop_reason) == ((Text("Ready."),), "end_turn")


FIRST_ANSWER = """
import asyncio, sys
from quell.core.messages import ModelRequest, UserMessage
from quell.llm.models import ProviderModels
from quell.llm.options import ProviderOptions
from quell.testing.providers import provider

async def main():
    async with provider(sys.argv[1]) as server:
        models = ProviderModels([ProviderOptions(name="here", dialect=sys.argv[1], base_url=server.base_url)])
        model = await models.open("here/m", {})
        loaded = set(sys.modules)
        request = ModelRequest(message="m1", system="", messages=(UserMessage(id="p", text="Hello"),))
        await model.sample(request, lambda delta: None)
        await models.close()
        print(*sorted(set(sys.modules) - loaded))

asyncio.run(main())
"""


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_first_real_answer_imports_nothing(dialect: Dialect) -> None:
    told = subprocess.run(
        [sys.executable, "-c", FIRST_ANSWER, dialect], check=False, capture_output=True, text=True, timeout=50
    )
    assert (told.returncode, told.stdout.split()) == (0, []), told.stderr
