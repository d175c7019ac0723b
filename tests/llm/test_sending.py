"""What requests of a kind have in common, and what not."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from quell.core.messages import UserMessage
from quell.llm.options import Dialect
from tests.llm.asking import asking


@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
async def test_each_request_has_a_body_of_its_own_and_headers_that_were_made_once(
    dialect: Dialect, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["Hello?", "A question that is longer: is anybody there?", "Oh."]

    def never(*_: Any, **__: Any) -> httpx2.Request:
        raise AssertionError("made a second time")

    async with asking(dialect) as (asked, server):
        for number, text in enumerate(texts):
            await asked.ask(UserMessage(id=f"u{number}", text=text))
            monkeypatch.setattr(httpx2.AsyncClient, "build_request", never)
        requests = list(server.requests)
    for request, text in zip(requests, texts, strict=True):
        assert text in str(request.body["messages"])
        request.headers.pop("content-length")
    assert requests[0].headers == requests[1].headers == requests[2].headers
