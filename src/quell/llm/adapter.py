"""A provider's model as a `LanguageModel`: one request, streamed, through pydantic-ai.

Rules: ask once, and say what went wrong in our words (`failures`); our ids, never the provider's; a stream that ends
without saying why is a failure, not a short answer; cancelling the task closes the connection. What differs between
protocols is in the modules of the dialects, what is sent in `translate`, what it costs in `prices`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
from msgspec import Struct
from pydantic_ai import messages as p
from pydantic_ai.direct import model_request_stream
from pydantic_ai.exceptions import (
    ModelAPIError,
    ModelConnectionError,
    ModelHTTPError,
    ModelTimeoutError,
    UnexpectedModelBehavior,
    UserError,
)
from pydantic_ai.models import Model
from pydantic_ai.settings import ModelSettings
from pydantic_ai.usage import RequestUsage

from quell.core.errors import ModelFailed
from quell.core.messages import (
    DeltaKind,
    Memo,
    ModelRequest,
    Part,
    PartDelta,
    Reasoning,
    Reply,
    StopReason,
    Text,
    ToolCall,
    Usage,
    call_id,
)
from quell.llm import failures, translate
from quell.llm.kept import CONTINUATION, Apart
from quell.llm.options import ModelOptions
from quell.llm.prices import cost
from quell.llm.providers import Access

STOP_REASONS: dict[str, StopReason] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "content_filter": "refusal",
    "tool_call": "tool_use",
}


STUMBLES = (UnexpectedModelBehavior, AttributeError, TypeError, ValueError, LookupError)
"""What the libraries raise over an answer of another shape than they expect: they look at little beforehand."""


class Line(Struct, frozen=True, kw_only=True):
    """What all models of a connection share.

    `marks`: the protocol has a place for failed results, for images in results, and for cache marks. `ended` tells whether an answer came to
    its end, or only its stream. `apart`: when the end of a conversation can be written without the rest of it.
    """

    access: Access
    marks: bool
    apart: Apart
    ended: Callable[[p.ModelResponse], bool]


class ProviderModel:
    """A `LanguageModel` behind a pydantic-ai model."""

    def __init__(
        self, name: str, line: Line, model: Model, settings: ModelSettings, options: ModelOptions, window: int | None
    ) -> None:
        self.name = f"{line.access.provider.name}/{name}"
        self.window = window
        self._line = line
        self._model = model
        self._settings = settings
        self._options = options

    async def sample(self, request: ModelRequest, emit: Callable[[PartDelta], None]) -> Reply:
        continuation = self._translation(request.memo).continuation(request)
        parameters = translate.parameters(request.system, request.tools)
        deltas = _Deltas(request.message, emit)
        try:
            async with model_request_stream(
                self._model,
                continuation.messages,
                model_settings={**self._settings_for(request), "extra_body": {CONTINUATION: continuation}},
                model_request_parameters=parameters,
            ) as stream:
                # Which errors `stream.cancel()` makes: none, we cancel the task; and the answer looks for a library each time.
                stream.get_stream_cancel_errors = tuple  # type: ignore[method-assign]  # of this stream, whatever its class
                async for event in stream:
                    deltas.take(event)
            answer = stream.get()
        except (ModelAPIError, UserError, NotImplementedError, *STUMBLES) as error:
            raise self._failure(error) from None
        return self._reply(request, answer)

    def _translation(self, memo: Memo) -> translate.Translation:
        """The one that the session's last request was made with, if it was for this model."""
        found = memo.made
        if isinstance(found, translate.Translation) and found.model is self._model:
            return found
        line = self._line
        made = translate.Translation(self._model, line.access.provider.name, marks=line.marks, apart=line.apart)
        memo.made = made
        return made

    def _settings_for(self, request: ModelRequest) -> ModelSettings:
        limit = request.max_tokens or self._options.max_output
        return {**self._settings, "max_tokens": limit} if limit else self._settings

    def _reply(self, request: ModelRequest, answer: p.ModelResponse) -> Reply:
        parts: list[Part] = []
        calls = 0
        for theirs in answer.parts:
            ours = self._part(theirs, call_id(request.message, calls))
            if ours is not None:
                parts.append(ours)
                calls += isinstance(ours, ToolCall)
        usage = _usage(answer.usage)
        name = self.name.partition("/")[2]
        return Reply(
            parts=tuple(parts),
            stop_reason=self._stop_reason(answer, called=calls > 0),
            usage=usage,
            cost=cost(answer.usage, usage, name, self._line.access.provider.prices, self._options),
            model=self.name,
        )

    def _part(self, part: p.ModelResponsePart, call: str) -> Part | None:
        provider = self._line.access.provider
        match part:
            case p.TextPart():
                return Text(part.content)
            case p.ThinkingPart(signature=signature) if signature:
                return Reasoning(part.content, signature, provider.name, part.id, part.id == "redacted_thinking")
            case p.ThinkingPart() if provider.sends_reasoning:
                # Nobody signed it; the empty signature says that it may go back all the same.
                return Reasoning(part.content, "", provider.name, part.id)
            case p.ThinkingPart():
                return Reasoning(part.content)
            case p.ToolCallPart():
                extra = (part.provider_details or {}).get("extra_content")
                signature = msgspec.json.encode(extra).decode() if extra else None
                written = part.args if isinstance(part.args, str) else part.args_as_json_str() if part.args else ""
                return ToolCall(call, part.tool_name, written, signature, provider.name if signature else None)
            case _:
                return None  # what providers do on their own, and nobody asked for

    def _stop_reason(self, answer: p.ModelResponse, *, called: bool) -> StopReason:
        if not self._line.ended(answer):
            raise self._broken_off()
        if answer.finish_reason == "error":
            raise ModelFailed("overloaded", f"{self._where} broke its answer off with an error")
        reason = STOP_REASONS.get(answer.finish_reason or "stop", "end_turn")
        # Not all providers say "tool calls" when there are some, or there are some when they say it.
        if reason in ("end_turn", "tool_use"):
            return "tool_use" if called else "end_turn"
        return reason

    @property
    def _where(self) -> str:
        return f"{self.name} at {self._line.access.host}"

    def _broken_off(self) -> ModelFailed:
        return ModelFailed("garbled", f"{self._where} broke off: its stream ended before its answer did")

    def _failure(self, error: Exception) -> ModelFailed:
        found = self._classified(error)
        key = self._line.access.api_key
        if key and key in found.detail:
            return ModelFailed(found.reason, found.detail.replace(key, "[the key]"), found.retry_after)
        return found

    def _classified(self, error: Exception) -> ModelFailed:
        match error:
            case ModelHTTPError():
                status = None if error.in_stream and not error.headers else error.status_code
                report = failures.Report(status=status, body=error.body, headers=error.headers or {})
                return failures.failure(report, self._where, datetime.now(UTC))
            case ModelConnectionError(phase="connect"):
                return ModelFailed("unreachable", f"{self._where} cannot be reached: {_innermost(error)}")
            case ModelTimeoutError():
                idle = self._line.access.provider.idle_timeout
                return ModelFailed("unreachable", f"{self._where} gave no sign of life for {idle:g} s")
            case ModelConnectionError():
                return ModelFailed("unreachable", f"the connection to {self._where} broke: {_innermost(error)}")
            case ModelAPIError() if error.in_stream:
                report = failures.Report(status=None, body=error.body or error.message)
                return failures.failure(report, self._where, datetime.now(UTC))
            case ModelAPIError() if "finish_reason" in error.message:  # the one thing it is then about
                return self._broken_off()
            case UnexpectedModelBehavior() if "ended without content" in error.message:  # a login page, for one
                detail = f"{self._where} sent nothing that is an answer in its protocol — check the provider's base URL"
                return ModelFailed("garbled", detail)
            case UserError() | NotImplementedError():  # an attachment, say, that the protocol has no place for
                return ModelFailed("invalid_request", f"{self._where} cannot be asked this: {error}")
            case _:
                return ModelFailed("garbled", f"{self._where} sent an answer that makes no sense: {error}")


def _innermost(error: BaseException) -> str:
    """The words of the error at the bottom: the SDKs' own say no more than "Connection error."."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error) or type(error).__name__


def _usage(usage: RequestUsage) -> Usage:
    cached = usage.cache_read_tokens + usage.cache_write_tokens
    return Usage(
        input=max(usage.input_tokens - cached, 0),
        output=usage.output_tokens,
        cache_read=usage.cache_read_tokens,
        cache_write=usage.cache_write_tokens,
        reasoning=usage.details.get("reasoning_tokens") or usage.details.get("thinking_tokens") or 0,
    )


LONGEST_REPLY = 8_000_000
"""Characters. No model says so much; a server that does would fill the memory of every session."""


class _Deltas:
    """Turns events into deltas, with our numbers for parts and our ids for calls. Raises `ModelFailed` when there is no end of them."""

    def __init__(self, message: str, emit: Callable[[PartDelta], None]) -> None:
        self._message = message
        self._emit = emit
        self._open: dict[int, _Open] = {}
        self._parts = 0
        self._calls = 0
        self._length = 0

    def take(self, event: p.ModelResponseStreamEvent) -> None:
        # Nine events of ten are more text of a part that is open: they are looked for first.
        match event:
            case p.PartDeltaEvent(delta=p.TextPartDelta(content_delta=text)):
                self._more(event.index, text)
            case p.PartDeltaEvent(delta=p.ThinkingPartDelta(content_delta=text)):
                self._more(event.index, text or "")
            case p.PartDeltaEvent(delta=p.ToolCallPartDelta(args_delta=args)):
                self._more(event.index, args if isinstance(args, str) else "")
            case p.PartStartEvent(part=p.TextPart(content=text)):
                self._start(event.index, "text", text)
            case p.PartStartEvent(part=p.ThinkingPart(content=text)):
                self._start(event.index, "reasoning", text)
            case p.PartStartEvent(part=p.ToolCallPart() as part):
                call = call_id(self._message, self._calls)
                self._calls += 1
                self._start(
                    event.index, "tool_input", part.args if isinstance(part.args, str) else "", call, part.tool_name
                )
            case _:
                pass  # the ends of parts, which the next start, or the reply, says as well

    def _start(
        self,
        index: int,
        kind: DeltaKind,
        text: str,
        call: str | None = None,
        name: str | None = None,
    ) -> None:
        self._open[index] = _Open(self._parts, kind, call, name)
        self._parts += 1
        if call is not None or (text and isinstance(text, str)):
            self._emit(PartDelta(self._parts - 1, kind, text, call, name))

    def _more(self, index: int, text: str) -> None:
        part = self._open.get(index)
        if part is not None and text and isinstance(text, str):  # of a garbled event it may be anything
            self._length += len(text)
            if self._length > LONGEST_REPLY:
                raise ModelFailed("garbled", f"the reply is longer than {LONGEST_REPLY:,} characters, and was given up")
            self._emit(PartDelta(part.number, part.kind, text, part.call, part.name))


class _Open(Struct, frozen=True):
    number: int
    kind: DeltaKind
    call: str | None
    name: str | None
