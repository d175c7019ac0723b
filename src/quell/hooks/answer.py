"""What a hook's end means: its exit status and what it has printed → an answer, or a failure that says what is wrong.

Rules: what cannot be understood is a failure and never consent: a word that is misspelt, a member that nobody knows, JSON that is cut.
What is no JSON at all is what a program says by the way, and means nothing.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import Struct

from quell.core.hooks import HookAnswer, HookDecision, HookReport
from quell.core.ports import ProcessEnd

LIMIT = 1_000_000
"""Bytes of standard output that are read; of standard error, a hundredth."""

_REASON, _CONTEXT = 2_000, 20_000
"""Characters that are kept."""

_DENY, _HALT = 2, 49
"""Exit statuses with a meaning, beside 0."""

_DECISIONS: dict[str | None, HookDecision] = {
    None: "none",
    "defer": "none",
    "allow": "allow",
    "approve": "allow",
    "ask": "ask",
    "deny": "deny",
    "block": "deny",
}


class Said:
    """What a hook prints, up to a limit; `cut` when there was more."""

    def __init__(self) -> None:
        self.cut = False
        self._output = bytearray()
        self._errors = bytearray()

    def output(self, chunk: bytes) -> None:
        self.cut = self.cut or len(self._output) + len(chunk) > LIMIT
        self._output += chunk[: LIMIT - len(self._output)]

    def errors(self, chunk: bytes) -> None:
        self._errors += chunk[: LIMIT // 100 - len(self._errors)]

    @property
    def answer(self) -> str:
        return self._output.decode(errors="replace").strip()

    @property
    def reason(self) -> str:
        return _printable(self._errors.decode(errors="replace"), _REASON)


class Specific(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """`hookSpecificOutput`. `hook_event_name` is not compared: the hook was asked for what it was asked for."""

    hook_event_name: str | None = None
    permission_decision: Literal["allow", "deny", "ask", "defer"] | None = None
    permission_decision_reason: str | None = None
    updated_input: dict[str, Any] | None = None
    additional_context: str | None = None


class Output(Struct, frozen=True, forbid_unknown_fields=True):
    """What a hook may print. The last line are members that other tools know and that say nothing here."""

    decision: Literal["allow", "approve", "ask", "deny", "block"] | None = None
    reason: str | None = None
    context: str | list[str] | None = None
    updated_input: dict[str, Any] | None = None
    halt: bool | None = None
    specific: Specific | None = msgspec.field(default=None, name="hookSpecificOutput")
    go_on: bool | None = msgspec.field(default=None, name="continue")
    stop_reason: str | None = msgspec.field(default=None, name="stopReason")
    additional_context: str | None = msgspec.field(default=None, name="additionalContext")
    version: int | str | None = None
    suppress_output: bool | None = msgspec.field(default=None, name="suppressOutput")
    system_message: str | None = msgspec.field(default=None, name="systemMessage")


def answer(name: str, end: ProcessEnd, said: Said, *, blocks: bool, asked: bool) -> HookAnswer:
    """`blocks`: a failure denies the call. `asked`: it was, and not only told."""
    match end.status:
        case 0:
            try:
                found = _read(said)
            except ValueError as problem:
                return failure(name, str(problem), blocks=blocks)
            return _answer(name, found, asked=asked)
        case status if status == _DENY:
            return HookAnswer(HookReport(name=name, decision="deny", reason=said.reason))
        case status if status == _HALT:
            return HookAnswer(HookReport(name=name, halt=True, reason=said.reason))
        case None:
            return failure(name, f"it was ended by signal {end.signal}", blocks=blocks)
        case status:
            return failure(name, ": ".join(filter(None, (f"exit status {status}", said.reason))), blocks=blocks)


def failure(name: str, what: str, *, blocks: bool) -> HookAnswer:
    """A guard that cannot be asked has not agreed, unless the user says that it does not matter."""
    return HookAnswer(
        HookReport(name=name, decision="deny" if blocks else "none", reason=_printable(what, _REASON), failed=True)
    )


def _read(said: Said) -> Output:
    """Raises `ValueError` with what is wrong."""
    text = said.answer
    if not text.startswith("{"):
        return Output()
    if said.cut:
        raise ValueError(f"its answer is longer than {LIMIT:,} bytes")
    try:
        return msgspec.json.decode(text, type=Output)
    except msgspec.DecodeError as error:
        raise ValueError(f"its answer cannot be understood: {error}") from None


def _answer(name: str, found: Output, *, asked: bool) -> HookAnswer:
    specific = found.specific or Specific()
    decision = max(
        (_DECISIONS[found.decision], _DECISIONS[specific.permission_decision]),
        key=("none", "allow", "ask", "deny").index,
    )
    halt = bool(found.halt) or found.go_on is False
    reasons = (found.reason, specific.permission_decision_reason, found.stop_reason if found.go_on is False else None)
    given = [found.context] if isinstance(found.context, str) else found.context or []
    context = "\n".join(filter(None, (*given, found.additional_context, specific.additional_context)))
    report = HookReport(
        name=name,
        decision=decision if asked or decision == "deny" else "none",
        reason=_printable("; ".join(filter(None, reasons)), _REASON),
        halt=halt,
    )
    changes = {**(found.updated_input or {}), **(specific.updated_input or {})}
    return HookAnswer(report, _printable(context, _CONTEXT), changes if asked and changes else None)


def _printable(text: str, limit: int) -> str:
    kept = "".join(each if each.isprintable() or each in "\n\t" else "\ufffd" for each in text).strip()
    return kept if len(kept) <= limit else f"{kept[:limit]}…"
