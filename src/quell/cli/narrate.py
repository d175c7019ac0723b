"""What `quell run` shows while it runs: the model's text on standard output, one calm line an event on standard error.

`Narrator` is given the session's events from the prompt's acceptance on and shows those of its run. Text appears as it arrives; what a
dropped connection swallowed comes with the draft or with the whole reply, and nothing is shown twice. Tools are named when they are
done, or when they start where that may take long. What a failed attempt has written cannot be taken back: an attempt that begins with the same
words goes on behind them, any other one begins anew, and that is said. What sub-agents do is told by narrators `beside` the run's, from other threads.
"""

from __future__ import annotations

import json
import re
import sys
from _thread import RLock  # what `threading` has, without the cost of importing that

from quell.cli import terminal
from quell.cli.outcome import guards, named
from quell.client.oneshot import Event, Json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO

QUICK = frozenset({"view", "ls", "glob", "grep", "edit", "multiedit", "write"})
"""Tools that take no time worth announcing: one line when they are done."""

_ARGUMENTS = ("command", "file_path", "pattern", "path", "url", "query", "prompt")
_SENTENCE = re.compile(r"(?<=[.?!]) (?=[A-Z])")
_NOT_RUN = re.compile(r"^`[^`]+` was not run\. (?=.)")
"""What goes before the reason where a call's input could not be read: `tools.Tools.prepare`."""
_FAILURES = {
    "rate_limit": "the provider's rate limit is reached",
    "overloaded": "the provider is overloaded",
    "unreachable": "the provider cannot be reached",
    "garbled": "the provider's answer was garbled",
}


def describe_call(name: str, input: str) -> str:
    """`bash  npm test`: a call in one line."""
    try:
        arguments = Json(json.loads(input))
    except ValueError:
        arguments = Json(None)
    shown = next((arguments.text(key) for key in _ARGUMENTS if key in arguments), "")
    return f"{terminal.one_line(name)}  {terminal.one_line(shown)}".rstrip()


def result_state(result: Json) -> tuple[str, str]:
    """What became of a call, in a word or two, and in which style; nothing for plain success."""
    match result.text("status") or "completed":
        case "completed":
            metadata = result.inner("metadata")
            if "additions" in metadata or "removals" in metadata:
                return (f"+{metadata.number('additions')} −{metadata.number('removals')}", "dim")
            if "signal" in metadata:
                return (f"ended by signal {metadata.number('signal')}", "yellow")
            if metadata.flag("running"):
                return ("runs on in the background: quell jobs", "yellow")
            exit = metadata.number("exit")
            why = "perhaps because of the sandbox" if metadata.flag("sandbox_suspected") else ""
            return (" · ".join(filter(None, (f"exit {exit}" if exit else "", why))), "yellow")
        case "unknown":
            return ("outcome unknown: the server stopped in the middle of it", "yellow")
        case "failed":
            return ("failed", "red")
        case status:  # denied, cancelled
            return (status, "yellow")


def describe_result(result: Json, answer: Json) -> tuple[str, str]:
    """The state of a call with the reason for it, in one line. `answer` is a person's, if one was asked."""
    said, style = result_state(result)
    if said not in ("denied", "failed"):
        return (said, style)
    if answer.text("option").startswith("reject"):
        note = _first_line(answer.text("note")).rstrip(".")
        return (f"rejected: {note}" if note else "rejected", style)
    why = _NOT_RUN.sub("", _first_line(result.text("text")))
    why = _SENTENCE.split(why, maxsplit=1)[0]  # what follows is for the model
    if why.lower().startswith(said):  # `Denied by the rule …`: it says so itself
        return (said + why[len(said) :].replace(", because ", ": ", 1), style)
    return (f"{said}: {why}" if why else said, style)


def _first_line(text: str) -> str:
    return next((line for line in terminal.visible(text).splitlines() if line.strip()), "")


class _Streamed:
    """One message's text: what has arrived, and which parts are begun. `again` is what stands there of an attempt that failed, as long as this
    one says the same, which is not shown."""

    __slots__ = ("again", "begun", "message", "said", "sizes")

    def __init__(self, message: str, again: str = "") -> None:
        self.message = message
        self.again = again
        self.sizes: dict[int, int] = {}
        self.said: dict[int, list[str]] = {}
        self.begun: set[int] = set()

    def only(self) -> str:
        """Its text, if it has one part."""
        return "".join(*self.said.values()) if len(self.said) == 1 else ""


class _Calls:
    """Those that are not done: how each is shown, what a person has answered, and which have a line; `latest` is the one in the last line."""

    __slots__ = ("announced", "answers", "latest", "shown")

    def __init__(self) -> None:
        self.shown: dict[str, str] = {}
        self.answers: dict[str, Json] = {}
        self.announced: set[str] = set()
        self.latest = ""


class Narrator:
    """Shows one run. `text` is off for `--json`; `progress` is off for `--quiet`."""

    def __init__(self, *, text: bool, progress: bool) -> None:
        self._out: TextIO | None = sys.stdout if text else None
        self._progress = progress
        self._colours = terminal.has_colours(sys.stderr)
        self._safe = terminal.is_terminal(sys.stdout)
        self._streamed = _Streamed("")
        self._before = ""  # what stands there of an attempt that failed
        self._in_line = False
        self._wrote = False
        self._calls = _Calls()
        self._lock = RLock()
        self._prompt = ""
        self.sub_agents: dict[str, str] = {}
        """What the sub-agents of the run are called, by call: `agent 1`."""

    def beside(self, name: str) -> Narrator:
        """Tells what a sub-agent does, among our own lines. It may be used by another thread."""
        return _Beside(self, name)

    def take(self, event: Event) -> None:
        """Show what there is to show of an event of our run."""
        body = event.body
        with self._lock:
            match event.kind:
                case "delta" if body.text("kind") == "text":
                    self._text(body.text("message"), body.number("part"), body.number("offset"), body.text("text"))
                case "draft" if body.text("kind") == "text":
                    self._text(body.text("message"), body.number("part"), 0, body.text("text"))
                case "fact":
                    self._fact(body)
                case _:
                    pass  # reasoning, and what tools print

    def line(self, text: str, style: str = "dim", *, end: str = "", whole: bool = False) -> None:
        """One line of progress, cut to the terminal unless it is wanted `whole`. `end` is what must not be lost when it is cut."""
        if not self._progress:
            return
        with self._lock:
            if self._in_line and self._out is not None and terminal.same_place(self._out, sys.stderr):
                self.end_line()
            self._line(text, style, end, whole=whole)

    def ask(self, lines: Sequence[tuple[str, str]], prompt: str, *, typed: bool = False) -> None:
        """Show something to a person, and a `prompt` that stays the last thing on the screen. `typed`: what was asked before has its answer."""
        with self._lock:
            self.asked(typed=typed)
            self.end_line()
            for text, style in lines:
                sys.stderr.write(terminal.styled(terminal.visible(text), style, self._colours) + "\n")
            sys.stderr.write(prompt)
            sys.stderr.flush()
            self._prompt = prompt

    def asked(self, *, typed: bool = False) -> None:
        """Nothing is asked any more. Who has `typed` an answer has ended the line as well."""
        with self._lock:
            if self._prompt and not typed:
                sys.stderr.write("\n")
            self._prompt = ""

    def _line(self, text: str, style: str, end: str, *, whole: bool) -> None:
        try:
            if self._prompt:
                sys.stderr.write("\r\x1b[K" if self._colours else "\n")
            shown = terminal.visible(text).replace("\n", " ")
            room = None if whole else terminal.width(sys.stderr)
            if end and room is not None:
                shown = terminal.clip(shown, max(room - terminal.columns(end) - 2, room // 2))
            shown = terminal.clip(f"{shown}  {end}" if end else shown, room)
            sys.stderr.write(terminal.styled(shown, style, self._colours) + "\n" + self._prompt)
            sys.stderr.flush()
        except (OSError, ValueError):
            self._progress = False  # nobody reads it any more; the run and its text are not concerned

    def end_line(self) -> None:
        """What was written so far is a whole line."""
        if self._in_line:
            self._write("\n")

    def _fact(self, body: Json) -> None:
        match body.text("kind"):
            case "replied":
                self._reply(body.text("message"), body.inner("reply"))
                self._show_held()
                self._before = ""
                self.end_line()
            case "sample_failed":
                self._failed_sample(body)
            case "hooks_answered":
                self._hooked(body)
            case "permission_answered":
                self._calls.answers[body.text("call")] = body
            case "call_started":
                call = body.text("call")
                shown = self._calls.shown.get(call, "")
                if shown.split(" ", 1)[0] not in QUICK:
                    self._calls.announced.add(call)
                    self._calls.latest = call
                    self.line(shown)
            case "call_finished":
                self._finished(body.text("call"), body.inner("result"))
            case "steer_joined":
                self.line("another message joined the run")
            case "noted":
                self.line(body.text("text"), "yellow", whole=True)
            case "follow_up_accepted":
                self.line("the server was stopped in the middle; the run is gone on with", "yellow")
            case "compaction_started":
                self.line("summarising the conversation so far")
            case "run_recovered":
                self.end_line()
                self._streamed, self._before = _Streamed(""), ""  # it is said again, under the same name
                self.line("the server was restarted; the run begins again", "yellow")
            case _:
                pass  # nothing to see, or told by the end of the run

    def _reply(self, message: str, reply: Json) -> None:
        for position, each in enumerate(reply.items("parts")):
            match each.text("type"):
                case "text":
                    self._text(message, position, 0, each.text("text"))
                case "tool_call":
                    self._call(each.text("id"), each.text("name"), each.text("input"))
                case _:
                    pass

    def _call(self, call: str, name: str, input: str) -> None:
        if name in ("agent", "agentic_fetch"):
            self.sub_agents[call] = name = f"agent {len(self.sub_agents) + 1}"
        self._calls.shown[call] = describe_call(name, input)

    def _hooked(self, body: Json) -> None:
        """What hooks of the user's said, and which of them could not."""
        if "input" in body and body.text("call") in self._calls.shown:
            name = self._calls.shown[body.text("call")].split(" ", 1)[0]
            self._calls.shown[body.text("call")] = describe_call(name, body.text("input"))
        for hook in body.items("hooks"):
            decision = hook.text("decision")
            said = [
                "failed" if hook.flag("failed") else "",
                "stops the run" if hook.flag("halt") else "",
                ""
                if decision in ("", "none")
                else {"deny": "denies", "ask": "asks", "allow": "allows"}.get(decision, ""),
            ]
            reason = hook.text("reason")
            shown = f"hook {hook.text('name')}: {', '.join(filter(None, said)) or 'says'}{reason and f': {reason}'}"
            self.line(shown, "yellow" if any(said) and decision != "allow" else "dim")

    def _failed_sample(self, body: Json) -> None:
        self._reply(body.text("message"), body.inner("reply"))
        streamed = self._streamed
        if streamed.message == body.text("message"):
            self._before, streamed.again = streamed.again or streamed.only(), ""
        if "retry_at" not in body or not self._before:
            self.end_line()
        if "retry_at" in body:
            why = _FAILURES.get(body.text("failure"), body.text("failure"))
            attempts = f" of {body.number('attempts')}" if "attempts" in body else ""
            wait = _wait(body.text("at"), body.text("retry_at"))
            self.line(
                f"attempt {body.number('attempt') + 1}{attempts}, {wait}, because {why} ({body.text('detail')})",
                "yellow",
            )

    def _finished(self, call: str, result: Json) -> None:
        shown = self._calls.shown.pop(call, call)
        said, style = describe_result(result, self._calls.answers.pop(call, Json(None)))
        hooks = guards(result)
        if hooks and "hook" not in said:  # a person was to be asked
            said = f"{said.rstrip('.')} (for {named(hooks)})"
        if call in self._calls.announced:
            self._calls.announced.discard(call)
            if call in self.sub_agents:
                self.line(f"{self.sub_agents[call]} · {said or 'done'}", style if said else "dim")
            elif said and self._calls.latest == call and not self._calls.announced:
                self.line(f"  {said}", style)
            elif said:  # what stands above is another call
                self.line(shown, style, end=said)
        else:
            self.line(shown, style, end=said)
        self._calls.latest = ""

    def _text(self, message: str, part: int, offset: int, text: str) -> None:
        """Write what of `text`, which stands at `offset` in its part, is not written yet."""
        if self._out is None:
            return
        if message != self._streamed.message:
            if not self._before:
                self.end_line()
            self._streamed = _Streamed(message, self._before)
        streamed = self._streamed
        held = streamed.sizes.get(part, 0)
        if offset > held:
            return  # a gap: the draft, or the whole reply, will bring what is missing
        new = text[held - offset :]
        streamed.sizes[part] = held + len(new)
        streamed.said.setdefault(part, []).append(new)
        if not streamed.again:
            self._show(part, new)
        elif len(streamed.said) > 1 or not streamed.again.startswith(streamed.only()):
            self._show_held()

    def _show_held(self) -> None:
        """What was held back, as it said what an attempt had said that failed: all of it, or what is more than that."""
        streamed = self._streamed
        again, streamed.again = streamed.again, ""
        if not again or self._out is None:
            return
        (part, text), *others = [(part, "".join(pieces)) for part, pieces in streamed.said.items()]
        told_between = self._progress and terminal.same_place(self._out, sys.stderr)
        if text.startswith(again) and not told_between:
            streamed.begun.add(part)
            self._write(text.removeprefix(again))
        else:
            self.end_line()
            self.line("the answer begins anew; what stands above it is of an attempt that failed", "yellow", whole=True)
            self._show(part, text)
        for part, text in others:
            self._show(part, text)

    def _show(self, part: int, new: str) -> None:
        if part not in self._streamed.begun:
            new = new.lstrip("\r\n")  # models like to begin with empty lines
            if not new:
                return
            self._streamed.begun.add(part)
            self.end_line()
            if self._wrote:
                self._write("\n")
        self._write(new)

    def _write(self, text: str) -> None:
        shown = terminal.visible(text) if self._safe else text
        if self._out is None or not shown:
            return
        self._out.write(shown)
        self._out.flush()
        self._wrote = True
        self._in_line = not shown.endswith("\n")


class _Beside(Narrator):
    """Lines only, each with the name of whom it is about."""

    def __init__(self, ours: Narrator, name: str) -> None:
        super().__init__(text=False, progress=True)
        self._ours = ours
        self._name = name

    def line(self, text: str, style: str = "dim", *, end: str = "", whole: bool = False) -> None:
        self._ours.line(f"{self._name} · {text.strip()}", style, end=end, whole=whole)


def _wait(since: str, until: str) -> str:
    """How long it is from one RFC 3339 time to another."""
    from datetime import datetime  # retries are rare, and slow anyway

    try:
        seconds = (datetime.fromisoformat(until) - datetime.fromisoformat(since)).total_seconds()
    except (ValueError, TypeError):
        return f"at {until}"
    return f"in {seconds:.0f} s" if seconds >= 1 else "in less than a second"
