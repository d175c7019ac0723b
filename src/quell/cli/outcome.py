"""What became of a prompt, read off the facts of its session: when its run begins and ends, what it said, cost and came to.

`status` maps the end to the exit status of `quell run`: one table, `STOPPED_BY`, for the runs that completed without being finished.
"""

from __future__ import annotations

import re

from quell.cli import failure
from quell.client.oneshot import Event, Json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

STOPPED_BY = {
    "rejected": "a tool call was rejected",
    "permission": "it was not allowed to do what it needed; allow it with --allow RULE, or everything with --yolo",
    "hook": "a hook stopped it",
    "max_turn_requests": "it reached the limit of turns (--max-turns)",
    "budget": "it reached the limit of cost (--max-cost)",
    "time_limit": "it reached the limit of time (--timeout)",
    "loop": "it was doing the same thing again and again",
    "max_tokens": "the model's answer was cut at its longest",
}
"""Stop reasons of a completed run that was stopped before it was finished: exit status 3."""

_WHAT_TO_DO = {
    "no_key": "`quell doctor` shows which keys are found",
    "unauthorized": "The provider refuses the key: check it, or the account that it belongs to; `quell doctor` shows where keys are looked for",
    "quota": "Look at the account's limits and payment with the provider, or use another --model",
    "rate_limit": "Wait, or use another --model",
    "overloaded": "Try again later, or use another --model",
    "unreachable": "Check the network, or the address of the local server; `quell doctor` shows what is configured",
    "context_overflow": "The conversation is larger than the model's window: begin a new session, ask for less, or use another --model",
    "unknown_model": "`quell models` shows those that are known",
}

_ALLOWING = re.compile(r"--allow '(?:[^']|'\\'')*'")
"""The option that would have allowed a call, as its result names it, for a shell: `core.permissions.headless_reason`."""


def guards(result: Json) -> list[str]:
    """The hooks that a call was denied for: no rule lifts them, nor does --yolo."""
    return result.inner("metadata").texts("hooks") if result.text("status") == "denied" else []


def named(hooks: Sequence[str]) -> str:
    return f"the hook{'s' if len(hooks) > 1 else ''} {', '.join(f'`{hook}`' for hook in hooks)}"


class Followed:
    """One prompt of a session. Feed it the session's events; `begun` while its run is the active one, `ended` at its end."""

    def __init__(self, session: str | None, prompt: str | None, run: str | None) -> None:
        """`session` and `prompt` are None where there is none: nothing of it was asked."""
        self.session = session
        self.prompt = prompt
        self.entry = prompt
        """What stands for it in the queue: the prompt itself, or what follows up its interrupted run."""
        self.run = run
        self.deleted = False
        self.outcome = ""
        self.stop_reason = ""
        self.failure = ""
        self.detail = ""
        self.text = ""
        self.spent = Spent()
        self.denials = Denials()

    def take(self, event: Event) -> bool:
        """Note what the event says of our prompt; whether it is about our run at all."""
        body = event.body
        if event.kind == "deleted":
            self.deleted = True
            self._end("cancelled", "cancelled", "")
            return True
        if event.kind != "fact":
            return self.begun and event.kind in ("delta", "draft")
        kind = body.text("kind")
        self.deleted = self.deleted or kind == "deletion_started"
        if kind == "run_started" and body.text("entry") == self.entry:
            self.run = body.text("run")
        elif kind == "follow_up_accepted" and body.text("run") == self.run:
            self.entry, self.run, self.outcome = body.text("entry"), None, ""
        elif kind == "entry_dropped" and body.text("entry") == self.entry:
            self._end("cancelled", "cancelled", "it was dropped before it had begun")
        elif not self.begun or body.text("run") not in ("", self.run):
            return False
        elif kind == "replied":
            self._replied(body.inner("reply"))
        elif kind == "permission_answered":
            self.denials.decided(body)
        elif kind == "call_finished":
            self.denials.add(body.text("call"), body.inner("result"))
            self.spent.add_sub_agent(body.inner("spent"))
        elif kind == "run_settled":
            self._end(body.text("outcome"), body.text("stop_reason"), body.text("detail"))
            self.failure = body.text("failure")
        return True

    @property
    def begun(self) -> bool:
        return self.run is not None

    @property
    def ended(self) -> bool:
        return bool(self.outcome)

    @property
    def status(self) -> int:
        match self.outcome:
            case "completed" if self.stop_reason in STOPPED_BY:
                return failure.STOPPED
            case "completed" if self.stop_reason != "refusal":
                return failure.COMPLETED
            case "cancelled":
                return failure.CANCELLED
            case _:
                return failure.FAILED

    @property
    def complaint(self) -> str:
        """What to tell a person about an end that is not plain completion."""
        more = f"quell run --session {self.session}"
        match self.outcome:
            case outcome if self.deleted and self.status:  # nothing is kept, and there is nothing to go on with
                return f"{outcome}: the session was deleted"
            case "completed" if self.stop_reason in STOPPED_BY:
                why = (self.stop_reason == "permission" and self.denials.by_hooks) or STOPPED_BY[self.stop_reason]
                return f'stopped: {why}. What was done is kept; to go on: {more} "go on"'
            case "completed" if self.stop_reason == "refusal":
                return "the provider's safety filter ended the answer. Ask in another way, or use another --model"
            case "completed":
                return ""
            case "cancelled":
                return f'cancelled{f": {self.detail}" if self.detail else ""}. To go on: {more} "…"'
            case "interrupted":
                return (
                    "the server was stopped in the middle of this run. What was done until then is kept:"
                    f' quell sessions show {self.session}. To go on: {more} "go on"'
                )
            case _:
                advice = _WHAT_TO_DO.get(self.failure, f"What was done is kept: quell sessions show {self.session}")
                return f"the run failed: {self.detail.rstrip('.') or self.failure or 'no reason was given'}. {advice}"

    def summary(self) -> dict[str, object]:
        """The result object of `--json`."""
        return {
            "session": self.session,
            "prompt": self.prompt,
            "run": self.run,
            "outcome": self.outcome,
            "stop_reason": self.stop_reason,
            "failure": self.failure or None,
            "error": self.complaint or None,
            "text": self.text,
            "denied": self.denials.count,
            "turns": self.spent.turns,
            "usage": self.spent.tokens,
            "cost": self.spent.cost,
            "exit": self.status,
        }

    def _end(self, outcome: str, stop_reason: str, detail: str) -> None:
        self.outcome = outcome
        self.stop_reason = stop_reason
        self.detail = detail

    def _replied(self, reply: Json) -> None:
        self.spent.add(reply)
        text = "".join(part.text("text") for part in reply.items("parts") if part.text("type") == "text")
        self.text = text.strip() or self.text


class Denials:
    """The calls that were denied, and the options that would have allowed them, and the hooks that did it, each once.

    What a person rejects is not among them: that is an answer, and needs no advice.
    """

    def __init__(self) -> None:
        self.count = 0
        self._options: list[str] = []
        self._hooks: list[str] = []
        self._guarded = 0
        self._decided: set[str] = set()

    def decided(self, answer: Json) -> None:
        """A person has said what shall become of a call."""
        self._decided.add(answer.text("call"))

    def add(self, call: str, result: Json) -> None:
        """Count the result of a call if it is a denial."""
        if result.text("status") != "denied" or call in self._decided:
            return
        hooks = guards(result)
        self.count += 1
        self._guarded += bool(hooks)
        self._hooks.extend(hook for hook in hooks if hook not in self._hooks)
        option = _ALLOWING.search(result.text("text"))
        if option is not None and option[0] not in self._options:
            self._options.append(option[0])

    @property
    def by_hooks(self) -> str:
        """Why a run gave up, where hooks have a part in it."""
        if not self._hooks:
            return ""
        why = f"{named(self._hooks)} did not allow what it needed, which no rule lifts"
        return f"{why}; the rest can be allowed with --allow RULE" if self._guarded < self.count else why

    def __str__(self) -> str:
        """A line for the end of the run; empty if nothing was denied."""
        if not self.count:
            return ""
        said = "1 call was denied" if self.count == 1 else f"{self.count} calls were denied"
        what = "it" if self.count == 1 else "them"
        if self._hooks:
            said += (
                f", {self._guarded} by {named(self._hooks)}"
                if self._guarded < self.count
                else f" by {named(self._hooks)}"
            )
            what = "the rest"
        return f"{said}; to allow {what}: {' '.join(self._options)}" if self._options else said


class Spent:
    """Model calls, tokens and money of a run, those of its sub-agents included, but for their calls; `cost` is None when the price of a call is not known."""

    def __init__(self) -> None:
        self.turns = 0
        self.tokens = dict.fromkeys(("input", "output", "cache_read", "cache_write", "reasoning"), 0)
        self.cost: str | None = None
        self._priceless = False

    def add(self, reply: Json) -> None:
        self.turns += 1
        self._pay(reply)

    def add_sub_agent(self, spent: Json) -> None:
        """What a call has cost, if a sub-agent did it."""
        if "usage" in spent:
            self._pay(spent)

    def _pay(self, bill: Json) -> None:
        usage = bill.inner("usage")
        for kind in self.tokens:
            self.tokens[kind] += usage.number(kind)
        if "cost" not in bill:
            self._priceless, self.cost = True, None
        elif not self._priceless:
            from decimal import Decimal  # only where a price is known: it costs 3 ms

            self.cost = str(Decimal(self.cost or "0") + Decimal(bill.text("cost")))

    def __str__(self) -> str:
        sent = self.tokens["input"] + self.tokens["cache_read"] + self.tokens["cache_write"]
        pieces = [f"{self.turns} turn{'s' if self.turns != 1 else ''}"]
        if sent or self.tokens["output"]:
            pieces.append(f"{_short(sent)} tokens in, {_short(self.tokens['output'])} out")
        if self.cost is not None:
            pieces.append(f"${self.cost}")
        return " · ".join(pieces)


def _short(count: int) -> str:
    return (
        str(count) if count < 10_000 else f"{count / 1000:.0f}k" if count < 1_000_000 else f"{count / 1_000_000:.1f}M"
    )
