"""docs/reference/settings.md, made from the settings themselves: `python -m quell.config.reference` prints it.

A test compares the two.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from decimal import Decimal
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import msgspec
from msgspec.structs import fields

from quell.config.settings import PROJECT_KEYS, RuleLists, Section, Settings

_HEAD = """# Settings

Quell reads two files, both optional, both TOML:

- your own: `~/.config/quell/config.toml` (`$XDG_CONFIG_HOME/quell/config.toml`; `$QUELL_CONFIG` names another file);
- the project's: `.quell/config.toml` in the workspace, or in the nearest folder above it up to the root of its
  repository.

A project's file came with the repository, so it may ask for less and never for more. It may set only what is marked
*project* below: a mode that allows less than yours, a narrower sandbox, rules that ask or deny, tools to hide, and which of your models to use. Everything
else in it is ignored, and said to be.

`$QUELL_MODEL`, `$QUELL_MODE` and `$QUELL_DATABASE` go before both files, and what is given with a command (`--model`, `--mode`, `--allow`)
before everything. A key that is misspelt, or a value of the wrong type, is an error that names file and line.
"""

_EXAMPLE = """
## Rules

A rule is a tool, or a kind of tools, or one of these with a pattern in parentheses.

| rule | matches |
| --- | --- |
| `edit` | every edit |
| `kind:read` | all that reads; the kinds: read, search, edit, delete, move, execute, fetch, think, other |
| `edit(docs/**)` | edits of what is in `docs` |
| `view(~/notes/*.md)` | `**` stands for any number of folders, `*` and `?` for characters within one name |
| `bash(npm test)` | exactly this command |
| `bash(npm run *)` | commands that begin so: a word `*` stands for any number of words |
| `bash(npm run test:*)` | a `*` within a word stands for any characters |
| `bash(npm ci; npm test)` | either of these |
| `bash` | every command line, also one that cannot be understood |
| `fetch(docs.python.org)` | asking this host, for every tool that fetches; `*.python.org`: all below it; `localhost:8080`: one port |
| `download(*.python.org)` | downloads from all hosts below that one |

Paths are relative to the workspace, absolute, or begin with `~`. With `ask` and `deny`, a folder stands for all that is
in it, and a host for all that is below it. The file that `download` writes is an `edit` of that file, too.

A command line is taken apart: each of its commands needs a rule that allows it, or has to be one that only reads; one
that is denied denies the line. What it writes by redirection is an `edit` of that file.

Of the rules that match, a narrower one overrules a wider one, wherever it comes from. With the same pattern the nearer
one overrules: given with the run, then answered in the session, then the project's, then yours. Of those left the
strictest answers: deny, ask, allow. A project's rule never overrules a stricter one of yours.

How calls are judged in full, with examples, is in [permissions](permissions.md); what a sandbox does is in
[the guide](../guide/sandbox.md).

Some places are edited only with a rule that names them, or after asking: `.git`, `.quell`, start-up files of shells,
and what else decides what other programs run. Mode `plan` stays read only whatever the rules allow.

## Example

```toml
model = "anthropic/claude-sonnet-5-5"
mode = "edits"

[permissions.rules]
allow = ["bash(npm run *)", "bash(git commit *)"]
ask = ["edit(migrations/**)"]
deny = ["bash(git push *)", "kind:read(~/.ssh)"]

[providers.local]
dialect = "openai"
base_url = "http://localhost:8080/v1"

[providers.local.models.qwen]
window = 32768

[network]
allow_private = ["localhost"]

[search]
provider = "brave"

[[hooks.PreToolUse]]
name = "guard"
command = "~/bin/guard"
matcher = "bash|write"
```
"""

_MANY = "EVENT"
"""Stands for the name of a list of tables."""

_TYPES = {Any: "any value", str: "text", int: "whole number", float: "number", Decimal: "number", bool: "true or false"}


def reference() -> str:
    """The page."""
    return _HEAD + "".join(_section(Settings, ())) + _EXAMPLE


def _section(section: type[Section], path: tuple[str, ...]) -> Iterator[str]:
    title = f"[{'.'.join(path)}]" if path else "Top of the file"
    title = f"[{title}]" if path and path[-1] == _MANY else title
    yield f"\n## {title}\n\n{inspect.getdoc(section)}\n\n"
    yield "| key | type | default | meaning |\n| --- | --- | --- | --- |\n"
    below: list[tuple[type[Section], tuple[str, ...]]] = []
    for field in fields(section):
        kind, meaning = _described(field.type)
        inner = next((t for t in (kind, *get_args(kind), *_listed(kind)) if _is_section(t)), None)
        if inner is not None:
            name = () if inner is kind else ("NAME",) if inner in get_args(kind) else (_MANY,)
            below.append((inner, (*path, field.name, *name)))
            continue
        if field.name in (("ask", "deny") if section is RuleLists else () if path else PROJECT_KEYS):
            meaning += " *project*"
        yield f"| `{field.name}` | {_type(kind)} | {_default(field.default, field.default_factory)} | {meaning} |\n"
    for inner, place in below:
        yield from _section(inner, place) if _has_keys(inner) else _nested(inner, place)


def _has_keys(section: type[Section]) -> bool:
    return any(not _is_section(field.type) for field in fields(section))


def _nested(section: type[Section], path: tuple[str, ...]) -> Iterator[str]:
    """A section that only holds others needs no table of its own."""
    for field in fields(section):
        yield from _section(field.type, (*path, field.name))


def _listed(kind: Any) -> tuple[Any, ...]:
    """What is in the lists of a table of lists."""
    return tuple(each for inner in get_args(kind) if get_origin(inner) is tuple for each in get_args(inner))


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Section)


def _described(annotation: Any) -> tuple[Any, str]:
    """The type without its description, and that."""
    for meta in getattr(annotation, "__metadata__", ()):
        if isinstance(meta, msgspec.Meta) and meta.description is not None:
            return annotation.__origin__, meta.description
    return annotation, ""


def _type(annotation: Any) -> str:
    origin, args = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return " or ".join(_type(arg) for arg in args if arg is not NoneType)
    if origin is Literal:
        return ", ".join(f"`{word}`" for word in args)
    if origin is tuple:
        return f"list of {_type(args[0])}s"
    if origin is dict:
        return f"table of {_type(args[1])}s"
    if hasattr(annotation, "__metadata__"):
        return _type(annotation.__origin__)
    return _TYPES[annotation]


def _default(value: object, factory: Any) -> str:
    if value is msgspec.NODEFAULT:
        value = factory() if factory is not msgspec.NODEFAULT else None
    match value:
        case None | () | {}:
            return ""
        case bool():
            return f"`{str(value).lower()}`"
        case str():
            return f'`"{value}"`'
        case float():
            return f"`{value:g}`"
        case _:
            return f"`{value}`"


if __name__ == "__main__":
    import sys

    sys.stdout.write(reference())
