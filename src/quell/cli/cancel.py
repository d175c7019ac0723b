"""`quell cancel`: stop what runs, and wait until it has stopped."""

from __future__ import annotations

import click

from quell.cli import daemon, terminal
from quell.cli.failure import CommandFailed, wrong_usage
from quell.cli.lookup import find_session, real_folder, sessions
from quell.client.oneshot import Connection, Json, Refused

SETTLE_SECONDS = 10


@click.command("cancel", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("session", required=False)
@click.option(
    "--all", "scope", flag_value="all", help="The run and everything that waits behind it. This is the default."
)
@click.option("--active", "scope", flag_value="active", help="The run only; what waits is parked until it is resumed.")
def cancel(session: str | None, scope: str | None) -> None:
    """Stop what runs in SESSION, or in the one session of this folder that is busy."""
    with daemon.connect(daemon.here()) as connection:
        found = find_session(connection, session) if session is not None else _busy(connection)
        if found is None:
            print("nothing is running here")
            return
        path = f"/v1/sessions/{found.text('id')}"
        covered = connection.request("POST", f"{path}/cancel", {"scope": scope or "all"})
        prompts = covered.texts("prompts")
        for prompt in prompts:
            _wait(connection, f"{path}/prompts/{prompt}?wait={SETTLE_SECONDS}")
    name = f"session {found.text('id')}"
    if "run" not in covered and not prompts:
        print(f"nothing was running in {name}")
        return
    waiting = len(prompts) - ("run" in covered)
    more = f" and {waiting} waiting prompt{'s' if waiting > 1 else ''}" if waiting > 0 else ""
    print(f"cancelled {'the run' if 'run' in covered else 'what waited'} in {name}{more if 'run' in covered else ''}")


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
