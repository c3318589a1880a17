"""
The few words schemas are written in; pure.

An answer stays open: a client must not fall over a field it has not heard of. What is always sent is required, so
that a generated client need not ask whether it is there.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

Schema = dict[str, Any]
PLACE = "#/components/schemas/"
"""Where a document keeps its schemas."""


def text(about: str = "", **more: Any) -> Schema:
    """Describe a text."""
    return _told({"type": "string", **more}, about)


def whole(about: str = "", **more: Any) -> Schema:
    """Describe a whole number."""
    return _told({"type": "integer", **more}, about)


def number(about: str = "", **more: Any) -> Schema:
    """Describe a number."""
    return _told({"type": "number", **more}, about)


def flag(about: str = "") -> Schema:
    """Describe a yes or no."""
    return _told({"type": "boolean"}, about)


def moment(about: str = "") -> Schema:
    """Describe a time."""
    return whole(f"{about} Seconds since the epoch.".strip())


def word(*known: str, about: str = "") -> Schema:
    """Describe a text that is one of a few."""
    return text(about, enum=[*known])


def maybe(schema: Schema) -> Schema:
    """Let what is described be null."""
    if "enum" in schema or "$ref" in schema:
        about = schema.get("description", "")
        bare = {name: value for name, value in schema.items() if name != "description"}
        return _told({"anyOf": [bare, {"type": "null"}]}, about)
    return {**schema, "type": [schema["type"], "null"]}


def ref(name: str) -> Schema:
    """Name a schema of the document."""
    return {"$ref": f"{PLACE}{name}"}


def many(of: Schema, about: str = "") -> Schema:
    """Describe a list."""
    return _told({"type": "array", "items": of}, about)


def by_name(of: Schema | None = None, about: str = "") -> Schema:
    """Describe an object whose names are somebody's own words."""
    return _told({"type": "object", "additionalProperties": of or {}}, about)


def record(fields: Schema, *, object_: str = "", seldom: Sequence[str] = (), about: str = "") -> Schema:
    """
    Describe an object, all of whose fields are always there but those named.

    :param object_: what it calls itself, where it does.
    """
    named = {"object": {"type": "string", "const": object_}} if object_ else {}
    first = {"id": fields["id"]} if "id" in fields else {}  # Before ``object``, as it is sent.
    properties = {**first, **named, **fields}
    required = [name for name in properties if name not in seldom]
    return _told({"type": "object", "required": required, "properties": properties}, about)


def listed(name: str, **more: Schema) -> Schema:
    """Describe a list of something, whole as it is."""
    return record({"data": many(ref(name)), **more}, object_="list")


def paged(name: str) -> Schema:
    """Describe a page of something."""
    ends = {"first_id": maybe(text()), "last_id": maybe(text("`after` of the next page.")), "has_more": flag()}
    return listed(name, **ends)


def deleted(of: str) -> Schema:
    """Describe the answer that something is gone."""
    return record({"id": text(), "deleted": {"type": "boolean", "const": True}}, object_=of)


def structs(*shapes: type) -> dict[str, Schema]:
    """
    Describe structs, and whatever they are made of, by name.

    What a struct takes for what is left out is said in words: a generator of clients takes a ``default`` for a
    promise that the field is there.
    """
    _, parts = msgspec.json.schema_components(shapes, ref_template=PLACE + "{name}")
    return {name: _without_defaults(part) for name, part in parts.items()}


def refs(schema: Any) -> Iterator[str]:
    """Name every schema that something refers to."""
    if isinstance(schema, dict):
        if isinstance(named := schema.get("$ref"), str) and named.startswith(PLACE):
            yield named.removeprefix(PLACE)
        yield from (name for each in schema.values() for name in refs(each))
    elif isinstance(schema, list):
        yield from (name for each in schema for name in refs(each))


def _told(schema: Schema, about: str) -> Schema:
    """Say in words what is described, where there is something to say."""
    return {**schema, "description": about} if about else schema


def _without_defaults(schema: Any) -> Any:
    """Say in words what is taken for a field that is left out; nothing, for most."""
    if isinstance(schema, list):
        return [_without_defaults(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {name: _without_defaults(each) for name, each in schema.items() if name != "default"}
    if kept.get("enum") and all(isinstance(each, str) for each in kept["enum"]):
        kept.setdefault("type", "string")
    taken = schema.get("default")
    if taken is None or taken in ([], {}):
        return kept
    said = f"Left out, it is `{msgspec.json.encode(taken).decode()}`."
    return {**kept, "description": " ".join(filter(None, [kept.get("description"), said]))}
