"""`quell sessions revert`: back to before a message, files and conversation, and forth again."""

from __future__ import annotations

import json
import sys

import click

from quell.cli import daemon, terminal
from quell.cli.failure import FAILED, CommandFailed, of_refusal, wrong_usage
from quell.cli.lookup import chosen_session, the_one
from quell.client.oneshot import Connection, Json, Refused

SHOWN = 10
"""Messages that are named when one has to be chosen."""

SIGNS = {"create": ("+", "comes back", "green"), "delete": ("-", "goes", "red"), "modify": ("~", "", "yellow")}


@click.command("revert")
@click.argument("session", required=False)
@click.option(
    "--to", metavar="MESSAGE", help="Back to before this one: its id, or the beginning of it. Default: your last."
)
@click.option("--list", "listing", is_flag=True, help="Only list the messages that there are to go back to.")
@click.option("-n", "--dry-run", is_flag=True, help="Only say what would become of the files.")
@click.option("--force", is_flag=True, help="Also overwrite what somebody has changed since the agent did.")
@click.option("--undo", is_flag=True, help="Undo the last revert. That can be done until the next run begins.")
@click.option("--json", "as_json", is_flag=True, help="What the server says, as one JSON object.")
def revert(
    session: str | None, to: str | None, listing: bool, dry_run: bool, force: bool, undo: bool, as_json: bool
) -> None:
    """Take SESSION (the last one of this folder unless it is named), and the files that the agent has changed, back to before a message of yours.

    What you have changed yourself since is not overwritten unless you say so.
    """
    if undo and (to is not None or listing):
        raise wrong_usage("--undo is of the last revert: it goes without --to and --list")
    with daemon.connect(daemon.here()) as connection:
        found = chosen_session(connection, session)
        id = found.text("id")
        body: dict[str, object] = {"force": force, "dry_run": dry_run}
        if not undo:
            messages = _messages(connection, id)
            if listing:
                terminal.show(_named(messages))
                return
            body["to"] = _chosen(messages, to)
        try:
            done = connection.request("POST", f"/v1/sessions/{id}/{'unrevert' if undo else 'revert'}", body)
        except Refused as refused:
            raise _explained(refused) from None
    if as_json:
        print(json.dumps(done.raw, ensure_ascii=False))
    else:
        _tell(id, done, undo=undo)
    if "problem" in done or done.texts("left"):
        raise CommandFailed("not every file is as it was", FAILED)


def _messages(connection: Connection, session: str) -> list[Json]:
    """Those of the user that began a run, the last one first."""
    view = connection.request("GET", f"/v1/sessions/{session}/view?tail=10000").inner("view")
    return [item for item in reversed(view.items("items")) if item.text("type") == "user" and not item.flag("steered")]


def _chosen(messages: list[Json], to: str | None) -> str:
    if not messages:
        raise wrong_usage("there is no message in this session to go back to")
    if to is None:
        return messages[0].text("id")
    found = the_one(to, messages, "messages", lambda message: terminal.one_line(message.text("text")))
    if found is None:
        raise wrong_usage(
            "\n".join([f"there is no message {to} in this session; there are", *_named(messages[:SHOWN])])
        )
    return found.text("id")


def _named(messages: list[Json]) -> list[str]:
    return terminal.table([[message.text("id"), message.text("text")] for message in messages], flexible=1)


def _explained(refused: Refused) -> CommandFailed:
    if refused.code == "edited":
        said = refused.detail.removesuffix(" With `force` they are.")
        return CommandFailed(f"{said} --dry-run shows all of it, --force does it; --undo brings it back")
    return of_refusal(refused)


def _tell(session: str, done: Json, *, undo: bool) -> None:
    colours = terminal.has_colours(sys.stdout)
    finished = done.flag("done")
    lines = [_file(change, colours) for change in done.items("files")]
    said = terminal.visible(done.text("text"))
    if undo:
        head = "the revert is undone" if finished else "to undo the revert would change"
    else:
        head = f"{'back to' if finished else 'to go back to'} before {done.text('to')}{'' if finished else ' would change'}"
    print(terminal.styled(head + ("" if lines or finished else ": no file"), "bold", colours))
    print("".join(f"{line}\n" for line in lines), end="")
    for note in done.texts("notes"):
        print(terminal.styled(f"  {terminal.one_line(note)}", "dim", colours))
    for path in done.texts("left"):
        print(
            terminal.styled(
                f"  {terminal.one_line(path)} was left as it is: it changed meanwhile, or cannot be written",
                "red",
                colours,
            )
        )
    if "problem" in done:
        print(terminal.styled(f"  no file was changed: {terminal.one_line(done.text('problem'))}", "red", colours))
    if finished and said and not undo:
        print("\n".join(terminal.styled(f"> {line}".rstrip(), "cyan", colours) for line in said.splitlines()))
    if finished and not undo and terminal.is_terminal(sys.stderr):
        sys.stderr.write(f"quell: to undo this: quell sessions revert {session} --undo\n")


def _file(change: Json, colours: bool) -> str:
    sign, word, style = SIGNS[change.text("change")]
    counts = ""
    if "additions" in change:
        counts = f"+{change.number('additions')} -{change.number('removals')}"
    words = "  ".join(each for each in (counts, word, "edited since" if change.flag("edited") else "") if each)
    return terminal.styled(f"  {sign} {terminal.one_line(change.text('path'))}", style, colours) + (
        f"  {words}" if words else ""
    )
