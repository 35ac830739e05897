"""A path with an identifier that cannot exist is answered like one that does not exist: 404 with the resource's own code."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from tests.services.shipped import opened_for_fuzzing, shipped_services

from portico.kit.foundation.ids import MAX_LENGTH
from portico.testing.databases import Databases
from portico.testing.fuzzing import Fuzzing
from portico.testing.running_service import Answer

SERVICES = shipped_services()
IDENTIFIER = re.compile(r"\^(\w+)_\[")
PARAMETER = re.compile(r"\{\w+\}")
DENIED = {401, 403}
IMPOSSIBLE = ("17", "none", "prod_none", "0b5e9f4c-1d0a-4b7e-9a55", "x" * 5_000, "é\u202e", "a b")


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Return method, path and description of each operation that has an identifier in its path."""
    for path, methods in document["paths"].items():
        if PARAMETER.search(path):
            for method, operation in methods.items():
                yield method.upper(), path, operation


def impossible_values(operation: dict[str, Any]) -> tuple[str, ...]:
    """Return values that no identifier of this operation has; an over-long one if the parameter is a name or a key."""
    patterns = [each["schema"].get("pattern", "") for each in operation["parameters"] if each["in"] == "path"]
    prefixes = [found[1] for pattern in patterns if (found := IDENTIFIER.match(pattern))]
    return (*IMPOSSIBLE, *(f"{prefix}_none" for prefix in prefixes)) if prefixes else ("x" * 5_000,)


async def answer_of(fuzzing: Fuzzing, method: str, path: str) -> Answer:
    """Return the answer to the first caller who may send the request."""
    body = None if method in {"GET", "DELETE"} else {}
    for bearer in fuzzing.bearers:
        caller = fuzzing.service.anonymous if bearer is None else fuzzing.service.bearing(bearer)
        answer = await caller.request(method, path, json=body)
        if answer.status_code not in DENIED:
            return answer
    raise AssertionError(f"no caller may send {method} {path[:100]}")


@pytest.mark.parametrize("name", SERVICES)
async def test_an_identifier_that_cannot_exist_is_not_found(
    name: str, sqlite_databases: Databases, tmp_path: Path
) -> None:
    wrong: list[Any] = []
    async with opened_for_fuzzing(SERVICES[name], sqlite_databases, tmp_path) as fuzzing:
        document = (await fuzzing.service.anonymous.get("/openapi.json")).json()
        for method, path, operation in operations(document):
            described = operation["responses"].get("404", {}).get("description", "").split(" or ")
            for value in impossible_values(operation):
                answer = await answer_of(fuzzing, method, PARAMETER.sub(quote(value), path))
                if answer.status_code != 404 or answer.json()["code"] not in described:
                    wrong.append((method, path, value[:MAX_LENGTH], answer.status_code, answer.content[-300:]))

    assert wrong == []
