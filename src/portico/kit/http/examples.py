"""Examples in the OpenAPI document, built from the schemas and from `Field(examples=["LAMP-1"])`."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

Json = Mapping[str, Any]

_REFERENCE = "#/components/schemas/"
_MAX_DEPTH = 8  # nested objects and lists; a schema may contain itself
_IDENTIFIER = re.compile(r"\^([a-z]+_)\[0-9a-hjkmnp-tv-z\]\{26\}\$")
_ULID = "01jd8m2v4x6z8q0s2t4w6y8a0b"
_FORMATS = {
    "date-time": "2026-01-31T12:00:00Z",
    "date": "2026-01-31",
    "email": "ada@example.com",
    "uri": "https://example.com/",
    "uuid": "0193ed2a-7f3c-7d52-9a64-1f0e8b7c6d5a",
}


def add_examples(document: dict[str, Any]) -> None:
    """Add an example to each JSON or form body in the document: of requests, and of responses below 300."""
    schemas = document.get("components", {}).get("schemas", {})
    for operation in _operations(document):
        for content in operation.get("requestBody", {}).get("content", {}).values():
            _add(content, _Builder(schemas, is_request=True))
        for status, response in operation.get("responses", {}).items():
            if status.startswith("2"):
                for content in response.get("content", {}).values():
                    _add(content, _Builder(schemas, is_request=False))


def _operations(document: Json) -> Iterator[dict[str, Any]]:
    for item in document.get("paths", {}).values():
        yield from (operation for operation in item.values() if isinstance(operation, dict))


def _add(content: dict[str, Any], builder: "_Builder") -> None:
    if content.get("schema") and not {"example", "examples"} & content.keys():
        content["example"] = builder.build(content["schema"])


class _Builder:
    """Builds an example of a schema.

    Args:
        schemas: the named schemas of the document.
        is_request: whether optional fields without an example are left out. In responses, nullable ones are null.
    """

    def __init__(self, schemas: Json, *, is_request: bool) -> None:
        self._schemas = schemas
        self._is_request = is_request

    def build(self, schema: Json, depth: int = 0) -> Any:
        if "$ref" in schema:
            return self.build(self._schemas.get(schema["$ref"].removeprefix(_REFERENCE), {}), depth)
        if (given := _given(schema)) is not None:
            return given
        for choices in (schema.get("anyOf"), schema.get("oneOf")):
            if choices:
                return self._choose([self._resolve(each) for each in choices], depth)
        kind = schema.get("type")
        if kind == "object" or "properties" in schema:
            return self._object(schema, depth)
        if kind == "array":
            return self._array(schema, depth)
        return _scalar(kind, schema)

    def _resolve(self, schema: Json) -> Json:
        while "$ref" in schema:
            schema = self._schemas.get(schema["$ref"].removeprefix(_REFERENCE), {})
        return schema

    def _choose(self, choices: list[Json], depth: int) -> Any:
        typed = [each for each in choices if each and each.get("type") != "null"]
        is_nullable = any(each.get("type") == "null" for each in choices)
        if not typed or (is_nullable and not self._is_request and not any(map(self._has_examples, typed))):
            return None
        return self.build(typed[0], depth)

    def _object(self, schema: Json, depth: int) -> dict[str, Any]:
        properties, required = schema.get("properties", {}), schema.get("required", ())
        chosen = {
            name: each
            for name, each in properties.items()
            if not self._is_request or name in required or self._has_examples(each)
        }
        if depth >= _MAX_DEPTH:
            chosen = {name: each for name, each in chosen.items() if name in required}
        return {name: self.build(each, depth + 1) for name, each in chosen.items()}

    def _has_examples(self, schema: Json) -> bool:
        return bool(schema.get("examples")) or any(each.get("examples") for each in schema.get("anyOf", ()))

    def _array(self, schema: Json, depth: int) -> list[Any]:
        items = schema.get("items", {})
        if not items or (depth >= _MAX_DEPTH and not schema.get("minItems")):
            return []
        return [self.build(items, depth + 1)] * max(1, schema.get("minItems", 1))


def _given(schema: Json) -> Any:
    """Return a value that the schema contains: an example, the constant, the first enum value, or the default."""
    for key in ("examples", "enum"):
        if schema.get(key):
            return schema[key][0]
    return schema.get("const", schema.get("default"))


def _scalar(kind: Any, schema: Json) -> Any:
    if kind == "string":
        return _text(schema)
    if kind in {"integer", "number"}:
        least = schema.get("minimum", schema.get("ge", 1))
        return int(max(1, least)) if kind == "integer" else float(max(1, least))
    return True if kind == "boolean" else None


def _text(schema: Json) -> str:
    if schema.get("format") in _FORMATS:
        return _FORMATS[schema["format"]]
    if (identifier := _IDENTIFIER.fullmatch(schema.get("pattern", ""))) is not None:
        return identifier[1] + _ULID
    return "string".ljust(schema.get("minLength", 0), "g")[: schema.get("maxLength")]
