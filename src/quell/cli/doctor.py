"""`quell doctor`: what is configured, found and missing; whatever is not right says how to mend it.

It looks and changes nothing, but that it starts a server when there is none, since a server that cannot be started is what most troubles
come to. Of keys only the names of their variables are shown.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import stat
import sys
import sysconfig
import textwrap
from collections.abc import Iterator

import click
import msgspec

from quell import __version__
from quell.cli import daemon, terminal
from quell.cli.doctor_programs import programs
from quell.cli.failure import COMPLETED, FAILED, USAGE, CommandFailed, of_refusal
from quell.cli.finding import Finding, Health
from quell.cli.models import known_models
from quell.client.oneshot import Connection, Json, Refused, Unreachable, quoted
from quell.config.file import ConfigError
from quell.config.load import load
from quell.config.paths import Paths

_MARKS: dict[Health, tuple[str, str]] = {"ok": ("ok  ", "green"), "note": ("note", "yellow"), "bad": ("BAD ", "red")}


@click.command("doctor", context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--json", "as_json", is_flag=True, help="One JSON array.")
def doctor(as_json: bool) -> int:
    """Look at the configuration, the models, the server and the programs that tools use. Exits with 1 when something has to be mended."""
    place = daemon.here()
    findings: list[Finding] = []
    for finding in _look(place):
        findings.append(finding)
        if not as_json:
            _print(finding)
    if as_json:
        print(json.dumps(msgspec.to_builtins(findings), ensure_ascii=False, indent=2))
    return FAILED if any(finding.health == "bad" for finding in findings) else COMPLETED


def _print(finding: Finding) -> None:
    mark, style = _MARKS[finding.health]
    colours = terminal.has_colours(sys.stdout)
    found, *more = _lines(terminal.visible(finding.found)) or [""]
    print(f"{terminal.styled(mark, style, colours)}  {finding.what:<14} {found}")
    for line in more:
        print(f"{'':<{_MARGIN}}{line}")
    for advice in finding.mend.splitlines():
        for number, line in enumerate(_lines(advice, len("→ "))):
            print(f"{'':<{_MARGIN}}{'  ' if number else '→ '}{line}")


_MARGIN = 21


def _lines(text: str, indent: int = 0) -> list[str]:
    """Broken between words where the terminal ends."""
    room = terminal.width(sys.stdout)
    if room is None:
        return [text]
    return textwrap.wrap(text, max(room - _MARGIN - indent, 20), break_long_words=False, break_on_hyphens=False)


def _look(place: Paths) -> Iterator[Finding]:
    yield Finding("ok", "version", f"quell {__version__}, Python {sys.version.split()[0]}")
    yield _keys()
    yield _folder("data", place.data_dir)
    yield from _server(place)
    yield _program("rg", "search is slower without it", "ripgrep", beside_python=True)
    yield _program("git", "the model is told nothing about the repository", "git")
    yield _program("bash", "commands run in sh", "bash")


def _present_folder() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # it was deleted
        return None


def _settings(status: Json, own: str) -> Iterator[Finding]:
    files = status.texts("files")
    if own in files:
        yield Finding("ok", "your settings", own)
    elif "problem" not in status:
        yield Finding(
            "note",
            "your settings",
            f"none ({own})",
            'None is needed. For a model of your own choice:  model = "provider/name"',
        )
    for path in files:
        if path != own:
            yield Finding("ok", "this project's", path)
    if "problem" in status:
        yield Finding("bad", "settings", status.text("problem"), "Mend that line; until then no session can begin here")
        return
    for notice in status.texts("notices"):
        yield Finding("note", "settings", notice)


def _sandbox(status: Json) -> Finding:
    mode, problem = status.text("sandbox"), status.text("sandbox_problem")
    if not problem:
        note = "off, by your settings: commands reach all that you can" if mode == "off" else mode
        return Finding("note" if mode == "off" else "ok", "sandbox", note)
    if sys.platform != "linux":
        mend = "There is none on this system: mode `auto` is not available, and `edits` is what `quell run` uses"
    elif shutil.which("bwrap") is None:
        mend = "Install bubblewrap (apt install bubblewrap), then: quell serve --stop"
    else:
        mend = "Allow user namespaces: sysctl kernel.unprivileged_userns_clone=1 or kernel.apparmor_restrict_unprivileged_userns=0"
    if mode != "off":
        return Finding("bad", "sandbox", f"{mode} is asked for, but {problem}: no command can run", mend)
    return Finding("note", "sandbox", f"none, because {problem}: mode auto is not available", mend)


def _keys() -> Finding:
    names = sorted(name for name, value in os.environ.items() if value and name.endswith(("_API_KEY", "_AUTH_TOKEN")))
    if names:
        return Finding("ok", "keys", f"in the environment: {', '.join(names)}")
    return Finding(
        "note",
        "keys",
        "none in the environment",
        "export ANTHROPIC_API_KEY=… or OPENAI_API_KEY=…; or use a local server, which needs none",
    )


def _folder(what: str, path: str) -> Finding:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return Finding("note", what, f"{path} will be made")
    except OSError as error:
        return Finding("bad", what, f"{path}: {error.strerror}", "Mend its permissions, or set QUELL_DATA_DIR")
    if found.st_uid != os.getuid():
        return Finding("bad", what, f"{path} belongs to user {found.st_uid}", "Set QUELL_DATA_DIR to a folder of yours")
    if not os.access(path, os.W_OK | os.X_OK):
        return Finding("bad", what, f"{path} cannot be written", f"chmod u+rwx {path}, or set QUELL_DATA_DIR")
    free = shutil.disk_usage(path).free
    if free < 64 << 20:
        return Finding(
            "bad", what, f"{path}: {free >> 20} MiB left on its disk", "Make room: what cannot be recorded is not done"
        )
    return Finding("ok", what, f"{path} ({free >> 30} GiB free)")


def _database(status: Json, place: Paths) -> Finding:
    """Where sessions are kept, as the server says."""
    if "journal_problem" in status:
        return Finding("bad", "database", status.text("journal_problem"))
    if "journal" in status:
        return Finding("ok", "database", status.text("journal"))
    return _file(place)


def _unasked(place: Paths) -> Iterator[Finding]:
    """The file that sessions are kept in, if they are, where no server says so. Of a database only a server knows more; it has said why it
    did not start.
    """
    try:
        elsewhere = load(place.config_file, os.environ).settings.server.database is not None
    except ConfigError:  # which one is meant is not known, and that finding is there already
        return
    if not elsewhere:
        yield _file(place)


def _file(place: Paths) -> Finding:
    path = place.database
    if os.path.isdir(place.data_dir) and not os.access(place.data_dir, os.W_OK | os.X_OK):
        return Finding("note", "database", f"{path} cannot be looked at until its folder can be written")
    if not os.path.exists(path):
        return Finding("note", "database", f"{path} will be made with the first session")
    try:
        connection = sqlite3.connect(f"file:{quoted(path)}?mode=ro", uri=True, timeout=2)
        try:
            verdict = connection.execute("pragma quick_check(1)").fetchone()[0]
        finally:
            connection.close()
    except sqlite3.Error as error:
        # Without room for its index, a file that is well cannot be opened.
        if shutil.disk_usage(place.data_dir).free == 0:
            return Finding("note", "database", f"{path} cannot be looked at until there is room on its disk")
        return Finding(
            "bad",
            "database",
            f"{path}: {error}",
            "Keep the file, and start with another: set QUELL_DATA_DIR, or move it away",
        )
    if verdict != "ok":
        return Finding(
            "bad",
            "database",
            f"{path} is damaged: {verdict}",
            f"Keep a copy; then: sqlite3 {path} .recover | sqlite3 mended.db",
        )
    return Finding("ok", "database", f"{path} ({os.path.getsize(path) >> 10} KiB)")


def _server(place: Paths) -> Iterator[Finding]:
    yield _socket(place)
    try:
        with daemon.connect(place) as connection:
            health = connection.request("GET", "/v1/health")
            yield _running(health)
            yield from _stalled(health.inner("stalled"))
            yield from _configured(connection, place)
    except CommandFailed as failed:
        if failed.status == USAGE:  # what keeps it from starting is the configuration
            yield Finding("bad", "settings", str(failed), "Mend that line")
        else:
            yield Finding("bad", "server", str(failed), _log(place))
        yield from _unasked(place)
    except Refused as refused:
        yield Finding("bad", "server", str(of_refusal(refused)))
        yield from _unasked(place)
    except Unreachable as lost:
        yield Finding("bad", "server", str(lost), _log(place))
        yield from _unasked(place)


def _stalled(sessions: Json) -> Iterator[Finding]:
    """One line a reason: a full disk stalls every session that works."""
    for why in dict.fromkeys(sessions.text(id) for id in sessions.raw):
        ids = [id for id in sessions.raw if sessions.text(id) == why]
        yield Finding(
            "bad", "stalled", f"nothing can be recorded in {', '.join(ids)}: {why}", "They go on by themselves"
        )


def _log(place: Paths) -> str:
    return f"Its log: quell logs ({place.log})" if os.path.exists(place.log) else ""


def _running(health: Json) -> Finding:
    age = "" if health.text("version") == __version__ else f" — this command is {__version__}"
    busy = f", {health.number('sessions')} busy" if health.flag("busy") else ""
    role = ", on standby: another server does the work" if health.text("role") == "guest" else ""
    return Finding(
        "ok",
        "server",
        f"pid {health.number('pid')}, version {health.text('version')}{age}, since {health.text('started')}{busy}{role}",
    )


def _configured(connection: Connection, place: Paths) -> Iterator[Finding]:
    """Settings and model, as the server judges them for this folder: that is what a run would meet."""
    folder = _present_folder()
    if folder is None:
        yield Finding("bad", "folder", "the present folder is gone: it was deleted or moved", "Go to one that exists")
    status = connection.request("GET", f"/v1/workspaces/status?workspace={quoted(folder or '/')}")
    yield _database(status, place)
    yield from _settings(status, place.config_file)
    yield _search(status)
    if "problem" not in status:
        yield _sandbox(status)
        yield from programs(status, folder or "/")
    yield _model(known_models(connection, None if "problem" in status else folder))


def _search(status: Json) -> Finding:
    if "search" not in status:
        return Finding(
            "note",
            "web search",
            "no search engine is chosen",
            'For one:  provider = "brave"  under [search] in your settings',
        )
    engine = status.text("search")
    if "search_key" in status and not os.environ.get(status.text("search_key")):
        return Finding("note", "web search", f"{engine}, without a key", f"export {status.text('search_key')}=…")
    return Finding("ok", "web search", engine)


def _socket(place: Paths) -> Finding:
    try:
        found = os.stat(place.socket)
    except FileNotFoundError:
        return Finding("ok", "socket", f"{place.socket} (no server was running)")
    except OSError as error:
        return Finding(
            "bad",
            "socket",
            f"{place.socket}: {error.strerror}",
            "Mend the permissions of its folder, or set XDG_RUNTIME_DIR",
        )
    if not stat.S_ISSOCK(found.st_mode):
        return Finding("bad", "socket", f"{place.socket} is not a socket", f"Look what it is, then: rm {place.socket}")
    return Finding("ok", "socket", place.socket)


def _model(known: list[Json]) -> Finding:
    default = next((model for model in known if model.flag("default")), None)
    usable = [model.text("spec") for model in known if model.flag("configured")]
    if default is not None and default.flag("configured"):
        return Finding("ok", "model", default.text("spec"))
    if default is not None:
        return Finding(
            "bad",
            "model",
            f"{default.text('spec')} cannot be used: {default.text('problem')}",
            "Set its key, or another `model`",
        )
    if usable:
        return Finding(
            "note",
            "model",
            f"none by default; can be used: {', '.join(usable[:5])}",
            "Give --model, or set `model` in your settings",
        )
    return Finding(
        "bad",
        "model",
        "none is configured, and none can be used as it is",
        "A provider's key in the environment, or a local server and --model ollama/NAME, or `quell demo` to look around",
    )


def _program(name: str, without: str, package: str, *, beside_python: bool = False) -> Finding:
    path = shutil.which(name)
    if path is None and beside_python:
        path = shutil.which(name, path=sysconfig.get_path("scripts"))
    if path is None:
        return Finding("note", name, f"not found: {without}", f"Install {package}")
    return Finding("ok", name, path)
