"""What providers say when they refuse, and what it is called here. The bodies are of the shapes that they send."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quell.llm.failures import Report, classify, failure, read_body, retry_after

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)

OVERFLOWS = [
    "prompt is too long: 213444 tokens > 200000 maximum",
    "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000",
    "This model's maximum context length is 128000 tokens. However, your messages resulted in 130001 tokens.",
    "Your input exceeds the context window of this model. Please adjust your input and try again.",
    "Please reduce the length of the messages or completion.",
    "the request exceeds the available context size, try increasing it",
    "The number of tokens to keep from the initial prompt is greater than the context length.",
    "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length",
    "This model's maximum prompt length is 131072 but the request contains 537812 tokens.",
    "Invalid request: Your request exceeded model token limit: 262144",
    "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
    "`inputs` tokens + `max_new_tokens` must be <= 8192. Given: 9000 `inputs` tokens and 1000 `max_new_tokens`",
]
HARMLESS = [
    "max_tokens: 200000 > 128000, which is the maximum allowed number of output tokens",
    "messages.3: `tool_use` ids were found without `tool_result` blocks immediately after",
    "Invalid schema for function 'look': context is not of type 'object'",
    "Unsupported parameter: 'temperature' is not supported with this model.",
]


@pytest.mark.parametrize("message", OVERFLOWS)
@pytest.mark.parametrize("status", [400, 413, 422, 500])
def test_a_conversation_that_is_too_long(message: str, status: int) -> None:
    assert classify(status, read_body({"error": {"message": message, "type": "invalid_request_error"}})) == (
        "context_overflow"
    )


@pytest.mark.parametrize("message", HARMLESS)
def test_other_complaints_are_not_taken_for_it(message: str) -> None:
    body = {"error": {"message": message, "type": "invalid_request_error"}}
    assert classify(400, read_body(body)) == "invalid_request"


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (400, {"error": {"type": "invalid_request_error", "message": "Your credit balance is too low"}}, "quota"),
        (429, {"error": {"type": "exceeded_current_quota_error", "message": "Insufficient balance"}}, "quota"),
        (429, {"error": {"message": "You exceeded your current quota, please check your plan"}}, "quota"),
        (402, {"error": {"message": "This request requires more credits", "code": 402}}, "quota"),
        (400, {"error": {"message": "openai/nope is not a valid model ID", "code": 400}}, "unknown_model"),
        (400, {"error": {"message": "The model `old` has been decommissioned"}}, "unknown_model"),
        (404, {"error": "model 'llama9' not found"}, "unknown_model"),
        (400, {"object": "error", "message": "bad", "type": "BadRequestError", "code": 400}, "invalid_request"),
        (422, {"detail": [{"loc": ["body", "x"], "msg": "field required"}]}, "invalid_request"),
        (
            413,
            {"error": {"type": "request_too_large", "message": "Request exceeds the maximum size"}},
            "context_overflow",
        ),
        (408, "", "unreachable"),
        (425, "", "overloaded"),
        (418, {"error": {"message": "The engine is currently overloaded"}}, "overloaded"),
        (None, {"message": "Provider returned error", "code": 502}, "overloaded"),
        (None, {"message": "Too many", "code": 429}, "rate_limit"),
        (None, {"message": "?"}, "overloaded"),
    ],
)
def test_table(status: int | None, body: Any, reason: str) -> None:
    assert classify(status, read_body(body)) == reason


def test_the_detail_is_for_people() -> None:
    page = "<html><head><style>b{}</style><title>502 Bad Gateway</title></head><h1>nginx</h1></html>"
    failed = failure(Report(status=502, body=page), "x/y at example.org", NOW)
    assert failed.detail == "x/y at example.org is overloaded or broken at the moment (502): 502 Bad Gateway nginx"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("30", ""),
        ("90", " — it asks for a pause of 2 min"),
        ("7200", " — it asks for a pause of 2 h"),
        ("259200", " — it asks for a pause of 3 d"),
    ],
)
def test_a_long_pause_that_is_asked_for_is_named(asked: str, said: str) -> None:
    failed = failure(Report(status=429, body="", headers={"retry-after": asked}), "x/y", NOW)
    assert failed.detail == f"x/y asks to slow down (429){said}"


def test_a_long_message_is_cut() -> None:
    failed = failure(Report(status=400, body={"error": {"message": "x" * 100_000}}), "x/y", NOW)
    assert len(failed.detail) < 800


@given(
    st.none() | st.integers(100, 599),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.sampled_from(["error", "message", "code", "type", "detail"]), inner)
        ),
    ),
    st.dictionaries(st.sampled_from(["retry-after", "retry-after-ms", "x-ratelimit-reset"]), st.text()),
)
def test_nothing_that_a_server_sends_breaks_it(status: int | None, body: Any, headers: dict[str, str]) -> None:
    failed = failure(Report(status=status, body=body, headers=headers), "x", NOW)
    assert failed.retry_after is None or failed.retry_after >= 0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "20"}, 20),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "Sun, 22 Nov 2026 12:01:30 GMT"}, 90),
        ({"retry-after": "Sun, 22 Nov 2026 11:00:00 GMT"}, 0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"x-ratelimit-reset-requests": "1s", "x-ratelimit-reset-tokens": "6m0s"}, 360),
        ({"x-ratelimit-reset-requests": "90s", "x-ratelimit-remaining-requests": "7"}, None),
        (
            {
                "x-ratelimit-reset-requests": "90s",
                "x-ratelimit-remaining-requests": "7",
                "x-ratelimit-reset-tokens": "250ms",
                "x-ratelimit-remaining-tokens": "0",
            },
            0.25,
        ),
        ({"anthropic-ratelimit-tokens-reset": "2026-11-22T12:00:30Z", "anthropic-ratelimit-tokens-remaining": "0"}, 30),
        ({"x-ratelimit-reset": "1795348860000"}, 60),  # Unix time in milliseconds
        ({"x-ratelimit-reset": "1795348860"}, 60),
    ],
)
def test_how_long_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, NOW) == seconds
