"""A scripted model: plays replies from a file, for demonstrations, tests and experiments.

Rules: what is answered follows from the request alone, so that a restart changes nothing; the one memory is how often a
`fail` step was met at a place in a conversation, so that a retry can succeed. Pieces go out on an absolute schedule:
lateness of one does not delay the next. Nothing heavy is imported.

Which reply: the first `[[when]]` that matches plays its k-th reply, k counting the assistant messages since the last
prompt (its last reply stands for all further ones). Otherwise the n-th `[[reply]]` of the file, n counting the
assistant messages and the prompts that got none (cancelled or failed before the first word, and followed by another).
A sub-agent plays the first `[[agent]]` that matches, in the way of a `[[when]]`, and nothing else.

What a session was told without being asked (a job has ended, a tool server is missing) is no prompt: it is as if it were not there.
A request for a title is no part of the conversation: only branches on the system prompt, and the file's `title`, answer it.

The form of the file is in `script`.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal, assert_never

from msgspec.structs import replace

from quell.core.errors import ModelFailed
from quell.core.messages import (
    AssistantMessage,
    Message,
    ModelRequest,
    Part,
    PartDelta,
    Reasoning,
    Reply,
    StopReason,
    SummaryMessage,
    Text,
    ToolCall,
    ToolMessage,
    Usage,
    UserMessage,
    call_id,
)
from quell.llm.script import (
    Branch,
    Endless,
    Fail,
    Role,
    Say,
    Script,
    ScriptedReply,
    ScriptError,
    Silence,
    Think,
    Use,
    Wait,
    parse_script,
)

BREATH = 64
"""Pieces that may go out in a row before others get a turn, when nothing says to wait."""

REMEMBERED = 1000
"""Places in conversations whose failed attempts are remembered."""


PREFIX = "scripted:"
"""How the spec of a scripted model begins; a file name follows."""


def script_path(spec: str, environment: Mapping[str, str]) -> str:
    """The file of a `scripted:` spec; a relative one is looked for in the caller's working directory."""
    written = os.path.expanduser(spec.removeprefix(PREFIX))
    if not written or not (os.path.isabs(written) or environment.get("PWD")):
        raise ScriptError(f"{spec}: which file? Write {PREFIX}/absolute/path.toml")
    return os.path.join(environment.get("PWD", "/"), written)


def load_script(spec: str, path: str) -> ScriptedModel:
    """Read the file and have a model play it. Raises `ScriptError`."""
    try:
        with open(path, encoding="utf-8") as file:
            source = file.read()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ScriptError(f"cannot read the script {path}: {reason}") from None
    return ScriptedModel(spec, parse_script(source, path))


class ScriptedModel:
    """A `LanguageModel` that reads its part from a script."""

    def __init__(self, name: str, script: Script) -> None:
        self.name = name
        self.window = script.window
        self.vision = script.vision
        self._script = script
        self._failures: dict[tuple[str, int], int] = {}

    async def sample(self, request: ModelRequest, emit: Callable[[PartDelta], None]) -> Reply:
        request = replace(request, messages=tuple(message for message in request.messages if not _noted(message)))
        reply = self._choose(request)
        stage = _Stage(request.message, emit)
        for number, step in enumerate(reply.step):
            match step:
                case Say():
                    await stage.stream("text", self._pieces(step.text, step), self._interval(step))
                case Think():
                    await stage.stream("reasoning", self._pieces(step.reasoning, step), self._interval(step))
                case Use():
                    text = step.input if isinstance(step.input, str) else json.dumps(step.input, ensure_ascii=False)
                    stage.call(step.tool)
                    await stage.stream("tool_input", self._pieces(text, step), self._interval(step))
                case Wait():
                    await stage.wait(step.wait)
                case Fail():
                    if self._still_fails((_place(request), number), step):
                        raise ModelFailed(step.fail, step.detail, step.retry_after)
                case Silence():
                    await asyncio.Event().wait()
                case Endless():
                    await stage.stream("text", _again(step.endless), step.interval)
                case _:
                    assert_never(step)
        parts = stage.parts()
        default: StopReason = "tool_use" if any(isinstance(part, ToolCall) for part in parts) else "end_turn"
        return Reply(
            parts=parts,
            stop_reason=reply.stop_reason or default,
            usage=Usage() + reply.usage,
            cost=reply.cost,
            model=self.name,
        )

    def _choose(self, request: ModelRequest) -> ScriptedReply:
        branches: Sequence[Role | Branch] = self._script.agent if request.sub_agent else self._script.when
        if request.purpose == "title":
            branches = [branch for branch in self._script.when if branch.system is not None]
        for branch in branches:
            if _matches(branch, request):
                return branch.reply[min(_since_prompt(request.messages), len(branch.reply) - 1)]
        if request.sub_agent:
            raise ModelFailed("invalid_request", f"{self.name} has no [[agent]] for this task of a sub-agent: add one")
        if request.purpose == "title":
            if self._script.title is None:
                raise ModelFailed("invalid_request", f"{self.name} has no title")
            return ScriptedReply(step=(Say(text=self._script.title),))
        number = _answered(request.messages)
        if number < len(self._script.reply):
            return self._script.reply[number]
        raise ModelFailed(
            "invalid_request",
            f"{self.name} has {len(self._script.reply)} replies and this is request {number + 1}: "
            "add a [[reply]] for it, or a [[when]]",
        )

    def _pieces(self, text: str, step: Say | Think | Use) -> Iterator[str]:
        size = step.chunk or self._script.chunk or max(len(text), 1)
        for _ in range(1 if isinstance(step, Use) else step.repeat):
            for start in range(0, len(text), size):
                yield text[start : start + size]

    def _interval(self, step: Say | Think | Use) -> float:
        return self._script.interval if step.interval is None else step.interval

    def _still_fails(self, where: tuple[str, int], step: Fail) -> bool:
        met = self._failures.pop(where, 0)
        self._failures[where] = met + 1
        while len(self._failures) > REMEMBERED:
            del self._failures[next(iter(self._failures))]
        return met < step.times


class _Stage:
    """The reply as it comes into being: deltas go out, parts add up, the schedule advances."""

    def __init__(self, message: str, emit: Callable[[PartDelta], None]) -> None:
        self._message = message
        self._emit = emit
        self._open: list[tuple[Literal["text", "reasoning", "tool_input"], str | None, str | None, list[str]]] = []
        self._calls = 0
        self._clock = asyncio.get_running_loop().time
        self._due = self._clock()

    def call(self, tool: str) -> None:
        """Begin a tool call; its input follows."""
        call = call_id(self._message, self._calls)
        self._calls += 1
        self._open.append(("tool_input", call, tool, []))
        self._emit(PartDelta(len(self._open) - 1, "tool_input", "", call, tool))

    async def stream(
        self, kind: Literal["text", "reasoning", "tool_input"], pieces: Iterator[str], interval: float
    ) -> None:
        """Send the pieces, `interval` apart, the first one at once. Text after text goes on with the same part."""
        if not self._open or self._open[-1][0] != kind:
            self._open.append((kind, None, None, []))
        _, call, tool, sent = self._open[-1]
        part = len(self._open) - 1
        for number, piece in enumerate(pieces):
            if number and interval:
                await self.wait(interval)
            elif number % BREATH == BREATH - 1:
                await asyncio.sleep(0)
            self._emit(PartDelta(part, kind, piece, call, tool))
            sent.append(piece)

    async def wait(self, seconds: float) -> None:
        self._due += seconds
        await asyncio.sleep(max(self._due - self._clock(), 0))

    def parts(self) -> tuple[Part, ...]:
        return tuple(_part(kind, call, tool, "".join(sent)) for kind, call, tool, sent in self._open)


def _part(kind: Literal["text", "reasoning", "tool_input"], call: str | None, tool: str | None, text: str) -> Part:
    match kind:
        case "text":
            return Text(text)
        case "reasoning":
            return Reasoning(text)
        case "tool_input":
            return ToolCall(call or "", tool or "", text)
        case _:
            assert_never(kind)


def _again(text: str) -> Iterator[str]:
    while True:
        yield text


def _noted(message: Message) -> bool:
    return isinstance(message, UserMessage) and message.noted


def _matches(branch: Branch | Role, request: ModelRequest) -> bool:
    last = request.messages[-1] if request.messages else None
    prompt = next((message.text for message in reversed(request.messages) if isinstance(message, UserMessage)), None)
    result = last.result.text if isinstance(last, ToolMessage) else None
    system = branch.system if isinstance(branch, Branch) else None
    searched = ((branch.prompt, prompt), (branch.result, result), (system, request.system))
    return all(pattern is None or (text is not None and re.search(pattern, text)) for pattern, text in searched)


def _since_prompt(messages: tuple[Message, ...]) -> int:
    """Assistant messages since the last prompt."""
    count = 0
    for message in reversed(messages):
        if isinstance(message, UserMessage):
            break
        count += isinstance(message, AssistantMessage)
    return count


def _answered(messages: tuple[Message, ...]) -> int:
    """Replies that the conversation has used up: assistant messages, and prompts that got none."""
    count = 0
    before: Message | None = None
    for message in messages:
        count += isinstance(message, AssistantMessage) or (
            isinstance(message, UserMessage) and isinstance(before, UserMessage)
        )
        before = message
    return count


def _place(request: ModelRequest) -> str:
    """Names a place in a conversation: what the request ends with."""
    last = request.messages[-1] if request.messages else None
    match last:
        case None:
            return ""
        case ToolMessage(call=call):
            return call
        case UserMessage() | AssistantMessage() | SummaryMessage():
            return last.id
        case _:
            assert_never(last)
