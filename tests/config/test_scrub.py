"""What /proc shows of a process that has scrubbed its keys."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHILD = """
import ctypes, os, sys
from quell.config.scrub import PR_SET_DUMPABLE, scrub
kept = dict(os.environ)
scrub(["SECRET_API_KEY"])
print(kept["SECRET_API_KEY"], os.environ["SECRET_API_KEY"] == kept["SECRET_API_KEY"], flush=True)
sys.stdin.readline()
ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)
print(flush=True)
sys.stdin.read()
"""
"""It closes its memory, and opens it again when it is told to."""


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")
def test_a_key_is_not_shown_any_more_and_everything_else_is() -> None:
    environment = {"SECRET_API_KEY": "sk-very-secret", "OTHER": "plain"}
    with subprocess.Popen(
        [sys.executable, "-c", CHILD], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == "sk-very-secret True\n"
        proc = Path(f"/proc/{child.pid}/environ")
        if os.geteuid() != 0:  # root reads everything
            with pytest.raises(PermissionError):
                proc.read_bytes()
        child.stdin.write("\n")
        child.stdin.flush()
        child.stdout.readline()
        shown = proc.read_bytes()
        child.communicate("")
    assert b"sk-very-secret" not in shown
    assert b"SECRET_API_KEY=" in shown
    assert b"OTHER=plain" in shown
