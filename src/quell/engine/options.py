"""What an engine is made of: its ports, and its options. `app` fills both in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from msgspec import Struct

from quell.core.errors import ModelFailed
from quell.core.permissions import Rule
from quell.core.ports import Clock, Doorbell, Journal, Models, Toolset, Workspace
from quell.core.session import Session


class Options(Struct, frozen=True, kw_only=True):
    """`recover_within`: after being down for longer (seconds), queues are parked instead of going on by themselves (contract.md K2).

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


@dataclass(frozen=True)
class Ports:
    """The world, as the engine sees it. Without a `doorbell` no other process is expected to append.

    `toolset` is what a session may do, `sub_toolset` what a sub-agent may, which has no sub-agents; jobs are those of `toolset`.
    `rules(root)` are those that are configured for a workspace. `open_workspace(root, extra, session)` raises `InvalidRequest` when the folder cannot be worked in. `retry_delay(attempt, failure)` is in
    seconds, None to give up; `retry_attempts` says how many there are at most. `is_crowded(tokens, window)` says whether to compact before the
    next sample. `environment` is the process's own, for sessions whose client has not sent one. `secrets(environment)` are the values that
    must not be shown: those of the environment, and those that are configured.
    """

    journal: Journal
    models: Models
    toolset: Toolset
    sub_toolset: Toolset
    clock: Clock
    rules: Callable[[str], Sequence[Rule]]
    open_workspace: Callable[[str, tuple[str, ...], str], Workspace]
    system_prompt: Callable[[Session, Workspace], Awaitable[str]]
    compaction_prompt: str
    retry_delay: Callable[[int, ModelFailed], float | None]
    is_crowded: Callable[[int, int | None], bool]
    environment: Mapping[str, str]
    secrets: Callable[[Mapping[str, str]], Collection[str]] = lambda environment: ()
    title_prompt: str = ""
    retry_attempts: Callable[[], int | None] = lambda: None
    doorbell: Doorbell | None = None

    def tools(self, session: Session) -> Toolset:
        return self.toolset if session.parent is None else self.sub_toolset
