"""`job_output`: what a background job has printed, or which jobs there are."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from msgspec import Meta, Struct

from quell.core.access import Access, short
from quell.core.errors import NotFound
from quell.core.messages import ToolResult
from quell.core.ports import ToolContext, Workspace
from quell.tools.jobs import Job, Jobs
from quell.tools.tool import Call, Options, Refused


class JobOutput(Struct, frozen=True, forbid_unknown_fields=True):
    shell_id: Annotated[str, Meta(description="The job; all jobs in a line each if left out.")] = ""
    wait: Annotated[bool, Meta(description="Wait until it has ended.")] = False


def prepare_job_output(asked: JobOutput, workspace: Workspace, options: Options) -> Call:
    del workspace
    what = f"Read the output of job {asked.shell_id}" if asked.shell_id else "List the background jobs"
    access = Access(tool="job_output", kind="think", title=what)
    return Call("think", access, partial(_job_output, asked, options.jobs), concurrent=True)


async def _job_output(asked: JobOutput, jobs: Jobs, context: ToolContext) -> ToolResult:
    if not asked.shell_id:
        lines = [f"{job.id}: {job.how()}: {short(job.command)}" for job in jobs.of(context.session)]
        return ToolResult(text="\n".join(lines) or "There is no background job.")
    job = found(jobs, context.session, asked.shell_id)
    if asked.wait:
        await job.process.wait()
    return ToolResult(
        text=f"Status: {'running' if job.ended is None else f'completed ({job.how()})'}\n{job.output.text()}".rstrip(),
        metadata={"job": job.id, "running": job.ended is None},
    )


def found(jobs: Jobs, session: str, id: str) -> Job:
    """Raises `Refused`, with what there is instead."""
    try:
        return jobs.find(session, id)
    except NotFound as error:
        there = ", ".join(job.id for job in jobs.of(session))
        instead = f"The jobs are: {there}." if there else "There is none: a server that stops ends all jobs."
        raise Refused(f"{error} {instead}") from None
