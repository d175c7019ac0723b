"""`quell serve`: the server in the foreground, or a word to the one that runs.

Commands start a server like this one by themselves; by hand it is started to see what it says, to be kept by a supervisor, or to listen
on TCP.
"""

from __future__ import annotations

import json
import os

import click

from quell.cli import daemon
from quell.cli.failure import FAILED, CommandFailed
from quell.config.paths import PathRefused
from quell.core.errors import EXIT, QuellError


@click.command("serve", context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--stop", is_flag=True, help="Stop the running server. Refused while it works.")
@click.option("--force", is_flag=True, help="With --stop: also while it works. What runs is settled as interrupted.")
@click.option(
    "--listen", metavar="HOST:PORT", help="Listen on TCP as well; clients need a token, and it is said where that is."
)
@click.option(
    "--standby",
    is_flag=True,
    help="Beside another server, at a socket of its own: answers, and takes over when that one is gone.",
)
@click.option(
    "--ready-fd", type=click.IntRange(min=0), hidden=True, help="Tell there, in one line, how the start went."
)
def serve(stop: bool, force: bool, listen: str | None, standby: bool, ready_fd: int | None) -> None:
    """Run the server here until Ctrl-C, or stop the one that runs."""
    if stop:
        stopped = daemon.stop(daemon.here(), force=force)
        print("no server is running" if stopped is None else f"stopped the server (pid {stopped.number('pid')})")
        return
    if force:
        raise click.UsageError("--force goes with --stop")
    address = None if listen is None else _address(listen)
    starter = None if ready_fd is None else _Starter(ready_fd)

    def ready(socket: str) -> None:
        if starter is None:
            _welcome(socket, address)
        else:
            starter.tell(None)

    from quell import app  # the server and all that it needs

    try:
        app.serve(listen=address, standby=standby, ready=ready)
    except (QuellError, PathRefused) as error:
        failed = CommandFailed(str(error), EXIT.get(error.code, FAILED) if isinstance(error, QuellError) else FAILED)
        if starter is not None:
            starter.tell(failed)
        raise failed from None


class _Starter:
    """The command that started this server, at the other end of a pipe. It is told once how that went: `daemon` reads it."""

    def __init__(self, descriptor: int) -> None:
        os.set_inheritable(descriptor, False)  # a tool's process that kept it open would hold up whoever waits
        self._descriptor: int | None = descriptor

    def tell(self, failed: CommandFailed | None) -> None:
        if self._descriptor is None:
            return
        said = b"" if failed is None else json.dumps({"status": failed.status, "text": str(failed)}).encode()
        try:
            os.write(self._descriptor, said + b"\n")
            os.close(self._descriptor)
        except OSError:
            pass  # whoever started us has left meanwhile
        self._descriptor = None


def _welcome(socket: str, address: tuple[str, int] | None) -> None:
    print(f"serving at {socket}", flush=True)
    if address is not None:
        place = daemon.here()
        host = f"[{address[0]}]" if ":" in address[0] else address[0]
        print(f"serving at http://{host}:{address[1]}, with the token in {place.token}", flush=True)
    print("Ctrl-C ends it", flush=True)


def _address(listen: str) -> tuple[str, int]:
    host, colon, port = listen.rpartition(":")
    if not colon:
        host, port = "127.0.0.1", listen
    if not port.isdecimal() or not 0 <= int(port) <= 65535:
        raise click.BadParameter(
            f"{listen!r} is no address: write HOST:PORT, or a port alone for 127.0.0.1", param_hint="--listen"
        )
    return host.strip("[]") or "127.0.0.1", int(port)
