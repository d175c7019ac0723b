"""Chat Completions: OpenAI, and the many servers that speak its protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Any, TypeVar, cast

import httpx2
from msgspec.structs import replace
from openai import NOT_GIVEN, AsyncOpenAI, AsyncStream, NotGiven, Omit, RequestOptions
from openai.resources.chat import AsyncChat, AsyncCompletions
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.chat.chat_completion_chunk import Choice
from pydantic import ValidationError
from pydantic_ai.messages import ModelResponseStreamEvent
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIChatModelSettings, OpenAIStreamedResponse
from pydantic_ai.profiles import ModelProfile
from pydantic_ai.profiles.openai import OpenAIModelProfile
from pydantic_ai.providers.deepseek import DeepSeekProvider
from pydantic_ai.providers.moonshotai import MoonshotAIProvider
from pydantic_ai.providers.ollama import OllamaProvider
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.providers.openai_compatible import OpenAICompatibleProvider
from pydantic_ai.usage import RequestUsage

from quell.core.ports import LanguageModel
from quell.llm.adapter import Line, ProviderModel
from quell.llm.kept import Apart, encoded
from quell.llm.options import ModelOptions
from quell.llm.providers import Access
from quell.llm.schemas import PreparedOnce
from quell.llm.sending import BuiltOnce
from quell.llm.streams import Events, Straight
from quell.llm.transport import AGENT, NO_KEY, pool, timeout

PROFILES: dict[str, Callable[[str], ModelProfile | None]] = {
    "deepseek": DeepSeekProvider.model_profile,
    "moonshotai": MoonshotAIProvider.model_profile,
    "ollama": OllamaProvider.model_profile,
}
"""What providers support, as pydantic-ai knows it; the others get what such servers have in common."""

REHEARSAL = b"""\
data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":"Ready"}}]}

data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"."}}]}

data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}

data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}

data: [DONE]

"""
"""An answer as it comes over the wire, for `rehearsal`."""

_T = TypeVar("_T")


class _Completions(AsyncCompletions):
    """The SDK's request, written faster.

    The SDK looks at every value of a request for keys to rename and files to encode, and finds none in this one: a
    fifth of a second for two thousand messages. What pydantic-ai has made is JSON already, and goes out as it is.
    """

    async def create(  # type: ignore[override]  # of the SDK's overloads only the one for streams is needed
        self,
        *,
        extra_headers: Mapping[str, str] | None = None,
        extra_body: Mapping[str, object] | None = None,
        timeout: httpx2.Timeout | float | NotGiven | None = NOT_GIVEN,
        **parameters: object,
    ) -> AsyncStream[ChatCompletionChunk]:
        given = {name: value for name, value in parameters.items() if not isinstance(value, Omit | NotGiven)}
        options: RequestOptions = {"headers": {"Content-Type": "application/json", **(extra_headers or {})}}
        if not isinstance(timeout, NotGiven):
            options["timeout"] = timeout
        return await self._client.post(
            "/chat/completions",
            cast_to=ChatCompletion,
            content=encoded({**given, **(extra_body or {})}),
            options=options,
            stream=True,
            stream_cls=AsyncStream[ChatCompletionChunk],
        )


class _Chat(AsyncChat):
    @cached_property
    def completions(self) -> AsyncCompletions:
        return _Completions(self._client)


class _Client(BuiltOnce, AsyncOpenAI):
    """The SDK's client, writing requests faster, and reading the chunks of a stream faster.

    The SDK builds each chunk field by field in Python, so as to accept anything; pydantic's validation does it in a
    fraction of the time. What does not validate (servers omit fields) is still built the slow way.
    """

    @cached_property
    def chat(self) -> AsyncChat:
        return _Chat(self)

    def _make_sse_decoder(self) -> Events:  # type: ignore[override]  # of which only `aiter_bytes` is used
        return Events()

    def _process_response_data(self, *, data: object, cast_to: type[_T], response: httpx2.Response) -> _T:
        if cast_to is ChatCompletionChunk:
            try:
                return cast("_T", ChatCompletionChunk.model_validate(data))
            except ValidationError:
                pass
        return super()._process_response_data(data=data, cast_to=cast_to, response=response)


_NOTHING = RequestUsage()


class _Answer(OpenAIStreamedResponse):
    """An answer most of whose chunks hold a piece of text and nothing else, through the hooks that are there to be overridden."""

    def _map_usage(self, response: ChatCompletionChunk) -> RequestUsage:
        return super()._map_usage(response) if response.usage is not None else _NOTHING

    def _add_usage(self, usage: RequestUsage, *, reported: bool, cumulative: bool = False) -> None:
        if reported:
            super()._add_usage(usage, reported=reported, cumulative=cumulative)

    def _map_part_delta(self, choice: Choice) -> Iterable[ModelResponseStreamEvent]:
        delta = choice.delta
        if delta.content and not delta.tool_calls and not delta.model_extra:
            return self._map_text_delta(choice)
        return super()._map_part_delta(choice)


class _Model(PreparedOnce, OpenAIChatModel):
    @property
    def _streamed_response_cls(self) -> type[OpenAIStreamedResponse]:
        return _Answer

    async def _process_streamed_response(self, *args: Any, **named: Any) -> OpenAIStreamedResponse:
        answer = await super()._process_streamed_response(*args, **named)
        answer._response = Straight(answer._response)
        return answer


class OpenAIConnection:
    """One address, one key, one pool of connections."""

    def __init__(self, access: Access, via: httpx2.AsyncBaseTransport | None) -> None:
        self._line = Line(
            access=access,
            marks=False,
            apart="never",  # that depends on the model
            ended=lambda _: True,  # the profile below makes sure
        )
        self._pool = pool(access, via)
        self._client = _Client(
            base_url=access.base_url,
            api_key=access.api_key or NO_KEY,
            http_client=self._pool,
            max_retries=0,
            timeout=timeout(access),
            default_headers=access.provider.headers,
        )

    def model(self, name: str, options: ModelOptions, window: int | None) -> LanguageModel:
        provider = self._line.access.provider
        settings = OpenAIChatModelSettings(extra_headers={"User-Agent": AGENT})
        if options.effort is not None:
            settings["openai_reasoning_effort"] = options.effort
        model = _Model(
            name,
            provider=OpenAIProvider(openai_client=self._client)
            if provider.name == "openai"
            else OpenAICompatibleProvider(
                provider.name, openai_client=self._client, profile=PROFILES.get(provider.name)
            ),
            profile=OpenAIModelProfile(
                openai_chat_streaming_requires_finish_reason=True,
                # The newer name of the limit is OpenAI's alone.
                openai_chat_supports_max_completion_tokens=provider.name == "openai",
            ),
        )
        return ProviderModel(name, replace(self._line, apart=_apart(model.profile)), model, settings, options, window)

    async def close(self) -> None:
        await self._pool.aclose()


def _apart(profile: OpenAIModelProfile) -> Apart:
    """Where reasoning has a field of its own, what comes after it has the field too. Elsewhere pydantic-ai looks at all messages for that."""
    if profile.get("openai_system_prompt_role") == "user":
        return "never"  # instructions cannot be told from what the user said
    return "reasoning_known" if profile.get("openai_chat_send_back_thinking_parts") == "field" else "without_reasoning"


def connect(access: Access, via: httpx2.AsyncBaseTransport | None = None) -> OpenAIConnection:
    return OpenAIConnection(access, via)
