"""A tool's input: its JSON Schema for the provider, and the reading of what a model sent.

Reading forgives what cannot be misunderstood: a number in quotes, null for what may be left out, a list sent as JSON text, one item where
a list is wanted. Anything else is refused with the place of the mistake and what the tool takes.
"""

from __future__ import annotations

import json
from typing import Any, TypeVar

import msgspec
from msgspec import Struct
from msgspec.inspect import ListType, Metadata, StructType, Type, VarTupleType, type_info

S = TypeVar("S", bound=Struct)

JsonSchema = dict[str, Any]
"""A JSON document, as providers want it; the one place where a mapping of anything is what is meant."""


class Unreadable(Exception):
    """The input is not what the tool takes; the text tells the model what to send."""


def schema(input_type: type[Struct]) -> JsonSchema:
    """Flat: no `$ref`, which some providers do not follow, and no titles, which say nothing."""
    whole = msgspec.json.schema(input_type)
    definitions: JsonSchema = whole.get("$defs", {})

    def flat(node: Any) -> Any:
        if isinstance(node, list):
            return [flat(each) for each in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            node = definitions[node["$ref"].rpartition("/")[2]]
        kept = {key: flat(value) for key, value in node.items() if key not in {"$defs", "title"}}
        if "properties" in kept:
            kept.pop("description", None)  # the docstring of the Struct is for its readers
            kept.setdefault("required", [])
        return kept

    flattened: JsonSchema = flat(whole)
    return flattened


def read(input_type: type[S], text: str) -> S:
    """Raises `Unreadable`."""
    try:
        sent = json.loads(text, strict=False) if text.strip() else {}
        json.dumps(sent, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise Unreadable(f"The input has half a character (a lone surrogate) in it. {takes(input_type)}") from None
    except ValueError as error:
        raise Unreadable(f"The input is not valid JSON: {error}. {takes(input_type)}") from None
    except RecursionError:
        raise Unreadable(f"The input is nested too deeply. {takes(input_type)}") from None
    if not isinstance(sent, dict):
        raise Unreadable(f"The input has to be a JSON object. {takes(input_type)}")
    try:
        return msgspec.convert(_forgiven(sent, type_info(input_type)), input_type, strict=False)
    except msgspec.ValidationError as error:
        problem = str(error).replace(" - at `$.", " at `").replace(" - at `$", " at `input")
        raise Unreadable(f"{problem}. {takes(input_type)}") from None


def takes(input_type: type[Struct]) -> str:
    """The parameters in one sentence."""
    shape = schema(input_type)
    return "Send an object with: " + _fields(shape) + "."


def _fields(shape: JsonSchema) -> str:
    parts = []
    for name, field in shape["properties"].items():
        kind = field.get("type", "value")
        if kind == "array" and "properties" in field["items"]:
            kind = f"array of objects with {_fields(field['items'])}"
        elif kind == "array":
            kind = f"array of {field['items'].get('type', 'value')}s"
        parts.append(f"`{name}` ({kind}, {'required' if name in shape['required'] else 'optional'})")
    return ", ".join(parts) or "nothing"


def _forgiven(value: Any, wanted: Type) -> Any:
    wanted = wanted.type if isinstance(wanted, Metadata) else wanted
    if isinstance(wanted, StructType) and isinstance(value, dict):
        fields = {field.encode_name: field for field in wanted.fields}
        return {
            name: _forgiven(each, fields[name].type) if name in fields else each
            for name, each in value.items()
            if each is not None or name not in fields or fields[name].required
        }
    if isinstance(wanted, ListType | VarTupleType):
        if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
            try:
                value = json.loads(value)
            except ValueError:
                return value
        if isinstance(value, str | dict):
            value = [value]
        if isinstance(value, list):
            return [_forgiven(each, wanted.item_type) for each in value]
    return value
