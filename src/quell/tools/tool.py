"""What a tool is: a name, a kind, a Struct for its input, and a function from that input to a prepared call.

A tool that cannot do what was asked raises `Refused` with the text for the model, in `prepare` or while it runs. An `OSError` that it
did not expect is told to the model in the system's words.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, structs

from quell.core.access import Access
from quell.core.errors import WebRefused
from quell.core.languages import Languages
from quell.core.messages import ToolKind, ToolResult, ToolSpec, printable
from quell.core.ports import Place, ToolContext, Workspace
from quell.core.questions import Question
from quell.core.web import Web
from quell.tools import parameters
from quell.tools.contents import Contents
from quell.tools.jobs import Jobs


class Refused(Exception):
    """The tool cannot do what was asked: why, and what to do instead, in words for the model."""


class Options(Struct, frozen=True):
    """`hidden` are the environment variables that commands must not see, such as providers' keys. `jobs` is where they run on, `kept`
    the folder with one for each session for what is too long for a result, `own` the agent's own folders. Without `web` there is no way to it.
    `contents` is what models were shown of files, `languages` are the language servers. `log` are the last lines of the server's log, that many at most; it raises `OSError`.
    """

    hidden: frozenset[str] = frozenset()
    kept: str = ""
    own: tuple[str, ...] = ()
    jobs: Jobs = msgspec.field(default_factory=Jobs)
    web: Web | None = None
    contents: Contents = msgspec.field(default_factory=Contents)
    log: Callable[[int], Sequence[str]] | None = None
    languages: Languages | None = None


class Call(Struct, frozen=True):
    """Implements the port `PreparedCall`. `reason` goes with `questions`: what they are for."""

    kind: ToolKind
    access: Access
    act: Callable[[ToolContext], Awaitable[ToolResult]]
    concurrent: bool = False
    questions: tuple[Question, ...] = ()
    reason: str = ""

    async def run(self, context: ToolContext) -> ToolResult:
        try:
            result = await self.act(context)
        except (Refused, WebRefused) as refusal:
            result = failed(str(refusal))
        except OSError as error:
            result = failed(f"{self.access.title}: {explain(error)}.")
        return structs.replace(result, text=printable(result.text))


class Tool(Struct, frozen=True):
    """One line of the toolset. The description for the model is in a file of the tool's name beside its module.

    Its calls are of its `kind`. An `attended` one needs a person.
    """

    name: str
    kind: ToolKind
    input: type[Struct]
    prepare: Callable[[Any, Workspace, Options], Call]
    attended: bool = False

    def spec(self) -> ToolSpec:
        return ToolSpec(self.name, self.description(), parameters.schema(self.input), self.attended)

    def description(self) -> str:
        return Path(__file__).with_name(f"{self.name}.md").read_text(encoding="utf-8").strip()


def failed(text: str) -> ToolResult:
    return ToolResult(text=text, status="failed")


def place(workspace: Workspace, path: str) -> Place:
    if not path.strip():
        raise Refused("The path is empty. Send the path of a file, relative to the workspace or absolute.")
    try:
        where = workspace.place(path)
        where.path.encode()
    except OSError as error:
        raise Refused(f"{path!r} cannot be a path: {explain(error)}.") from None
    except UnicodeEncodeError:
        raise Refused(f"{path!r} leads to a file whose name is not UTF-8; only `bash` can reach it.") from None
    return where


def touches(tool: str, kind: ToolKind, title: str, where: Place, workspace: Workspace) -> Access:
    """The access of a call that touches one path."""
    return Access(
        tool=tool,
        kind=kind,
        title=title,
        paths=(where.path,),
        outside=() if where.inside or (where.kept and kind in ("read", "search")) else (where.path,),
        root=workspace.root,
        home=workspace.place("~").path,
    )


def explain(error: OSError) -> str:
    """What the system refused, without the number of the error."""
    reason = error.strerror or (os.strerror(error.errno) if error.errno else str(error)) or type(error).__name__
    return reason[0].lower() + reason[1:] if reason[1:2].islower() else reason


def shown_name(name: str) -> str:
    """A file name on one line, whatever characters it is made of."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in name)
