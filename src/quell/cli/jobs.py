"""`quell jobs`: the commands that a session has running in the background, and ending one."""

from __future__ import annotations

import json
import sys

import click

from quell.cli import daemon, terminal
from quell.cli.failure import wrong_usage
from quell.cli.lookup import find_session, path_of, real_folder, sessions
from quell.cli.times import when
from quell.client.oneshot import Connection, Json, quoted


@click.command("jobs")
@click.argument("session", required=False)
@click.option("--end", "ended", metavar="JOB", help="End this one, and every process that it has started.")
@click.option("--json", "as_json", is_flag=True, help="One JSON array, with what each has printed.")
def jobs(session: str | None, ended: str | None, as_json: bool) -> None:
    """List the background jobs of SESSION, or of all sessions of this folder.

    A job is a command that the agent left running: it outlives its run, and ends with its session or the server.
    """
    with daemon.connect(daemon.here()) as connection:
        places = [find_session(connection, session)] if session else [*sessions(connection, real_folder("."))]
        found = [
            (place, job)
            for place in places
            for job in connection.request("GET", f"{path_of(place)}/jobs").items("items")
        ]
        if ended is not None:
            _end(connection, found, ended)
            return
    if as_json:
        print(json.dumps([{"session": place.text("id"), **job.raw} for place, job in found], ensure_ascii=False))
    elif found:
        titles = ["job", "session", "started", "state", "command"]
        terminal.show(terminal.table([_row(place, job) for place, job in found], flexible=4, titles=titles))
    else:
        sys.stderr.write("quell: no background jobs\n")


def _end(connection: Connection, found: list[tuple[Json, Json]], id: str) -> None:
    meant = [(place, job) for place, job in found if job.text("id") == id]
    match meant:
        case [(place, job)]:
            state = connection.request("DELETE", f"{path_of(place)}/jobs/{quoted(id)}")
            print(f"ended {id}" if job.flag("running") else f"{id} had ended already: {_state(state)}")
        case []:
            raise wrong_usage(f"there is no job {id} here; `quell jobs` shows those that there are")
        case _:
            raise wrong_usage(f"{len(meant)} sessions have a job {id}: say which session")


def _row(session: Json, job: Json) -> list[str]:
    command = terminal.one_line(job.text("description") or job.text("command"))
    return [job.text("id"), session.text("id"), when(job.text("started")), _state(job), command]


def _state(job: Json) -> str:
    if job.flag("running"):
        return "running"
    return f"exit code {job.number('status')}" if "status" in job else f"signal {job.number('signal')}"
