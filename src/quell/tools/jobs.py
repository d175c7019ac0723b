"""Background jobs: the commands that run on behind their calls (contract T2).

A job belongs to a session: it outlives the call and the run that started it, and ends with the session or the server, whole tree. When it
ends by itself the session is told, once. Nothing here waits or has a task: a process calls back when it has ended.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from quell.core.access import short
from quell.core.errors import NotFound
from quell.core.ports import JobState, Process, ProcessEnd, ToolContext
from quell.tools.output import Output
from quell.wire import times

MOST = 50
"""Jobs that one session may have running."""

KEPT = 50
"""Ended jobs of a session that are remembered."""

KEPT_SECONDS = 8 * 3600.0


class Job:
    """One command and what it has printed. The session is told of its end, unless somebody knows of it already."""

    def __init__(self, context: ToolContext, command: str, description: str, process: Process, output: Output) -> None:
        self.id = context.call
        self.command = command
        self.description = description
        self.started = times.now()
        self.process = process
        self.output = output
        self.ended: float | None = None
        self._note: Callable[[str], None] | None = context.note
        self._hide = context.hide
        process.when_ended(self._when_ended)

    def known(self) -> None:
        """Whoever started it, or waits for it, hears of its end directly."""
        self._note = None

    async def stop(self) -> ProcessEnd:
        self.known()
        return await self.process.stop("cancelled")

    def state(self) -> JobState:
        end = self._end()
        return JobState(
            id=self.id,
            command=self._hide(self.command),
            description=self._hide(self.description),
            started=self.started,
            running=self.ended is None,
            status=end.status if end is not None else None,
            signal=end.signal if end is not None else None,
            printed=self._hide(self.output.text()),
        )

    def _when_ended(self) -> None:
        self.output.close()
        self.ended = time.monotonic()
        if self._note is not None:
            what = f"Background job {self.id} (`{short(self.command)}`) has ended: {self.how()}."
            self._note(f"{what} `job_output` shows what it printed.")

    def how(self) -> str:
        """How it ended, in a few words; that it runs, if it does."""
        end = self._end()
        if end is None:
            return "running" if self.ended is None else "it could not be started"
        return f"signal {end.signal}" if end.status is None else f"exit code {end.status}"

    def _end(self) -> ProcessEnd | None:
        try:
            return self.process.end
        except OSError:  # it could not be started, which was found out late
            return None


class Jobs:
    """Every session's jobs. `close` ends them all."""

    def __init__(self) -> None:
        self._sessions: dict[str, dict[str, Job]] = {}

    def of(self, session: str) -> Sequence[Job]:
        """Oldest first."""
        return list(self._sessions.get(session, {}).values())

    def running(self, session: str) -> int:
        return sum(job.ended is None for job in self.of(session))

    def add(self, session: str, job: Job) -> None:
        jobs = self._sessions.setdefault(session, {})
        jobs[job.id] = job
        ended = [other for other in jobs.values() if other.ended is not None]
        old = time.monotonic() - KEPT_SECONDS
        for number, other in enumerate(ended):
            if number < len(ended) - KEPT or (other.ended or 0) < old:
                del jobs[other.id]

    def find(self, session: str, id: str) -> Job:
        """Raises `NotFound`."""
        job = self._sessions.get(session, {}).get(id)
        if job is None:
            raise NotFound(f"There is no background job {id!r} in this session.")
        return job

    async def forget(self, session: str, kept: str) -> None:
        """End a session's jobs, and remove the folder of what was `kept` for it."""
        for job in self._sessions.pop(session, {}).values():
            if job.ended is None:
                await job.stop()
        if kept:
            import shutil

            shutil.rmtree(kept, ignore_errors=True)

    async def close(self) -> None:
        """All at once: each gets its signal before the first is waited for."""
        jobs = [job for jobs in self._sessions.values() for job in jobs.values() if job.ended is None]
        self._sessions.clear()
        for job in jobs:
            job.known()
            job.process.begin_stop("cancelled")
        for job in jobs:
            await job.process.stop("cancelled")
