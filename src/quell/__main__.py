"""The command `quell`, also as `python -m quell`: the way in, and the one place where whatever went wrong ends.

`--version`, a well-formed `run` and the server that a command starts are recognised here, with next to nothing imported; everything else
goes to click, in `quell.cli.commands`. A failure is one text on standard error; a bug is one too, and its traceback goes to a file.
"""

from __future__ import annotations

import errno
import os
import sys

from quell import __version__

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def main() -> int:
    """Run the command of `sys.argv`; the exit status."""
    arguments = sys.argv[1:]
    if arguments in (["--version"], ["-V"]):
        return _say_version()
    from quell.cli.failure import CANCELLED, COMPLETED, FAILED, CommandFailed

    _complete_streams()
    try:
        status = _dispatch(arguments)
        sys.stdout.flush()
    except CommandFailed as failed:
        _complain(str(failed))
        status = failed.status
    except KeyboardInterrupt:
        status = CANCELLED
    except BrokenPipeError:  # nobody reads on, which is no failure of a listing; `run` was cancelled by it
        _forget_output()
        status = CANCELLED if arguments[:1] == ["run"] else COMPLETED
    except Exception as error:  # noqa: BLE001  # the outermost one
        full = isinstance(error, OSError) and error.filename is None and error.errno in DISK_FULL
        _complain(_unwritten(error, arguments) if full else _bury(error, arguments))
        status = FAILED
    return status


def _say_version() -> int:
    try:
        print(f"quell {__version__}", flush=True)
    except BrokenPipeError:
        _forget_output()
    except OSError as error:
        _forget_output()
        _complain(f"cannot write the output: {error.strerror}")
        return 1
    return 0


def _dispatch(arguments: list[str]) -> int:
    if arguments[:1] == ["run"]:
        from quell.cli.options import parse

        options = parse(arguments[1:])
        if options is not None:
            from quell.cli.run import run

            return run(options)
    if arguments[:-1] == ["serve", "--ready-fd"] and arguments[-1].isdecimal():  # as `quell.cli.daemon` starts it
        from quell.cli.serving import serve_starter

        serve_starter(int(arguments[-1]))
        return 0
    from quell.cli.commands import main as commands

    return commands(arguments)


def _complete_streams() -> None:
    """Where the caller has closed a standard stream, put nothing in its place: a socket must not become our standard output."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115  # it lives as long as we
    for name, number in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(number, "w", encoding="utf-8", closefd=False))  # noqa: SIM115  # it lives as long as we
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def _complain(text: str) -> None:
    try:
        sys.stderr.write(f"quell: {text}\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        pass  # nobody reads it: the exit status has to do


def _unwritten(error: Exception, arguments: list[str]) -> str:
    """Standard output goes to a file for which there is no room."""
    _forget_output()
    stopped = ". The run was cancelled; what was done is kept" if arguments[:1] == ["run"] else ""
    return f"cannot write the output: {getattr(error, 'strerror', None) or error}{stopped}"


def _forget_output() -> None:
    """Keep the interpreter from complaining, as it exits, that it cannot write what is left."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.close(nothing)


def _bury(bug: Exception, arguments: list[str]) -> str:
    """Write the traceback to a log; what to tell the person."""
    import tempfile
    import traceback
    from datetime import UTC, datetime

    what = f"{type(bug).__name__}: {bug}".strip().rstrip(":")
    story = "".join(traceback.format_exception(bug))
    entry = f"{datetime.now(UTC).isoformat()} quell {__version__} {arguments[:1]}\n{story}\n"
    try:
        from quell.config.paths import paths

        folder = os.path.dirname(paths(os.environ).log)
        os.makedirs(folder, mode=0o700, exist_ok=True)
    except Exception:  # noqa: BLE001  # that may be the very bug
        folder = tempfile.gettempdir()
    log = os.path.join(folder, f"command-{os.getuid()}.log")
    try:
        with open(log, "a", encoding="utf-8", errors="replace", opener=_private) as file:
            file.write(entry)
    except OSError as error:
        return f"a bug stopped this command ({what}), and its details could not be written to {log}: {error.strerror}"
    return f"a bug stopped this command ({what}). Please report it, with the details at the end of {log}"


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


if __name__ == "__main__":
    sys.exit(main())
