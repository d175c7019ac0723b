"""What an engine is made of: its ports, and its options. `app` fills both in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

from msgspec import Struct

from quell.core.checkpoints import Checkpoints
from quell.core.errors import ModelFailed
from quell.core.hooks import Hooks
from quell.core.permissions import Rule
from quell.core.ports import Clock, Doorbell, Journal, Models, Toolset, Topic, Workspace
from quell.core.session import Session


class Options(Struct, frozen=True, kw_only=True):
    """`recover_within`: after being down for longer (seconds), queues are parked instead of going on by themselves (contract K2).

    `titles`: a model is asked what to call a session. `unwind_grace`: seconds from a cancel to its settlement, whatever hangs (C7).
    `stop_grace`: seconds that a shutdown waits for tools. `sub_agents`: how many of one session work at the same time.
    `idle_actors`, `idle_seconds`: more open sessions than that are closed when they were not used for so long.
    """

    queue_limit: int = 100
    recover_within: float = 3600.0
    resume_interrupted: bool = False
    titles: bool = False
    unwind_grace: float = 4.5
    stop_grace: float = 2.5
    append_timeout: float = 10.0
    sub_agents: int = 4
    idle_actors: int = 64
    idle_seconds: float = 1.0


class Ports(Struct, frozen=True, kw_only=True):
    """The world, as the engine sees it. Without a `doorbell` no other process is expected to append.

    `toolset` are all tools, and knows of the jobs; `tools(session)` are those that a session has as it is configured now.
    `rules(root)` are those that are configured for a workspace. `open_workspace(session)` raises `InvalidRequest` when the folder cannot be worked in. `retry_delay(attempt, failure)` is in
    seconds, None to give up; `retry_attempts` says how many there are at most. `is_crowded(tokens, window)` says whether to compact before the
    next sample. `environment` is the process's own, for sessions whose client has not sent one. `secrets(environment)` are the values that
    must not be shown: those of the environment, and those that are configured. `describe(session, environment)` is what holds in a session.
    Without `checkpoints()` a revert is one of the conversation alone. `hooks()` are the user's, None where there are none.
    `equip(session, environment, attended)` has its tools ready before a sample, and
    says what it should know of those that are not; `attended`: a person waits for it.
    """

    journal: Journal
    models: Models
    toolset: Toolset
    tools: Callable[[Session], Toolset]
    clock: Clock
    rules: Callable[[str], Sequence[Rule]]
    open_workspace: Callable[[Session], Workspace]
    system_prompt: Callable[[Session, Workspace], Awaitable[str]]
    compaction_prompt: str
    retry_delay: Callable[[int, ModelFailed], float | None]
    is_crowded: Callable[[int, int | None], bool]
    environment: Mapping[str, str]
    secrets: Callable[[Mapping[str, str]], Collection[str]] = lambda environment: ()
    title_prompt: str = ""
    retry_attempts: Callable[[], int | None] = lambda: None
    doorbell: Doorbell | None = None
    describe: Callable[[Session, Mapping[str, str]], Sequence[Topic]] = lambda session, environment: ()
    checkpoints: Callable[[], Checkpoints] | None = None
    hooks: Callable[[], Hooks | None] = lambda: None
    equip: Callable[[Session, Mapping[str, str], bool], Awaitable[Sequence[str]]] | None = None
