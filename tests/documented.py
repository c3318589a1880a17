"""Hold answers to the OpenAPI document: each is as its schema says, and says nothing the schema does not."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
from jsonschema import Draft202012Validator

SAID_OF_ALL = re.compile(
    r"x-reelgate-.*|openai-poll-.*|retry-after.*|etag|location|preference-applied|idempotency-replayed|content-range|link|deprecation"
    r"|ratelimit.*|x-ratelimit-.*"
)
"""Headers a client reads: where they are sent, the document says so."""


class Document:
    """Hold a document and which of its operations have answered."""

    def __init__(self, whole: dict[str, Any]) -> None:
        self.whole = whole
        self.schemas: dict[str, Any] = whole["components"]["schemas"]
        self.operations = {
            operation["operationId"]: operation
            for operations in whole["paths"].values()
            for operation in operations.values()
        }
        self.answered: set[str] = set()
        self._paths = [
            (re.compile(re.sub(r"\{(\w+)\}", lambda name: ".+" if name[1] == "model" else "[^/]+", path)), path)
            for path in sorted(whole["paths"], key=lambda path: path.count("{"))
        ]

    def check(self, answer: httpx.Response) -> None:
        """Hold one answer to what the document says of its operation."""
        asked = answer.request
        path = next(path for found, path in self._paths if found.fullmatch(asked.url.path))
        operation = self.whole["paths"][path][asked.method.lower()]
        name, status = operation["operationId"], str(answer.status_code)
        said = operation["responses"].get(status) or operation["responses"][f"{status[0]}XX"]
        known = {header.lower() for header in said["headers"]}
        assert {header for header in answer.headers if SAID_OF_ALL.fullmatch(header)} <= known, (name, status)
        if answer.is_success:
            self.answered.add(name)
        if not answer.content:
            return
        kind = answer.headers["content-type"].partition(";")[0]
        documented = {kind, f"{kind.partition('/')[0]}/*"} & said["content"].keys()
        assert documented, (name, status, kind)
        if kind.endswith("json"):
            schema = {**said["content"][kind]["schema"], "components": self.whole["components"]}
            body = answer.json()
            faults = [f"{fault.json_path}: {fault.message}" for fault in Draft202012Validator(schema).iter_errors(body)]
            assert faults == [], (name, faults)
            assert [*self.unsaid(schema, body)] == [], name

    def unsaid(self, schema: dict[str, Any], value: Any, where: str = "$") -> Iterator[str]:
        """Name every field of a value that its schema says nothing of."""
        fits = [*self._fitting(schema, value)]
        if isinstance(value, list):
            for each in value:
                yield from self.unsaid({"allOf": [one["items"] for one in fits if "items" in one]}, each, f"{where}[]")
        elif isinstance(value, dict) and not any("additionalProperties" in one for one in fits):
            for name, each in value.items():
                said = [one["properties"][name] for one in fits if name in one.get("properties", {})]
                if said:
                    yield from self.unsaid({"allOf": said}, each, f"{where}.{name}")
                elif any("properties" in one for one in fits):
                    yield f"{where}.{name}"

    def _fitting(self, schema: dict[str, Any], value: Any) -> Iterator[dict[str, Any]]:
        """Take a schema apart into those that are plain, and that the value is one of."""
        if "$ref" in schema:
            yield from self._fitting(self.schemas[schema["$ref"].rpartition("/")[2]], value)
            return
        yield schema
        for each in schema.get("allOf", []):
            yield from self._fitting(each, value)
        for each in (*schema.get("anyOf", []), *schema.get("oneOf", [])):
            if Draft202012Validator({**each, "components": self.whole["components"]}).is_valid(value):
                yield from self._fitting(each, value)
