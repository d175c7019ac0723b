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
    """The world, as the engine sees it. Functions are asked anew each time: what is configured may have changed."""

    journal: Journal
    doorbell: Doorbell | None = None
    """None: no other process is expected to append."""
    clock: Clock

    open_workspace: Callable[[Session], Workspace]
    """Raises `InvalidRequest` when the folder cannot be worked in."""
    checkpoints: Callable[[], Checkpoints] | None = None
    """None: a revert is one of the conversation alone."""

    models: Models
    retry_delay: Callable[[int, ModelFailed], float | None]
    """Seconds from a failed attempt, by its number, to the next; None to give up."""
    retry_attempts: Callable[[], int | None] = lambda: None
    """How many there are at most, to be shown."""
    is_crowded: Callable[[int, int | None], bool]
    """Whether to compact before the next sample, by the tokens that were used and those that the model's window holds."""

    system_prompt: Callable[[Session, Workspace], Awaitable[str]]
    compaction_prompt: str
    title_prompt: str = ""

    toolset: Toolset
    """All tools; it knows of the jobs."""
    tools: Callable[[Session], Toolset]
    """Those that a session has."""
    equip: Callable[[Session, Mapping[str, str], bool], Awaitable[Sequence[str]]] | None = None
    """Has a session's tools ready before a sample, with its environment, and says what it should know of those that are not. True: a person waits."""
    rules: Callable[[str], Sequence[Rule]]
    """Those for a workspace, by its root."""
    hooks: Callable[[], Hooks | None] = lambda: None
    """The user's; None where there are none."""

    environment: Mapping[str, str]
    """The process's own, for sessions whose client has not sent one."""
    secrets: Callable[[Mapping[str, str]], Collection[str]] = lambda environment: ()
    """The values that must not be shown: those of an environment, and those that are configured."""
    describe: Callable[[Session, Mapping[str, str]], Sequence[Topic]] = lambda session, environment: ()
    """What holds in a session with its environment, for its model."""
