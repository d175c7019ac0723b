"""What a shell line would touch: the parser and the paths. What becomes of whole lines is in test_judged.py."""

import time

import pytest

from quell.core.access import Access
from quell.core.permissions import check
from quell.tools.shell import parse
from tests.tools.conftest import Hands


def is_read_only(access: Access) -> bool:
    whole = bool(access.commands) and all(command.read_only for command in access.commands)
    return (
        whole
        and not access.opaque
        and not access.outside
        and not any(c.outside for c in access.commands)
        and not access.paths
    )


@pytest.mark.parametrize(
    "command",
    [
        "ls\rrm a.txt",
        "ls\x0brm",
        "ls\u00a0rm",
        "ls\u2028rm a.txt",
        "ls 'a",
        "ls $(",
        "ls \x01",
        "echo ${",
        "ls >",
        "if ls",
        "ls <<EOF",
        "ls <> a",
        "cat\\\na.txt",
        "r\\\nm a.txt",
    ],
    ids=ascii,
)
def test_what_is_not_understood_is_opaque(hands: Hands, command: str) -> None:
    assert hands.access("bash", command=command).opaque


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("a | b && c || d; e & f\ng", ["a", "b", "c", "d", "e", "f", "g"]),
        ("a $(b `c`) <(d) >(e)", ["a $(b `c`) <(d) >(e)", "b `c`", "c", "d", "e"]),
        ("npm run \"te\"st -- --x='a b' c\\ d", ["npm run test -- --x=a b c d"]),
        ("cat <<EOF | sh\n$(rm x)\nEOF", ["cat", "sh", "rm x"]),
        ("bash -c 'rm x; ls'", ["bash -c rm x; ls", "rm x", "ls"]),
        ("sh -ec \"sh -c 'rm x'\"", ["sh -ec sh -c 'rm x'", "sh -c rm x", "rm x"]),
        ("eval rm 'x y'", ["eval rm x y", "rm x y"]),
        ("A=1 B=$(b) make", ["A=1 B=$(b) make", "make", "b"]),
        ("ls \\\n -l", ["ls -l"]),
        ("make 2>&1 >/dev/null", ["make"]),
        ("f() { g; }", ["function f", "g"]),
    ],
    ids=range(11),
)
def test_every_simple_command_is_found(command: str, words: list[str]) -> None:
    line = parse(command)
    assert [" ".join(word.text for word in simple.words) for simple in line.commands] == words
    assert not line.opaque


@pytest.mark.parametrize(
    ("command", "written"),
    [
        ("ls > out.txt", ["out.txt"]),
        ("ls >> src/../out.txt", ["out.txt"]),
        ("ls >| a; ls &> b; ls &>> c; ls >& e", ["a", "b", "c", "e"]),
        ("{ ls; } > 'a b'", ["a b"]),
        ("while true; do ls; done > a", ["a"]),
        ("> truncated", ["truncated"]),
        ("f() { ls > deep; }", ["deep"]),
        ("echo $(ls > inner)", ["inner"]),
        ("bash -c 'ls > quoted'", ["quoted"]),
        ("cd src && ls > x", ["x", "src/x"]),
        ("ls 2>&1 >/dev/null </dev/null 2>&-", []),
        ("cat <<EOF > a\nx\nEOF", ["a"]),
    ],
    ids=range(12),
)
def test_redirections_are_writes(hands: Hands, command: str, written: list[str]) -> None:
    access = hands.access("bash", command=command)
    assert list(access.paths) == [str(hands.root / name) for name in written]
    assert access.outside == ()
    assert not access.opaque
    if written:
        assert check(access, (), "plan").answer == "deny"


@pytest.mark.parametrize(
    "command",
    [
        "ls > $x",
        "ls > *.txt",
        "ls > $(pwd)/x",
        "ls < $x",
        "ls > /dev/tcp/host/80",
        "cd $x && ls",
        "cd - && ls",
        "pushd x",
    ],
)
def test_targets_that_are_not_known_are_opaque(hands: Hands, command: str) -> None:
    assert hands.access("bash", command=command).opaque


@pytest.mark.parametrize(
    ("command", "outside"),
    [
        ("cat /etc/passwd", "/etc/passwd"),
        ("cat ../x", "{top}/x"),
        ("cat src/../../x", "{top}/x"),
        ("cat link/passwd", "/etc/passwd"),
        ("ls /etc/*.conf", "/etc"),
        ("ls ../*", "{top}"),
        ("ls /*", "/"),
        ("grep x /etc/passwd", "/etc/passwd"),
        ("grep -f/etc/passwd x", "/etc/passwd"),
        ("rg --ignore-file=/etc/passwd x", "/etc/passwd"),
        ("cd / && cat etc/passwd", "/etc/passwd"),
        ("cd .. && ls", "{top}"),
        ("cd && ls", "{home}"),
        ("cat ~/.ssh/id_rsa", "{home}/.ssh/id_rsa"),
        ("cat < /etc/passwd", "/etc/passwd"),
        ("git -C /etc status", "/etc"),
        ("[ -f /etc/passwd ]", "/etc/passwd"),
        ("find / -name x", "/"),
        ("cat /proc/self/root/etc/passwd", "/etc/passwd"),
        ("cat ''/etc/passwd", "/etc/passwd"),
        ("echo $(cat /etc/passwd)", "/etc/passwd"),
    ],
    ids=range(21),
)
def test_paths_beyond_the_workspace_are_named(hands: Hands, command: str, outside: str) -> None:
    (hands.root / "link").symlink_to("/etc")
    access = hands.access("bash", command=command)
    wanted = outside.format(top=hands.root.parent, home=hands.workspace.place("~").path)
    assert wanted in {path for each in access.commands for path in each.outside}
    assert check(access, (), "edits").answer == "ask"


def test_a_folder_outside_is_named(hands: Hands) -> None:
    access = hands.access("bash", command="ls", working_dir="/etc")
    assert "/etc" in access.commands[0].outside


def test_a_redirection_outside_is_named(hands: Hands) -> None:
    assert hands.access("bash", command="ls > /etc/x").outside == ("/etc/x",)
    assert hands.access("bash", command="ls > ~/.bashrc").outside == (hands.workspace.place("~/.bashrc").path,)


def test_deep_nesting_neither_fails_nor_is_trusted(hands: Hands) -> None:
    assert hands.access("bash", command="$(" * 500 + "ls" + ")" * 500).opaque
    assert hands.access("bash", command="( " * 50 + "ls" + " )" * 50).commands[0].words == ("ls",)
    nested = "ls"
    for _ in range(6):
        nested = f"bash -c {nested!r}"
    assert not is_read_only(hands.access("bash", command=nested))


@pytest.mark.parametrize(
    "line",
    [
        "|" * 100_000,
        "$(" * 30_000 + "rm x" + ")" * 30_000,
        "(" * 50_000,
        "`" * 100_000,
        "cat <<A " * 10_000,
        "if ls; then " * 8_000,
        "ls;" * 33_000,
        "cat " + "x " * 50_000,
        "cd a; " * 15_000,
        "env " * 30_000,
        "sudo " * 25_000,
        "bash -c " * 10_000,
        "x=1 " * 25_000,
        "${" * 50_000,
        "find . " + "-exec rm {} \\; " * 6_000,
    ],
    ids=lambda line: line[:12],
)
def test_hostile_lines_ask_and_take_no_time(hands: Hands, line: str) -> None:
    begun = time.thread_time()
    assert check(hands.access("bash", command=line), (), "edits").answer == "ask"
    assert time.thread_time() - begun < 5


async def test_an_empty_command_is_refused(hands: Hands) -> None:
    assert "empty" in (await hands.use("bash", command=" \n")).text
    assert "NUL" in (await hands.use("bash", command="a\0b")).text
