"""`quell models`: what the server knows, and what is missing before it can be used."""

from __future__ import annotations

import json
import os
import sys

import click

from quell.cli import daemon, terminal
from quell.cli.lookup import real_folder
from quell.client.oneshot import Connection, Json, quoted


@click.command("models")
@click.argument("terms", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Also those that cannot be used yet.")
@click.option("--json", "as_json", is_flag=True, help="One JSON array, of all.")
def models(terms: tuple[str, ...], everything: bool, as_json: bool) -> None:
    """List models, for --model. TERMS have to be in the name."""
    with daemon.connect(daemon.here()) as connection:
        known = known_models(connection, real_folder("."))
    known = [model for model in known if all(term.lower() in model.text("spec").lower() for term in terms)]
    if as_json:
        print(json.dumps([model.raw for model in known], ensure_ascii=False, indent=2))
        return
    usable = [model for model in known if model.flag("configured")]
    shown = known if everything or terms else usable
    if shown:
        titles = ["model", "window", "$/M in", "$/M out", ""]
        terminal.show(terminal.table([_row(model) for model in shown], flexible=4, titles=titles))
    if hidden := len(known) - len(shown):
        sys.stderr.write(f"quell: {hidden} more cannot be used yet, for want of a key or a server; --all shows them\n")
    elif not shown:
        sys.stderr.write("quell: no such model\n")


def known_models(connection: Connection, folder: str | None) -> list[Json]:
    """What the server knows, judged as it would be for a run from here: by the keys that are set, of which only the names are sent, by
    QUELL_MODEL, and by the configuration of the folder; None: the user's alone."""
    have = ",".join(name for name, value in os.environ.items() if value and name.isascii() and name.isidentifier())
    query = f"have={have}"
    if chosen := os.environ.get("QUELL_MODEL"):
        query += f"&model={quoted(chosen)}"
    if folder is not None:
        query += f"&workspace={quoted(folder)}"
    return connection.request("GET", f"/v1/models?{query}").items("items")


def _row(model: Json) -> list[str]:
    window = f"{model.number('window') // 1000}k" if "window" in model else "?"
    note = "default" if model.flag("default") else model.text("problem")
    return [model.text("spec"), window, model.text("input_price") or "?", model.text("output_price") or "?", note]
