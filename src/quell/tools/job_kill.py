"""`job_kill`: ends a background job and all that it has started."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from msgspec import Meta, Struct

from quell.core.access import Access
from quell.core.messages import ToolResult
from quell.core.ports import ToolContext, Workspace
from quell.tools.job_output import found
from quell.tools.jobs import Jobs
from quell.tools.tool import Call, Options


class JobKill(Struct, frozen=True, forbid_unknown_fields=True):
    shell_id: Annotated[str, Meta(description="The job.")]


def prepare_job_kill(asked: JobKill, workspace: Workspace, options: Options) -> Call:
    del workspace
    access = Access(tool="job_kill", kind="think", title=f"End job {asked.shell_id}")
    return Call("think", access, partial(_job_kill, asked, options.jobs))


async def _job_kill(asked: JobKill, jobs: Jobs, context: ToolContext) -> ToolResult:
    job = found(jobs, context.session, asked.shell_id)
    if job.ended is not None:
        return ToolResult(text=f"Job {job.id} had ended already: {job.how()}.", metadata={"job": job.id})
    await job.stop()
    printed = job.output.text().rstrip()
    return ToolResult(
        text=f"Job {job.id} was ended." + (f" It had printed:\n{printed}" if printed else ""),
        metadata={"job": job.id},
    )
