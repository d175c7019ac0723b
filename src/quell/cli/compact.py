"""`quell compact`: have a conversation summarised, and wait until it is."""

from __future__ import annotations

import json

import click

from quell.cli import daemon
from quell.cli.failure import CANCELLED, CommandFailed
from quell.cli.lookup import chosen_session, path_of
from quell.cli.outcome import Followed
from quell.client.oneshot import Connection, follow


@click.command("compact")
@click.argument("session", required=False)
@click.option("--json", "as_json", is_flag=True, help="One JSON object, with the summary.")
def compact(session: str | None, as_json: bool) -> int:
    """Summarise the conversation of SESSION, or of the last session of this folder.

    The model goes on from the summary; what was said before stays in the session for people to read. It waits its turn when the session is
    busy. Ctrl-C cancels it.
    """
    with daemon.connect(daemon.here()) as connection:
        found = chosen_session(connection, session)
        path = path_of(found)
        accepted = connection.request("POST", f"{path}/compact")
        followed = Followed(found.text("id"), accepted.text("prompt"), accepted.text("run") or None)
        summary, first = "", [connection]
        try:
            for event in follow(
                lambda: first.pop() if first else daemon.connect(daemon.here()),
                found.text("id"),
                accepted.number("seq") - 1,
            ):
                if followed.take(event) and event.body.text("kind") == "compacted":
                    summary = event.body.text("summary")
                if followed.ended:
                    break
        except KeyboardInterrupt:
            with Connection(daemon.here().socket) as again:
                again.request("POST", f"{path}/cancel", {"prompt": accepted.text("prompt")})
            return CANCELLED
    if as_json:
        print(
            json.dumps(
                {"session": found.text("id"), "outcome": followed.outcome, "summary": summary}, ensure_ascii=False
            )
        )
    if followed.complaint:
        raise CommandFailed(followed.complaint, followed.status)
    if not as_json:
        print(f"summarised session {found.text('id')}: quell sessions show {found.text('id')}")
    return followed.status
