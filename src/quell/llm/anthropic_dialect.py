"""Anthropic's Messages, and servers that speak its protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import httpx2
from anthropic import NOT_GIVEN, AsyncAnthropic, AsyncStream, NotGiven, Omit, RequestOptions, omit
from anthropic.resources.beta import AsyncBeta
from anthropic.resources.beta.messages import AsyncMessages
from anthropic.types.beta import BetaMessage, BetaRawMessageStreamEvent
from pydantic_ai.messages import ModelResponse
from pydantic_ai.models.anthropic import AnthropicModel, AnthropicModelSettings, AnthropicStreamedResponse
from pydantic_ai.providers.anthropic import AnthropicProvider

from quell.core.ports import LanguageModel
from quell.llm.adapter import Line, ProviderModel
from quell.llm.kept import encoded
from quell.llm.options import ModelOptions
from quell.llm.providers import Access
from quell.llm.schemas import PreparedOnce
from quell.llm.sending import BuiltOnce
from quell.llm.streams import Events, Straight
from quell.llm.transport import AGENT, NO_KEY, pool, timeout

OFFICIAL = "api.anthropic.com"
REHEARSAL = b"""\
event: message_start
data: {"type":"message_start","message":{"id":"1","type":"message","role":"assistant","model":"m","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":1,"output_tokens":1}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Ready."}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":1}}

event: message_stop
data: {"type":"message_stop"}

"""
"""An answer as it comes over the wire, for `rehearsal`."""


class _Messages(AsyncMessages):
    """The SDK's request, written faster: it copies all of it in search of files to encode, and ours has none."""

    async def create(  # type: ignore[override]  # of the SDK's overloads only the one for streams is needed
        self,
        *,
        betas: Sequence[str] | Omit = omit,
        extra_headers: Mapping[str, str] | None = None,
        extra_body: Mapping[str, object] | None = None,
        timeout: httpx2.Timeout | float | NotGiven | None = NOT_GIVEN,
        **parameters: object,
    ) -> AsyncStream[BetaRawMessageStreamEvent]:
        given = {name: value for name, value in parameters.items() if not isinstance(value, Omit | NotGiven)}
        headers = {"Content-Type": "application/json", **(extra_headers or {})}
        if not isinstance(betas, Omit):
            headers["anthropic-beta"] = ",".join(betas)
        options: RequestOptions = {"headers": headers}
        if not isinstance(timeout, NotGiven):
            options["timeout"] = timeout
        return await self._client.post(
            "/v1/messages?beta=true",
            cast_to=BetaMessage,
            content=encoded({**given, **(extra_body or {})}),
            options=options,
            stream=True,
            stream_cls=AsyncStream[BetaRawMessageStreamEvent],
        )


class _Beta(AsyncBeta):
    @cached_property
    def messages(self) -> AsyncMessages:
        return _Messages(self._client)


class _Client(BuiltOnce, AsyncAnthropic):
    @cached_property
    def beta(self) -> AsyncBeta:
        return _Beta(self)

    def _make_sse_decoder(self) -> Events:  # type: ignore[override]  # of which only `aiter_bytes` is used
        return Events()


class _Model(PreparedOnce, AnthropicModel):
    async def _process_streamed_response(self, *args: Any, **named: Any) -> AnthropicStreamedResponse:
        answer = await super()._process_streamed_response(*args, **named)
        answer._response = Straight(answer._response)
        return answer


class AnthropicConnection:
    """One address, one key, one pool of connections."""

    def __init__(self, access: Access, via: httpx2.AsyncBaseTransport | None) -> None:
        # The SDK sends the key as a bearer token; servers that copied an older protocol look for it here.
        older = {} if access.host == OFFICIAL else {"X-Api-Key": access.api_key or NO_KEY}
        self._line = Line(access=access, marks=True, apart="always", ended=_ended)
        self._pool = pool(access, via)
        self._client = _Client(
            base_url=access.base_url,
            api_key=access.api_key or NO_KEY,
            http_client=self._pool,
            max_retries=0,
            timeout=timeout(access),
            default_headers={**older, **access.provider.headers},
        )

    def model(self, name: str, options: ModelOptions, window: int | None) -> LanguageModel:
        settings = AnthropicModelSettings(
            extra_headers={"User-Agent": AGENT},
            anthropic_cache_instructions=True,
            anthropic_cache_tool_definitions=True,
            anthropic_cache_messages=True,  # the last message; `translate` marks the one before
        )
        if options.effort is not None:
            settings["thinking"] = False if options.effort == "none" else options.effort
        model = _Model(name, provider=AnthropicProvider(anthropic_client=self._client))
        return ProviderModel(name, self._line, model, settings, options, window)

    async def close(self) -> None:
        await self._pool.aclose()


def _ended(answer: ModelResponse) -> bool:
    """Whether the last event but one came, which says why the answer ends."""
    return "finish_reason" in (answer.provider_details or {})


def connect(access: Access, via: httpx2.AsyncBaseTransport | None = None) -> AnthropicConnection:
    return AnthropicConnection(access, via)
