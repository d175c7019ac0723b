"""Takes keys out of what the system shows of this process.

Rules: /proc/PID/environ shows the memory that the environment was in when the process began, to everything that runs as the same user:
also to the commands of a model. The values of secret variables are overwritten there, after they were copied. Then the process is
marked as not dumpable, so that its memory cannot be read by others of the user either. Linux only; elsewhere nothing is done.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Collection

PR_SET_DUMPABLE = 4


def scrub(variables: Collection[str]) -> None:
    """Overwrite the values of these variables in this process's initial environment, and close its memory to others."""
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    names = tuple(f"{name}=".encode() for name in variables)
    entries = ctypes.POINTER(ctypes.c_void_p).in_dll(libc, "environ")
    position = 0
    while (address := entries[position]) is not None:
        entry = ctypes.string_at(address)
        if entry.startswith(names):
            start = entry.index(b"=") + 1
            ctypes.memset(address + start, ord("x"), len(entry) - start)
        position += 1
    libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
