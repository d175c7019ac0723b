"""What a server says, as far as it is used here: read from its JSON leniently, because every server says it a little differently."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field


class RemoteTool(Struct, frozen=True):
    """A tool as its server has announced it, with a schema that is one."""

    name: str
    description: str = ""
    schema: dict[str, Any] = {}


class Contents(Struct, frozen=True, rename="camel"):
    """What a resource holds: text, or base64."""

    uri: str = ""
    mime_type: str | None = None
    text: str | None = None
    blob: str | None = None


class Block(Struct, frozen=True, rename="camel"):
    """A piece of a result; which fields count depends on its `type`."""

    type: str = ""
    text: str = ""
    data: str = ""
    mime_type: str | None = None
    resource: Contents | None = None
    uri: str = ""
    name: str = ""
    description: str | None = None


class Called(Struct, frozen=True, rename="camel"):
    """The result of a call."""

    content: tuple[Block, ...] = ()
    structured: Any = field(default=None, name="structuredContent")
    is_error: bool = False


class Resource(Struct, frozen=True, rename="camel"):
    """A resource, or (with `uri_template`) a pattern for many."""

    uri: str = ""
    uri_template: str = ""
    name: str = ""
    description: str | None = None
    mime_type: str | None = None


class Resources(Struct, frozen=True, rename="camel"):
    resources: tuple[Resource, ...] = ()
    resource_templates: tuple[Resource, ...] = ()
    next_cursor: str | None = None


class Read(Struct, frozen=True):
    contents: tuple[Contents, ...] = ()


class ServerFailed(Exception):
    """The server cannot be used, or did not answer as it has to; the text says why, for the model and for people."""
