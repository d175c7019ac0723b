"""What calls would touch, for the tests of permissions: a workspace, and calls in it in one line each."""

from __future__ import annotations

from msgspec.structs import replace

from quell.core.access import Access, Command
from quell.core.messages import ToolKind

ROOT = "/work/app"
HOME = "/home/ann"


def touch(kind: ToolKind, tool: str, *paths: str) -> Access:
    """`paths` are relative to the workspace, or absolute."""
    real = tuple(path if path.startswith("/") else f"{ROOT}/{path}".rstrip("/") for path in paths)
    outside = tuple(path for path in real if not (path + "/").startswith(ROOT + "/"))
    return Access(tool=tool, kind=kind, title=tool, paths=real, outside=outside, root=ROOT, home=HOME)


def view(*paths: str) -> Access:
    return touch("read", "view", *paths)


def grep(path: str) -> Access:
    return touch("search", "grep", path)


def edit(*paths: str) -> Access:
    return touch("edit", "edit", *paths)


def fetch(*hosts: str, tool: str = "fetch", writes: str = "") -> Access:
    return replace(touch("fetch", tool, *([writes] if writes else [])), hosts=hosts)


def bash(*commands: str, writes: str = "", opaque: bool = False) -> Access:
    """Commands are split at blanks. `?` before one: it only reads; what it names outside follows `@`."""
    parsed = []
    for text in commands:
        line, _, outside = text.removeprefix("?").partition(" @")
        words = tuple(word.replace("_", " ") for word in line.split())
        parsed.append(Command(words, text.startswith("?"), (outside,) if outside else ()))
    written = touch("edit", "edit", *([writes] if writes else []))
    return replace(
        written, tool="bash", kind="execute", title="; ".join(commands), commands=tuple(parsed), opaque=opaque
    )
