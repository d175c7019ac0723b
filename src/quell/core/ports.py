"""The ports: what the engine needs of the world, as Protocols. Adapters implement them and do not know each other.

Every port has a fake in `quell.testing` and one contract suite for fake and real. Those with values of their own stand beside them: `core.web`,
`core.hooks`, `core.languages`, `core.programs`, `core.checkpoints`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from typing import Literal, Protocol

from msgspec import Struct

from quell.core.access import Access
from quell.core.facts import Outcome, Recorded, Role
from quell.core.messages import ModelRequest, PartDelta, Reply, StopReason, ToolCall, ToolKind, ToolResult, ToolSpec
from quell.core.questions import Question
from quell.core.session import Summary
from quell.core.todos import Todo


class Draft(Struct, frozen=True):
    """The text streamed so far of a message that is not recorded yet: one row beside the journal, overwritten, not a fact."""

    message: str
    reply: Reply


class Claim(Struct, frozen=True):
    """What a new owner gets: its generation, and the sessions whose work was unfinished at that moment, and whose effects nobody performs.

    `holds`: for how many seconds from before it was asked for, or last renewed, effects may be performed; None: as long as the process lives.
    """

    generation: int
    unfinished: tuple[str, ...]
    holds: float | None = None


class Snapshot(Struct, frozen=True):
    """What the facts up to `seq` lead to, so that a session need not be read from its first one.

    `at` is that fact's; `version` is of the code that can read it.
    """

    seq: int
    at: str
    version: str
    state: bytes
    view: bytes


def position(summary: Summary) -> str:
    """A place in the list of sessions, for `before` of `Journal.summaries`; it stays when that session moves or goes."""
    return f"{summary.updated} {summary.id}"


class Journal(Protocol):
    """The facts of every session, in order, without gaps; with each append, in one transaction, the session's row.

    One of the processes on it is the owner, which performs effects (contract I10). What only the owner may write carries the
    generation of its claim, and raises `StaleOwner`, with nothing written, once another has claimed: whatever became of the
    sign (a lock, a lease) by which the former one was known to live. Without a generation anyone may write.

    Every method may raise `StorageRefused`. When an append returns, its facts survive power loss.
    """

    async def append(
        self,
        session: str,
        expected: int,
        records: Sequence[Recorded],
        summary: Summary,
        generation: int | None = None,
    ) -> None:
        """Add `records`, numbered `expected + 1` on, and replace the row. A recorded message's draft goes with it.

        Raises `StaleWriter`, with nothing written, when the session's last `seq` is not `expected` (0: it is new), and when
        it was deleted.
        """

    async def read(self, session: str, after: int = 0, limit: int | None = None) -> Sequence[Recorded]:
        """The facts with `seq > after`, in order. Empty for an unknown session."""

    async def summary(self, session: str) -> Summary | None:
        """The session's row; None when it never was, or was deleted."""

    async def summaries(
        self,
        *,
        workspace: str | None = None,
        parent: str | None = None,
        query: str = "",
        limit: int = 50,
        before: str | None = None,
    ) -> Sequence[Summary]:
        """Rows, last updated first. `query` is searched in titles, in any case; `before` is the last page's last `position`.

        `parent`: only the sub-agents of that session; empty: only sessions that are nobody's.
        """

    async def busy(self) -> Sequence[str]:
        """The ids of the sessions whose row says busy: those that a restart has to wake."""

    async def save_draft(self, session: str, draft: Draft, generation: int | None = None) -> None:
        """Keep a draft, in place of the session's earlier one. Ignored when its message is recorded, and without a session.

        When it returns, the draft survives the end of the process; power loss only after the next append.
        """

    async def draft(self, session: str) -> Draft | None:
        """The draft kept for a message that was never recorded."""

    async def save_snapshot(self, session: str, snapshot: Snapshot) -> None:
        """Keep a snapshot, in place of the session's earlier one. Ignored without a session. It may be lost: it can be made again."""

    async def snapshot(self, session: str) -> Snapshot | None:
        """The session's last snapshot. The facts decide whether it is true."""

    async def delete(self, session: str, generation: int | None = None) -> None:
        """Forget everything but that the id was used."""

    async def claim(self) -> Claim | None:
        """Become the owner, if there is none that lives; None: there is one. It never waits for that. Whoever owns claims anew."""

    async def renew(self, generation: int) -> None:
        """Go on owning; to be called every second. Raises `StaleOwner` when another has claimed, or may before the next call."""

    async def version(self) -> int:
        """Another number than last time, if another process has written since: polling, for when no `Doorbell` was heard."""

    async def close(self) -> None:
        """Finish what was accepted, let go of the storage, and of owning it."""


class Doorbell(Protocol):
    """Between the processes on one journal: who has appended rings, the others look (contract E5). A ring may be lost."""

    def ring(self, session: str) -> None:
        """Tell the others that there is something new in a session; "": anywhere. Never waits, never raises."""

    async def rung(self) -> Collection[str]:
        """Wait for rings, and return what was rung for."""

    def close(self) -> None:
        """Be told nothing any more."""


class LanguageModel(Protocol):
    """One model, ready to be asked. `window` is its context window in tokens, None when unknown."""

    name: str
    window: int | None

    async def sample(self, request: ModelRequest, emit: Callable[[PartDelta], None]) -> Reply:
        """Ask once; no retries. Each delta goes to `emit` (never blocks) as it arrives.

        Cancelling the task closes the connection to the provider. Raises `ModelFailed`.
        """


class Models(Protocol):
    """Finds models by their spec: `provider/model`, or `scripted:FILE`."""

    def check(self, spec: str) -> None:
        """Whether there is such a model; loads nothing. Raises `UnknownModel`, `NoModel` for an empty spec."""

    def sees(self, spec: str) -> bool:
        """Whether it can be shown images, as far as is known; loads nothing."""

    async def open(self, spec: str, environment: Mapping[str, str]) -> LanguageModel:
        """`environment` may hold the provider's key. Raises `UnknownModel`; `ModelFailed("no_key")` when a key is needed."""


class Place(Struct, frozen=True):
    """A path that a model wrote, made real: `path` is absolute with symbolic links resolved, `shown` is how to name it.

    `kept`: in the folder that holds what was too long for the session's results; it may be read as what is inside may.
    """

    path: str
    shown: str
    inside: bool
    kept: bool = False


class DirectoryEntry(Struct, frozen=True):
    """One name in a folder, links not followed. `size` in bytes, `modified` in nanoseconds since 1970."""

    path: str
    kind: Literal["file", "directory", "link", "other"]
    size: int
    modified: int


class Listing(Struct, frozen=True):
    """Entries that were found; `cut` says what kept the rest from being found."""

    entries: tuple[DirectoryEntry, ...]
    cut: Literal["limit", "time"] | None = None


class Match(Struct, frozen=True):
    """One matching line: `line` and `column` count from 1, `text` is capped."""

    path: str
    line: int
    column: int
    text: str


class Matches(Struct, frozen=True):
    """Matching lines in order of path and line; `cut` as in `Listing`."""

    matches: tuple[Match, ...]
    cut: Literal["limit", "time"] | None = None


class ProcessEnd(Struct, frozen=True):
    """How a command ended: by itself, or because it was `stopped`.

    `leftover` names the background processes that were ended with it, `unkillable` those that the kernel would not end.
    """

    status: int | None
    signal: int | None = None
    stopped: Literal["timeout", "cancelled"] | None = None
    leftover: tuple[str, ...] = ()
    unkillable: tuple[int, ...] = ()


class Process(Protocol):
    """A command that was started. It goes on, whoever waits, until it ends or `stop` is called."""

    @property
    def end(self) -> ProcessEnd | None:
        """How it ended; None while it runs. Raises `OSError` when it could not be started."""

    async def wait(self, timeout: float | None = None) -> ProcessEnd | None:
        """Until it has ended and no process of its tree is left; None after `timeout` seconds. Raises as `end`."""

    def begin_stop(self, why: Literal["timeout", "cancelled"]) -> None:
        """The whole process tree gets SIGTERM, then SIGKILL after two seconds."""

    async def stop(self, why: Literal["timeout", "cancelled"]) -> ProcessEnd:
        """The same, and wait: when this returns, none of it is left. A cancellation meanwhile is not raised."""

    def when_ended(self, callback: Callable[[], None]) -> None:
        """Call back once, soon after its end."""


SandboxMode = Literal["off", "workspace", "read-only", "strict"]


class Sandbox(Struct, frozen=True, kw_only=True):
    """What a command may reach. `workspace`: it writes in the workspace and the `writable` folders and reads the rest, without secrets;
    `read-only`: it writes nowhere that lasts; `strict`: nothing but the system's programs and the workspace exists.

    `hidden` are places that it never sees, beside those that are known to hold secrets.
    """

    mode: SandboxMode = "off"
    network: bool = False
    writable: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()


class Workspace(Protocol):
    """The folder that a session works in, and the processes started there. `kept` is where what is too long for a result is put,
    `sandbox` the one that its commands are meant to run in.

    `path` is always one of `place`: a symbolic link that appears in it afterwards is refused, not followed. What the disk refuses
    is an `OSError`.
    """

    @property
    def root(self) -> str: ...

    @property
    def extra(self) -> tuple[str, ...]: ...

    @property
    def kept(self) -> str: ...

    @property
    def sandbox(self) -> Sandbox: ...

    def place(self, path: str) -> Place:
        """Relative paths are relative to the root; `~` is expanded. `inside` holds for the root and the extra folders."""

    def git_programs(self, folder: str) -> tuple[str, ...]:
        """The settings by which the repository that `folder` is in has git run programs though it only reads."""

    async def entry(self, path: str) -> DirectoryEntry: ...

    async def read(self, path: str, start: int = 0, limit: int | None = None) -> bytes:
        """At most `limit` bytes of a regular file, from `start` on. Devices, pipes and folders are refused."""

    async def write(self, path: str, content: bytes, *, replaces: str | None) -> bool:
        """Atomically replace the content whose SHA-256 is `replaces`; with None, make a new file and its parents.

        False, with nothing written, when the file is another by now (with None: when there is one). Keeps mode and ownership.
        Once begun it is finished: a cancellation meanwhile is not raised, the answer is what happened.
        """

    async def save(self, path: str, pieces: AsyncIterator[bytes], *, replaces: str | None) -> bool:
        """As `write`, of content that is still arriving: nothing of it is to be seen before all of it is there.

        What `pieces` raises, and a cancellation while it arrives, leave everything as it was.
        """

    async def walk(self, path: str, *, depth: int | None, ignore: Sequence[str], limit: int) -> Listing:
        """What is below a folder, nearest levels first, without what is ignored; `ignore` adds patterns as in .gitignore."""

    async def find(self, path: str, pattern: str, *, limit: int) -> Listing:
        """The files below a folder whose relative path fits a glob, last modified first. Raises `ValueError` for a bad glob."""

    async def search(self, path: str, pattern: str, *, literal: bool, include: str, limit: int) -> Matches:
        """The lines that fit a regular expression (or hold a literal text), in a file or the files below a folder.

        `include` is a glob for the files, or empty. Raises `ValueError`, with the reason, for a bad expression or glob.
        """

    def start(
        self,
        command: Sequence[str],
        *,
        directory: str,
        environment: Mapping[str, str],
        output: Callable[[bytes], None],
        sandbox: Sandbox = Sandbox(),
    ) -> Process:
        """Start a command, standard input closed, both outputs to `output` as they come. Raises `OSError` when it cannot be, or cannot be
        in that sandbox.
        """


class JobState(Struct, frozen=True, kw_only=True):
    """A command that runs on behind its call (contract T2). `status` is its exit status; `printed` is cut in the middle when long."""

    id: str
    command: str
    description: str
    started: str
    running: bool
    status: int | None = None
    signal: int | None = None
    printed: str = ""


class Delegation(Struct, frozen=True, kw_only=True):
    """How a sub-agent's task ended. `text` is the last thing that it said, `detail` why it failed; a `deleted` one is gone."""

    session: str
    outcome: Outcome
    stop_reason: StopReason
    text: str
    detail: str | None = None
    deleted: bool = False


class Task(Struct, frozen=True):
    """What a sub-agent is to do, and as what. One of the role `web` asks `host` only; without one it searches, and asks whom it finds."""

    text: str
    role: Role = "agent"
    host: str = ""


class Delegate(Protocol):
    """Has a task done by a sub-agent: another session, which changes nothing."""

    async def run(self, task: Task) -> Delegation:
        """Return when it has ended. Raises `QuellError` when it cannot be begun.

        Cancelled, it stops the sub-agent, waits until that has settled, and raises, unless the task was completed by then.
        """


class Topic(Struct, frozen=True):
    """Some of what holds in a session, as it is told to its model: a heading and lines."""

    title: str
    lines: tuple[str, ...]


class ToolContext(Struct, frozen=True):
    """What a running call has in hand. `seen` maps the absolute paths whose content the session knows to its SHA-256, `todos` is its list.

    `note` puts a line into the session for its model and its people, also when the call has ended. `hide` takes keys and tokens out of a text.
    There is no `delegate` for a sub-agent, which has none of its own. `read_only`: nothing is to be changed (mode `plan`).
    `describe` tells what holds in the session at this moment, without secrets.
    `vision`: the model can be shown images.
    """

    session: str
    call: str
    workspace: Workspace
    environment: Mapping[str, str]
    seen: Mapping[str, str]
    output: Callable[[str], None]
    todos: tuple[Todo, ...] = ()
    note: Callable[[str], None] = lambda text: None
    hide: Callable[[str], str] = lambda text: text
    delegate: Delegate | None = None
    read_only: bool = False
    describe: Callable[[], Sequence[Topic]] = lambda: ()
    vision: bool = False


class PreparedCall(Protocol):
    """A call whose input was understood. A `concurrent` one may run at the same time as others; one with `questions` is never run: a
    person's answers are its result."""

    @property
    def kind(self) -> ToolKind: ...

    @property
    def concurrent(self) -> bool: ...

    @property
    def access(self) -> Access: ...

    @property
    def questions(self) -> tuple[Question, ...]: ...

    @property
    def reason(self) -> str:
        """What the questions are for, if it was said."""

    async def run(self, context: ToolContext) -> ToolResult:
        """Do it. Failures are results.

        Cancelled, it ends what it started and then raises, or returns the true result of what had been done by then (a file
        that was written; the output of a command, with the status `cancelled`): that result is the one to record.

        `metadata["seen"]` of the result maps the absolute paths that the model now knows to the SHA-256 of their content.
        """


class Toolset(Protocol):
    """What a model may do."""

    def specs(self) -> Sequence[ToolSpec]: ...

    def prepare(self, call: ToolCall, workspace: Workspace) -> PreparedCall | ToolResult:
        """Parse the call's input; a result (failed, with advice for the model) when it cannot be understood."""

    def jobs(self, session: str) -> Sequence[JobState]:
        """The commands that run on behind their calls, and those that did, oldest first."""

    def works_behind(self, session: str) -> bool:
        """Whether one of them runs: asked often."""

    async def end_job(self, session: str, job: str) -> JobState:
        """Stop one, its whole tree. Raises `NotFound`."""

    async def forget(self, session: str) -> None:
        """End all that its calls have left running, and remove what was kept for it (contract K7, T2)."""


class Clock(Protocol):
    """Time, so that tests can have their own."""

    def now(self) -> str:
        """RFC 3339, UTC, milliseconds."""

    async def sleep_until(self, at: str) -> None: ...
