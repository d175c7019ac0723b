"""The process between the server and a command: it outlives the server for as long as something of the command is alive.

A command may leave its process group, daemonise, or lose its parent; the server may be killed with -9. So each command gets a small
parent of its own, which is the reaper of every process that descends from it (Linux: PR_SET_CHILD_SUBREAPER). "No child is left"
is then the exact answer to "has everything ended?", without names, groups or guesses.

Standard input carries the request (`encode_request`); its end says "stop", whether the server closed it or has died. Standard output
takes the answer, a few lines of text (`Report`), when nothing of the command is left. Standard error is the command's output; a program
that is talked to has two more descriptors, for its own standard input and output.

Rules: it starts in about 10 ms, so it runs with `-I -S`, imports nothing of ours and as little as possible else (`signal` costs 4 ms
more than `_signal`). It has no threads. A process is signalled through a pidfd whose start time was compared, never by its number alone:
numbers are reused. On systems without `/proc` and subreapers it knows descendants by parent and group only.
"""

from __future__ import annotations

import _signal as signals  # type: ignore[import-not-found]  # reason: typeshed names only `signal`, which is slow to import
import os
import select
import sys
import time

PATIENCE = 2.0
"""Seconds between SIGTERM and SIGKILL."""
KILL_WITHIN = 0.8
"""Seconds after which a process that got SIGKILL counts as unkillable."""
LINGER = 0.1
"""Seconds that background processes have to end by themselves once the command has."""
TAG = "QUELL_CALL"
"""The environment variable that marks a command's processes, for the case that this process itself is killed."""

_STEP = 0.1
_ROUNDS = 10
"""Of SIGKILL at least, however long they take."""

SANDBOX = "bwrap"
"""The first process of a sandbox lives as long as anything in it, and is nothing that a command has left."""

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_HAS_PROC = os.path.isdir("/proc/self")
_NOTICED = (signals.SIGCHLD, signals.SIGTERM, signals.SIGINT, signals.SIGHUP, signals.SIGQUIT)
_IGNORED_BY_PYTHON = (signals.SIGPIPE, signals.SIGXFSZ)


class Process:
    """One line of the process table. `birth` tells two processes with the same number apart."""

    __slots__ = ("birth", "group", "name", "number", "parent")

    def __init__(self, number: int, parent: int, group: int, birth: bytes, name: str) -> None:
        self.number = number
        self.parent = parent
        self.group = group
        self.birth = birth
        self.name = name


# ---- the request and the report ------------------------------------------------------------------------------------


def encode_request(command: list[str], directory: str, stdin: int = -1, stdout: int = -1) -> bytes:
    """The descriptors, the folder and the words of the command, each ended by NUL, after a line with their number of bytes."""
    body = b"".join(os.fsencode(word) + b"\0" for word in (f"{stdin}", f"{stdout}", directory, *command))
    return b"%d\n" % len(body) + body


def read_request(lifeline: int) -> tuple[list[int], str, list[str]] | None:
    """None when the server died before it had sent the request."""
    received = b""
    while b"\n" not in received or len(received) < received.index(b"\n") + 1 + int(received.split(b"\n", 1)[0]):
        chunk = os.read(lifeline, 65536)
        if not chunk:
            return None
        received += chunk
    stdin, stdout, directory, *command = received.split(b"\n", 1)[1].split(b"\0")[:-1]
    return [int(stdin), int(stdout)], os.fsdecode(directory), [os.fsdecode(word) for word in command]


class Report:
    """What the supervisor says at the end: one line each for the failed start, the status, leftovers and survivors."""

    def __init__(self) -> None:
        self.error: tuple[int, str] | None = None
        self.status: int | None = None
        self.leftover: list[str] = []
        self.unkillable: list[int] = []

    def encode(self) -> bytes:
        lines = [f"leftover {name}" for name in self.leftover] + [f"unkillable {number}" for number in self.unkillable]
        if self.error is not None:
            lines.append(f"error {self.error[0]} {self.error[1]}")
        if self.status is not None:
            lines.append(f"status {self.status}")
        return "".join(f"{line}\n" for line in [*lines, "end"]).encode(errors="replace")

    @staticmethod
    def decode(answer: bytes) -> Report | None:
        """None when the supervisor was killed before it could finish the report."""
        report = Report()
        for line in answer.decode(errors="replace").splitlines():
            word, _, rest = line.partition(" ")
            if word == "end":
                return report
            if word == "leftover":
                report.leftover.append(rest)
            elif word == "unkillable":
                report.unkillable.append(int(rest))
            elif word == "error":
                number, _, what = rest.partition(" ")
                report.error = int(number), what
            elif word == "status":
                report.status = int(rest)
        return None


# ---- the process table ---------------------------------------------------------------------------------------------


def process(number: int) -> Process | None:
    """The process with this number, unless it has ended (a zombie has)."""
    try:
        with open(f"/proc/{number}/stat", "rb") as file:
            line = file.read()
    except OSError:
        return None
    name, _, rest = line.partition(b"(")[2].rpartition(b")")
    fields = rest.split()
    if fields[0] in b"ZX":
        return None
    return Process(number, int(fields[1]), int(fields[2]), fields[19], name.decode(errors="replace"))


def processes() -> list[Process]:
    if _HAS_PROC:
        found = (process(int(name)) for name in os.listdir("/proc") if name.isdigit())
        return [each for each in found if each is not None]
    return _listed_processes()


def _listed_processes() -> list[Process]:
    """Where there is no `/proc`."""
    import subprocess  # not paid for where there is one

    command = ["ps", "-axo", "pid=,ppid=,pgid=,state=,comm="]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as table:
        rows = [line.split(None, 4) for line in table.communicate()[0].splitlines()]
    return [
        Process(int(row[0]), int(row[1]), int(row[2]), b"", os.path.basename(row[4].strip()))
        for row in rows
        if len(row) == 5 and not row[3].startswith("Z") and int(row[0]) != table.pid
    ]


def descendants(ancestor: int, group: int | None) -> list[Process]:
    """Everything below `ancestor`, parents first, and the members of the group."""
    table = processes()
    children: dict[int, list[Process]] = {}
    for each in table:
        children.setdefault(each.parent, []).append(each)
    found = list(children.get(ancestor, ()))
    for each in found:  # grows while it is read
        found += children.get(each.number, ())
    known = {each.number for each in found}
    return found + [each for each in table if each.group == group and each.number not in known]


def send(target: Process, number: int) -> None:
    """Signal exactly this process, or nobody."""
    try:
        if not hasattr(os, "pidfd_open"):
            os.kill(target.number, number)
            return
        handle = os.pidfd_open(target.number)
    except OSError:
        return
    try:
        current = process(target.number)
        if current is not None and current.birth == target.birth:
            signals.pidfd_send_signal(handle, number)
    except OSError:
        pass  # it has just ended, or belongs to another user: what remains is reported as unkillable
    finally:
        os.close(handle)


def kill_tagged(tag: str) -> None:
    """Kill what carries the tag in its environment: the way out when a supervisor was killed. Linux only."""
    if not _HAS_PROC:
        return
    mark = f"{TAG}={tag}".encode()
    for each in processes():
        try:
            with open(f"/proc/{each.number}/environ", "rb") as file:
                marked = mark in file.read().split(b"\0")
        except OSError:
            continue
        if marked:
            send(each, signals.SIGKILL)


# ---- supervising ---------------------------------------------------------------------------------------------------


def prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        import ctypes  # 2 ms, and not needed by the server, which imports this module too

        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def start(command: list[str], directory: str, streams: list[int]) -> int | tuple[int, str]:
    """The number of the new process, the leader of a session of its own; or why there is none. It alone has the `streams`, which are
    descriptors for its standard input and output, or -1."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        failing = directory
        try:
            os.chdir(directory)
            failing = "/dev/null"
            os.dup2(streams[0] if streams[0] >= 0 else os.open("/dev/null", os.O_RDONLY), 0)
            os.dup2(streams[1] if streams[1] >= 0 else 2, 1)
            close(streams)
            os.setsid()
            prctl(_PR_SET_PDEATHSIG, signals.SIGKILL)
            for number in (*_NOTICED, *_IGNORED_BY_PYTHON):
                signals.signal(number, signals.SIG_DFL)
            failing = command[0]
            os.execvp(command[0], command)
        except OSError as error:
            os.write(writer, f"{error.errno} {failing}".encode(errors="replace"))
        finally:
            os._exit(127)
    os.close(writer)
    close(streams)
    problem = b""
    while chunk := os.read(reader, 4096):
        problem += chunk
    os.close(reader)
    if not problem:
        return child
    os.waitpid(child, 0)
    number, _, what = problem.decode(errors="replace").partition(" ")
    return int(number), what


def close(streams: list[int]) -> None:
    for each in streams:
        if each >= 0:
            os.close(each)


class Supervisor:
    """Waits for the command, or for the word to stop; then ends what is left."""

    def __init__(self, lifeline: int, child: int, alarm: int) -> None:
        self.lifeline = lifeline
        self.child = child
        self.alarm = alarm
        self.report = Report()
        self.empty = False

    def watch(self) -> Report:
        stopped = False
        while self.report.status is None and not stopped:
            stopped = self.wait(None, stoppable=True)
        if not stopped:
            self.wait_until_empty(LINGER)
            names = [] if self.empty else [each.name for each in self.alive()]
            self.report.leftover = [name for name in names if name != SANDBOX]
        if not self.empty:
            self.end()
        return self.report

    def end(self) -> None:
        for each in self.alive():
            send(each, signals.SIGTERM)
            send(each, signals.SIGCONT)  # a stopped process would not notice
        self.wait_until_empty(PATIENCE)
        deadline, rounds = time.monotonic() + KILL_WITHIN, 0
        while not self.empty and (time.monotonic() < deadline or rounds < _ROUNDS):
            rounds += 1
            for each in self.alive():  # again and again: what is killed may just have forked
                send(each, signals.SIGKILL)
            self.wait_until_empty(0.01)
        if not self.empty:
            self.report.unkillable = [each.number for each in self.alive()]

    def alive(self) -> list[Process]:
        # Where orphans leave the tree, the group is what is left to know them by. Elsewhere it would be wrong: once it is empty,
        # its number may be given to strangers.
        return descendants(os.getpid(), None if sys.platform == "linux" else self.child)

    def wait_until_empty(self, seconds: float) -> None:
        """In short steps: a machine that stands still for a while takes one of them, and not all the time that others have."""
        self.reap()
        while not self.empty and seconds > 0:
            self._wait_until(time.monotonic() + min(seconds, _STEP))
            seconds -= _STEP

    def _wait_until(self, deadline: float) -> None:
        while not self.empty and (remaining := deadline - time.monotonic()) > 0:
            self.wait(remaining, stoppable=False)

    def wait(self, seconds: float | None, *, stoppable: bool) -> bool:
        """Until a child ends, time is up, or (True) the server says stop or is gone."""
        watched = [self.alarm, self.lifeline] if stoppable else [self.alarm]
        readable, _, _ = select.select(watched, [], [], seconds)
        if self.alarm in readable:
            os.read(self.alarm, 4096)
        self.reap()
        return self.lifeline in readable

    def reap(self) -> None:
        while True:
            try:
                number, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                # Where orphans go elsewhere (no subreaper), those of the command's group still count.
                self.empty = sys.platform == "linux" or not self.alive()
                return
            if number == 0:
                return
            if number == self.child:
                self.report.status = os.waitstatus_to_exitcode(status)


def main() -> None:
    request = read_request(0)
    if request is None:
        return
    prctl(_PR_SET_CHILD_SUBREAPER, 1)
    alarm, ring = os.pipe()
    os.set_blocking(ring, False)
    signals.set_wakeup_fd(ring, warn_on_full_buffer=False)
    for number in _NOTICED:
        signals.signal(number, lambda *_: None)  # nobody but the server ends a supervisor before its command
    streams, directory, command = request
    child = start(command, directory, streams)
    report = Report()
    if isinstance(child, tuple):
        report.error = child
    else:
        os.dup2(os.open("/dev/null", os.O_WRONLY), 2)  # the output is the command's alone
        report = Supervisor(0, child, alarm).watch()
    try:
        os.write(1, report.encode())
    except OSError:
        pass  # the server is gone: there is nobody to tell
    os._exit(0)
