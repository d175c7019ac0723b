"""What a call would touch, and the parts in which it is judged.

Rules: a tool makes the `Access` of a call from its parsed input, before anything is done; nothing here looks at a disk
or parses a shell: who knows the disk brings `exists` along. `parts` splits it into what one rule can speak of. Which rules there are, and what follows, is the
business of `permissions`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from msgspec import Struct

from quell.core import patterns
from quell.core.messages import ToolKind

_NOWHERE = "/dev/null"
_SHOWN = 100


class Command(Struct, frozen=True):
    """One simple command of a shell line, as parsed: its words with quotes removed.

    `read_only` is the tool's judgement, `doubt` what kept it from being so; `outside` are the paths beyond the workspace
    that its words name, `protected` those of the words of a command that may write that name a protected place.
    """

    words: tuple[str, ...]
    read_only: bool = False
    outside: tuple[str, ...] = ()
    protected: tuple[str, ...] = ()
    doubt: str = ""


class Access(Struct, frozen=True, kw_only=True):
    """What a call would touch.

    `paths` are absolute, links resolved; `outside` are those of them beyond the workspace. For a shell line, `commands`
    are all its simple commands, `paths` the files that its redirections write, and `opaque` says that some of it was
    not understood, which no pattern may allow. `hosts` are the servers that are asked, in lower case, with a port only if
    it is not the usual one; the paths of such a call are what it writes. `root` and `home`, links resolved, are what
    relative patterns and `~` begin at; without them such an allow matches nothing, and such a deny or ask matches wherever
    it might. `own` are the folders of the agent's configuration and state, protected like the marked ones.
    `sandboxed`: its commands run in a sandbox, so that what they can reach is bounded whatever they do.
    """

    tool: str
    kind: ToolKind
    title: str
    paths: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()
    commands: tuple[Command, ...] = ()
    hosts: tuple[str, ...] = ()
    opaque: bool = False
    root: str = ""
    home: str = ""
    own: tuple[str, ...] = ()
    sandboxed: bool = False


def short(text: str) -> str:
    """On one line, for a reason."""
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


# Where a path lies; all of them are absolute


def within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def repository_root(folder: str, exists: Callable[[str], bool]) -> str | None:
    """The nearest folder from this one up that has a `.git`: a folder or, in worktrees and submodules, a file.

    `exists` should count a link to nowhere: whoever put it there does not mean what lies above. A home folder is no bound; nor is one for git.
    """
    while not exists(f"{folder.rstrip('/')}/.git"):
        head = folder[: folder.rfind("/") + 1]
        above = head.rstrip("/") or head  # as `os.path.dirname`, which is not for the core
        if above == folder:
            return None
        folder = above
    return folder


# What needs special care, and what "always" may be generous with

MARKED_FOLDERS: tuple[patterns.Steps, ...] = (
    (".git",),
    (".husky",),
    (".idea",),
    (".vscode",),
    (".quell",),
    (".config", "quell"),
    (".local", "share", "quell"),
    (".ssh",),
    (".gnupg",),
    (".config", "autostart"),
    (".config", "fish"),
    (".config", "systemd"),
    ("library", "launchagents"),
)
MARKED_FILES = frozenset(
    {
        ".bash_aliases",
        ".bash_login",
        ".bash_logout",
        ".bash_profile",
        ".bashrc",
        ".cshrc",
        ".envrc",
        ".gitattributes",
        ".gitconfig",
        ".inputrc",
        ".kshrc",
        ".login",
        ".profile",
        ".tcshrc",
        ".xinitrc",
        ".xprofile",
        ".xsessionrc",
        ".zlogin",
        ".zlogout",
        ".zprofile",
        ".zshenv",
        ".zshrc",
    }
)
"""What other programs run, or what says what may be run: a change there outlives the call in ways that nobody sees."""

_WITH_ARGUMENTS: tuple[patterns.Steps, ...] = tuple(
    (*words.split(), patterns.MANY)
    for words in (
        "cargo build",
        "cargo check",
        "cargo clippy",
        "cargo fmt",
        "cargo test",
        "git add",
        "git commit",
        "go build",
        "go test",
        "go vet",
        "mypy",
        "npm test",
        f"npm run {patterns.ANY}",
        f"pnpm run {patterns.ANY}",
        "pnpm test",
        "pytest",
        "python -m pytest",
        "python3 -m pytest",
        "ruff check",
        "ruff format",
        "uv run pytest",
        f"yarn run {patterns.ANY}",
        "yarn test",
    )
)
"""Commands of which "always" means: whatever its arguments. Of every other command it means these very words."""


_INTERPRETERS = frozenset({"bash", "dash", "fish", "ksh", "node", "perl", "php", "python", "ruby", "sh", "zsh"})
_FED = frozenset({"parallel", "xargs"})
"""What does as its input says: the same words are another command each time, so that "always" means nothing there."""


class Part(Struct, frozen=True, kw_only=True):
    """`kinds` maps the tools whose rules count to their kinds; of subjects in `plain_only`, only plain rules count.

    `rules` are texts of which each may allow the part, or, of a command, the insides of such texts; the best one first.
    `named` are the words of a command that a pattern has to spell out to allow it.
    """

    what: Literal["command", "host", "path", "whole"]
    shown: str
    kind: ToolKind
    kinds: dict[str, str]
    steps: patterns.Steps = ()
    plain_only: frozenset[str] = frozenset()
    outside: tuple[str, ...] = ()
    read_only: bool = False
    protected: bool = False
    named: tuple[str, ...] = ()
    doubt: str = ""
    rules: tuple[str, ...] = ()
    sandboxed: bool = False


def parts(access: Access) -> Sequence[Part]:
    """At least one."""
    own = {access.tool: f"kind:{access.kind}"}
    if access.kind == "edit":
        own = {"edit": "kind:edit", **own}  # a rule for `edit` is meant for every tool that edits
    if access.kind == "fetch":
        own = {"fetch": "kind:fetch", **own}
    found: list[Part] = []
    if access.kind == "fetch":
        # Not `own`: a rule for `fetch` is about asking a host, and allows no file to be written.
        written = {"edit": "kind:edit", access.tool: "kind:edit"}
        found.extend(_path(path, access, "edit", "edit", written) for path in access.paths)
    elif access.kind == "execute":
        written = {"edit": "kind:edit", **own}
        plain_only = frozenset((access.tool, *own.values()))
        found.extend(
            _path(path, access, "edit", "edit", written, plain_only) for path in access.paths if path != _NOWHERE
        )
    else:
        found.extend(_path(path, access, access.tool, access.kind, own) for path in access.paths)
    found.extend(_command(command, access, own) for command in access.commands)
    found.extend(_host(host, access, own) for host in access.hosts)
    if access.opaque or not found:
        # For a line that was not understood, "always" would have to mean any line at all: that is not offered.
        rules = () if access.kind == "execute" else (access.tool,)
        shown = short(access.title or access.tool)
        found.append(
            Part(what="whole", shown=shown, kind=access.kind, kinds=own, rules=rules, sandboxed=access.sandboxed)
        )
    return found


def _path(
    path: str,
    access: Access,
    tool: str,
    kind: ToolKind,
    kinds: dict[str, str],
    plain_only: frozenset[str] = frozenset(),
) -> Part:
    steps, root = patterns.path_names(path), patterns.path_names(access.root)
    relative = "/".join(steps[len(root) :]) or "." if root and steps[: len(root)] == root else path
    # A search goes through a folder, so that its rule has to reach what is in it.
    end = "/" if kind == "search" else ""
    return Part(
        what="path",
        shown=short(relative),
        kind=kind,
        kinds=kinds,
        steps=steps,
        plain_only=plain_only,
        outside=(path,) if path in access.outside else (),
        protected=is_protected(steps, access.own),
        rules=() if set(path) & set("*?") else (f"{tool}({relative}{end})", f"{tool}({path}{end})"),
        sandboxed=access.sandboxed,
    )


def _command(command: Command, access: Access, own: dict[str, str]) -> Part:
    exact = patterns.command_text(command.words)
    lengths = [len(known) - 1 for known in _WITH_ARGUMENTS if patterns.covers(known, command.words)]
    useful = (patterns.command_text(command.words[: max(lengths)], more=True),) if lengths else ()
    return Part(
        what="command",
        shown=short(exact),
        kind="execute",
        kinds=own,
        steps=command.words,
        outside=command.outside,
        read_only=command.read_only,
        protected=bool(command.protected),
        named=command.protected,
        doubt=command.doubt,
        rules=() if _is_fed(command.words) else (*useful, exact),
        sandboxed=access.sandboxed,
    )


def _host(host: str, access: Access, own: dict[str, str]) -> Part:
    return Part(
        what="host",
        shown=short(host),
        kind=access.kind,
        kinds=own,
        steps=patterns.host_steps(host),
        rules=() if set(host) & set("*?") else (f"{access.tool}({host})",),
    )


def _is_fed(words: Sequence[str]) -> bool:
    name = words[0].rpartition("/")[2].rstrip("0123456789.") if words else ""
    return name in _FED or (name in _INTERPRETERS and all(word.startswith("-") for word in words[1:]))


def is_protected(steps: patterns.Steps, own: Sequence[str]) -> bool:
    """In a protected place, or in one of the agent's own folders."""
    folders = (patterns.path_names(folder) for folder in own)
    return is_marked(steps) or any(steps[: len(folder)] == folder for folder in folders)


def is_marked(steps: patterns.Steps) -> bool:
    """A protected place, or something in one. Case is ignored, as some file systems do."""
    names = tuple(name.casefold() for name in steps)
    if not MARKED_FILES.isdisjoint(names):
        return True
    return any(names[at : at + len(folder)] == folder for folder in MARKED_FOLDERS for at in range(len(names)))
