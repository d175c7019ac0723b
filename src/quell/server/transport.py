"""What we use of uvicorn, its server, protocol and settings, without its command line.

`import uvicorn` imports `uvicorn.main` as well, and with it click, multiprocessing and what watches files: a tenth of our start, for nothing. So
something empty stands in for that module while the package is imported. Where it has been imported already it stays as it is.
"""

import importlib
import sys
from types import ModuleType


def _import_without_command_line() -> None:
    if "uvicorn" in sys.modules:
        return
    stand_in = ModuleType("uvicorn.main")
    vars(stand_in)["__getattr__"] = lambda name: None  # whatever the package wants to have of it
    sys.modules[stand_in.__name__] = stand_in
    try:
        importlib.import_module("uvicorn")
    finally:
        del sys.modules[stand_in.__name__]


_import_without_command_line()

from uvicorn.config import Config  # noqa: E402  # only now: see above
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol  # noqa: E402  # the same
from uvicorn.server import Server  # noqa: E402  # the same

__all__ = ["Config", "HttpToolsProtocol", "Server"]
