"""`quell serve`: the server in the foreground, or a word to the one that runs.

Commands start a server like this one by themselves; by hand it is started to see what it says, to be kept by a supervisor, or to listen
on TCP.
"""

from __future__ import annotations

import click

from quell.cli import daemon, serving


@click.command("serve")
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
    if ready_fd is not None:
        serving.serve_starter(ready_fd, address, standby)
    else:
        serving.serve(address, standby, lambda socket: _welcome(socket, address))


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
