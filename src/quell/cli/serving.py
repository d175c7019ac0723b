"""The server in this process, as `quell serve` and the commands that start one in the background run it.

`__main__` comes here past click when it is such a command that asks: what is imported and made on the way is what everybody waits for.
"""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Callable

from quell.cli.failure import FAILED, CommandFailed, InUse
from quell.config.paths import PathRefused
from quell.core import errors
from quell.core.errors import EXIT, QuellError


def serve(listen: tuple[str, int] | None, standby: bool, ready: Callable[[str], None]) -> None:
    """Until it is told to leave. Raises `CommandFailed`.

    What comes into being before the first answer stays for good. The collector, which would look at all of it again and again (an eighth
    of the start), is off meanwhile, and afterwards it is set apart.
    """

    def answering(socket: str) -> None:
        gc.freeze()
        gc.enable()
        ready(socket)

    gc.disable()
    try:
        from quell import app  # the server and all that it needs

        app.serve(listen=listen, standby=standby, ready=answering)
    except errors.InUse as error:
        raise InUse(str(error)) from None
    except (QuellError, PathRefused) as error:
        raise CommandFailed(
            str(error), EXIT.get(error.code, FAILED) if isinstance(error, QuellError) else FAILED
        ) from None
    finally:
        gc.enable()


def serve_starter(descriptor: int, listen: tuple[str, int] | None = None, standby: bool = False) -> None:
    """The same, for the command at the other end of a pipe."""
    starter = _Starter(descriptor)
    try:
        serve(listen, standby, lambda socket: starter.tell(None))
    except CommandFailed as failed:
        starter.tell(failed)
        raise


class _Starter:
    """The command that started this server. It is told once how that went: `daemon` reads it."""

    def __init__(self, descriptor: int) -> None:
        os.set_inheritable(descriptor, False)  # a tool's process that kept it open would hold up whoever waits
        self._descriptor: int | None = descriptor

    def tell(self, failed: CommandFailed | None) -> None:
        if self._descriptor is None:
            return
        said = b""
        if failed is not None:
            why = {"status": failed.status, "text": str(failed), "in_use": isinstance(failed, InUse)}
            said = json.dumps(why).encode()
        try:
            os.write(self._descriptor, said + b"\n")
            os.close(self._descriptor)
        except OSError:
            pass  # whoever started us has left meanwhile
        self._descriptor = None
