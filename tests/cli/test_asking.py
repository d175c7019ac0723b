"""Asking a person: in the middle of a run on a terminal, and from any other one with `quell requests` and `quell answer`."""

from __future__ import annotations

import json
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.cli.command import Ended, Home, until
from tests.cli.person import END, INTERRUPT, Person

SCRIPT = """
[[when]]
prompt = "touch one"
[[when.reply]]
step = [{ text = "I touch." }, { tool = "bash", input = { command = "touch one.txt" } }]
[[when.reply]]
step = [{ text = "Tried one." }]

[[when]]
prompt = "touch twice"
[[when.reply]]
step = [{ tool = "bash", input = { command = "touch one.txt" } }]
[[when.reply]]
step = [{ tool = "bash", input = { command = "touch one.txt" } }]
[[when.reply]]
step = [{ text = "Tried twice." }]

[[when]]
prompt = "touch both"
[[when.reply]]
step = [{ tool = "bash", input = { command = "touch one.txt" } }, { tool = "bash", input = { command = "touch two.txt" } }]
[[when.reply]]
step = [{ text = "Tried both." }]

[[when]]
prompt = "choose"
[[when.reply]]
[[when.reply.step]]
tool = "question"
[when.reply.step.input]
confirm_title = "The old parser"
confirm_description = "Both break something."
[[when.reply.step.input.questions]]
type = "single_choice"
question = "What about it?"
choices = [{ id = "keep", label = "Keep it" }, { id = "drop", label = "Drop it" }]
[[when.reply.step.input.questions]]
type = "multi_choice"
question = "Which ones?"
choices = [{ label = "A" }, { label = "B" }, { label = "C" }]
[[when.reply.step.input.questions]]
type = "yes_no"
question = "Shall it warn?"
[[when.reply.step.input.questions]]
type = "free_text"
question = "Its name?"
[[when.reply]]
step = [{ text = "Chosen." }]

[[when]]
prompt = "for ever"
[[when.reply]]
step = [{ endless = "and on… ", interval = 0.02 }]
"""

ANSWERS = '[{"choices": ["drop"], "note": "soon"}, {"choices": ["A"]}, {"yes": false}, {}]'


@pytest.fixture
def asked_home(own_home: Home) -> Home:
    """Where commands are asked about, and the script has something to ask."""
    own_home.configure('mode = "edits"\n')
    (own_home.root / "script.toml").write_text(SCRIPT, encoding="utf-8")
    return own_home


def run(home: Home, *arguments: str, ignoring: tuple[signal.Signals, ...] = ()) -> Person:
    return Person(home, "run", "--model", home.model, *arguments, ignoring=ignoring)


def result(home: Home) -> str:
    """What the last session's only call came to."""
    exported = json.loads(home.quell("sessions", "export", str(home.sessions()[0]["id"])).out)
    (message,) = [message for message in exported["messages"] if message["role"] == "tool"]
    return str(message["result"]["text"])


def touched(home: Home) -> set[str]:
    return {path.name for path in home.workspace.glob("*.txt")}


def open_requests(home: Home) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(home.quell("requests", "--json").out)
    return found


# In the middle of a run


def test_a_person_at_a_terminal_is_asked_and_allows(asked_home: Home) -> None:
    person = run(asked_home, "touch one")
    shown = person.reads("y, a or n? ")
    assert "I touch.\n" in shown
    assert "May it use bash?\n  command: touch one.txt\n" in shown
    assert "  a       allow it always in this session: bash(touch one.txt)\n" in shown
    assert touched(asked_home) == set()
    person.types("yes, of course\n")
    assert "none of the answers" in person.reads("y, a or n? ")
    person.types("\n")
    person.reads("Answer with a letter.\ny, a or n? ")
    person.types("y\n")
    person.reads("Tried one.")
    assert person.ends() == 0
    assert touched(asked_home) == {"one.txt"}


def test_always_is_for_the_next_time_as_well(asked_home: Home) -> None:
    person = run(asked_home, "touch twice")
    person.reads("y, a or n? ")
    person.types("a\n")
    person.reads("Tried twice.")
    assert person.ends() == 0


@pytest.mark.parametrize(("typed", "said"), [("n\n", ""), ("n use a file\n", ": use a file"), (END, "")])
def test_a_rejection_stops_the_run_unless_it_says_what_to_do(asked_home: Home, typed: str, said: str) -> None:
    person = run(asked_home, "touch one")
    person.reads("y, a or n? ")
    person.types(typed)
    assert person.ends() == (0 if said else 3)  # who says what to do instead is obeyed; it is no lack of permission
    assert f"bash  touch one.txt  rejected{said}\n" in person.rest
    assert ("Tried one." in person.rest) is bool(said)
    assert ("stopped: a tool call was rejected." in person.rest) is not bool(said)
    assert "--allow" not in person.rest
    assert "denied" not in person.rest
    assert result(asked_home) == f"The user rejected this call{said or '.'}"
    assert touched(asked_home) == set()


def test_what_was_typed_before_a_form_was_shown_is_no_answer_to_it(asked_home: Home) -> None:
    person = run(asked_home, "touch both")
    person.reads("command: touch one.txt")
    person.reads("y, a or n? ")
    person.types("y\ny\n")
    person.reads("command: touch two.txt")
    person.reads("y, a or n? ")
    person.types("n\n")
    assert person.ends() == 3
    assert touched(asked_home) <= {"one.txt"}


def test_questions_are_answered_one_after_the_other(asked_home: Home) -> None:
    person = run(asked_home, "choose")
    shown = person.reads("a number, or something else (Enter skips): ")
    assert "A question: The old parser\n  Both break something.\n  1/4 What about it?\n  1  Keep it\n" in shown
    person.types("3\n")
    person.reads("The choices are 1 to 2.\na number")
    person.types("1 2\n")
    person.reads("Only one of them can be chosen.\na number")
    person.types("2\n")
    person.reads("2/4 Which ones?")
    person.types("1, 3\n")
    person.reads("y, n or something else (Enter skips): ")
    person.types("only once\n")
    person.reads("4/4 Its name?")
    person.types("\n")
    person.reads("Chosen.")
    assert person.ends() == 0
    said = "Chosen: drop (Drop it)", "Chosen: A (A)\nChosen: C (C)", "Other: only once", "Skipped: decide yourself."
    questions = "What about it?", "Which ones?", "Shall it warn?", "Its name?"
    pairs = zip(questions, said, strict=True)
    assert result(asked_home) == "\n\n".join(f"Q{n}: {asked}\n{told}" for n, (asked, told) in enumerate(pairs, 1))


def test_the_end_of_input_skips_what_is_left(asked_home: Home) -> None:
    person = run(asked_home, "choose")
    person.reads("a number")
    person.types("1\n")
    person.reads("2/4")
    person.types(END)
    assert person.ends() == 0
    assert result(asked_home).count("Skipped") == 3


def test_c8_t6_ctrl_c_cancels_while_something_is_asked(asked_home: Home) -> None:
    person = run(asked_home, "touch one")
    person.reads("y, a or n? ")
    person.types("y" + INTERRUPT)
    person.reads("It is not asked any more.")
    person.reads("cancelled")
    assert person.ends() == 130
    assert touched(asked_home) == set()
    assert open_requests(asked_home) == []


def test_t6_an_answer_given_elsewhere_withdraws_the_form(asked_home: Home) -> None:
    person = run(asked_home, "touch both")
    person.reads("command: touch one.txt")
    person.reads("y, a or n? ")
    (first,) = open_requests(asked_home)
    assert asked_home.quell("answer", str(first["id"]), "allow").out == f"answered {first['id']}\n"
    person.reads("It was answered elsewhere.")
    person.reads("command: touch two.txt")
    person.reads("y, a or n? ")
    person.types("y\n")
    person.reads("Tried both.")
    assert person.ends() == 0
    assert touched(asked_home) == {"one.txt", "two.txt"}


@pytest.mark.parametrize(("asked", "answer"), [("touch one", ["allow"]), ("choose", ["--answers", ANSWERS])])
def test_a_terminal_that_is_closed_gives_no_answer_and_leaves_the_run_alone(
    asked_home: Home, asked: str, answer: list[str]
) -> None:
    """The command sees the end of its terminal before its shell passes on the SIGHUP, which is not passed on at all here."""
    person = run(asked_home, asked, ignoring=(signal.SIGHUP,))
    person.reads("y, a or n? " if asked == "touch one" else "a number")
    with ThreadPoolExecutor(1) as beside:
        left = beside.submit(person.leaves)
        (request,) = open_requests(asked_home)
        assert left.running(), "it follows the run, and asks nobody any more"
        assert asked_home.quell("answer", str(request["id"]), *answer).status == 0
        assert left.result(30) == -signal.SIGHUP, "there was something to say, and nobody to say it to"
    until(lambda: not any(each["busy"] for each in asked_home.sessions()))
    (session,) = asked_home.sessions()
    assert "'outcome': 'completed'" in str(session["ended"])


def test_a_terminal_that_is_closed_while_text_arrives_leaves_the_run_alone(asked_home: Home) -> None:
    person = run(asked_home, "for ever", ignoring=(signal.SIGHUP,))
    person.reads("and on")
    assert person.leaves() == -signal.SIGHUP
    (session,) = asked_home.sessions()
    assert session["busy"]


def test_a_run_that_is_lost_and_found_asks_again(asked_home: Home) -> None:
    """A server that dies takes its run with it: what it asked is not asked any more."""
    person = run(asked_home, "touch one")
    person.reads("y, a or n? ")
    asked_home.kill_server()
    person.reads("It is not asked any more.")
    assert person.ends() == 1
    assert "the server was stopped in the middle" in person.rest


@pytest.mark.parametrize("options", [("--no-ask",), ("--json",), ("--stream-json",), ("--quiet",)], ids=" ".join)
def test_nobody_is_asked_who_does_not_want_to_be(asked_home: Home, options: tuple[str, ...]) -> None:
    person = run(asked_home, *options, "touch one")
    assert person.ends() == 3
    assert "May it" not in person.rest
    assert "--allow 'bash(touch one.txt)'" in result(asked_home)


def test_who_is_quiet_can_still_insist(asked_home: Home) -> None:
    person = run(asked_home, "--quiet", "--ask", "touch one")
    person.reads("y, a or n? ")
    person.types("y\n")
    assert person.ends() == 0
    assert touched(asked_home) == {"one.txt"}


def test_without_a_terminal_nobody_is_asked_and_nobody_can_insist(asked_home: Home) -> None:
    """A headless run never hangs."""
    assert asked_home.run("touch one").status == 3
    assert "--allow 'bash(touch one.txt)'" in result(asked_home)
    insisting = asked_home.run("--ask", "touch one")
    assert insisting.status == 2
    assert "nobody can be asked" in insisting.err


# From another terminal


def waits(home: Home, prompt: str) -> tuple[str, str, Person]:
    """A run that asks: its session, its request, and who could answer."""
    person = run(home, prompt)
    person.reads("?")
    until(lambda: open_requests(home))
    (request,) = open_requests(home)
    return str(request["session"]), str(request["id"]), person


def refused(done: Ended, status: int, said: str) -> None:
    assert (done.status, done.out) == (status, ""), done
    assert said in done.err, done


def test_what_is_asked_is_listed_and_answered_from_anywhere(asked_home: Home) -> None:
    session, request, person = waits(asked_home, "touch one")
    listed = f"{request}\t{session}\tbash: Run touch one.txt\tbash(touch one.txt)\n"
    assert asked_home.quell("requests").out == listed
    assert asked_home.quell("requests", session[:6]).out == listed
    elsewhere = asked_home.quell("requests", cwd=asked_home.root)
    assert (elsewhere.out, elsewhere.err) == ("", "quell: nothing waits for a person\n")
    done = asked_home.quell("answer", "--json", "-s", session, request[:2], "always", cwd=asked_home.root)
    assert done.json() == {"session": session, "request": request, "applied": True, "seq": done.json()["seq"]}
    assert person.ends() == 0
    assert touched(asked_home) == {"one.txt"}
    again = asked_home.quell("answer", request, "always")
    assert (again.status, again.out) == (0, f"{request} was answered so before\n")
    refused(asked_home.quell("answer", request, "allow"), 1, "was answered before: allow_always")
    assert asked_home.quell("requests").out == ""


def test_a_note_tells_the_model_what_to_do_instead(asked_home: Home) -> None:
    _, request, person = waits(asked_home, "touch one")
    refused(asked_home.quell("answer", request, "allow", "--note", "x"), 2, "--note goes with reject")
    assert asked_home.quell("answer", request, "reject", "--note", "use a file").status == 0
    person.reads("Tried one.")
    assert person.ends() == 0
    assert result(asked_home) == "The user rejected this call: use a file"


def test_questions_are_answered_in_json(asked_home: Home) -> None:
    _, request, person = waits(asked_home, "choose")
    for arguments, said in (
        (["allow"], "asks questions"),
        (["--answers", "{}"], "have to be a JSON array"),
        (["--answers", "[{]"], "not JSON"),
        (["--answers", "[{}]"], "There are 4 questions, and 1 answers"),
        (["--answers", '[{"choices": ["none"]}, {}, {}, {}]'], "there is no choice 'none'"),
        (["--answers", '[{"yse": true}, {}, {}, {}]'], "yse"),
        (["allow", "--answers", "[]"], "give one of them"),
        ([], "needs --answers JSON, or a terminal"),
    ):
        refused(asked_home.quell("answer", request, *arguments), 2, said)
    assert asked_home.quell("answer", request, "--answers", "-", input=ANSWERS.encode()).status == 0
    person.reads("It was answered elsewhere.")
    assert person.ends() == 0
    assert "Q1: What about it?\nChosen: drop (Drop it)\nNote: soon" in result(asked_home)


def test_a_form_on_another_terminal(asked_home: Home) -> None:
    _, request, person = waits(asked_home, "touch one")
    other = Person(asked_home, "answer", request)
    assert "command: touch one.txt" in other.reads("y, a or n? ")
    other.types(END)
    assert other.ends() == 1
    assert f"nothing was answered: {request} still waits" in other.rest
    other = Person(asked_home, "answer", request)
    other.reads("y, a or n? ")
    other.types("y\n")
    other.reads(f"answered {request}")
    assert other.ends() == 0
    assert person.ends() == 0


def test_mistakes_are_explained(asked_home: Home) -> None:
    refused(asked_home.quell("answer", "nothing", "allow"), 2, "there is no request nothing here")
    refused(asked_home.quell("answer", "../x", "allow"), 2, "is not the id of a request")
    session, request, person = waits(asked_home, "touch one")
    refused(asked_home.quell("answer", request), 2, "needs allow, always or reject, or a terminal")
    refused(asked_home.quell("answer", request, "--answers", "[]"), 2, "asks for a permission")
    refused(asked_home.quell("answer", request, "perhaps"), 2, "'perhaps' is not one of")
    second = run(asked_home, "touch one")
    second.reads("?")
    until(lambda: len(open_requests(asked_home)) == 2)
    ambiguous = asked_home.quell("answer", "r", "allow")
    refused(ambiguous, 2, "2 requests begin with r: give more of the id, or the session with -s")
    assert session in ambiguous.err
    asked_home.quell("cancel", session)
    assert person.ends() == 130
    refused(asked_home.quell("answer", "-s", session, request, "allow"), 1, "was withdrawn or answered")
    second.types(INTERRUPT)
    assert second.ends() == 130
    assert touched(asked_home) == set()
