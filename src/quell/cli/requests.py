"""`quell requests` and `quell answer`: what waits for a person, from any terminal.

A request is named by its id or the beginning of it. It is looked for in the sessions of the present folder: its id is unique within its
session only. One that is not open any more is refused with what has become of it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import click

from quell.cli import daemon, terminal
from quell.cli.failure import CommandFailed, wrong_usage
from quell.cli.form import form_of
from quell.cli.lookup import check_id, find_session, path_of, real_folder, sessions, the_one
from quell.client.oneshot import Connection, Json, Refused

OPTIONS = {"allow": "allow_once", "always": "allow_always", "reject": "reject_once"}


@click.command("requests")
@click.argument("session", required=False)
@click.option("--json", "as_json", is_flag=True, help="One JSON array.")
def requests(session: str | None, as_json: bool) -> None:
    """List the permission requests and questions that are open in SESSION, or in all sessions of this folder.

    `quell answer` answers one. `always` is the rule that its answer `always` would add to the session.
    """
    with daemon.connect(daemon.here()) as connection:
        found = list(_open(connection, session))
    if as_json:
        print(json.dumps([each.raw for each in found], ensure_ascii=False))
    elif found:
        rows = [[each.text("id"), each.text("session"), _asked(each), each.text("always")] for each in found]
        terminal.show(terminal.table(rows, flexible=2, titles=["request", "session", "asks", "always"]))
    else:
        sys.stderr.write("quell: nothing waits for a person\n")


@click.command("answer")
@click.argument("request")
@click.argument("option", required=False, type=click.Choice(list(OPTIONS)))
@click.option(
    "--note", metavar="TEXT", help="With `reject`: what the model is to do instead. Without it the run stops."
)
@click.option("--answers", metavar="JSON", help="The answers to questions, in their order; `-`: from standard input.")
@click.option("-s", "--session", metavar="ID", help="The session, where several have such a request.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def answer(
    request: str, option: str | None, note: str | None, answers: str | None, session: str | None, as_json: bool
) -> None:
    """Answer REQUEST: allow a call once or always, or reject it. Without an answer you are asked for it, if this is a terminal.

    Answers to questions are a JSON array with an object for each question: {"yes": true}, {"choices": ["id"]}, {"text": "…"}, and {} for
    one that is skipped. A "note" may go with any of them. `quell requests --json` shows the questions and the ids of the choices.
    """
    if option is not None and answers is not None:
        raise wrong_usage(f"{option} is for a permission, --answers for questions: give one of them")
    if note is not None and option != "reject":
        raise wrong_usage("--note goes with reject: it tells the model what to do instead")
    check_id(request, "a request; `quell requests` shows them")
    with daemon.connect(daemon.here()) as connection:
        waiting = list(_open(connection, session))
        found = the_one(request, waiting, "requests", _asked_where, ", or the session with -s")
        body = _given(option, note, answers)
        if found is None:
            place, id, noted = _late(connection, session, request, body or {"answers": []})
        else:
            place, id = found.text("session"), found.text("id")
            _check(found, body)
            noted = connection.request("POST", _path(place, id), body or _filled_in(connection, found))
    if as_json:
        print(json.dumps({"session": place, "request": id} | noted.raw))
    else:
        print(f"answered {id}" if noted.flag("applied") else f"{id} was answered so before")


def _open(connection: Connection, session: str | None) -> Iterator[Json]:
    """The open requests of a session, or of all sessions of the present folder, each with its `session`."""
    for place in _places(connection, session):
        if place.number("awaiting"):
            for each in connection.request("GET", f"{path_of(place)}/requests").items("items"):
                yield Json({"session": place.text("id"), **each.raw})


def _places(connection: Connection, session: str | None) -> Iterator[Json]:
    if session is not None:
        yield find_session(connection, session)
    else:
        yield from sessions(connection, real_folder("."))


def _given(option: str | None, note: str | None, answers: str | None) -> dict[str, object] | None:
    """The body of what was given on the command line, if anything was."""
    if option is not None:
        return {"option": OPTIONS[option], **({"note": note} if note else {})}
    if answers is None:
        return None
    try:
        given = json.loads(sys.stdin.read() if answers == "-" else answers)
    except ValueError as error:
        raise wrong_usage(f"the answers are not JSON: {error}") from None
    if not isinstance(given, list):
        raise wrong_usage('the answers have to be a JSON array, such as [{"yes": true}, {}]')
    return {"answers": given}


def _check(request: Json, body: dict[str, object] | None) -> None:
    """Whether it is that sort of answer that is wanted."""
    id, questions = request.text("id"), "questions" in request
    if body is None and not terminal.somebody_is_there():
        how = "--answers JSON" if questions else "allow, always or reject"
        raise wrong_usage(f"what is the answer? {id} needs {how}, or a terminal to ask you on")
    if body is not None and questions != ("answers" in body):
        how = (
            "questions: answer them with --answers JSON"
            if questions
            else "for a permission: answer allow, always or reject"
        )
        raise wrong_usage(f"{id} asks {how}, or on a terminal without either")
    if body is not None and body.get("option") == "allow_always" and "always" not in request:
        raise wrong_usage(f"there is no rule that would always allow {id}; allow it once")


def _filled_in(connection: Connection, request: Json) -> dict[str, object]:
    """What the person at the terminal answers."""
    items = connection.request("GET", f"/v1/sessions/{request.text('session')}/view").inner("view").items("items")
    call = next((item for item in items if item.text("id") == request.text("call")), Json(None))
    form = form_of(Json(request.raw | {"input": call.text("input")}))
    colours = terminal.has_colours(sys.stderr)
    lines = [*form.head, *form.lines]
    while form.answer is None:
        for text, style in lines:
            sys.stderr.write(terminal.styled(text, style, colours) + "\n")
        sys.stderr.write(form.prompt)
        sys.stderr.flush()
        line = sys.stdin.readline()
        if not line:
            sys.stderr.write("\n")
            raise CommandFailed(f"nothing was answered: {request.text('id')} still waits")
        wrong = form.take(line)
        if form.answer is None:
            lines = [(wrong, "yellow")] if wrong else form.lines
    return form.answer


def _late(connection: Connection, session: str | None, id: str, body: dict[str, object]) -> tuple[str, str, Json]:
    """What the server says of a request that is open in none of the sessions: it was answered, or withdrawn. Raises `CommandFailed`."""
    for place in (each.text("id") for each in _places(connection, session)):
        try:
            return place, id, connection.request("POST", _path(place, id), body)
        except Refused as refused:
            if refused.status == 404:
                continue
            if refused.code != "stale":
                raise
            raise CommandFailed(f"{refused.detail} (session {place})") from None
    raise wrong_usage(f"there is no request {id} here; `quell requests` shows those that are open")


def _path(session: str, request: str) -> str:
    return f"/v1/sessions/{session}/requests/{request}"


def _asked_where(request: Json) -> str:
    return f"in session {request.text('session')}: {_asked(request)}"


def _asked(request: Json) -> str:
    """What is asked, in one line."""
    questions = request.items("questions")
    if not questions:
        return f"{request.text('tool')}: {request.text('title')}"
    title = request.text("title")
    texts = [question.text("question") for question in questions]
    return " ".join([*([] if title in texts else [f"{title}:"]), *texts])
