"""Sub-agents, end to end: the real command, server, engine, journal and tools; parent and children played from one script."""

from __future__ import annotations

import re
import signal

from tests.cli.command import Home, Started, until


def begin(home: Home, *options: str) -> tuple[Started, str, list[str]]:
    """A run with two sub-agents, of which one has answered and the other does not end; the ids of all three."""
    running = home.start("run", "--model", home.model, *options, "ask around")
    running.reads("I ask.")
    [session] = [str(each["id"]) for each in home.sessions() if each["busy"]]
    until(lambda: len(children(home, session)) == 2 and "idle" in children(home, session).values())
    states = children(home, session)
    done, busy = sorted(states, key=lambda child: states[child] == "busy")
    until(lambda: "│ looking" in home.quell("sessions", "show", busy).out)
    return running, session, [done, busy]


def children(home: Home, session: str) -> dict[str, str]:
    """The sub-agents that `show` names, with their states."""
    shown = home.quell("sessions", "show", session).out.partition("sub-agents:")[2]
    return dict(re.findall(rf"({session}-\S+)  (\w+)  ", shown))


def test_t4_sub_agents_are_followed_live_and_one_that_is_cancelled_does_not_end_the_run(own_home: Home) -> None:
    running, session, (done, busy) = begin(own_home)
    assert [each["id"] for each in own_home.sessions()] == [session]
    said = own_home.quell("sessions", "show", done).out
    assert "In the workspace." in said
    assert "mode plan is read only" in said
    assert not (own_home.workspace / "not.txt").exists()
    assert own_home.quell("cancel", busy).out == f"cancelled the run in session {busy}\n"
    end = running.end()
    assert (end.status, end.out) == (0, "I ask.\n\nIt is here.\n"), end
    lines = end.err.splitlines()
    for first, second in (
        ("agent 1  Where is it?", "agent 1 · ls  ."),
        ("agent 1 · ls  .", "agent 1 · done"),
        ("agent 2  For ever?", "agent 2 · bash  echo looking"),
        ("agent 2 · bash  echo looking", "agent 2 · cancelled"),
    ):
        assert lines.index(first) < lines.index(second), end
    assert any(line.startswith("agent 1 · bash  touch not.txt  denied") for line in lines)
    assert re.search(r"completed · 2 turns · 700 tokens in, 3 out · \$1\.000 ", lines[-1])
    assert [each["cost"] for each in own_home.sessions()] == ["1.000"]


def test_t4_c7_ctrl_c_stops_the_sub_agents_as_well(own_home: Home) -> None:
    running, session, (done, busy) = begin(own_home, "--quiet")
    running.signal(signal.SIGINT)
    end = running.end()
    assert end.status == 130
    assert "agent" not in end.err
    assert children(own_home, session) == {done: "idle", busy: "cancelled"}
    assert "· cancelled" in own_home.quell("sessions", "show", busy).out


def test_t4_k1_a_server_that_is_killed_leaves_no_sub_agent_at_work(own_home: Home) -> None:
    running, session, (done, busy) = begin(own_home)
    own_home.kill_server()
    end = running.end()
    assert end.status == 1, end
    assert "the server was stopped in the middle of this run" in end.err
    assert children(own_home, session) == {done: "idle", busy: "interrupted"}
    assert "· interrupted" in own_home.quell("sessions", "show", busy).out
    assert [each["cost"] for each in own_home.sessions()] == ["0.750"]


def test_k7_sub_agents_go_with_their_session(own_home: Home) -> None:
    running, session, names = begin(own_home)
    assert own_home.quell("sessions", "delete", "--yes", session).status == 0
    assert running.end().status == 130
    until(lambda: all(own_home.quell("sessions", "show", child).status == 2 for child in names))
    assert own_home.sessions() == []
