"""Every short text that a service accepts is one line, so that it cannot break or reorder what it is shown in."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.services.shipped import opened_for_fuzzing, shipped_services

from portico.testing.databases import Databases

SERVICES = shipped_services()
FORBIDDEN = [
    chr(code)
    for code in (0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x1B, 0x7F, 0x85, 0x2028, 0x2029, 0x202A, 0x202E, 0x2066, 0x2069)
]
ALLOWED_FORMATS = {"date-time"}
EXCEPTIONS = {
    "description": "several lines",
    "note": "several lines",
    "password": "only hashed",
    "current_password": "only hashed",
    "new_password": "only hashed",
    "email": "at sign-in it is only looked up",
    "username": "only looked up",
    "token": "only verified",
    "admission": "only verified",
    "refresh_token": "only looked up",
    "ticket": "only looked up",
}


def text_fields(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Return name and schema of each text in the JSON request bodies of a document."""
    for methods in document["paths"].values():
        for operation in methods.values():
            content = operation.get("requestBody", {}).get("content", {})
            if (json := content.get("application/json")) is not None:
                yield from _texts("body", json["schema"], document, ())


def _texts(
    name: str, schema: dict[str, Any], document: dict[str, Any], within: tuple[str, ...]
) -> Iterator[tuple[str, dict[str, Any]]]:
    if (reference := schema.get("$ref")) is not None:
        if reference not in within:
            yield from _texts(name, _resolved(reference, document), document, (*within, reference))
        return
    if schema.get("type") == "string":
        yield name, schema
    for variant in (*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())):
        yield from _texts(name, variant, document, within)
    for inner, declared in schema.get("properties", {}).items():
        yield from _texts(inner, declared, document, within)
    if isinstance(items := schema.get("items"), dict):
        yield from _texts(name, items, document, within)


def _resolved(reference: str, document: dict[str, Any]) -> dict[str, Any]:
    found: Any = document
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return dict(found)


def accepts_more_than_a_line(schema: dict[str, Any]) -> bool:
    if schema.keys() & {"enum", "const"} or schema.get("format") in ALLOWED_FORMATS:
        return False
    pattern = schema.get("pattern")
    samples = [sample.format(each) for each in FORBIDDEN for sample in ("a{}b", "a{}b@example.com", "+1{}2345")]
    return pattern is None or any(re.search(pattern, sample) for sample in samples)


@pytest.mark.parametrize("name", SERVICES)
async def test_short_texts_are_one_line(name: str, sqlite_databases: Databases, tmp_path: Path) -> None:
    async with opened_for_fuzzing(SERVICES[name], sqlite_databases, tmp_path) as fuzzing:
        document = (await fuzzing.service.anonymous.get("/openapi.json")).json()
    fields = list(text_fields(document))

    wrong = {field for field, schema in fields if field not in EXCEPTIONS and accepts_more_than_a_line(schema)}

    assert wrong == set()
