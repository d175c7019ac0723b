"""`quell serve`: the server in the foreground, or a word to the one that runs.

Commands start a server like this one by themselves; by hand it is started to see what it says, to be kept by a supervisor, or to listen
on TCP.
"""

from __future__ import annotations

import os

import click

from quell.cli import daemon


@click.command("serve", context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--stop", is_flag=True, help="Stop the running server. Refused while it works.")
@click.option("--force", is_flag=True, help="With --stop: also while it works. What runs is settled as interrupted.")
@click.option("--listen", metavar="HOST:PORT", help="Listen on TCP as well; clients need the token that the log names.")
@click.option("--ready-fd", type=click.IntRange(min=0), hidden=True, help="Write a byte there when the server answers.")
def serve(stop: bool, force: bool, listen: str | None, ready_fd: int | None) -> None:
    """Run the server here until Ctrl-C, or stop the one that runs."""
    if stop:
        stopped = daemon.stop(daemon.here(), force=force)
        print("no server is running" if stopped is None else f"stopped the server (pid {stopped.number('pid')})")
        return
    if force:
        raise click.UsageError("--force goes with --stop")
    if ready_fd is not None:
        os.set_inheritable(ready_fd, False)  # a tool's process that kept it open would hold up whoever waits
    address = None if listen is None else _address(listen)

    def ready() -> None:
        if ready_fd is None:
            also = "" if address is None else f" and http://{address[0]}:{address[1]}"
            print(f"serving at {daemon.here().socket}{also}; Ctrl-C ends it", flush=True)
        else:
            try:
                os.write(ready_fd, b"\n")
                os.close(ready_fd)
            except OSError:
                pass  # whoever started us has left meanwhile

    from quell import app  # the server and all that it needs

    app.serve(listen=address, ready=ready)


def _address(listen: str) -> tuple[str, int]:
    host, colon, port = listen.rpartition(":")
    if not colon:
        host, port = "127.0.0.1", listen
    if not port.isdecimal() or not 0 <= int(port) <= 65535:
        raise click.BadParameter(
            f"{listen!r} is no address: write HOST:PORT, or a port alone for 127.0.0.1", param_hint="--listen"
        )
    return host.strip("[]") or "127.0.0.1", int(port)
