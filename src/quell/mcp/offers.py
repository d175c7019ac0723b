"""What a model is told of a server's tools: names that every provider takes, schemas that are some, descriptions that have an end.

Rules: the same listing makes the same specs in the same order, whatever order it came in, so that a provider's cache holds. Whatever a
server says is the word of a stranger: it names and describes, it decides nothing.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from quell.core.mcp import PREFIX
from quell.core.messages import ToolSpec
from quell.mcp.answers import RemoteTool
from quell.mcp.options import ServerOptions

LONGEST_NAME = 64
DESCRIPTION = 4_000
"""Characters of a tool's description that a model gets."""
INSTRUCTIONS = 8_000
"""Of a server's."""
SCHEMA = 64_000
"""Characters of a schema, as JSON; a larger one says no more than that there is an object."""

_COMBINED = ("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "enum", "const")
"""What providers refuse at the top of a tool's schema. The server checks what it gets all the same."""
_OF_SCHEMAS = ("properties", "patternProperties", "$defs", "definitions")
_SCHEMAS = ("items", "additionalProperties", "contains", "propertyNames", "not", "if", "then", "else")
_DEEPEST = 32


class Offer(Struct, frozen=True):
    """A tool: what a model is told, and what its server calls it."""

    spec: ToolSpec
    tool: str


def offers(options: ServerOptions, tools: Sequence[RemoteTool]) -> Mapping[str, Offer]:
    """By the names that the model uses, in order."""
    wanted = {tool.name: tool for tool in tools if _is_wanted(tool.name, options)}
    found: dict[str, Offer] = {}
    # Those whose names need no change keep them, whatever the others are called.
    for name in sorted(
        wanted, key=lambda name: (offered(options.name, name) != f"{PREFIX}{options.name}_{name}", name)
    ):
        called = offered(options.name, name)
        if called in found:
            called = _numbered(called, options.name, name)
        tool = wanted[name]
        description = tool.description.strip()
        if len(description) > DESCRIPTION:
            description = description[: DESCRIPTION - 1] + "…"
        spec = ToolSpec(called, description or f"The tool {name} of the server {options.name}.", tool.schema)
        found[called] = Offer(spec, name)
    return dict(sorted(found.items()))


def _is_wanted(tool: str, options: ServerOptions) -> bool:
    return (not options.enabled_tools or tool in options.enabled_tools) and tool not in options.disabled_tools


def unknown(options: ServerOptions, tools: Sequence[RemoteTool]) -> str:
    """What is wrong with the settings, now that it is known which tools there are; empty: nothing."""
    there = [tool.name for tool in tools]
    said = []
    for key, names in (("enabled_tools", options.enabled_tools), ("disabled_tools", options.disabled_tools)):
        if missing := [name for name in names if name not in there]:
            said.append(f"`{key}` names {', '.join(f'`{name}`' for name in missing)}, which it does not have.")
    if not said:
        return ""
    listed = ", ".join(f"`{name}`" for name in there[:_LISTED]) + (", …" if len(there) > _LISTED else "")
    return f"{' '.join(said)} Its tools are {listed or 'none'}."


_LISTED = 20


def offered(server: str, tool: str) -> str:
    """What a tool is called. One whose name is too long is known by the hash of it."""
    name = f"{PREFIX}{server}_{re.sub(r'[^A-Za-z0-9_-]', '_', tool)}"
    return name if len(name) <= LONGEST_NAME else _numbered(name, server, tool)


def _numbered(name: str, server: str, tool: str) -> str:
    mark = hashlib.sha256(f"{server}\0{tool}".encode()).hexdigest()[:8]
    return f"{name[: LONGEST_NAME - 9]}_{mark}"


def input_schema(schema: object) -> dict[str, Any]:
    """A schema of an object, whatever the server has sent."""
    cleaned = _cleaned(schema, 0)
    made = {key: value for key, value in cleaned.items() if key not in ("$schema", "$id", "type", *_COMBINED)}
    made = {"type": "object", "properties": {}, **made}
    return made if len(json.dumps(made)) <= SCHEMA else {"type": "object", "properties": {}}


def _cleaned(schema: Any, depth: int) -> dict[str, Any]:
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        return {}
    made: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _OF_SCHEMAS:
            if isinstance(value, Mapping):
                made[key] = {str(name): _cleaned(each, depth + 1) for name, each in value.items()}
        elif key in ("allOf", "anyOf", "oneOf", "prefixItems"):
            if isinstance(value, list) and value:
                made[key] = [_cleaned(each, depth + 1) for each in value]
        elif key in _SCHEMAS:
            made[key] = value if isinstance(value, bool) else _cleaned(value, depth + 1)
        elif key == "required":
            if isinstance(value, list) and all(isinstance(each, str) for each in value):
                made[key] = value
        elif key == "type":
            if _is_type(value):
                made[key] = value
        else:
            made[str(key)] = value
    return made


def _is_type(value: object) -> bool:
    known = ("string", "number", "integer", "boolean", "object", "array", "null")
    return (
        value in known if isinstance(value, str) else isinstance(value, list) and all(each in known for each in value)
    )
