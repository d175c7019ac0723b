"""`quell cancel`: stop what runs, and wait until it has stopped."""

from __future__ import annotations

import json

import click

from quell.cli import daemon, terminal
from quell.cli.failure import CommandFailed, wrong_usage
from quell.cli.late import Late
from quell.cli.lookup import find_session, path_of, real_folder, sessions, the_one
from quell.client.oneshot import Connection, Json, Refused

SETTLE_SECONDS = 10


@click.command("cancel")
@click.argument("session", required=False)
@click.option(
    "--all", "scope", flag_value="all", help="The run and everything that waits behind it. This is the default."
)
@click.option("--active", "scope", flag_value="active", help="The run only; what waits is parked until it is resumed.")
@click.option(
    "--prompt",
    metavar="ID",
    help="This prompt only: if it waits it is dropped; if it runs, its run is stopped, and the queue goes on.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object: what was covered.")
def cancel(session: str | None, scope: str | None, prompt: str | None, as_json: bool) -> None:
    """Stop what runs in SESSION, or in the one session of this folder that is busy."""
    if scope is not None and prompt is not None:
        raise wrong_usage(f"--{scope} and --prompt exclude each other: give one of them")
    with daemon.connect(daemon.here()) as connection:
        found = find_session(connection, session) if session is not None else _busy(connection)
        if found is None:
            print(json.dumps({"session": None, "run": None, "prompts": []}) if as_json else "nothing is running here")
            return
        path = path_of(found)
        body = {"scope": scope or "all"} if prompt is None else {"prompt": _full_id(connection, path, prompt)}
        with Late("waiting for the server to record the cancel") as late:
            covered = connection.request("POST", f"{path}/cancel", body)
            late.waiting_for = "waiting for what runs to stop"
            prompts = covered.texts("prompts")
            for each in prompts:
                _wait(connection, f"{path}/prompts/{each}?wait={SETTLE_SECONDS}")
    if as_json:
        print(json.dumps({"session": found.text("id")} | covered.raw))
    else:
        print(_said(found, covered, prompt, parked=scope == "active"))


def _said(session: Json, covered: Json, prompt: str | None, *, parked: bool) -> str:
    """What was cancelled, in one line. What waits was either cancelled, too, or `parked`."""
    name = f"session {session.text('id')}"
    prompts = covered.texts("prompts")
    if "run" not in covered and not prompts:
        what = "was running" if prompt is None else f"was cancelled: {prompt} neither waits nor has a run of its own"
        return f"nothing {what} in {name}"
    waiting = len(prompts) - ("run" in covered)
    if "run" not in covered:
        return f"dropped {prompts[0]} in {name}" if prompt is not None else f"cancelled what waited in {name}"
    many = f"{waiting} more prompt{'s' if waiting > 1 else ''}"
    if waiting <= 0:
        return f"cancelled the run in {name}"
    if parked:
        return f"cancelled the run in {name}; {many} wait{'' if waiting > 1 else 's'} for: quell queue resume"
    return f"cancelled the run in {name} and {many}"


def _full_id(connection: Connection, path: str, prompt: str) -> str:
    """Of the prompts that can be cancelled, the one whose id begins so; otherwise as it was given. Raises `CommandFailed`."""
    view = connection.request("GET", f"{path}/view?tail=0").inner("view")
    candidates = [*view.items("queue"), Json({"id": view.inner("run").text("entry")})]
    found = the_one(prompt, candidates, "prompts", lambda item: terminal.one_line(item.text("text")))
    if found is not None:
        return found.text("id")
    try:
        # One that has ended is no mistake: there is nothing to do.
        connection.request("GET", f"{path}/prompts/{prompt}")
    except Refused as refused:
        if refused.status == 404:
            raise wrong_usage(
                f"there is no prompt {prompt} in this session; `quell queue list` shows those that wait"
            ) from None
        raise
    return prompt


def _wait(connection: Connection, path: str) -> None:
    try:
        state = connection.request("GET", path).text("state")
    except Refused as refused:
        if refused.status == 404:  # deleted meanwhile
            return
        raise
    if state == "running":
        raise CommandFailed(
            "the cancel was accepted, but the run has not stopped yet. See `quell sessions list`, and `quell logs`"
        )


def _busy(connection: Connection) -> Json | None:
    busy = [each for each in sessions(connection, real_folder(".")) if each.flag("busy") or each.number("queued")]
    if len(busy) > 1:
        names = "\n".join(f"  {each.text('id')}  {terminal.one_line(each.text('title'))}" for each in busy)
        raise wrong_usage(f"{len(busy)} sessions of this folder are busy: say which\n{names}")
    return busy[0] if busy else None
