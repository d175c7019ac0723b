"""What went wrong at a provider, in our words: one table from its statuses, codes and phrases to ours.

Providers disagree: an exhausted budget is a 402, a 429 or a 400; an overlong conversation is a 400, a 413 or a 500 with
a sentence in it. What they say in words or codes therefore counts before the status. Pure; the adapter brings what it
found as a `Report`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from msgspec import Struct

from quell.core.errors import FailureCode, ModelFailed

LONGEST_QUOTE = 600
"""Code points of a provider's own message that a person is shown."""


class Report(Struct, frozen=True, kw_only=True):
    """A refusal as it came: HTTP status (of the response, or None inside a stream), body, headers in lower case."""

    status: int | None
    body: object
    headers: Mapping[str, str] = {}


class Said(Struct, frozen=True):
    """What an error body says, wherever the provider put it."""

    code: str = ""
    kind: str = ""
    message: str = ""


def failure(report: Report, where: str, now: datetime) -> ModelFailed:
    """The failure that a report is. `where` names the provider and the model for the reader."""
    said = read_body(report.body)
    reason = classify(report.status, said)
    status = f" ({report.status})" if report.status else ""
    quote = said.message if len(said.message) <= LONGEST_QUOTE else said.message[:LONGEST_QUOTE] + "…"
    wait = retry_after(report.headers, now) if reason in ("rate_limit", "overloaded", "unreachable") else None
    advice = _ADVICE.get(reason, "") or (f"it asks for a pause of {_in_words(wait)}" if wait and wait >= 60 else "")
    detail = (
        f"{where} {_MEANING[reason]}{status}" + (f": {quote}" if quote else "") + (f" — {advice}" if advice else "")
    )
    return ModelFailed(reason, detail, wait)


_MEANING: dict[FailureCode, str] = {
    "unauthorized": "refused the key",
    "quota": "says that the account's credit or quota is used up",
    "rate_limit": "asks to slow down",
    "overloaded": "is overloaded or broken at the moment",
    "unreachable": "did not answer in time",
    "context_overflow": "says that the conversation is too long for the model",
    "invalid_request": "refused the request",
    "garbled": "sent an answer that makes no sense",
    "unknown_model": "does not know this model, or has nothing at this address",
}

_ADVICE: dict[FailureCode, str] = {
    "unauthorized": "check that the key is valid and may use this model",
    "unknown_model": "check the model's name and the provider's base URL",
}


# --- which failure -------------------------------------------------------------------------------------------------

_BY_WORD: dict[str, FailureCode] = {
    # OpenAI and those that copy it: `code` or `type`
    "insufficient_quota": "quota",
    "billing_hard_limit_reached": "quota",
    "exceeded_current_quota_error": "quota",  # Moonshot
    "insufficient_balance": "quota",
    "billing_error": "quota",  # Anthropic
    "context_length_exceeded": "context_overflow",
    "exceed_context_size_error": "context_overflow",  # llama.cpp
    "string_above_max_length": "context_overflow",
    "request_too_large": "context_overflow",  # Anthropic: more bytes than it takes
    "model_not_found": "unknown_model",
    "not_found_error": "unknown_model",
    "invalid_api_key": "unauthorized",
    "authentication_error": "unauthorized",
    "permission_error": "unauthorized",
    "rate_limit_exceeded": "rate_limit",
    "rate_limit_error": "rate_limit",
    "too_many_requests": "rate_limit",
    "overloaded_error": "overloaded",
    "overloaded": "overloaded",
    "server_is_overloaded": "overloaded",
    "service_unavailable": "overloaded",
    "server_error": "overloaded",
    "internal_server_error": "overloaded",
    "api_error": "overloaded",  # Anthropic: an error of its own
    "timeout_error": "overloaded",
}

_OVERFLOW = re.compile(
    r"prompt is too long|exceeds? (the |this )?(available )?(model'?s? )?(maximum )?context|maximum context length"
    r"|context (window|length|size|limit)\b.{0,80}\b(exceed|overflow|too|greater|larger)"
    r"|exceed(s|ed)?\b.{0,80}\bcontext"
    r"|greater than the context length|reduce the length of the (messages|input|prompt)|input (is|was) too long"
    r"|too large for model|maximum prompt length|exceeded model token limit|prompt exceeds max length"
    r"|input token count|inputs?`? tokens \+ `?max_new_tokens|prompt token count of|context the overflows",
    re.IGNORECASE | re.DOTALL,
)
_QUOTA = re.compile(
    r"credit balance is too low|insufficient (balance|credits|funds|quota)|exceeded your current quota|out of credits"
    r"|requires more credits|spend(ing)? limit|usage limit reached",
    re.IGNORECASE,
)
_OVERLOAD = re.compile(r"overloaded|over capacity|at capacity|temporarily unavailable", re.IGNORECASE)
_NO_SUCH_MODEL = re.compile(
    r"model\b.{0,120}\b(not found|does not exist|not exist|unknown|not a valid|is not supported|decommissioned)"
    r"|(no such|unknown|invalid) model|not a valid model",
    re.IGNORECASE,
)

_BY_STATUS: dict[int, FailureCode] = {
    401: "unauthorized",
    402: "quota",
    403: "unauthorized",
    404: "unknown_model",
    408: "unreachable",
    409: "overloaded",  # the provider's own conflict, over in a moment
    413: "context_overflow",
    425: "overloaded",
    429: "rate_limit",
}


def classify(status: int | None, said: Said) -> FailureCode:
    """Which failure: by what the body says, then by status."""
    for word in (said.code, said.kind):
        if word in _BY_WORD:
            return _BY_WORD[word]
    if _OVERFLOW.search(said.message):
        return "context_overflow"
    if _QUOTA.search(said.message):
        return "quota"
    if status is None and said.code.isdigit():
        status = int(said.code)  # gateways send the status as the code of an error inside a stream
    if status is None:
        return "overloaded"  # an error in the middle of an answer that had been accepted
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status >= 500 or _OVERLOAD.search(said.message):
        return "overloaded"
    if _NO_SUCH_MODEL.search(said.message):
        return "unknown_model"
    return "invalid_request" if status >= 400 else "garbled"


def read_body(body: object) -> Said:
    """Find code, type and message in an error body: nested under `error` or not, a list, a plain text, or HTML."""
    match body:
        case {"error": dict() as inner}:
            return read_body(inner)
        case {"error": str(text)}:
            return Said(message=text)
        case dict():
            code, kind = body.get("code"), body.get("type")
            message = next((body[key] for key in ("message", "detail", "msg") if body.get(key)), "")
            return Said(
                str(code) if isinstance(code, str | int) else "",
                kind if isinstance(kind, str) else "",
                message if isinstance(message, str) else str(message),
            )
        case [dict() as first, *_]:
            return read_body(first)
        case str():
            return Said(message=_without_markup(body))
        case _:
            return Said()


def _without_markup(text: str) -> str:
    """The readable part of an error page."""
    if "<" in text:
        text = re.sub(r"(?is)<(script|style)\b.*?</\1>|<[^>]*>", " ", text)
    return " ".join(text.split())


# --- how long to wait ----------------------------------------------------------------------------------------------


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """The seconds that the provider asks to wait, from whichever header it has; never negative."""
    milliseconds = _number(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    asked = headers.get("retry-after", "")
    seconds = _number(asked)
    if seconds is None and asked:
        seconds = _until(asked, now)
    return seconds if seconds is not None else _from_limits(headers, now)


def _from_limits(headers: Mapping[str, str], now: datetime) -> float | None:
    """When all budgets that are spent are granted again: `x-ratelimit-*` and `anthropic-ratelimit-*`."""
    waits: list[float] = []
    for name, value in headers.items():
        found = re.fullmatch(r"(?:x-|anthropic-)ratelimit-(?:reset(-\w+)?|([\w-]+)-reset)", name)
        if found is None:
            continue
        left = name.replace("reset", "remaining")
        if headers.get(left, "0") not in ("0", "0.0"):
            continue  # this budget is not the one that was spent
        wait = _duration(value)
        wait = _until(value, now) if wait is None else wait
        if wait is not None:
            waits.append(wait)
    return max(waits, default=None)


def _in_words(seconds: float) -> str:
    """As long as a person wants to know it: `15 min`, `24 h`, `3 d`."""
    for unit, size in (("d", 86400), ("h", 3600)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 60:.0f} min"


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\d+(\.\d+)?", text.strip()) else None


def _duration(text: str) -> float | None:
    """`1s`, `6m0s`, `20ms`, `1h2m3.5s`, or plain seconds. More than a year of these is a moment, not a duration."""
    plain = _number(text)
    if plain is not None:
        return plain if plain < 366 * 86400 else None
    if not re.fullmatch(r"(\d+(\.\d+)?(ms|h|m|s|d))+", text.strip()):
        return None
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
    return sum(float(count) * units[unit] for count, unit in re.findall(r"(\d+(?:\.\d+)?)(ms|h|m|s|d)", text))


def _until(text: str, now: datetime) -> float | None:
    """Seconds until a moment: an HTTP date, RFC 3339, or Unix time in seconds or milliseconds."""
    unix = _number(text)
    try:
        if unix is not None:
            moment = datetime.fromtimestamp(unix / 1000 if unix > 1e11 else unix, UTC)
        elif re.match(r"\d{4}-", text):
            moment = datetime.fromisoformat(text.strip())
        else:
            moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError, OSError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max((moment - now).total_seconds(), 0.0)
