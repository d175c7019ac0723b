"""What we use of uvicorn: its protocol, which is one connection, over httptools. Its server, settings and command line are not ours.

The protocol's module imports those as well, for the sake of its annotations, and with them click, multiprocessing, e-mail and the rotation of
log files: an eighth of our start, for nothing. So something empty stands in for them while it is imported. Who imports uvicorn by itself, before
or afterwards, gets all of it.
"""

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING

ANNOTATIONS = ("uvicorn.main", "uvicorn.config", "uvicorn.server", "uvicorn._types")
"""What is imported to say of what kind arguments are; the first by the package itself."""

PROTOCOL = "uvicorn.protocols.http.httptools_impl"


def _imported() -> ModuleType:
    if "uvicorn" in sys.modules:
        return importlib.import_module(PROTOCOL)
    for name in ANNOTATIONS:
        stand_in = ModuleType(name)
        vars(stand_in)["__getattr__"] = lambda name: None  # whatever is wanted of it
        sys.modules[name] = stand_in
    try:
        return importlib.import_module(PROTOCOL)
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "uvicorn"]:
            del sys.modules[name]


if TYPE_CHECKING:
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
else:
    HttpToolsProtocol = _imported().HttpToolsProtocol

__all__ = ["HttpToolsProtocol"]
