"""What a run shows, event by event: nothing twice, nothing lost, whatever of the stream was."""

from __future__ import annotations

from pathlib import Path

import pytest

from quell.cli import terminal
from quell.cli.narrate import Narrator, describe_call, describe_result
from quell.cli.outcome import STOPPED_BY, Followed
from quell.client.oneshot import Event, Json


def delta(offset: int, text: str, part: int = 0, message: str = "m1") -> Event:
    return Event(
        "delta", None, Json({"message": message, "part": part, "kind": "text", "offset": offset, "text": text})
    )


def draft(text: str, message: str = "m1") -> Event:
    return Event("draft", None, Json({"message": message, "part": 0, "kind": "text", "text": text}))


def replied(*texts: str, message: str = "m1") -> Event:
    parts = [{"type": "text", "text": text} for text in texts]
    return Event("fact", 9, Json({"kind": "replied", "run": "r1", "message": message, "reply": {"parts": parts}}))


@pytest.mark.parametrize(
    ("events", "shown"),
    [
        ([delta(0, "Hel"), delta(3, "lo"), replied("Hello")], "Hello\n"),
        ([replied("Hello")], "Hello\n"),
        ([delta(0, "Hel"), replied("Hello")], "Hello\n"),
        ([delta(0, "Hel"), delta(4, "o"), replied("Hello")], "Hello\n"),
        ([delta(0, "Hel"), draft("Hello, wor"), delta(10, "ld"), replied("Hello, world")], "Hello, world\n"),
        ([delta(0, "Hello"), delta(3, "lo, you"), replied("Hello, you")], "Hello, you\n"),
        ([delta(0, "\n"), delta(1, "\nHi"), replied("\n\nHi")], "Hi\n"),
        ([replied("A line.\n")], "A line.\n"),
        ([delta(0, "One"), delta(0, "Two", part=2), replied("One", "", "Two")], "One\n\nTwo\n"),
        ([replied("One"), replied("Two", message="m2")], "One\n\nTwo\n"),
        (
            [delta(0, "Ha"), Event("fact", 3, Json({"kind": "run_recovered", "run": "r1"})), delta(0, "Hallo")],
            "Ha\n\nHallo\n",
        ),
        ([replied("")], ""),
    ],
)
def test_text_is_shown_once(capsys: pytest.CaptureFixture[str], events: list[Event], shown: str) -> None:
    narrator = Narrator(text=True, progress=False)
    for event in events:
        narrator.take(event)
    narrator.end_line()
    assert capsys.readouterr() == (shown, "")


def failed(text: str, message: str, *, retried: bool = True) -> Event:
    body = {"kind": "sample_failed", "message": message, "failure": "garbled", "detail": "?", "attempt": 1}
    if retried:
        body |= {"at": "2026-01-01T00:00:00Z", "retry_at": "2026-01-01T00:00:09Z"}
    return Event("fact", 5, Json(body | {"reply": {"parts": [{"type": "text", "text": text}] if text else []}}))


RETRY = "attempt 2, in 9 s, because the provider's answer was garbled (?)"
ANEW = "the answer begins anew; what stands above it is of an attempt that failed"
FAILED = [delta(0, "Hello from t"), failed("Hello from t", "m1")]


@pytest.mark.parametrize(
    ("events", "shown", "told"),
    [
        ([delta(0, "Hello f", message="m2"), replied("Hello from the sea", message="m2")], "Hello from the sea\n", []),
        ([replied("Hello from t", message="m2")], "Hello from t\n", []),
        (
            [
                delta(0, "Hello", message="m2"),
                failed("Hello", "m2"),
                failed("", "m3"),
                replied("Hello from two", message="m4"),
            ],
            "Hello from two\n",
            [RETRY, RETRY],
        ),
        ([delta(0, "Hello from t", message="m2"), failed("Hello from t", "m2", retried=False)], "Hello from t\n", []),
        ([replied("Hello from", message="m2")], "Hello from t\n\nHello from\n", [ANEW]),
        (
            [delta(0, "Hello, you", message="m2"), replied("Hello, you!", message="m2")],
            "Hello from t\n\nHello, you!\n",
            [ANEW],
        ),
        ([replied("Hello", "from", message="m2")], "Hello from t\n\nHello\n\nfrom\n", [ANEW]),
        (
            [replied("", message="m2"), replied("Hello from the sea", message="m3")],
            "Hello from t\n\nHello from the sea\n",
            [ANEW],
        ),
    ],
)
def test_what_a_failed_attempt_has_said_is_not_said_again(
    capfd: pytest.CaptureFixture[str], events: list[Event], shown: str, told: list[str]
) -> None:
    narrator = Narrator(text=True, progress=True)
    for event in [*FAILED, *events]:
        narrator.take(event)
    out, err = capfd.readouterr()
    assert (out, err.splitlines()) == (shown, [RETRY, *told])


def test_where_both_are_read_together_an_attempt_that_gets_further_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = tmp_path / "both"
    again = [delta(0, "Hello from t", message="m2"), failed("Hello from t", "m2")]
    with both.open("a") as out, both.open("a") as errors:
        monkeypatch.setattr("sys.stdout", out)
        monkeypatch.setattr("sys.stderr", errors)
        narrator = Narrator(text=True, progress=True)
        for event in [*FAILED, *again, replied("Hello from the sea", message="m3")]:
            narrator.take(event)
    assert both.read_text() == f"Hello from t\n{RETRY}\n{RETRY}\n{ANEW}\n\nHello from the sea\n"


NOTED = Event("fact", 4, Json({"kind": "noted", "text": "The tool server `demo` is not there."}))


def test_a_notice_in_the_middle_of_a_text_has_a_line_of_its_own_where_both_are_read_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = tmp_path / "both"
    with both.open("w") as out, both.open("a") as errors:
        monkeypatch.setattr("sys.stdout", out)
        monkeypatch.setattr("sys.stderr", errors)
        narrator = Narrator(text=True, progress=True)
        for event in (delta(0, "ok"), NOTED):
            narrator.take(event)
        narrator.end_line()
    assert both.read_text() == "ok\nThe tool server `demo` is not there.\n"


def test_a_notice_does_not_break_a_text_that_is_read_alone(capfd: pytest.CaptureFixture[str]) -> None:
    narrator = Narrator(text=True, progress=True)
    for event in (delta(0, "Hel"), NOTED, delta(3, "lo"), replied("Hello")):
        narrator.take(event)
    assert capfd.readouterr() == ("Hello\n", "The tool server `demo` is not there.\n")


@pytest.mark.parametrize(
    ("name", "input", "shown"),
    [
        ("bash", '{"description": "x", "command": "npm\\n test"}', "bash  npm test"),
        ("view", '{"file_path": "a.py"}', "view  a.py"),
        ("odd", "not JSON", "odd"),
        ("odd", '{"x": 1}', "odd"),
        ("bash", '{"command": "\\u001b[2J"}', "bash  [2J"),
        ("view", '{"file_path": "x\\u202etxt.exe"}', "view  xtxt.exe"),
        ("grep", '{"path": ".", "pattern": "def main"}', "grep  def main"),
    ],
)
def test_a_call_is_one_line(name: str, input: str, shown: str) -> None:
    assert describe_call(name, input) == shown


def test_what_hooks_say_is_told_and_a_call_is_called_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    narrator = Narrator(text=False, progress=True)
    call = {"type": "tool_call", "id": "c", "name": "bash", "input": '{"command": "git push -f"}'}
    hooks = [
        {"name": "no force", "decision": "allow", "reason": "without -f"},
        {"name": "log", "reason": "exit status 1", "failed": True},
        {"name": "guard", "decision": "deny", "halt": True},
    ]
    for body in (
        {"kind": "replied", "message": "m", "reply": {"parts": [call]}},
        {"kind": "hooks_answered", "call": "c", "hooks": hooks, "input": '{"command": "git push"}'},
        {"kind": "call_started", "call": "c"},
    ):
        narrator.take(Event("fact", 1, Json(body)))
    assert capsys.readouterr().err.splitlines() == [
        "hook no force: allows: without -f",
        "hook log: failed: exit status 1",
        "hook guard: stops the run, denies",
        "bash  git push",
    ]


def test_a_failure_stands_under_its_own_call_or_names_it(capsys: pytest.CaptureFixture[str]) -> None:
    narrator = Narrator(text=False, progress=True)
    parts = [
        {"type": "tool_call", "id": id, "name": name, "input": '{"command": "x"}'}
        for id, name in (("a", "bash"), ("b", "lsp_symbols"), ("c", "lsp_definition"))
    ]
    failed = {"status": "failed", "text": "It is too late."}
    for body in (
        {"kind": "replied", "message": "m", "reply": {"parts": parts}},
        {"kind": "call_started", "call": "a"},
        {"kind": "call_finished", "call": "a", "result": failed},
        {"kind": "call_started", "call": "b"},
        {"kind": "call_started", "call": "c"},
        {"kind": "call_finished", "call": "b", "result": failed},
        {"kind": "call_finished", "call": "c", "result": failed},
    ):
        narrator.take(Event("fact", 1, Json(body)))
    assert capsys.readouterr().err.splitlines() == [
        "bash  x",
        "  failed: It is too late.",
        "lsp_symbols  x",
        "lsp_definition  x",
        "lsp_symbols  x  failed: It is too late.",
        "lsp_definition  x  failed: It is too late.",
    ]


@pytest.mark.parametrize(
    ("result", "said"),
    [
        ({"text": "done"}, ""),
        ({"text": "", "metadata": {"additions": 2, "removals": 1}}, "+2 −1"),
        ({"text": "no", "metadata": {"exit": 1}}, "exit 1"),
        ({"text": "no output", "metadata": {"exit": 0}}, ""),
        ({"text": "", "metadata": {"exit": None, "signal": 9}}, "ended by signal 9"),
        ({"text": "No such file. Look for it.", "status": "failed"}, "failed: No such file."),
        (
            {"text": "`view` was not run. The input is no JSON: x. It takes y.", "status": "failed"},
            "failed: The input is no JSON: x.",
        ),
        ({"text": "Denied, because nobody is there: `x`. Go on.", "status": "denied"}, "denied: nobody is there: `x`."),
        ({"text": "Denied by the rule `y`: x. Do not.", "status": "denied"}, "denied by the rule `y`: x."),
        ({"text": "", "status": "denied"}, "denied"),
        ({"text": "half", "status": "cancelled"}, "cancelled"),
    ],
)
def test_a_result_is_told_in_one_line(result: dict[str, object], said: str) -> None:
    assert describe_result(Json(result), Json(None))[0] == said


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"option": "reject_once"}, "rejected"),
        ({"option": "reject_always", "note": "\nuse a file.\nany"}, "rejected: use a file"),
        ({"option": "allow_once", "note": "why not"}, "denied: The user rejected this call."),
    ],
)
def test_a_rejection_is_told_by_the_answer_and_not_by_the_text(answer: dict[str, object], said: str) -> None:
    result = {"text": "The user rejected this call.", "status": "denied"}
    assert describe_result(Json(result), Json(answer))[0] == said


def test_what_would_allow_the_denied_calls_is_collected_once() -> None:
    followed = Followed("s", "p", "r1")
    for text in ("with --allow 'bash(a)', or", "with --allow 'bash(it'\\''s)', or", "with --allow 'bash(a)', or", "no"):
        result = {"status": "denied", "text": text}
        followed.take(Event("fact", 1, Json({"kind": "call_finished", "run": "r1", "call": "c", "result": result})))
    assert followed.summary()["denied"] == 4
    assert str(followed.denials) == "4 calls were denied; to allow them: --allow 'bash(a)' --allow 'bash(it'\\''s)'"


def denied(text: str, *hooks: str) -> list[Event]:
    """The end of a call that is denied, for some hooks."""
    result = {"status": "denied", "text": text} | ({"metadata": {"hooks": [*hooks]}} if hooks else {})
    return [Event("fact", 1, Json({"kind": "call_finished", "run": "r1", "call": "c", "result": result}))]


BY_DENIAL = denied("Denied by the hook `guard`: not today", "guard")
BY_ASKING = denied("Denied, because nobody is there to be asked. Asked for by the hook `careful`.", "careful")
BY_BOTH = denied("Denied, because nobody is there to be asked. `rm` changes files.", "careful")
BY_RULE = denied("Denied by the rule `x` for the session.")
BY_NOBODY = denied("Denied, because nobody is there to be asked: `rm` changes files. Run this with --allow 'bash(rm)'")


@pytest.mark.parametrize(
    ("events", "why", "denials"),
    [
        (
            BY_DENIAL,
            "the hook `guard` did not allow what it needed, which no rule lifts",
            "1 call was denied by the hook `guard`",
        ),
        (
            BY_ASKING,
            "the hook `careful` did not allow what it needed, which no rule lifts",
            "1 call was denied by the hook `careful`",
        ),
        (
            BY_BOTH,
            "the hook `careful` did not allow what it needed, which no rule lifts",
            "1 call was denied by the hook `careful`",
        ),
        (BY_RULE, STOPPED_BY["permission"], "1 call was denied"),
        (BY_NOBODY, STOPPED_BY["permission"], "1 call was denied; to allow it: --allow 'bash(rm)'"),
        (
            BY_DENIAL + BY_ASKING,
            "the hooks `guard`, `careful` did not allow what it needed, which no rule lifts",
            "2 calls were denied by the hooks `guard`, `careful`",
        ),
        (
            BY_DENIAL + BY_NOBODY,
            "the hook `guard` did not allow what it needed, which no rule lifts; the rest can be allowed with --allow RULE",
            "2 calls were denied, 1 by the hook `guard`; to allow the rest: --allow 'bash(rm)'",
        ),
    ],
)
def test_no_rule_is_advised_against_a_hook(events: list[Event], why: str, denials: str) -> None:
    followed = Followed("s", "p", "r1")
    end = {"kind": "run_settled", "run": "r1", "outcome": "completed", "stop_reason": "permission"}
    for event in (*events, Event("fact", 3, Json(end))):
        followed.take(event)
    assert (followed.complaint.partition(". What")[0], str(followed.denials)) == (f"stopped: {why}", denials)


@pytest.mark.parametrize(
    ("events", "told"),
    [
        (BY_DENIAL, "denied by the hook `guard`: not today"),
        (BY_ASKING, "denied: nobody is there to be asked (for the hook `careful`)"),
        (BY_BOTH, "denied: nobody is there to be asked. `rm` changes files (for the hook `careful`)"),
    ],
)
def test_a_denial_names_the_hook(capsys: pytest.CaptureFixture[str], events: list[Event], told: str) -> None:
    narrator = Narrator(text=False, progress=True)
    for event in events:
        narrator.take(event)
    assert capsys.readouterr().err.splitlines()[-1] == f"c  {told}"


@pytest.mark.parametrize(
    ("outcome", "stop_reason", "status"),
    [
        ("completed", "end_turn", 0),
        *(("completed", reason, 3) for reason in STOPPED_BY),
        ("completed", "refusal", 1),
        ("failed", "error", 1),
        ("interrupted", "interrupted", 1),
        ("cancelled", "cancelled", 130),
    ],
)
def test_the_exit_status_of_every_end(outcome: str, stop_reason: str, status: int) -> None:
    followed = Followed("s", "p", "r1")
    followed.take(
        Event("fact", 1, Json({"kind": "run_settled", "run": "r1", "outcome": outcome, "stop_reason": stop_reason}))
    )
    assert (followed.ended, followed.status) == (True, status)
    assert bool(followed.complaint) is (status != 0)


def test_other_runs_are_not_ours() -> None:
    followed = Followed("s", "p", None)
    assert not followed.take(Event("fact", 1, Json({"kind": "run_settled", "run": "r0", "outcome": "failed"})))
    assert not followed.take(delta(0, "theirs"))
    assert followed.take(Event("fact", 2, Json({"kind": "run_started", "run": "r2", "entry": "p"})))
    assert followed.take(delta(0, "ours"))
    assert not followed.ended


@pytest.mark.parametrize(
    ("text", "room", "clipped"),
    [("abc", 3, "abc"), ("abcd", 3, "ab…"), ("日本語", 5, "日本…"), ("日本語", 6, "日本語")],
)
def test_clipping_counts_columns(text: str, room: int, clipped: str) -> None:
    assert terminal.clip(text, room) == clipped
