"""docs/reference/tools.md, made from the tools themselves: `python -m quell.tools.reference` prints it.

A test compares the two.
"""

from __future__ import annotations

from collections.abc import Iterator

from quell.tools import SUB_AGENTS
from quell.tools.parameters import JsonSchema
from quell.tools.table import TOOLS
from quell.tools.tool import Tool

_HEAD = """# Tools

What a model can do. Whether a call may run is said by [permissions](permissions.md), in which a rule names a tool (`edit`, `bash(npm run *)`) or a kind
(`kind:read`). `[tools] disabled` in the [settings](settings.md) hides tools; a session in which nobody can be asked has no `question`.
Below, each tool is described in the words that the model gets, limits included.

| tool | kind | parameters |
| --- | --- | --- |
"""
_SUB_AGENTS = """
## Sub-agents

What the two kinds of sub-agents have, in mode `plan`: `agent` those of the tool `agent`, in the workspace; `web` those of `agentic_fetch`, in an empty folder.

| role | tools |
| --- | --- |
"""


def reference() -> str:
    """The page."""
    return "".join(
        (_HEAD, *map(_row, TOOLS.values()), *(part for tool in TOOLS.values() for part in _tool(tool)), _agents())
    )


def _row(tool: Tool) -> str:
    shape = tool.spec().schema
    names = (f"`{name}`" + ("" if name in shape["required"] else "?") for name in shape["properties"])
    return f"| [`{tool.name}`](#{tool.name}) | {tool.kind} | {', '.join(names) or 'none'} |\n"


def _tool(tool: Tool) -> Iterator[str]:
    yield f"\n## {tool.name}\n\n"
    yield f"{tool.description()}\n"
    shape = tool.spec().schema
    if shape["properties"]:
        yield "\n| parameter | type | default | meaning |\n| --- | --- | --- | --- |\n"
        yield from _parameters(shape, "")


def _parameters(shape: JsonSchema, prefix: str) -> Iterator[str]:
    for name, field in shape["properties"].items():
        default = "required" if name in shape["required"] else _shown(field.get("default"))
        yield f"| `{prefix}{name}` | {_type(field)} | {default} | {_meaning(field)} |\n"
        items = field.get("items", {})
        if "properties" in items:
            yield from _parameters(items, f"{prefix}{name}[].")


def _type(field: JsonSchema) -> str:
    if "enum" in field:
        return ", ".join(f"`{word}`" for word in field["enum"])
    if "anyOf" in field:
        return " or ".join(_type(each) for each in field["anyOf"] if each.get("type") != "null")
    if field.get("type") == "array":
        return f"list of {_type(field['items'])}s"
    kind: str = field.get("type", "")
    return {"string": "text", "integer": "whole number", "boolean": "true or false"}.get(kind, kind)


def _meaning(field: JsonSchema) -> str:
    bounds = {
        "minimum": "at least",
        "maximum": "at most",
        "maxLength": "characters: at most",
        "maxItems": "entries: at most",
    }
    limits = [f"{words} {field[key]:,}" for key, words in bounds.items() if key in field]
    said = " ".join(field.get("description", "").split()).replace("|", "\\|")
    return f"{said} ({', '.join(limits)})" if limits else said


def _shown(value: object) -> str:
    match value:
        case None | "" | []:
            return ""
        case bool():
            return f"`{str(value).lower()}`"
        case _:
            return f"`{value}`"


def _agents() -> str:
    return _SUB_AGENTS + "".join(
        f"| `{role}` | {', '.join(f'`{name}`' for name in names)} |\n" for role, names in SUB_AGENTS.items()
    )


if __name__ == "__main__":
    import sys

    sys.stdout.write(reference())
