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
@click.option("--providers", "of_providers", is_flag=True, help="Where models come from, and where keys were found.")
@click.option("--json", "as_json", is_flag=True, help="One JSON array, of all.")
def models(terms: tuple[str, ...], everything: bool, of_providers: bool, as_json: bool) -> None:
    """List models, for --model, or all providers of models. TERMS have to be in the name."""
    with daemon.connect(daemon.here()) as connection:
        known = known_providers(connection) if of_providers else known_models(connection, real_folder("."))
    name = "name" if of_providers else "spec"
    known = [each for each in known if all(term.lower() in each.text(name).lower() for term in terms)]
    if as_json:
        print(json.dumps([each.raw for each in known], ensure_ascii=False, indent=2))
    elif of_providers:
        _show_providers(known)
    else:
        _show_models(known, known if everything or terms else [each for each in known if each.flag("configured")])


def _show_models(known: list[Json], shown: list[Json]) -> None:
    if shown:
        titles = ["model", "window", "$/M in", "$/M out", ""]
        terminal.show(terminal.table([_row(model) for model in shown], flexible=4, titles=titles))
    if hidden := len(known) - len(shown):
        sys.stderr.write(
            f"quell: {hidden} more cannot be used yet, for want of a key or a server; --all shows them, and --providers what is missing\n"
        )
    elif not shown:
        sys.stderr.write("quell: no such model\n")


def _show_providers(known: list[Json]) -> None:
    """All of them, usable or not: it is what is missing that one looks for."""
    if not known:
        sys.stderr.write("quell: no such provider\n")
        return
    titles = ["provider", "", "models", "key", "address"]
    terminal.show(terminal.table([_provider_row(provider) for provider in known], flexible=4, titles=titles))


def known_models(connection: Connection, folder: str | None) -> list[Json]:
    """What the server knows, judged as it would be for a run from here: by the keys that are set, of which only the names are sent, by
    QUELL_MODEL, and by the configuration of the folder; None: the user's alone."""
    query = f"have={_have()}"
    if chosen := os.environ.get("QUELL_MODEL"):
        query += f"&model={quoted(chosen)}"
    if folder is not None:
        query += f"&workspace={quoted(folder)}"
    return connection.request("GET", f"/v1/models?{query}").items("items")


def known_providers(connection: Connection) -> list[Json]:
    """Where models come from, judged by the keys that are set here."""
    return connection.request("GET", f"/v1/providers?have={_have()}").items("items")


def _have() -> str:
    return ",".join(name for name, value in os.environ.items() if value and name.isascii() and name.isidentifier())


def _row(model: Json) -> list[str]:
    window = f"{model.number('window') // 1000}k" if "window" in model else "?"
    note = "default" if model.flag("default") else model.text("problem")
    return [model.text("spec"), window, model.text("input_price") or "?", model.text("output_price") or "?", note]


def _provider_row(provider: Json) -> list[str]:
    match provider.text("key"):
        case "caller":
            key = f"${provider.text('key_variable')}"
        case "server":
            key = f"${provider.text('key_variable')} of the server"
        case "settings":
            key = "in the settings"
        case _ if provider.flag("needs_key"):
            key = f"missing: set {(provider.texts('variables') or ['`api_key` in the settings'])[0]}"
        case _:
            key = "none needed"
    whose = {"own": "own", "changed": "changed"}.get(provider.text("origin"), "")
    address = provider.text("base_url") or f"${provider.text('address')}"
    return [provider.text("name"), whose, str(provider.number("models")), key, address]
