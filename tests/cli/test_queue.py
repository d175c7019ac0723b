"""`quell queue` and `quell cancel --prompt`: what waits, and how users rearrange it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.cli.command import Home, Started, until


class Waiting:
    """A session with a run that goes on for ever, and prompts behind it, each with a command that waits for it."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.running = home.start("run", "--model", home.model, "for ever")
        self.running.reads("and on")
        self.session = str(home.sessions()[0]["id"])
        self.commands: list[Started] = []

    def behind(self, text: str) -> str:
        """One more; its id."""
        before = len(self.items())
        self.commands.append(self.home.start("run", "--session", self.session, "--json", text))
        until(lambda: len(self.items()) == before + 1)
        return str(self.items()[-1]["id"])

    def items(self) -> list[dict[str, object]]:
        listed = self.home.quell("queue", "list", "--json")
        assert listed.status == 0, listed
        items: list[dict[str, object]] = json.loads(listed.out)["items"]
        return items

    def texts(self) -> list[object]:
        return [item["text"] for item in self.items()]


@pytest.fixture
def waiting(own_home: Home) -> Iterator[Waiting]:
    waiting = Waiting(own_home)
    yield waiting
    own_home.quell("cancel", waiting.session)
    for command in (waiting.running, *waiting.commands):
        command.end()


def test_what_waits_is_listed_and_rearranged(waiting: Waiting) -> None:
    quell, (one, two, three) = waiting.home.quell, [waiting.behind(text) for text in ("one", "two", "three")]
    rows = [line.split("\t") for line in quell("queue", "list", waiting.session[:8]).out.splitlines()]
    assert [(row[0], *row[2:]) for row in rows] == [
        (one, "waiting", "one"),
        (two, "waiting", "two"),
        (three, "waiting", "three"),
    ]
    assert quell("queue", "move", three[:9], "--first").out == f"moved {three}  three\n"
    assert quell("queue", "move", two, "--before", one).status == 0
    assert waiting.texts() == ["three", "two", "one"]
    assert quell("queue", "move", three, "--last").status == 0
    assert quell("queue", "move", three, "--last").out == f"there already: {three}  three\n"
    assert waiting.texts() == ["two", "one", "three"]
    assert quell("queue", "promote", three).out == f"next: {three}  three\n"
    edited = quell("queue", "edit", one, "--json", "one,", "but", "better")
    assert json.loads(edited.out) | {"seq": 0} == {
        "session": waiting.session,
        "entry": one,
        "text": "one",
        "seq": 0,
        "applied": True,
    }
    assert quell("queue", "edit", two, input=b"from a\npipe\n").status == 0
    assert waiting.texts() == ["three", "from a\npipe", "one, but better"]
    assert quell("queue", "edit", two, "--delivery", "steer").status == 0
    assert [item["delivery"] for item in waiting.items()] == ["queue", "steer", "queue"]
    assert quell("queue", "drop", two, one).out == f"dropped {two}  from a pipe\ndropped {one}  one, but better\n"
    assert quell("queue", "drop", "--all").out == f"dropped {three}  three\n"
    assert waiting.items() == []
    for command in waiting.commands:
        assert command.end().status == 130
    waiting.commands.clear()


def test_an_entry_that_does_not_wait_says_where_it_is(waiting: Waiting) -> None:
    quell, behind = waiting.home.quell, waiting.behind("say hello")
    run = json.loads(quell("cancel", "--json", "--prompt", behind[:8]).out)
    assert run["prompts"] == [behind]
    for arguments in (("drop", behind), ("promote", behind), ("edit", behind, "x"), ("move", behind, "--last")):
        done = quell("queue", *arguments)
        assert (done.status, done.out, done.err) == (1, "", f"quell: {behind} does not wait: it was dropped\n")
    exported = json.loads(quell("sessions", "export", waiting.session).out)
    started = exported["messages"][0]["id"]
    done = quell("queue", "drop", started[:10])
    assert done.status == 1
    assert f"{started} does not wait: it has started. Cancel it with: quell cancel --prompt {started}" in done.err
    for id in ("never-was", "../x"):
        unknown = quell("queue", "drop", id)
        assert (unknown.status, id in unknown.err) == (2, True), unknown
    several = quell("queue", "drop")
    assert several.status == 2
    assert quell("queue", "list", "nothing").status == 2


def test_a_parked_queue_is_resumed(waiting: Waiting) -> None:
    quell, behind = waiting.home.quell, waiting.behind("say hello")
    assert quell("queue", "resume").out == f"nothing is parked in session {waiting.session}\n"
    assert quell("cancel", "--active").out == (
        f"cancelled the run in session {waiting.session}; 1 more prompt waits for: quell queue resume\n"
    )
    listed = quell("queue", "list")
    assert listed.out.split("\t")[2] == "parked"
    assert listed.err == (f"quell: what is parked waits until it is resumed: quell queue resume {waiting.session}\n")
    assert quell("queue", "resume").out == f"resumed session {waiting.session}: 1 prompt had been parked\n"
    done = waiting.commands.pop().end()
    assert (done.status, done.json()["prompt"]) == (0, behind)
    assert quell("queue", "list").err == f"quell: nothing waits in session {waiting.session}\n"
    ended = quell("queue", "promote", behind)
    assert (ended.status, ended.err) == (1, f"quell: {behind} does not wait: its run has ended (completed)\n")


def test_promoting_with_interrupt_starts_it_at_once(waiting: Waiting) -> None:
    first, second = waiting.behind("for ever"), waiting.behind("say hello")
    assert waiting.home.quell("queue", "promote", "--interrupt", second).status == 0
    assert waiting.running.end().status == 130
    assert waiting.commands.pop().end().json()["prompt"] == second
    cancelled = waiting.home.quell("cancel", waiting.session, "--prompt", first)
    assert cancelled.out == f"cancelled the run in session {waiting.session}\n"
    again = waiting.home.quell("cancel", waiting.session, "--prompt", first)
    assert (again.status, again.out.startswith("nothing was cancelled")) == (0, True)
    unknown = waiting.home.quell("cancel", waiting.session, "--prompt", "nothing")
    assert unknown.status == 2


def test_a_folder_without_a_session(own_home: Home) -> None:
    for command in (["queue", "list"], ["queue"], ["sessions", "show"]):
        done = own_home.quell(*command)
        assert done.status == 2
        assert "there is no session in" in done.err
