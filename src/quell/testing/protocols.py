"""What the two protocols ask of a request, as far as a conversation can get it wrong: calls and results, images.

Real providers refuse such a request with a 400, for good: the conversation can never go on. So do ours on loopback.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any, Literal

IMAGES = {"image/png", "image/jpeg", "image/gif", "image/webp"}


def complaint(dialect: Literal["openai", "anthropic"], body: Any) -> str | None:
    """The first thing that is wrong with a request; None: nothing is."""
    problems = _chat_completions(body) if dialect == "openai" else _messages(body)
    return next(problems, None)


def _chat_completions(body: Any) -> Iterator[str]:
    open_calls: list[str] = []
    for number, message in enumerate(body["messages"]):
        where, role, content = f"messages[{number}]", message["role"], message.get("content")
        if role == "tool":
            if message["tool_call_id"] not in open_calls:
                yield f"{where}: a result of no call before it"
            else:
                open_calls.remove(message["tool_call_id"])
            if not isinstance(content, str):
                yield f"{where}: the content of a tool's result has to be text"
            continue
        if open_calls:
            yield f"{where}: calls without results before it: {', '.join(open_calls)}"
        open_calls = [call["id"] for call in message.get("tool_calls") or ()]
        for part in content if isinstance(content, list) else ():
            if part["type"] == "image_url":
                if role != "user":
                    yield f"{where}: only a user shows images"
                yield from _image(where, *_from_url(part["image_url"]["url"]))
            elif part["type"] not in ("text", "file", "input_audio"):
                yield f"{where}: content of an unknown type, {part['type']}"
    if open_calls:
        yield f"calls without results: {', '.join(open_calls)}"


def _from_url(url: str) -> tuple[str, str]:
    kind, _, content = url.removeprefix("data:").partition(";base64,")
    return kind, content


def _messages(body: Any) -> Iterator[str]:
    open_calls: list[str] = []
    for number, message in enumerate(body["messages"]):
        where, role = f"messages[{number}]", message["role"]
        content = message["content"]
        blocks = content if isinstance(content, list) else [{"type": "text", "text": content}]
        results = [block for block in blocks if block["type"] == "tool_result"]
        if results != blocks[: len(results)]:
            yield f"{where}: results have to come first"
        if sorted(block["tool_use_id"] for block in results) != sorted(open_calls):
            yield f"{where}: its results are not those of the calls before it"
        open_calls = [block["id"] for block in blocks if block["type"] == "tool_use"]
        inside = [part for result in results if isinstance(result["content"], list) for part in result["content"]]
        for block in (*blocks, *inside):
            if block["type"] == "image":
                if role != "user":
                    yield f"{where}: only a user shows images"
                yield from _image(where, block["source"]["media_type"], block["source"]["data"])
            elif block["type"] == "text" and not block["text"]:
                yield f"{where}: text blocks must not be empty"
    if open_calls:
        yield f"calls without results: {', '.join(open_calls)}"


def _image(where: str, kind: str, content: str) -> Iterator[str]:
    if kind not in IMAGES:
        yield f"{where}: images of type {kind!r} are not supported"
    try:
        if not base64.b64decode(content, validate=True):
            yield f"{where}: an image is empty"
    except ValueError:
        yield f"{where}: an image is not base64"
