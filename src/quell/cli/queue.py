"""`quell queue`: what waits in a session, and how to rearrange it.

An entry is named by its id or the beginning of it. One that does not wait any more is refused with what has become of it.
"""

from __future__ import annotations

import json
import sys

import click

from quell.cli import daemon, terminal
from quell.cli.failure import CommandFailed, wrong_usage
from quell.cli.lookup import chosen_session, path_of, the_one
from quell.cli.times import when
from quell.client.oneshot import Connection, Json, Refused

_session = click.option("-s", "--session", metavar="ID", help="The session, instead of the last one of this folder.")
_json = click.option("--json", "as_json", is_flag=True, help="One JSON object.")


@click.group("queue", invoke_without_command=True)
@click.pass_context
def queue(context: click.Context) -> None:
    """What waits in a session: list (also without a command), edit, drop, promote, move, resume.

    The session is the last one of this folder unless it is named. The beginning of an id is enough wherever it is the only one.
    """
    if context.invoked_subcommand is None:
        context.invoke(list_entries)


@queue.command("list")
@click.argument("session", required=False)
@_json
def list_entries(session: str | None, as_json: bool) -> None:
    """List what waits in SESSION, in the order in which it will run."""
    with daemon.connect(daemon.here()) as connection:
        found = chosen_session(connection, session)
        waiting = connection.request("GET", f"{path_of(found)}/queue")
    if as_json:
        print(json.dumps({"session": found.text("id")} | waiting.raw, ensure_ascii=False, indent=2))
        return
    items = waiting.items("items")
    if not items:
        sys.stderr.write(f"quell: nothing waits in session {found.text('id')}\n")
    rows = [[item.text("id"), when(item.text("accepted")), _state(item), _text(item)] for item in items]
    if rows:
        terminal.show(terminal.table(rows, flexible=3, titles=["id", "accepted", "state", "text"]))
    if waiting.flag("parked"):
        which = "what is parked waits" if items else "the queue is parked: what will be there waits"
        sys.stderr.write(f"quell: {which} until it is resumed: quell queue resume {found.text('id')}\n")


@queue.command("edit")
@click.argument("entry")
@click.argument("text", nargs=-1)
@click.option(
    "--delivery",
    type=click.Choice(["queue", "steer"]),
    help="queue: a run of its own. steer: it joins the run in progress.",
)
@_session
@_json
def edit(entry: str, text: tuple[str, ...], delivery: str | None, session: str | None, as_json: bool) -> None:
    """Give the waiting ENTRY another TEXT, or another delivery.

    Without TEXT it is read from standard input if that is a pipe or a file, and otherwise edited in $EDITOR.
    """
    with daemon.connect(daemon.here()) as connection:
        found = chosen_session(connection, session)
        item = _waiting(connection, found, entry)
        new = _new_text(text, item.text("text")) if text or delivery is None else None
        body = {name: value for name, value in (("text", new), ("delivery", delivery)) if value is not None}
        noted = connection.request("PATCH", _entry_path(found, item), body)
    _say(noted, found, item, "edited" if noted.flag("applied") else "unchanged:", as_json)


@queue.command("drop")
@click.argument("entry", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Everything that waits. The active run goes on.")
@_session
@_json
def drop(entry: tuple[str, ...], everything: bool, session: str | None, as_json: bool) -> None:
    """Drop each waiting ENTRY: it never reaches a model. Its text is printed, and kept in the session."""
    if bool(entry) == everything:
        raise wrong_usage("say what to drop: ENTRY, or --all")
    with daemon.connect(daemon.here()) as connection:
        found = chosen_session(connection, session)
        if everything:
            items = connection.request("GET", f"{path_of(found)}/queue").items("items")
        else:
            items = [_waiting(connection, found, id) for id in entry]
        for item in items:
            try:
                noted = connection.request("DELETE", _entry_path(found, item))
            except Refused as refused:
                if everything and refused.code == "not_waiting":  # it has started meanwhile
                    continue
                raise
            _say(noted, found, item, "dropped", as_json)
    if not items:
        sys.stderr.write(f"quell: nothing waits in session {found.text('id')}\n")


@queue.command("promote")
@click.argument("entry")
@click.option("--interrupt", is_flag=True, help="Cancel the active run, and start it at once.")
@_session
@_json
def promote(entry: str, interrupt: bool, session: str | None, as_json: bool) -> None:
    """Have the waiting ENTRY run next, also when it is parked; the others stay as they are."""
    with daemon.connect(daemon.here()) as connection:
        found = chosen_session(connection, session)
        item = _waiting(connection, found, entry)
        noted = connection.request("POST", f"{_entry_path(found, item)}/promote", {"interrupt": interrupt})
    _say(noted, found, item, "next:", as_json)


@queue.command("move")
@click.argument("entry")
@click.option("--before", metavar="ENTRY", help="In front of this one.")
@click.option("--first", is_flag=True, help="In front of all others.")
@click.option("--last", is_flag=True, help="Behind all others.")
@_session
@_json
def move(entry: str, before: str | None, first: bool, last: bool, session: str | None, as_json: bool) -> None:
    """Give the waiting ENTRY another place."""
    if (before is not None) + first + last != 1:
        raise wrong_usage("say where to: --before ENTRY, --first or --last")
    with daemon.connect(daemon.here()) as connection:
        found = chosen_session(connection, session)
        item = _waiting(connection, found, entry)
        target: str | None = None
        if before is not None:
            target = _waiting(connection, found, before).text("id")
        elif first:
            target = connection.request("GET", f"{path_of(found)}/queue").items("items")[0].text("id")
        if target == item.text("id"):
            noted = Json({"applied": False})
        else:
            noted = connection.request("PATCH", _entry_path(found, item), {"before": target})
    _say(noted, found, item, "moved" if noted.flag("applied") else "there already:", as_json)


@queue.command("resume")
@click.argument("session", required=False)
@_json
def resume(session: str | None, as_json: bool) -> None:
    """Release what is parked in SESSION, in order."""
    with daemon.connect(daemon.here()) as connection:
        found = chosen_session(connection, session)
        parked = [
            item for item in connection.request("GET", f"{path_of(found)}/queue").items("items") if item.flag("parked")
        ]
        noted = connection.request("POST", f"{path_of(found)}/resume")
    if as_json:
        print(json.dumps({"session": found.text("id"), "released": len(parked)} | noted.raw))
    elif noted.flag("applied"):
        many = f"{len(parked)} prompt{'s' if len(parked) != 1 else ''}"
        print(f"resumed session {found.text('id')}: {many if parked else 'nothing'} had been parked")
    else:
        print(f"nothing is parked in session {found.text('id')}")


def _say(noted: Json, session: Json, item: Json, what: str, as_json: bool) -> None:
    if as_json:
        named = {"session": session.text("id"), "entry": item.text("id"), "text": item.text("text")}
        print(json.dumps(named | noted.raw, ensure_ascii=False))
    else:
        print(f"{what} {item.text('id')}  {terminal.one_line(_text(item))}".rstrip())


def _new_text(words: tuple[str, ...], old: str) -> str:
    if words:
        return " ".join(words)
    if not terminal.is_terminal(sys.stdin):
        return sys.stdin.read().rstrip("\n")
    edited = click.edit(old)
    return old if edited is None else edited.rstrip("\n")


def _waiting(connection: Connection, session: Json, id: str) -> Json:
    """The waiting entry with this id, or the only one whose id begins so. Raises `CommandFailed`."""
    items = connection.request("GET", f"{path_of(session)}/queue").items("items")
    item = the_one(id, items, "entries of the queue", _text)
    if item is None:
        raise _not_waiting(connection, session, id)
    return item


def _not_waiting(connection: Connection, session: Json, id: str) -> CommandFailed:
    """Why there is no such entry: it has started, it has ended, or it never was."""
    run = connection.request("GET", f"{path_of(session)}/view?tail=0").inner("view").inner("run")
    if run.text("entry").startswith(id):
        started = run.text("entry")
        return CommandFailed(
            f"{started} does not wait: it has started. Cancel it with: quell cancel --prompt {started}"
            f" {session.text('id')}"
        )
    try:
        prompt = connection.request("GET", f"{path_of(session)}/prompts/{id}")
    except Refused as refused:
        if refused.status != 404:
            raise
        return wrong_usage(f"nothing that waits in session {session.text('id')} is {id}; `quell queue list` shows it")
    fate = {"joined": "it has joined the run in progress", "dropped": "it was dropped"}.get(
        prompt.text("state"),
        f"its run has ended ({prompt.text('outcome')})" if "outcome" in prompt else "it has started",
    )
    return CommandFailed(f"{id} does not wait: {fate}")


def _entry_path(session: Json, item: Json) -> str:
    return f"{path_of(session)}/queue/{item.text('id')}"


def _state(item: Json) -> str:
    return "parked" if item.flag("parked") else "steer" if item.text("delivery") == "steer" else "waiting"


def _text(item: Json) -> str:
    match item.text("kind"):
        case "compaction":
            return "(a summary of the conversation)"
        case "follow_up":
            return "(going on with what was interrupted)"
        case _:
            return item.text("text") or ", ".join(item.texts("attachments"))
