"""`quell sessions`: list, show, export, fork, rename, delete; going back is in `revert`."""

from __future__ import annotations

import json
import sys

import click

from quell.cli import daemon, terminal
from quell.cli.failure import CommandFailed, wrong_usage
from quell.cli.lookup import chosen_session, find_session, path_of, real_folder, sessions
from quell.cli.narrate import describe_call, result_state
from quell.cli.outcome import STOPPED_BY
from quell.cli.revert import revert
from quell.cli.times import when
from quell.client.oneshot import Connection, Json

RESULT_LINES = 12
"""Of a tool's result, how many `show` prints."""


@click.group("sessions", invoke_without_command=True)
@click.pass_context
def sessions_command(context: click.Context) -> None:
    """List (also without a command), show, export, fork, revert, rename and delete sessions.

    The beginning of an id is enough wherever it is the only one.
    """
    if context.invoked_subcommand is None:
        context.invoke(list_sessions)


@sessions_command.command("list")
@click.option("--all", "everywhere", is_flag=True, help="Those of every folder, not only of this one.")
@click.option("-C", "--cwd", metavar="DIR", default=".", help="Those of this folder, instead of the present one.")
@click.option("-n", "--limit", type=click.IntRange(min=1), default=None, help="Only so many.")
@click.option("--json", "as_json", is_flag=True, help="One JSON array.")
@click.argument("terms", nargs=-1)
def list_sessions(everywhere: bool, cwd: str, limit: int | None, as_json: bool, terms: tuple[str, ...]) -> None:
    """List sessions, last used first. TERMS are looked for in titles."""
    workspace = None if everywhere else real_folder(cwd)
    found: list[Json] = []
    with daemon.connect(daemon.here()) as connection:
        for session in sessions(connection, workspace, " ".join(terms)):
            if limit is not None and len(found) >= limit:
                break
            found.append(session)
    if as_json:
        print(json.dumps([session.raw for session in found], ensure_ascii=False, indent=2))
        return
    if not found:
        where = "" if everywhere else f" in {workspace}; --all shows those of other folders"
        sys.stderr.write(f"quell: no sessions{where}\n")
        return
    titles = ["id", "updated", "state", "title", *(["folder"] if everywhere else [])]
    rows = [
        [session.text("id"), when(session.text("updated")), _state(session), session.text("title") or "(untitled)"]
        + ([session.text("workspace")] if everywhere else [])
        for session in found
    ]
    terminal.show(terminal.table(rows, flexible=3, titles=titles))


@sessions_command.command("show")
@click.argument("session", required=False)
@click.option("--json", "as_json", is_flag=True, help="Everything, as JSON: the same as `export`.")
@click.option("--full", is_flag=True, help="Tool results in full.")
def show_session(session: str | None, as_json: bool, full: bool) -> None:
    """Show the conversation of SESSION (the last one of this folder unless it is named), with the tools that were used."""
    with daemon.connect(daemon.here()) as connection:
        found = chosen_session(connection, session)
        if as_json:
            _write(connection.fetch("GET", f"{path_of(found)}/export?format=json"))
            return
        pages: list[list[Json]] = []
        children = [*sessions(connection, parent=found.text("id"))]
        path = f"{path_of(found)}/view?tail=2000"
        snapshot = connection.request("GET", path)
        view = snapshot.inner("view")
        pages.append(view.items("items"))
        while "more" in snapshot:
            snapshot = connection.request("GET", f"{path}&before={snapshot.number('more')}")
            pages.append(snapshot.inner("view").items("items"))
    items = [item for page in reversed(pages) for item in page]
    terminal.show([*_transcript(found, view, items, full=full), *_sub_agents(children)])


@sessions_command.command("export")
@click.argument("session", required=False)
@click.option("--format", "form", type=click.Choice(["json", "markdown", "html"]), default="json", show_default=True)
@click.option(
    "-o", "--output", metavar="FILE", help="Write to this file, which must not exist, instead of standard output."
)
def export_session(session: str | None, form: str, output: str | None) -> None:
    """Write the whole of SESSION (the last one of this folder unless it is named), to keep it or to pass it on.

    JSON has everything; Markdown and HTML are for people. HTML is one page that needs nothing else, with long outputs folded.
    """
    with daemon.connect(daemon.here()) as connection:
        found = chosen_session(connection, session)
        content = connection.fetch("GET", f"{path_of(found)}/export?format={form}")
    if output is None:
        _write(content)
        return
    try:
        with open(output, "xb") as file:
            file.write(content)
    except OSError as error:
        raise CommandFailed(f"cannot write {output}: {error.strerror}. Give another name to --output") from None


@sessions_command.command("rename")
@click.argument("session")
@click.argument("title", nargs=-1, required=True)
def rename_session(session: str, title: tuple[str, ...]) -> None:
    """Give SESSION another title."""
    with daemon.connect(daemon.here()) as connection:
        found = find_session(connection, session)
        named = connection.request("PATCH", path_of(found), {"title": " ".join(title)})
    print(f"{named.text('id')}  {terminal.one_line(named.text('title'))}")


@sessions_command.command("fork")
@click.argument("session")
@click.option(
    "--at",
    metavar="SEQ",
    type=click.IntRange(min=1),
    help="Only what happened up to this fact: the `seq` of a line of `quell run --stream-json`.",
)
@click.option("--json", "as_json", is_flag=True, help="The new session, as one JSON object.")
def fork_session(session: str, at: int | None, as_json: bool) -> None:
    """Begin a new session with a copy of SESSION, to go on in another way. SESSION itself is not touched."""
    with daemon.connect(daemon.here()) as connection:
        found = find_session(connection, session)
        made = connection.request("POST", f"{path_of(found)}/fork", {} if at is None else {"at": at})
    if as_json:
        print(json.dumps(made.raw, ensure_ascii=False))
        return
    print(f"{made.text('id')}  {terminal.one_line(made.text('title'))}".rstrip())
    if terminal.is_terminal(sys.stderr):
        sys.stderr.write(f'quell: to go on in it: quell run --session {made.text("id")} "…"\n')


@sessions_command.command("delete")
@click.argument("session", nargs=-1, required=True)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def delete_sessions(session: tuple[str, ...], yes: bool) -> None:
    """Delete SESSIONs, for good. What runs in them is cancelled first."""
    with daemon.connect(daemon.here()) as connection:
        for each in [find_session(connection, id) for id in session]:
            name = f"{each.text('id')} ({terminal.one_line(each.text('title')) or 'untitled'})"
            if not yes and not _confirmed(f"Delete {name} for good?"):
                continue
            _delete(connection, each)
            print(f"deleted {name}")


sessions_command.add_command(revert)


def _delete(connection: Connection, session: Json) -> None:
    connection.request("DELETE", path_of(session))


def _confirmed(question: str) -> bool:
    if not terminal.is_terminal(sys.stdin):
        raise wrong_usage("nobody is there to confirm the deletion: pass --yes")
    return click.confirm(question, err=True)


def _write(content: bytes) -> None:
    sys.stdout.buffer.write(content if content.endswith(b"\n") else content + b"\n")


def _state(session: Json) -> str:
    if "stalled" in session:
        return "stalled"
    if session.number("awaiting"):
        return "asks"
    if session.flag("busy"):
        return "busy"
    ended = session.inner("ended")
    outcome = ended.text("outcome")
    if outcome == "completed":
        outcome = f"stopped ({ended.text('stop_reason')})" if ended.text("stop_reason") in STOPPED_BY else ""
    if session.flag("parked") and session.number("queued"):
        return f"{outcome}, parked ({session.number('queued')})" if outcome else f"parked ({session.number('queued')})"
    return outcome or "idle"


def _transcript(session: Json, view: Json, items: list[Json], *, full: bool) -> list[str]:
    colours = terminal.has_colours(sys.stdout)
    lines = [
        terminal.styled(terminal.one_line(session.text("title")) or "(untitled)", "bold", colours),
        terminal.styled(
            f"{session.text('id')} · {session.text('workspace')} · {session.text('model')} · {_state(session)}",
            "dim",
            colours,
        ),
    ]
    if "stalled" in session:
        why = f"stalled: nothing can be recorded in it. {session.text('stalled')}"
        lines.append(terminal.styled(terminal.one_line(why), "red", colours))
    for item, following in zip(items, [*items[1:], Json(None)], strict=True):
        # The end of a run says why; what failed or was stopped just before it need not say it as well.
        ends = following.text("kind") == "run_settled"
        lines += _item(item, colours, full=full, ends=ends)
    for waiting in view.items("queue"):
        state = "parked" if waiting.flag("parked") else "waiting"
        lines += [
            "",
            terminal.styled(
                f"{state}: {terminal.one_line(waiting.text('text') or waiting.text('kind'))}", "yellow", colours
            ),
        ]
    for request in view.items("requests"):
        lines += [
            "",
            terminal.styled(
                f"asks: {terminal.one_line(request.text('title'))} — {request.text('reason')}", "yellow", colours
            ),
        ]
    return lines


def _sub_agents(children: list[Json]) -> list[str]:
    """They are sessions, to be shown by their own ids."""
    colours = terminal.has_colours(sys.stdout)
    named = [
        f"  {child.text('id')}  {_state(child)}  {terminal.one_line(child.text('title'))}"
        for child in reversed(children)
    ]
    return ["", *(terminal.styled(line, "dim", colours) for line in ("sub-agents:", *named))] if named else []


def _item(item: Json, colours: bool, *, full: bool, ends: bool) -> list[str]:
    match item.text("type"):
        case "user":
            shown = [f"> {line}".rstrip() for line in terminal.visible(item.text("text")).splitlines()]
            shown += [f"> [attached: {name}]" for name in item.texts("attachments")]
            return ["", *(terminal.styled(line, "cyan", colours) for line in shown)]
        case "assistant":
            return _assistant(item, colours, ends=ends)
        case "call":
            return _call(item, colours, full=full)
        case "notice":
            said = terminal.one_line(item.text("text") or item.text("kind"))
            return [
                "",
                terminal.styled(f"· {_end(said) if item.text('kind') == 'run_settled' else said}", "dim", colours),
            ]
        case _:
            return []


def _end(said: str) -> str:
    """`interrupted (interrupted)`, `failed (error): slow down`: the reason in parentheses only where it says more."""
    outcome, opening, rest = said.partition(" (")
    reason, closing, detail = rest.partition(")")
    return outcome + detail if opening and closing and reason in (outcome, "error") else said


def _assistant(item: Json, colours: bool, *, ends: bool) -> list[str]:
    lines: list[str] = []
    for part in item.items("parts"):
        text = terminal.visible(part.text("text")).strip("\n")
        if part.text("type") == "text" and text:
            lines += ["", *text.splitlines()]
        elif part.text("type") == "reasoning" and text:
            lines += ["", *(terminal.styled(line, "dim", colours) for line in text.splitlines())]
    if ends:
        pass
    elif "error" in item:
        lines += ["", terminal.styled(f"failed: {terminal.one_line(item.text('error'))}", "red", colours)]
    elif (stop := item.text("stop_reason") or "end_turn") not in ("end_turn", "tool_use"):
        lines += ["", terminal.styled(f"· {stop}", "yellow", colours)]
    return lines


def _call(item: Json, colours: bool, *, full: bool) -> list[str]:
    said, style = result_state(item.inner("result")) if "result" in item else ("in progress", "yellow")
    title = terminal.styled(f"→ {describe_call(item.text('name'), item.text('input'))}", "bold", colours)
    lines = ["", f"{title}  {terminal.styled(said, style, colours)}".rstrip()]
    output = terminal.visible(item.inner("result").text("text")).strip("\n").splitlines()
    shown = output if full else output[:RESULT_LINES]
    lines += [terminal.styled(f"  │ {line}".rstrip(), "dim", colours) for line in shown]
    if len(output) > len(shown):
        lines.append(terminal.styled(f"  │ … {len(output) - len(shown)} more lines (--full)", "dim", colours))
    return lines
